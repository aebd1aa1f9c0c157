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
from sfumato.evaluate.statistics.intervals import pseudo_values

Part: TypeAlias = tuple[float, Column]
"""A value, and what each row adds to it, (N,)."""
Rate: TypeAlias = Literal["recall", "precision"]
RATES: tuple[Rate, ...] = get_args(Rate)


def roc_auc(rows: Rows, w: Column | None = None) -> Part | None:
    """The chance that a row of the class has a higher probability of it than another row, ties counted half.

    What a row adds follows from its placement, the part of the other side that it is ranked right against (DeLong et
    al. 1988); without weights it is the jackknife's pseudo-value.
    """
    return _both(rows, w)[0]


def average_precision(rows: Rows, w: Column | None = None) -> Part | None:
    """Mean precision at the thresholds that find one more row of the class; tied rows are one threshold.

    Without weights what a row adds is its jackknife pseudo-value, with weights an infinitesimal-jackknife value.
    """
    return _both(rows, w)[1]


def _both(rows: Rows, w: Column | None) -> tuple[Part | None, Part | None]:
    """Both numbers, since sorting takes most of the time; kept with the rows."""
    if rows.of_classes is None:
        return None, None
    if rows.of_classes.ranked is None or rows.of_classes.ranked[0] is not w:
        sums, classes = np.zeros((2, len(rows) + 1)), 0
        for own, score in _by_class(rows):
            held = own if w is None else own[w > 0]
            if held.any() and not held.all():
                classes += 1
                for total, (value, part) in zip(sums, _of_class(own, score, w), strict=True):
                    total += np.append(part, value)
        found = [(float(each[-1]), each[:-1]) for each in sums / classes] if classes else (None, None)
        rows.of_classes.ranked = w, tuple(found)
    return rows.of_classes.ranked[1]


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


def _of_class(own: npt.NDArray[np.bool_], score: Column, w: Column | None) -> tuple[Part, Part]:
    _, group = np.unique(-score, return_inverse=True)  # rows of the highest score are group 0
    one = np.ones(len(score)) if w is None else w
    mass, found = (np.bincount(group, weights=each).astype(np.float64) for each in (one, one * own))
    answered, right = np.cumsum(mass), np.cumsum(found)
    total, positive = float(answered[-1]), float(right[-1])
    negative = total - positive
    below = (negative - (answered - right) + (mass - found) / 2) / negative
    above = (right - found / 2) / positive
    auc = float((found * below).sum() / positive)
    counts = [int(np.count_nonzero(one * side)) for side in (own, ~own)]
    rows = sum(counts)
    own_raise, other_raise = (
        total / side * (n / (n - 1) * (rows - 1) / rows if n > 1 else 1.0)
        for side, n in zip((positive, negative), counts, strict=True)
    )
    placed = np.where(own, (below[group] - auc) * own_raise, (above[group] - auc) * other_raise)

    precision = right / np.where(answered > 0, answered, 1.0)  # rows of weight 0 may come first
    gain = found * precision
    ap = float(gain.sum() / positive)
    if w is None:
        part = pseudo_values(ap, _without_each(own, group, found, answered, right, gain, ap))
    else:
        share = found / np.where(answered > 0, answered, 1.0)
        slope = (
            own * (precision + later(share) + share - ap)[group] - (later(share * precision) + share * precision)[group]
        )
        part = ap + total / positive * slope
    return (auc, auc + placed), (ap, part)


def _without_each(
    own: npt.NDArray[np.bool_],
    group: npt.NDArray[Any],
    found: Column,
    answered: Column,
    right: Column,
    gain: Column,
    ap: float,
) -> Column:
    """The average precision without each row in turn, (N,): thresholds below that of the row lose it.

    Without its only row a class would be left out; the precision is then counted as it is.
    """
    fewer = np.maximum(answered - 1, 1)
    after, after_share = later(found * right / fewer), later(found / fewer)

    def without(x: int) -> Column:
        here = (found - x) * (right - x) / fewer
        return (np.cumsum(gain) - gain + here + after - x * after_share) / max(right[-1] - x, 1)

    return np.where(own, without(1)[group] if right[-1] > 1 else ap, without(0)[group])


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
