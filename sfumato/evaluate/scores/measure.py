"""From logits to columns: what the model says as it is, and what it says after temperature scaling.

Few or short rows are read in float64. Many long rows of at most 32 bits are scanned in blocks
(:mod:`~sfumato.evaluate.scores.block_scan`); a sample of rows then brackets the temperature, and a series on all rows
finishes it. Both ways fill the same :class:`Measured`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.metrics.temperature import (
    HIGHEST,
    LOWEST,
    NllSlope,
    Temperature,
    fit,
    fit_without_each,
    from_series,
    influence_on_temperature,
)
from sfumato.evaluate.scores import block_scan
from sfumato.evaluate.scores.column_checks import Column, as_numpy
from sfumato.evaluate.scores.per_row import Rows, scan
from sfumato.evaluate.scores.score_matrix import (
    FOLDS,
    IGNORED,
    Labels,
    RowError,
    ScoreMatrix,
    Scores,
    fold_of,
    logits_of,
    row_hash,
    take_rows,
)
from sfumato.evaluate.scores.soft_labels import SoftLabels, Truth, truth_of
from sfumato.evaluate.statistics.groups import RowGroups

BINS = 15
_SAMPLES = (1 << 20, 1 << 23)  # elements on which a temperature is bracketed before all rows are read
_FAR = 0.04  # where β moves by a larger share than this, all rows are read again
_PASSES = 5  # passes over all rows in search of β, before the float64 search takes over


@dataclass
class Measured:
    """One model on one set of rows, as columns.

    Probabilities become logits, their logarithms, unless zeros or rounding have lost these: ``logits_lost`` says why.
    ``fitted`` is the temperature of least NLL; None without logits, or if the NLL is infinite at every T. Each row adds
    its ``temperature_part`` to it, and ``sharpening`` is d log p_top / dβ of each row there, β = 1/T. ``after`` are the
    columns at the temperature of the other folds; None if all rows that count are in one fold. ``together`` groups rows
    that vary together, and ``counted`` numbers the rows in the scores where some do not count.
    """

    source: ScoreMatrix
    rows: Rows
    hashes: npt.NDArray[np.uint64]
    logits_lost: str = ""
    fitted: Temperature | None = None
    temperature_part: Column | None = None
    sharpening: Column | None = None
    after: Rows | None = None
    together: RowGroups | None = None
    counted: npt.NDArray[np.int64] | None = None

    @cached_property
    def groups(self) -> RankedGroups:
        """The rows by confidence."""
        return RankedGroups(self.rows.score, self.rows.right)

    @property
    def classes(self) -> int:
        """K."""
        return self.source.classes

    @cached_property
    def label_counts(self) -> npt.NDArray[np.int64]:
        """How many rows have each label, (K,)."""
        return np.bincount(self.rows.label, minlength=self.classes)

    @property
    def labels_present(self) -> int:
        """How many classes occur among the labels."""
        return int(np.count_nonzero(self.label_counts))

    def copies(self) -> int:
        """How many rows have the content of an earlier one."""
        ordered = np.sort(self.hashes)  # np.unique, which makes a table of them, takes ten times as long
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def measure(
    *,
    logits: Scores | None = None,
    probs: Scores | None = None,
    labels: Labels | None = None,
    label_probs: Any = None,
    label_counts: Any = None,
) -> Measured:
    """Read the scores, as often as needed, and fill the columns; rows labelled −100 or without counts are left out."""
    source, counted = ScoreMatrix(logits=logits, probs=probs), None
    if labels is not None:
        labels, counted = without_ignored(labels)
    truth = truth_of(source, labels=labels, label_probs=label_probs, label_counts=label_counts)
    if truth.soft is not None and not truth.soft.all_count:
        counted = truth.soft.counted
    if counted is None:
        return _measured(source, truth)
    source = ScoreMatrix(**{source.name: take_rows(source.values, counted)})
    try:
        measured = _measured(source, truth.part(counted))
    except RowError as error:
        raise error.numbered(counted) from None
    measured.counted = counted
    return measured


def without_ignored(labels: Labels) -> tuple[Labels, npt.NDArray[np.int64] | None]:
    """Labels with a class in place of −100, and the rows that count; None where every row does."""
    values = as_numpy(labels)
    ignored = values == IGNORED
    if values.ndim != 1 or values.dtype.kind not in "iu" or not ignored.any():
        return labels, None
    if ignored.all():
        raise ValueError(f"every label is {IGNORED}, which marks rows that do not count")
    return np.where(ignored, 0, values), np.flatnonzero(~ignored)


def _measured(source: ScoreMatrix, truth: Truth) -> Measured:
    lost = ""
    if source.name == "probs":
        source, lost = logits_of(source)
    if truth.soft is None and block_scan.suits(source):
        measured = _fast_measured(source, truth.labels)
        if measured is not None:
            return measured
    hashes = np.concatenate([row_hash(source.raw(start, stop)) for start, stop in source.steps()])
    rows = scan(source, truth.labels, soft=truth.soft)
    result = Measured(source, rows, hashes, lost)
    if lost or not np.isfinite(rows.nll).all():
        return result
    objective = NllSlope(source.values, truth)
    result.fitted = fit(objective)
    cumulants = objective.cumulants(1 / result.fitted.value)
    _describe(result, cumulants, objective.label_deficit)
    fold = fold_of(hashes)
    if (fold != fold[0]).any():
        fitted = fit_without_each(objective, fold, result.fitted, cumulants)
        temperatures = np.array([fitted[f].value if f in fitted else 1.0 for f in range(FOLDS)])
        result.after = scan(source, truth.labels, temperatures[fold], soft=truth.soft)
    return result


def columns_at(
    source: ScoreMatrix, labels: npt.NDArray[np.int64], temperature: Temperature, *, soft: SoftLabels | None = None
) -> tuple[Rows, Rows]:
    """The columns of checked scores as they are, and divided by a temperature."""
    if soft is None and block_scan.suits(source) and not temperature.at_bound:
        beta = 1 / temperature.value
        scanned = block_scan.scan(source, labels, beta=beta)
        assert scanned.expansion is not None
        moved = scanned.expansion.move(scanned.rows, scanned.label_deficit, np.full(source.rows, beta))
        return scanned.rows, moved
    return scan(source, labels, soft=soft), scan(source, labels, temperature.value, soft=soft)


def _fast_measured(source: ScoreMatrix, label: npt.NDArray[np.int64]) -> Measured | None:
    """As :func:`measure`, in blocks; None where only the exact search finds the temperature."""
    try:
        beta = _bracketed(source, label)
    except ValueError:
        return None  # an odd row; the pass over all rows says which
    scanned = block_scan.scan(source, label, beta=beta, hashed=True)
    assert scanned.hashes is not None
    result = Measured(source, scanned.rows, scanned.hashes)
    if not np.isfinite(scanned.rows.nll).all():
        return result
    fold = fold_of(scanned.hashes)
    everyone = np.ones(source.rows, dtype=np.bool_)
    folds = np.unique(fold).tolist() if (fold != fold[0]).any() else []
    # the whole is number −1; without its only fold, no row would be left to fit on
    parts = {-1: everyone} | {f: fold != f for f in folds}
    near = scanned.expansion
    for _ in range(_PASSES):
        assert near is not None
        betas: dict[int, float] = {}
        certain = True
        for f, keep in parts.items():
            small = not scanned.label_deficit[keep].any()
            if small and f == -1:  # the whole has no optimum, and its folds get the pseudo-row
                betas[f] = 1 / LOWEST
                continue
            betas[f], known = from_series(near.beta, near.cumulants, keep, scanned.centre if small else None)
            certain = certain and known and abs(betas[f] / near.beta - 1) < _FAR
        if certain:
            break
        middle = float(np.median([b for f, b in betas.items() if f != -1 or len(betas) == 1]))
        if not 1 / HIGHEST < middle < 1 / LOWEST:
            return None
        near = block_scan.scan(source, label, beta=middle).expansion
    else:
        return None
    assert near is not None
    result.fitted = Temperature(1 / betas[-1], at_bound=betas[-1] == 1 / LOWEST)
    _describe(result, near.cumulants, scanned.label_deficit)
    if len(parts) > 1:
        beta_of = np.array([betas.get(f, 1.0) for f in range(FOLDS)])
        result.after = near.move(scanned.rows, scanned.label_deficit, beta_of[fold])
    return result


def _bracketed(source: ScoreMatrix, label: npt.NDArray[np.int64]) -> float:
    """β near the optimum, by a fit on few rows and one step on a part of the others."""
    few, many = (max(1, source.rows * source.classes // elements) for elements in _SAMPLES)
    beta = 1 / fit(NllSlope(source.part(few), label[::few]), small=True).value
    near = block_scan.scan(ScoreMatrix(logits=source.part(many)), label[::many], beta=beta).expansion
    assert near is not None
    better, _ = from_series(near.beta, near.cumulants, slice(None))
    return better if beta / 2 < better < 2 * beta else beta


def _describe(result: Measured, cumulants: tuple[Column, ...], label_deficit: Column) -> None:
    """What each row adds to the temperature, and how the confidence of the row depends on it."""
    assert result.fitted is not None
    value = result.fitted.value
    bend = float(np.mean(cumulants[1]))
    psi = cumulants[0] - np.mean(cumulants[0])
    result.temperature_part = influence_on_temperature(value, psi, bend)
    result.sharpening = label_deficit - cumulants[0]
