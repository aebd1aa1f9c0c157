"""The functions that compute metrics and what each row adds to them, and the intervals that follow.

What a row adds ("part") is a column whose spread over √N is the standard error of the metric: the value of the row
where the metric is a mean, an infinitesimal-jackknife value elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics import calibration
from sfumato.evaluate.metrics.calibration import Z95
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.metrics.temperature import HIGHEST, LOWEST
from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.scores.measure import BINS, Measured
from sfumato.evaluate.scores.per_row import Rows
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.intervals import pseudo_values, t_quantile


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


Measure: TypeAlias = Callable[[Rows, Measured], "MetricValue | tuple[float, Column] | None"]
"""A metric of rows, as they are or after temperature: the value and its parts, or a value with its own interval."""


def half_width(part: Column, together: RowGroups | None = None) -> float:
    """Half the width of the 95 % interval of the mean of parts: 0 for a single row, NaN if a part is not finite.

    Where rows of one group vary ``together``, the interval counts groups, by what they carry.
    """
    if together is not None and not together.single:
        values, units = together.collapse(part), together.effective
        return t95(max(units - 1, 1.0)) * float(np.std(values, ddof=1)) / float(np.sqrt(len(values)))
    n = len(part)
    if n < 2:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        # no dot: its sum hangs on how many cores BLAS takes, and it keeps them busy afterwards
        variance = float(np.square(part - np.mean(part)).sum()) / (n * n)
    return t95(n - 1) * float(np.sqrt(variance * n / (n - 1)))


_T95 = (  # for 1 to 8 degrees of freedom: few classes or rows are common, and need no scipy
    *(12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934),
    *(2.5705818356363146, 2.4469118511449786, 2.364624251592784, 2.306004135204166),
)


def t95(df: float) -> float:
    """97.5 % quantile of Student's t; from 9 degrees of freedom on by Fisher's expansion, which is good to 4e-4."""
    if df in range(1, 9):
        return _T95[int(df) - 1]
    if df < 9:
        return t_quantile(df, 0.975)
    z = Z95
    return (
        z
        + (z**3 + z) / (4 * df)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
    )


def mean_of(values: Column) -> tuple[float, Column]:
    """The mean of a column, which is what each row adds to it."""
    with np.errstate(invalid="ignore"):  # a gap of +inf in one row and −inf in another has no mean: NaN
        return float(np.mean(values)), values


def of_logits(column: str) -> Measure:
    """The mean of a column that probabilities do not give."""
    return lambda rows, found: mean_of(getattr(rows, column)) if not found.logits_lost else None


def of_temperature(value: float, part: Column, together: RowGroups | None = None) -> MetricValue:
    """A temperature with the interval of its logarithm."""
    factor = float(np.exp(min(half_width((part - value) / value, together), 50.0)))
    return MetricValue(value, max(value / factor, LOWEST), min(value * factor, HIGHEST), part)


def temperature(rows: Rows, found: Measured) -> MetricValue | None:
    """The fitted temperature; at a bound it has no interval."""
    if found.fitted is None or found.temperature_part is None:
        return None
    value = found.fitted.value
    if found.fitted.at_bound:
        return MetricValue(value, value, value)
    return of_temperature(value, found.temperature_part)


def accuracy(rows: Rows, found: Measured) -> MetricValue:
    """The share of the rows that are right."""
    return _share(rows.correct)


def top5(rows: Rows, found: Measured) -> MetricValue | None:
    """The share of the rows whose label is among the best 5 of more classes."""
    return _share(rows.rank < 5) if found.classes > 5 else None


def _share(held: npt.NDArray[np.bool_]) -> MetricValue:
    """A share of the rows, with Wilson's interval."""
    values = np.asarray(held, np.float64)
    value = float(np.mean(values))
    low, high = calibration.wilson(value, len(values))
    return MetricValue(value, float(low), float(high), values)


def balanced_accuracy(rows: Rows) -> tuple[float, Column]:
    """The mean recall of the classes that occur, and what each row adds to it: infinitesimal-jackknife values, (N,)."""
    labelled = np.bincount(rows.label)
    occurs = labelled > 0
    recall = _ratio(np.bincount(rows.label, weights=rows.correct), labelled)
    value = float(recall[occurs].mean())
    weight = _ratio(len(rows) / occurs.sum(), labelled)
    return value, (rows.correct - recall[rows.label]) * weight[rows.label] + value


def macro_f1(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The mean F1 of the classes that occur as label or prediction."""
    size = int(max(rows.label.max(), rows.predicted.max())) + 1
    right = np.bincount(rows.label, weights=rows.correct, minlength=size)
    either = np.bincount(rows.label, minlength=size) + np.bincount(rows.predicted, minlength=size)
    seen = either > 0
    f1 = _ratio(2 * right, either)
    value = float(f1[seen].mean())
    weight = _ratio(len(rows) / seen.sum(), either)
    own = (2 * rows.correct - f1[rows.label]) * weight[rows.label]
    return value, np.asarray(own - (f1 * weight)[rows.predicted] + value, dtype=np.float64)


def _ratio(above: npt.NDArray[Any] | float, below: npt.NDArray[Any]) -> Column:
    return np.divide(above, below, out=np.zeros(len(below)), where=below > 0)


def ece(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The binned error; after temperature its parts count the spread of the temperature."""
    value, part = calibration.binned(rows.confidence, rows.right, BINS)
    off = rows.overconfidence
    sign: Column = np.divide(part, off, out=np.zeros(len(part)), where=off != 0)
    return value, _with_spread_of_temperature(part, sign, rows, found)


def ece_without_each(rows: Rows) -> tuple[float, Column]:
    """The binned error, and its pseudo-values."""
    value, _ = calibration.binned(rows.confidence, rows.right, BINS)
    return value, pseudo_values(value, calibration.ece_without_each(rows.confidence, rows.right, BINS))


def signed_gap(rows: Rows, found: Measured) -> tuple[float, Column]:
    """Mean confidence minus accuracy; after temperature its parts count the spread of the temperature."""
    part = rows.overconfidence
    return float(np.mean(part)), _with_spread_of_temperature(part, 1.0, rows, found)


def _with_spread_of_temperature(part: Column, sign: Column | float, rows: Rows, found: Measured) -> Column:
    """Parts that follow the temperature by sign·d conf/dβ: each row also adds what it adds to β = 1/T."""
    fitted, influence = found.fitted, found.temperature_part
    if rows is found.rows or fitted is None or influence is None or found.sharpening is None or fitted.at_bound:
        return part
    pull = float(np.mean(sign * (rows.confidence * found.sharpening)))
    return np.asarray(part + pull * (-(influence - fitted.value) / fitted.value**2), dtype=np.float64)


def ece_by_chance(rows: Rows, found: Measured) -> MetricValue:
    """The error that a perfectly calibrated model would show."""
    floor = calibration.by_chance(rows.confidence, rows.right, BINS)
    return MetricValue(floor.mean, floor.low, floor.high)


def ranked(value: Callable[[RankedGroups], float], part: Callable[[RankedGroups], Column]) -> Measure:
    """A number of the rows in the order of their confidence."""

    def measure(rows: Rows, found: Measured) -> tuple[float, Column]:
        groups = found.groups if rows is found.rows else RankedGroups(rows.score, rows.right)
        return value(groups), part(groups)

    return measure


def eaurc_without_each(rows: Rows) -> tuple[float, Column]:
    """The E-AURC, and its pseudo-values."""
    groups = RankedGroups(rows.score, rows.right)
    return groups.eaurc(), pseudo_values(groups.eaurc(), groups.eaurc_without_each())


def coverage_at(risk: float) -> Measure:
    """The share of the rows that can be answered at a risk."""
    return lambda rows, found: MetricValue(found.groups.coverage_at(risk), *found.groups.coverage_interval(risk))


def gamma(rows: Rows, found: Measured) -> tuple[float, Column]:
    """The smoothing over all of a perfectly smoothed model."""
    # 1 − p_y from the NLL keeps its digits where p_y is nearly 1
    return mean_of(-np.expm1(-rows.nll) * (found.classes / (found.classes - 1)))
