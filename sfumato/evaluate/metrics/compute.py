"""Every metric of a model with its interval and, for most metrics, with what each row adds to it.

What a row adds ("part") is a column whose spread over √N is the standard error of the metric: the value of the row
where the metric is a mean, an infinitesimal-jackknife value elsewhere. Two models on the same rows are compared by the
differences of their parts. Proportions have Wilson's interval, and a temperature has the interval of its logarithm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from sfumato.evaluate.metrics import calibration, smooth_calibration
from sfumato.evaluate.metrics.calibration import Z95
from sfumato.evaluate.metrics.ranking import RankedGroups
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.evaluate.metrics.temperature import HIGHEST, LOWEST, Temperature
from sfumato.evaluate.scores.column_checks import Column, mean
from sfumato.evaluate.scores.measure import BINS, Measured
from sfumato.evaluate.scores.per_row import Rows, SoftRows
from sfumato.evaluate.statistics.groups import RowGroups
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


_MANY_ROWS = 100_000


def compute_metrics(found: Measured, *, parts: bool = False) -> dict[str, MetricValue]:
    """Every metric that these columns have, in the order in which they are shown; ``parts`` keeps those of paired ones.

    Sorting many rows takes most of the time, so two threads share the work.
    """

    def make(piece: Callable[[Measured], Iterator[tuple[str, MetricValue]]]) -> dict[str, MetricValue]:
        # parts are as long as the rows, so a part that nobody asks for is dropped before the next is made
        return {n: one if parts and METRICS[n].paired else replace(one, part=None) for n, one in piece(found)}

    with ThreadPoolExecutor(2 if len(found.rows) > _MANY_ROWS else 1) as pool:
        pieces = list(pool.map(make, _PIECES))
    told = {name: number for piece in pieces for name, number in piece.items()}
    return {name: told[name] for name in METRICS if name in told}


def compute_metric(name: str, found: Measured) -> MetricValue | None:
    """One metric, or None where these columns do not have it."""
    return next((number for piece in _PIECES for each, number in piece(found) if each == name), None)


def from_part(name: str, value: float, part: Column, weights: Column | None) -> MetricValue:
    """A metric with the interval that its parts give, cut at the range of the metric."""
    half, defined = half_width(part, weights), METRICS[name]
    return MetricValue(value, max(value - half, defined.lowest), min(value + half, defined.highest), part)


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


def over_groups(by_name: Mapping[str, MetricValue], together: RowGroups) -> dict[str, MetricValue]:
    """Metrics with intervals that count groups of rows; without ends where it is not known what each row adds."""
    made: dict[str, MetricValue] = {}
    for name, number in by_name.items():
        if name == "ece_noise_floor":  # what chance alone shows, which is no interval of the model
            made[name] = number
        elif number.part is None:
            made[name] = replace(number, low=np.nan, high=np.nan)
        elif name == "temperature":
            factor = float(np.exp(min(group_half_width(number.part / number.value, together), 50.0)))
            ends = max(number.value / factor, LOWEST), min(number.value * factor, HIGHEST)
            made[name] = replace(number, low=ends[0], high=ends[1])
        else:
            half, defined = group_half_width(number.part, together), METRICS[name]
            low, high = max(number.value - half, defined.lowest), min(number.value + half, defined.highest)
            made[name] = replace(number, low=low, high=high)
    return made


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


def _scores(found: Measured) -> Iterator[tuple[str, MetricValue]]:
    rows, w, classes = found.rows, found.weights, found.classes
    yield "accuracy", _proportion(rows.correct.astype(np.float64), w)
    yield from _by_class(rows, w)
    if classes > 5:
        yield "top5", _proportion((rows.rank < 5).astype(np.float64), w)
    if isinstance(rows, SoftRows):
        yield "agreement", _mean("agreement", rows.agreed, w)
        yield "kl", _mean("kl", rows.kl, w)
    yield "nll", _mean("nll", rows.nll, w)
    yield "brier", _mean("brier", rows.brier, w)
    yield from _calibration(rows, w, "")
    floor = calibration.by_chance(rows.confidence, rows.right, w, BINS)
    yield "ece_noise_floor", MetricValue(floor.mean, floor.low, floor.high)
    yield "ece_classwise", _classwise(found)
    if found.source.name == "logits":
        yield "logit_gap", _mean("logit_gap", rows.gap, w)
        yield "logit_norm", _mean("logit_norm", rows.norm, w)
    # 1 − p_y from the NLL keeps its digits where p_y is nearly 1
    yield "gamma", _mean("gamma", -np.expm1(-rows.nll) * (classes / (classes - 1)), w)


def _sorted(found: Measured) -> Iterator[tuple[str, MetricValue]]:
    rows, w = found.rows, found.weights
    value, part = calibration.equal_mass(rows.confidence, rows.right, w, BINS)
    yield "ece_equal_mass", from_part("ece_equal_mass", value, part, w)
    smoothed = smooth_calibration.smoothed(rows.confidence, rows.right, w)
    yield "smooth_ece", from_part("smooth_ece", smoothed.value, smoothed.part, w)


def _scaled(found: Measured) -> Iterator[tuple[str, MetricValue]]:
    w = found.weights
    if found.fitted is not None and found.temperature_part is not None:
        yield "temperature", _temperature(found.fitted, found.temperature_part, w)
    if (after := found.after) is not None:
        yield "nll_after_temperature", _mean("nll", after.nll, w)
        if isinstance(after, SoftRows):
            yield "kl_after_temperature", _mean("kl", after.kl, w)
        yield "brier_after_temperature", _mean("brier", after.brier, w)
        yield from _calibration(after, w, "_after_temperature", _shift(found))
        groups = RankedGroups(after.score, after.right, w)
        yield "eaurc_after_temperature", from_part("eaurc", groups.eaurc(), groups.eaurc_part(), w)


def _ranked(found: Measured) -> Iterator[tuple[str, MetricValue]]:
    w, groups = found.weights, found.groups
    yield "aurc", from_part("aurc", groups.aurc(), groups.aurc_part(), w)
    yield "eaurc", from_part("eaurc", groups.eaurc(), groups.eaurc_part(), w)
    yield "augrc", from_part("augrc", groups.augrc(), groups.augrc_part(), w)
    for percent in (1, 5):
        low, high = groups.coverage_interval(percent / 100)
        yield f"coverage_at_{percent}_risk", MetricValue(groups.coverage_at(percent / 100), low, high)
    yield "risk_at_80_coverage", from_part("risk_at_80_coverage", groups.risk_at(0.8), groups.risk_part(0.8), w)


_PIECES = (_scores, _ranked, _scaled, _sorted)


def _mean(name: str, column: Column, weights: Column | None) -> MetricValue:
    with np.errstate(invalid="ignore"):  # a gap of +inf in one row and −inf in another has no mean: NaN
        return from_part(name, mean(column, weights), column, weights)


def _proportion(column: Column, weights: Column | None) -> MetricValue:
    value = mean(column, weights)
    n = len(column) if weights is None else float(weights.sum() ** 2 / np.square(weights).sum())
    low, high = calibration.wilson(min(max(value, 0.0), 1.0), n)
    return MetricValue(value, float(low), float(high), column)


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


def _by_class(rows: Rows, w: Column | None) -> Iterator[tuple[str, MetricValue]]:
    one = np.ones(len(rows)) if w is None else w
    size = int(max(rows.label.max(), rows.predicted.max())) + 1
    right = np.bincount(rows.label, weights=one * rows.correct, minlength=size)
    labelled = np.bincount(rows.label, weights=one, minlength=size)
    either = labelled + np.bincount(rows.predicted, weights=one, minlength=size)
    value, part = balanced_accuracy(rows, w)
    yield "balanced_accuracy", from_part("balanced_accuracy", value, part, w)
    seen, total = either > 0, one.sum()
    f1 = np.divide(2 * right, either, out=np.zeros(size), where=seen)
    value = float(f1[seen].mean())
    weight = np.divide(total / seen.sum(), either, out=np.zeros(size), where=seen)
    own = (2 * rows.correct - f1[rows.label]) * weight[rows.label]
    part = np.asarray(own - (f1 * weight)[rows.predicted] + value, dtype=np.float64)
    yield "macro_f1", from_part("macro_f1", value, part, w)


def _calibration(
    rows: Rows, w: Column | None, suffix: str, shift: Column | None = None
) -> Iterator[tuple[str, MetricValue]]:
    """ECE and signed gap; ``shift`` is what :func:`_shift` gives where a temperature was fitted."""
    value, part = calibration.binned(rows.confidence, rows.right, w, BINS)
    off: Column = np.subtract(rows.confidence, rows.right, dtype=np.float64)
    signed = off
    if shift is not None:
        slope: Column = rows.confidence * shift[1]
        sign: Column = np.divide(part, off, out=np.zeros(len(off)), where=off != 0)
        pull, turn = float(mean(sign * slope, w)), float(mean(slope, w))
        part = np.asarray(part + pull * shift[0], dtype=np.float64)
        signed = np.asarray(off + turn * shift[0], dtype=np.float64)
    yield f"ece{suffix}", from_part("ece", value, part, w)
    yield f"signed_gap{suffix}", from_part("signed_gap", mean(off, w), signed, w)


def _shift(found: Measured) -> Column | None:
    """(2, N): what each row adds to β = 1/T about its mean, and d log p_top / dβ; None for a T at its bound."""
    if found.fitted is None or found.temperature_part is None or found.sharpening is None or found.fitted.at_bound:
        return None
    value = found.fitted.value
    return np.stack([-(found.temperature_part - value) / value**2, found.sharpening])


def _classwise(found: Measured) -> MetricValue:
    value, without = found.by_class.ece(), found.by_class.without_each()
    g = len(without)
    if g < 2:
        return MetricValue(value, np.nan, np.nan)
    half = t95(g - 1) * float(np.sqrt((g - 1) / g * np.square(without - without.mean()).sum()))
    return MetricValue(value, max(value - half, 0.0), min(value + half, 1.0))


def _temperature(fitted: Temperature, part: Column, w: Column | None) -> MetricValue:
    value = fitted.value
    if fitted.at_bound:
        return MetricValue(value, value, value)
    factor = float(np.exp(min(half_width((part - value) / value, w), 50.0)))
    return MetricValue(value, max(value / factor, LOWEST), min(value * factor, HIGHEST), part)
