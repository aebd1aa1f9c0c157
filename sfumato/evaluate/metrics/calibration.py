"""Calibration error of confidences: binned, smooth, signed, and the error that chance alone would show.

Every binned error is a sum of |D_b| over bins b, with D_b = Σ_{i in b} (confidence_i − correct_i).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column, check_bins, check_confidence, check_rows, check_weights

_DRAWS = 1 << 20  # uniforms that are drawn at a time for the noise floor: 8 MB
# The sum of a bin's redrawn labels is drawn as a normal where its variance is so large that the skewness is below 0.03,
# which |sum| feels by its square, or where there are so many rows.
_WIDE = 1000
_MANY = 1 << 16
_GRID = 4096  # cells of [0, 1] for the smooth error
_NARROWEST = 2.0 / _GRID  # its kernel is wider than a cell throughout
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


@dataclass(frozen=True)
class SmoothError:
    """A smooth calibration error, from 0 to 1, with the σ (``bandwidth``) of the kernel at which it was taken.

    ``part`` is what each row adds to it, (N,), with the weighted mean ``value``.
    """

    value: float
    bandwidth: float
    part: Column


def ece(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bins: int = 15,
    equal_mass: bool = False,
    weights: npt.ArrayLike | None = None,
) -> float:
    r"""Expected calibration error.

    .. math:: \mathrm{ECE} = \frac{1}{\sum_i w_i}
              \sum_{b} \Bigl| \sum_{i \in b} w_i (\text{confidence}_i - \text{correct}_i) \Bigr|

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        correct: whether the row is right, (N,) bool.
        bins: number of bins, (lower, upper] of width 1/bins; the first also holds 0.
        equal_mass: whether to cut the sorted rows into bins of equal weight in place of equal width. Rows of equal
            confidence share the accuracy of their group, so that the order of rows does not matter.
        weights: :math:`w`, one number a row, (N,), ≥ 0; a row of weight 2 counts as two rows.

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
    return measure(*check_rows(confidence, correct, weights), check_bins(bins))[0]


def equal_bins(values: Column, right: npt.NDArray[Any], w: Column | None, bins: int) -> tuple[float, Column]:
    """:func:`ece` in bins of equal mass, and what each row adds to it, (N,), if the cuts stay as they are."""
    one = np.ones(len(right)) if w is None else w
    # as in a ranking, sums of whole numbers are the same in any order of equal values
    order = np.argsort(values, kind=None if w is None and right.dtype == np.bool_ else "stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    mass = np.add.reduceat(one[order], starts)
    held = np.add.reduceat((one * right)[order], starts)
    gap = ordered[starts] - held / np.where(mass > 0, mass, 1.0)  # of a unit of mass of the group
    ends = np.cumsum(mass)
    total = float(ends[-1])
    places = np.arange(bins + 1)
    if w is None:  # numpy.array_split's cuts
        whole, rest = divmod(len(right), bins)
        cuts = (whole * places + np.minimum(places, rest)).astype(np.float64)
    else:
        cuts = total * places / bins
    below = np.concatenate([[0.0], ends])
    sums = np.diff(np.interp(cuts, below, np.concatenate([[0.0], np.cumsum(mass * gap)])))
    # a group that a cut divides has the mean sign of its parts
    along = np.concatenate([[0.0], np.cumsum(np.sign(sums) * np.diff(cuts))])
    sign = np.diff(np.interp(below, cuts, along)) / np.where(mass > 0, mass, 1.0)
    part = np.empty(len(right))
    part[order] = np.repeat(sign, np.diff(np.append(starts, len(right))))
    return float(np.abs(sums).sum() / total), part * (values - right)


def reliability(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> Reliability:
    """Accuracy against confidence by equal-width bins, with Wilson's 95 % interval (:func:`wilson`).

    The arguments and errors are those of :func:`ece`; the columns have the length ``bins``.

    >>> table = reliability([0.9, 0.9, 0.4], [True, False, True], bins=2)
    >>> table.count.tolist(), table.accuracy.tolist(), table.low.round(3).tolist()
    ([1, 2], [1.0, 0.5], [0.207, 0.095])

    Source: DeGroot and Fienberg 1983.
    """
    values, right, _ = check_rows(confidence, correct)
    return in_bins(values, right, check_bins(bins))


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
    weights: npt.ArrayLike | None = None,
) -> NoiseFloor:
    r"""The ECE that a perfectly calibrated model with these confidences would show at this N.

    Labels are redrawn, :math:`\text{correct}_i \sim \mathrm{Bernoulli}(\text{confidence}_i)`, and the ECE is computed
    each time. An ECE inside the interval is no sign of miscalibration. The sum of a bin is drawn from a normal
    distribution of its mean and variance where the variance is above 1000, or there are more than 65 536 rows, or
    rows have weights.

    ``resamples`` says how often labels are redrawn, at least once. The result depends on ``seed`` and on the
    confidences, but not on their order. The other arguments and errors are those of :func:`ece`.

    >>> floor = noise_floor([0.7] * 100)
    >>> floor.low < floor.mean < floor.high, 0.02 < floor.mean < 0.06
    (True, True)

    Source: the consistency resampling of Bröcker and Smith 2007, applied to the ECE.
    """
    values = check_confidence(confidence)
    w = check_weights(weights, len(values))
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    return by_chance(values, None, w, check_bins(bins), resamples, seed)


def by_chance(
    values: Column, right: npt.NDArray[Any] | None, w: Column | None, bins: int, resamples: int = 200, seed: int = 0
) -> NoiseFloor:
    """:func:`noise_floor` of checked columns; ``right`` is only asked how far rows are right where labels are soft."""
    rng = np.random.default_rng(seed)
    bin_ = _bin_of(values, bins)
    error = np.zeros(resamples)
    count = np.bincount(bin_, minlength=bins)
    spread = np.bincount(bin_, weights=values * (1 - values) * (1.0 if w is None else w * w), minlength=bins)
    soft = right is not None and bool(((right != 0) & (right != 1)).any())
    if right is not None and soft:  # soft labels vary less about the confidence than redrawn ones
        spread *= _part_of_redrawn(values, right, bin_)
    for b in range(bins):
        if soft or w is not None or spread[b] > _WIDE or count[b] > _MANY:
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
    error /= len(values) if w is None else w.sum()
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


def binned(values: Column, right: npt.NDArray[Any], w: Column | None, bins: int) -> tuple[float, Column]:
    """:func:`ece` of checked columns, and what each row adds to it, sign(D_b)·(confidence − correct)."""
    bin_, gap = _bin_of(values, bins), values - right
    sums = np.bincount(bin_, weights=gap if w is None else gap * w, minlength=bins)
    total = len(right) if w is None else float(w.sum())
    return float(np.abs(sums).sum() / total), np.sign(sums)[bin_] * gap


def ece_without_each(values: Column, right: npt.NDArray[Any], bins: int) -> Column:
    """The ECE without each row in turn, (N,); the bins stay where they are."""
    if len(right) < 2:
        raise ValueError("leaving one row out needs at least 2 rows, got 1")
    bin_, gap = _bin_of(values, bins), values - right
    sums = np.bincount(bin_, weights=gap, minlength=bins)
    return (np.abs(sums).sum() - np.abs(sums)[bin_] + np.abs(sums[bin_] - gap)) / (len(right) - 1)


def smoothed(values: Column, right: npt.NDArray[Any], w: Column | None, bandwidth: float | None = None) -> SmoothError:
    r"""Smooth calibration error (smECE) of checked columns: in place of bins, a Gaussian kernel.

    .. math:: \mathrm{smECE}_\sigma = \int_0^1 \Bigl| \frac{1}{\sum_i w_i}
              \sum_i w_i (\text{confidence}_i - \text{right}_i)\, K_\sigma(t, \text{confidence}_i) \Bigr| dt

    The error itself decides the width, smECE_σ = σ, unless a ``bandwidth`` does; an error below the narrowest kernel,
    2/4096, is taken at that kernel. Each residual is divided between its two nearest points of a grid of 4096 cells, so
    that no bin has an edge. The kernel is reflected at 0 and 1, which makes the convolution a product of cosine series.

    Source: Błasiok and Nakkiran 2023, arXiv 2309.12236, definitions 7 to 9 and lemma 8.
    """
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    residual = values - right
    weighted = residual if w is None else residual * w
    place = values * _GRID
    cell = np.minimum(place.astype(np.int64), _GRID - 1)
    beyond = place - cell
    laid = np.bincount(cell, weights=weighted * (1 - beyond), minlength=_GRID + 1)
    laid += np.bincount(cell + 1, weights=weighted * beyond, minlength=_GRID + 1)
    laid /= len(values) if w is None else w.sum()
    trapezoid = np.full(_GRID + 1, 1.0 / _GRID)
    trapezoid[[0, -1]] /= 2

    if bandwidth is None:  # the error falls as σ grows
        low, high = _NARROWEST, 1.0
        if np.abs(_smoothed(laid, low)) @ trapezoid <= low:
            high = low
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (middle, high) if np.abs(_smoothed(laid, middle)) @ trapezoid > middle else (low, middle)
        bandwidth = (low + high) / 2
    density = _smoothed(laid, bandwidth)
    # ∫|r| = ∫ sign(r)·r, so smoothing sign(r) instead of r gives what one row adds
    sign = _smoothed(np.sign(density) * trapezoid, bandwidth)
    part = residual * np.interp(values, np.linspace(0.0, 1.0, _GRID + 1), sign)
    return SmoothError(float(np.abs(density) @ trapezoid), float(bandwidth), part)


def _smoothed(laid: Column, width: float) -> Column:
    """The density, at the points of the grid, of masses at these points under the reflected Gaussian."""
    # A mass at an end is its own mirror image, so in the even extension it stands once where others stand twice.
    mirrored = laid.copy()
    mirrored[[0, -1]] *= 2
    wave = np.fft.rfft(np.concatenate([mirrored, mirrored[-2:0:-1]]))
    wave *= np.exp(-0.5 * (np.pi * np.arange(len(wave)) * width) ** 2)
    return np.fft.irfft(wave)[: _GRID + 1] * _GRID
