"""One class against the rest: ROC-AUC and average precision of its probability, and recall and precision of answers.

The first two are of class 1 where there are two classes, and else the mean over the classes that some rows have and
others lack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.selective import later
from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.scores.per_row import Rows
from sfumato.evaluate.scores.score_matrix import MANY

Part: TypeAlias = tuple[float, Column]
"""A value, and what each row adds to it, (N,)."""
Rate: TypeAlias = Literal["recall", "precision"]
RATES: tuple[Rate, ...] = get_args(Rate)


def roc_auc(rows: Rows) -> Part | None:
    """The chance that a row of the class has a higher probability of it than another row, ties counted half.

    What a row adds follows from its placement, the part of the other side that it is ranked right against (DeLong et
    al. 1988): the jackknife's pseudo-value.
    """
    return _both(rows)[0]


def average_precision(rows: Rows) -> Part | None:
    """Mean precision at the thresholds that find one more row of the class; tied rows are one threshold."""
    return _both(rows)[1]


def _both(rows: Rows) -> tuple[Part | None, Part | None]:
    """Both numbers, since sorting takes most of the time; kept with the rows."""
    if rows.of_classes is None:
        return None, None
    if rows.of_classes.ranked is None:
        values, parts, classes = np.zeros(2), np.zeros((2, len(rows))), 0
        for own, score in _by_class(rows):
            if own.any() and not own.all():
                classes += 1
                values += _add_class(parts, own, -score)
        means = zip(values, parts, strict=True)
        rows.of_classes.ranked = tuple((float(v / classes), part / classes) if classes else None for v, part in means)
    return rows.of_classes.ranked


def _by_class(rows: Rows) -> Iterator[tuple[npt.NDArray[np.bool_], Column]]:
    """Of each class which rows have it, and what ranks all rows by its probability, without saturating at 1."""
    assert rows.of_classes is not None
    source = rows.of_classes.source
    if source.classes == 2:
        own = rows.label == 1
        yield own, np.where(own, rows.gap, -rows.gap)
    elif source.rows * source.classes < MANY:
        log_p = np.empty((source.classes, source.rows))
        for at, shifted in source:
            log_p[:, at] = (shifted / rows.of_classes.heat[at, None]).T
        for k in np.unique(rows.label):
            yield rows.label == k, log_p[k] + rows.log_confidence


def _add_class(parts: Column, own: npt.NDArray[np.bool_], place: Column) -> Column:
    """ROC-AUC and average precision of one class, (2,), where the best rows have the lowest ``place``.

    What each row adds goes into ``parts``, (2, N). Rows of the class at one place make a group with all rows there, and
    all rows between two such groups make another, since nothing changes between them: few groups if the class is rare.
    """
    n, order = len(place), np.argsort(place)
    levels, level = np.unique(place[own], return_inverse=True)
    edges = [np.searchsorted(place, levels, side=side, sorter=order) for side in ("left", "right")]
    bounds = np.concatenate([[0], np.stack(edges, axis=1).ravel(), [n]])
    sizes = np.diff(bounds)
    mass, found = sizes.astype(np.float64), np.zeros(len(sizes))
    found[1::2] = np.bincount(level)
    answered, right = np.cumsum(mass), np.cumsum(found)
    total, positive = float(answered[-1]), float(right[-1])
    negative = total - positive
    below = (negative - (answered - right) + (mass - found) / 2) / negative
    above = (right - found / 2) / positive
    auc = float((found * below).sum() / positive)
    own_raise, other_raise = (
        total / side * (side / (side - 1) * (n - 1) / n if side > 1 else 1.0) for side in (positive, negative)
    )
    placed = auc + (below - auc) * own_raise, auc + (above - auc) * other_raise  # of rows of the class, and of others

    gain = found * (right / np.where(answered > 0, answered, 1.0))  # the first group may be empty
    ap = float(gain.sum() / positive)
    # without a row, thresholds below it lose it; without its only row a class is counted as it is
    fewer = np.maximum(answered - 1, 1)
    after, after_share = later(found * right / fewer), later(found / fewer)
    without = [
        (np.cumsum(gain) - gain + (found - x) * (right - x) / fewer + after - x * after_share) / max(positive - x, 1)
        for x in (1, 0)
    ]
    if positive == 1:
        without[0] = np.full(len(mass), ap)
    mean = (found @ without[0] + (mass - found) @ without[1]) / n
    added = [ap - (n - 1) * (each - mean) for each in without]
    group = np.empty(n, dtype=np.int64)
    group[order] = np.repeat(np.arange(len(sizes)), sizes)
    for part, (of_class, of_others) in zip(parts, (placed, added), strict=True):
        part += of_others.take(group)
        part[own] += (of_class - of_others)[2 * level + 1]
    return np.array([auc, ap])


def rate_of(rate: Rate, label: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], k: int) -> Part | None:
    """The recall or precision of class k, and what each row adds; None where no row has it, or is given it."""
    held = (label if rate == "recall" else predicted) == k
    rows = int(np.count_nonzero(held))
    if not rows:
        return None
    right = held & (label == predicted)
    value = np.count_nonzero(right) / rows
    return value, value + held * (right - value) * (len(label) / rows)


def classes_to_show(rows: npt.NDArray[np.int64], right: npt.NDArray[Any]) -> list[int]:
    """All classes of up to 20, the most frequent first, or the 10 of lowest recall; from rows of each, (K,)."""
    if len(rows) <= 20:
        return np.argsort(-rows, kind="stable").tolist()
    occurs = np.flatnonzero(rows)
    return occurs[np.argsort(right[occurs] / rows[occurs], kind="stable")][:10].tolist()
