"""Calibration error of confidences: binned, and the error that chance alone would show.

Every binned error is a sum of |D_b| over bins b, with D_b = Σ_{i in b} (confidence_i − correct_i).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column, check_bins, check_confidence, check_rows

_DRAWS = 1 << 20  # uniforms that are drawn at a time for the noise floor: 8 MB
# The sum of a bin's redrawn labels is drawn as a normal where its variance is so large that the skewness is below 0.03,
# which |sum| feels by its square, or where there are so many rows.
_WIDE = 1000
_MANY = 1 << 16
Z95 = 1.959963984540054  # 97.5 % quantile of the normal


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram as columns, one entry a bin (lower, upper], of which the first is closed at 0.

    ``count`` are the rows in a bin, ``confidence`` and ``accuracy`` their means, and ``low`` and ``high`` the ends of
    Wilson's 95 % interval of the accuracy. Means and ends are NaN where a bin is empty.
    """

    lower: Column
    upper: Column
    count: npt.NDArray[np.int64]
    confidence: Column
    accuracy: Column
    low: Column
    high: Column


@dataclass(frozen=True)
class NoiseFloor:
    """The ECE of a perfectly calibrated model at this N: the mean over redrawn labels, and the central 95 % of it."""

    mean: float
    low: float
    high: float


def ece(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bins: int = 15,
    equal_mass: bool = False,
) -> float:
    r"""Expected calibration error.

    .. math:: \mathrm{ECE} = \frac{1}{N} \sum_{b} \Bigl| \sum_{i \in b} (\text{confidence}_i - \text{correct}_i) \Bigr|

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        correct: whether the row is right, (N,) bool.
        bins: number of bins, (lower, upper] of width 1/bins; the first also holds 0.
        equal_mass: whether to cut the sorted rows into bins of equal size in place of equal width. Rows of equal
            confidence share the accuracy of their group, so that the order of rows does not matter.

    Returns:
        The error, from 0 to 1. It has no sign, which the metric "signed_gap" has, and even a perfectly calibrated model
        has an error above 0, which :func:`noise_floor` gives.

    Raises:
        ValueError: a confidence outside [0, 1] or NaN (names the first row), shapes that differ, no rows, no bins.

    >>> round(ece([0.9, 0.9, 0.6, 0.6], [True, False, True, True]), 4)
    0.4

    Source: Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599; equal counts, of lower bias, in Roelofs et al. 2022,
    arXiv 2012.08668.
    """
    measure = equal_bins if equal_mass else binned
    return measure(*check_rows(confidence, correct), check_bins(bins))[0]


def equal_bins(values: Column, right: npt.NDArray[Any], bins: int) -> tuple[float, Column]:
    """:func:`ece` in bins of equal mass, and what each row adds to it, (N,), if the cuts stay as they are."""
    rows = len(right)
    # as in a ranking, sums of whole numbers are the same in any order of equal values
    order = np.argsort(values, kind=None if right.dtype == np.bool_ else "stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    count = np.diff(np.append(starts, rows))
    gap = ordered[starts] - np.add.reduceat(right[order].astype(np.float64), starts) / count  # of a row of the group
    places, (whole, rest) = np.arange(bins + 1), divmod(rows, bins)
    cuts = (whole * places + np.minimum(places, rest)).astype(np.float64)  # those of numpy.array_split
    below = np.concatenate([[0.0], np.cumsum(count)])
    sums = np.diff(np.interp(cuts, below, np.concatenate([[0.0], np.cumsum(count * gap)])))
    # a group that a cut divides has the mean sign of its parts
    along = np.concatenate([[0.0], np.cumsum(np.sign(sums) * np.diff(cuts))])
    part = np.empty(rows)
    part[order] = np.repeat(np.diff(np.interp(below, cuts, along)) / count, count)
    return float(np.abs(sums).sum() / rows), part * (values - right)


def reliability(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> Reliability:
    """Accuracy against confidence by equal-width bins, with Wilson's 95 % interval (:func:`wilson`).

    The arguments and errors are those of :func:`ece`; the columns have the length ``bins``.

    >>> table = reliability([0.9, 0.9, 0.4], [True, False, True], bins=2)
    >>> table.count.tolist(), table.accuracy.tolist(), table.low.round(3).tolist()
    ([1, 2], [1.0, 0.5], [0.207, 0.095])

    Source: DeGroot and Fienberg 1983.
    """
    return in_bins(*check_rows(confidence, correct), check_bins(bins))


def in_bins(values: Column, right: npt.NDArray[Any], bins: int = 15) -> Reliability:
    """:func:`reliability` of checked columns, where ``right`` is from 0 to 1 if labels are soft."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_ = _bin_of(values, bins)
    count = np.bincount(bin_, minlength=bins)
    n = np.where(count > 0, count, np.nan)
    accuracy = np.bincount(bin_, weights=right, minlength=bins) / n
    mean_confidence = np.bincount(bin_, weights=values, minlength=bins) / n
    ends = wilson(accuracy, n * draws_of_a_row(right, bin_))
    return Reliability(edges[:-1], edges[1:], count, mean_confidence, accuracy, *ends)


def draws_of_a_row(right: npt.NDArray[Any], bin_: npt.NDArray[np.intp]) -> float:
    r"""How many draws of right or wrong a row is worth: 1 where rows are right or wrong, more where labels are soft.

    .. math:: \max\Bigl(1, \; \frac{(N-B) \sum_b n_b a_b (1-a_b)}{N \sum_i (\text{right}_i - a_{b(i)})^2}\Bigr)

    Here :math:`a_b` is the mean of the :math:`n_b` rows of bin b; N rows lie in the B bins of more than one row. All
    bins have one number, since few rows of one bin may agree by chance.

    Source: the effective number of rows that surveys put into Wilson's interval (Kish 1965; Franco et al. 2019).
    """
    count, middle, several, spread = _within_bins(right, bin_)
    rows, bins = int(count[several].sum()), int(several.sum())
    drawn = float((count * middle * (1 - middle))[several].sum())
    return max(1.0, (rows - bins) * drawn / (rows * spread)) if spread else 1.0  # nothing shows how rows vary


def _within_bins(
    values: Column, bin_: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], Column, npt.NDArray[np.bool_], float]:
    """Rows and mean of each bin, which bins have several rows, and the sum of squares about the means of these bins."""
    count = np.bincount(bin_)
    middle = np.bincount(bin_, weights=values) / np.maximum(count, 1)
    several = count > 1
    return count, middle, several, float(np.square(values - middle[bin_])[several[bin_]].sum())


def noise_floor(
    confidence: npt.ArrayLike,
    *,
    bins: int = 15,
    resamples: int = 200,
    seed: int = 0,
) -> NoiseFloor:
    r"""The ECE that a perfectly calibrated model with these confidences would show at this N.

    Labels are redrawn, :math:`\text{correct}_i \sim \mathrm{Bernoulli}(\text{confidence}_i)`, and the ECE is computed
    each time. An ECE inside the interval is no sign of miscalibration. The sum of a bin is drawn from a normal
    distribution of its mean and variance where the variance is above 1000, or there are more than 65 536 rows.

    ``resamples`` says how often labels are redrawn, at least once. The result depends on ``seed`` and on the
    confidences, but not on their order. The other arguments and errors are those of :func:`ece`.

    >>> floor = noise_floor([0.7] * 100)
    >>> floor.low < floor.mean < floor.high, 0.02 < floor.mean < 0.06
    (True, True)

    Source: the consistency resampling of Bröcker and Smith 2007, applied to the ECE.
    """
    values = check_confidence(confidence)
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    return by_chance(values, None, check_bins(bins), resamples, seed)


def by_chance(
    values: Column, right: npt.NDArray[Any] | None, bins: int, resamples: int = 200, seed: int = 0
) -> NoiseFloor:
    """:func:`noise_floor` of checked columns; ``right`` is only asked how far rows are right where labels are soft."""
    rng = np.random.default_rng(seed)
    bin_ = _bin_of(values, bins)
    error = np.zeros(resamples)
    count = np.bincount(bin_, minlength=bins)
    spread = np.bincount(bin_, weights=values * (1 - values), minlength=bins)
    soft = right is not None and bool(((right != 0) & (right != 1)).any())
    if right is not None and soft:  # soft labels vary less about the confidence than redrawn ones
        spread *= _part_of_redrawn(values, right, bin_)
    for b in range(bins):
        if soft or spread[b] > _WIDE or count[b] > _MANY:
            error += np.abs(rng.normal(0.0, np.sqrt(spread[b]), resamples))
            continue
        inside = np.sort(values[bin_ == b])
        gap = np.full(resamples, inside.sum())
        for piece in (inside[i : i + _DRAWS] for i in range(0, len(inside), _DRAWS)):
            step = max(1, _DRAWS // len(piece))
            for first in range(0, resamples, step):
                times = min(step, resamples - first)
                gap[first : first + times] -= np.count_nonzero(rng.random((times, len(piece))) < piece, axis=1)
        error += np.abs(gap)
    error /= len(values)
    low, high = np.quantile(error, [0.025, 0.975])
    return NoiseFloor(mean=float(error.mean()), low=float(low), high=float(high))


def _part_of_redrawn(values: Column, right: npt.NDArray[Any], bin_: npt.NDArray[np.intp]) -> float:
    """The variance of right − confidence about the mean of its bin, as a part of that of redrawn labels, 0 to 1."""
    count, _, several, spread = _within_bins(right - values, bin_)
    degrees = int((count[several] - 1).sum())
    drawn = float((values * (1 - values))[several[bin_]].mean()) if degrees else 0.0
    return min(spread / degrees / drawn, 1.0) if drawn else 1.0


def wilson(rate: Column | float, n: Column | float) -> tuple[Column, Column]:
    r"""Wilson's 95 % interval of a rate seen in n trials.

    .. math:: \frac{a + z^2/2n \pm z \sqrt{a(1-a)/n + z^2/4n^2}}{1 + z^2/n}, \quad z = 1.96

    The rate :math:`a` is in [0, 1], and n is above 0, not necessarily whole. Both ends have the shape of ``rate``.

    >>> low, high = wilson(0.5, 2)
    >>> round(float(low), 3), round(float(high), 3)
    (0.095, 0.905)

    Source: Wilson 1927.
    """
    a, n = np.asarray(rate, dtype=np.float64), np.asarray(n, dtype=np.float64)
    shrink = 1 + Z95**2 / n
    centre = (a + Z95**2 / (2 * n)) / shrink
    half = Z95 * np.sqrt(a * (1 - a) / n + Z95**2 / (4 * n**2)) / shrink
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def _bin_of(confidence: Column, bins: int) -> npt.NDArray[np.intp]:
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)


def binned(values: Column, right: npt.NDArray[Any], bins: int) -> tuple[float, Column]:
    """:func:`ece` of checked columns, and what each row adds to it, sign(D_b)·(confidence − correct)."""
    bin_, gap = _bin_of(values, bins), values - right
    sums = np.bincount(bin_, weights=gap, minlength=bins)
    return float(np.abs(sums).sum() / len(right)), np.sign(sums)[bin_] * gap


def ece_without_each(values: Column, right: npt.NDArray[Any], bins: int) -> Column:
    """The ECE without each row in turn, (N,); the bins stay where they are."""
    if len(right) < 2:
        raise ValueError("leaving one row out needs at least 2 rows, got 1")
    bin_, gap = _bin_of(values, bins), values - right
    sums = np.bincount(bin_, weights=gap, minlength=bins)
    return (np.abs(sums).sum() - np.abs(sums)[bin_] + np.abs(sums[bin_] - gap)) / (len(right) - 1)
