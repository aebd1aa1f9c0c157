"""The functions that compute metrics and what each row adds to them, and the intervals that follow.

What a row adds ("part") is a column whose spread over √N is the standard error of the metric: the value of the row
where the metric is a mean, an infinitesimal-jackknife value elsewhere. Two models on the same rows are compared by the
differences of their parts. :mod:`~sfumato.evaluate.metrics.registry` says which function a metric has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics import calibration, selective, smooth_calibration
from sfumato.evaluate.metrics.calibration import Z95
from sfumato.evaluate.metrics.ranking import RankedGroups
from sfumato.evaluate.metrics.temperature import HIGHEST, LOWEST
from sfumato.evaluate.scores.column_checks import Column, mean
from sfumato.evaluate.scores.measure import BINS, Measured
from sfumato.evaluate.scores.per_row import Rows
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.intervals import pseudo_values
from sfumato.extras import lab_imports


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval, which takes the rows as random and the model as it is."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricValue(Interval):
    """A metric with its interval and, if that is known, what each row adds to it, (N,)."""

    part: Column | None = field(default=None, repr=False, compare=False)


ColumnOf: TypeAlias = Callable[[Any], "npt.NDArray[Any] | None"]
"""What each of the rows (``Rows``) adds to a mean; None where these rows do not have the metric."""
Measure: TypeAlias = Callable[[Rows, Measured], "MetricValue | tuple[float, Column] | None"]
"""A metric of rows, as they are or after temperature: the value and its parts, or a value with its own interval."""
LeaveOneOut: TypeAlias = Callable[[Rows], tuple[Column, float]]
"""Jackknife pseudo-values of the rows, (N,), and the value; :mod:`sfumato.verdict` averages them over seeds."""


def half_width(part: Column, weights: Column | None) -> float:
    """Half the width of the 95 % interval of the mean of parts: 0 for a single row, NaN if a part is not finite."""
    n = len(part) if weights is None else int(np.count_nonzero(weights))
    if n < 2:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        off = part - mean(part, weights)
        if weights is None:  # no dot: its sum hangs on how many cores BLAS takes, and it keeps them busy afterwards
            variance = float(np.square(off).sum()) / (n * n)
        else:
            variance = float(np.square(off * weights).sum()) / float(weights.sum()) ** 2
    return t95(n - 1) * float(np.sqrt(variance * n / (n - 1)))


def group_half_width(part: Column, together: RowGroups | None) -> float:
    """As :func:`half_width` where rows of one group vary together: the interval counts groups, by what they carry."""
    if together is None or together.single:
        return half_width(part, None)
    values, units = together.collapse(part), together.effective
    return t95(max(units - 1, 1.0)) * float(np.std(values, ddof=1)) / float(np.sqrt(len(values)))


_T95 = (  # for 1 to 8 degrees of freedom: few classes or rows are common, and need no scipy
    *(12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934),
    *(2.5705818356363146, 2.4469118511449786, 2.364624251592784, 2.306004135204166),
)


def t95(df: float) -> float:
    """97.5 % quantile of Student's t; from 9 degrees of freedom on by Fisher's expansion, which is good to 4e-4."""
    if df in range(1, 9):
        return _T95[int(df) - 1]
    if df < 9:
        with lab_imports("an interval with a fraction of a degree of freedom"):
            from scipy.special import stdtrit

        return float(stdtrit(df, 0.975))
    z = Z95
    return (
        z
        + (z**3 + z) / (4 * df)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
    )


def mean_of(column: ColumnOf) -> Measure:
    """The weighted mean of a column."""

    def measure(rows: Rows, found: Measured) -> tuple[float, Column] | None:
        values = column(rows)
        if values is None:
            return None
        with np.errstate(invalid="ignore"):  # a gap of +inf in one row and −inf in another has no mean: NaN
            return mean(values, found.weights), values

    return measure


def of_logits(column: ColumnOf) -> Measure:
    """The mean of a column that probabilities do not give."""
    measure = mean_of(column)
    return lambda rows, found: measure(rows, found) if found.source.name == "logits" else None


def proportion(column: ColumnOf, *, above_classes: int = 0) -> Measure:
    """A share of the rows, with Wilson's interval; None with so few classes."""

    def measure(rows: Rows, found: Measured) -> MetricValue | None:
        if found.classes <= above_classes:
            return None
        values, w = np.asarray(column(rows), np.float64), found.weights
        value = mean(values, w)
        n = len(values) if w is None else float(w.sum() ** 2 / np.square(w).sum())
        low, high = calibration.wilson(min(max(value, 0.0), 1.0), n)
        return MetricValue(value, float(low), float(high), values)

    return measure


def balanced_accuracy(rows: Rows, w: Column | None = None) -> tuple[float, Column]:
    """The mean recall of the classes that occur, and what each row adds to it: infinitesimal-jackknife values, (N,)."""
    one = np.ones(len(rows)) if w is None else w
    labelled = np.bincount(rows.label, weights=one)
    occurs = labelled > 0
    recall = np.divide(
        np.bincount(rows.label, weights=one * rows.correct), labelled, out=np.zeros(len(labelled)), where=occurs
    )
    value = float(recall[occurs].mean())
    weight = np.divide(one.sum() / occurs.sum(), labelled, out=np.zeros(len(labelled)), where=occurs)
    return value, (rows.correct - recall[rows.label]) * weight[rows.label] + value


def macro_f1(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The mean F1 of the classes that occur as label or prediction."""
    one = np.ones(len(rows)) if found.weights is None else found.weights
    size = int(max(rows.label.max(), rows.predicted.max())) + 1
    right = np.bincount(rows.label, weights=one * rows.correct, minlength=size)
    labelled = np.bincount(rows.label, weights=one, minlength=size)
    either = labelled + np.bincount(rows.predicted, weights=one, minlength=size)
    seen, total = either > 0, one.sum()
    f1 = np.divide(2 * right, either, out=np.zeros(size), where=seen)
    value = float(f1[seen].mean())
    weight = np.divide(total / seen.sum(), either, out=np.zeros(size), where=seen)
    own = (2 * rows.correct - f1[rows.label]) * weight[rows.label]
    return value, np.asarray(own - (f1 * weight)[rows.predicted] + value, dtype=np.float64)


def off(rows: Rows) -> Column:
    """Confidence minus how far each row is right."""
    return np.subtract(rows.confidence, rows.right, dtype=np.float64)


def ece(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The binned error; after temperature its parts count the spread of the temperature."""
    value, part = calibration.binned(rows.confidence, rows.right, found.weights, BINS)
    shift = _shift(rows, found)
    if shift is not None:
        difference = off(rows)
        sign: Column = np.divide(part, difference, out=np.zeros(len(part)), where=difference != 0)
        pull = float(mean(sign * (rows.confidence * shift[1]), found.weights))
        part = np.asarray(part + pull * shift[0], dtype=np.float64)
    return value, part


def signed_gap(rows: Rows, found: Measured) -> tuple[float, Column]:
    """Mean confidence minus accuracy; after temperature its parts count the spread of the temperature."""
    part = off(rows)
    value, shift = mean(part, found.weights), _shift(rows, found)
    if shift is not None:
        turn = float(mean(rows.confidence * shift[1], found.weights))
        part = np.asarray(part + turn * shift[0], dtype=np.float64)
    return value, part


def _shift(rows: Rows, found: Measured) -> Column | None:
    """(2, N): what each row adds to β = 1/T about its mean, and d log p_top / dβ; None as trained and at a bound."""
    if rows is found.rows or found.fitted is None or found.temperature_part is None or found.sharpening is None:
        return None
    value = found.fitted.value
    return None if found.fitted.at_bound else np.stack([-(found.temperature_part - value) / value**2, found.sharpening])


def ece_by_chance(rows: Rows, found: Measured) -> MetricValue:
    """The error that a perfectly calibrated model would show."""
    floor = calibration.by_chance(rows.confidence, rows.right, found.weights, BINS)
    return MetricValue(floor.mean, floor.low, floor.high)


def ece_equal_mass(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The error over bins of equal weight."""
    return calibration.equal_mass(rows.confidence, rows.right, found.weights, BINS)


def ece_classwise(rows: Rows, found: Measured) -> MetricValue:
    """The class-wise error, with a jackknife over groups of rows."""
    value, without = found.by_class.ece(), found.by_class.without_each()
    g = len(without)
    if g < 2:
        return MetricValue(value, np.nan, np.nan)
    half = t95(g - 1) * float(np.sqrt((g - 1) / g * np.square(without - without.mean()).sum()))
    return MetricValue(value, max(value - half, 0.0), min(value + half, 1.0))


def smooth_ece(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The error without bins."""
    error = smooth_calibration.smoothed(rows.confidence, rows.right, found.weights)
    return error.value, error.part


def temperature(rows: Rows, found: Measured) -> MetricValue | None:
    """The fitted temperature, with the interval of its logarithm."""
    part = found.temperature_part
    if found.fitted is None or part is None:
        return None
    value = found.fitted.value
    if found.fitted.at_bound:
        return MetricValue(value, value, value)
    factor = float(np.exp(min(half_width((part - value) / value, found.weights), 50.0)))
    return MetricValue(value, max(value / factor, LOWEST), min(value * factor, HIGHEST), part)


def ranked(value: Callable[[RankedGroups], float], part: Callable[[RankedGroups], Column]) -> Measure:
    """A number of the rows in the order of their confidence."""

    def measure(rows: Rows, found: Measured) -> tuple[float, Column]:
        groups = found.groups if rows is found.rows else RankedGroups(rows.score, rows.right, found.weights)
        return value(groups), part(groups)

    return measure


def coverage_at(risk: float) -> Measure:
    """The share of the rows that can be answered at a risk."""
    return lambda rows, found: MetricValue(found.groups.coverage_at(risk), *found.groups.coverage_interval(risk))


def gamma(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The smoothing over all of a perfectly smoothed model."""
    # 1 − p_y from the NLL keeps its digits where p_y is nearly 1
    values = -np.expm1(-rows.nll) * (found.classes / (found.classes - 1))
    with np.errstate(invalid="ignore"):
        return mean(values, found.weights), values


def balanced_accuracy_without_each(rows: Rows) -> tuple[Column, float]:
    """Its infinitesimal-jackknife values stand for pseudo-values."""
    value, part = balanced_accuracy(rows)
    return part, value


def ece_without_each(rows: Rows) -> tuple[Column, float]:
    """Pseudo-values of the binned error."""
    value, _ = calibration.binned(rows.confidence, rows.right, None, BINS)
    return pseudo_values(value, calibration.ece_without_each(rows.confidence, rows.right, BINS)), value


def eaurc_without_each(rows: Rows) -> tuple[Column, float]:
    """Pseudo-values of the E-AURC."""
    groups = RankedGroups(rows.score, rows.right)
    return pseudo_values(groups.eaurc(), selective.eaurc_without_each(groups)), groups.eaurc()
