"""Calibration error of confidences: binned, signed, by class, and the floor that chance alone puts under it.

Everything is a sum over bins of |D_b|, D_b = Σ_{i in b} (confidence_i − correct_i): keep D_b and the rest follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

from sfumato.evaluate._columns import Column, check_bins, check_confidence, check_correct
from sfumato.evaluate._source import Labels, Scores, Source, check_labels

_DRAWS = 1 << 20  # uniforms drawn at a time for the noise floor: 8 MB


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram as columns, one entry a bin; NaN where a bin is empty.

    Attributes:
        lower: lower edges, open (the first is closed at 0).
        upper: upper edges, closed.
        count: rows in the bin, int64.
        confidence: their mean confidence.
        accuracy: the part of them that is right.
        low: lower end of the Wilson 95 % interval of the accuracy.
        high: upper end.
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
    """The ECE of a perfectly calibrated model at this N: mean over redrawn labels, and their central 95 %."""

    mean: float
    low: float
    high: float


def ece(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15, equal_mass: bool = False) -> float:
    r"""Expected calibration error with equal-width bins.

    .. math:: \mathrm{ECE} = \frac{1}{N} \sum_{b} \Bigl| \sum_{i \in b} (\text{confidence}_i - \text{correct}_i) \Bigr|

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        correct: whether the row is right, (N,) bool.
        bins: number of bins, (lower, upper] of width 1/bins; the first also holds 0.
        equal_mass: bins of equal counts instead, see :func:`ece_equal_mass`.

    Returns:
        The error, from 0 to 1. It is unsigned, and positive even for a perfect model: see :func:`signed_gap` and
        :func:`noise_floor`.

    Raises:
        ValueError: a confidence outside [0, 1] or NaN (names the first row), shapes that differ, no rows, no bins.

    >>> round(ece([0.9, 0.9, 0.6, 0.6], [True, False, True, True]), 4)
    0.4

    Source: Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599.
    """
    if equal_mass:
        return ece_equal_mass(confidence, correct, bins=bins)
    right = check_correct(correct)
    values = check_confidence(confidence, len(right))
    return float(np.abs(_bin_sums(values, right, check_bins(bins))[1]).sum() / len(right))


def ece_equal_mass(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> float:
    r"""Expected calibration error with bins of equal counts ("adaptive").

    The formula of :func:`ece`; the sorted rows are cut into ``bins`` runs whose lengths differ by one at most, the
    longer ones first. Rows of equal confidence share the accuracy of their group, so the order of rows does not matter.

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        correct: whether the row is right, (N,) bool.
        bins: number of bins.

    Returns:
        The error, from 0 to 1.

    Raises:
        ValueError: as :func:`ece`.

    >>> round(ece_equal_mass([0.6, 0.7, 0.8, 0.9], [True, False, True, True], bins=2), 4)
    0.15

    Source: Nguyen and O'Connor 2015; lower bias than equal widths in Roelofs et al. 2022, arXiv 2012.08668.
    """
    right = check_correct(correct)
    values, group, counts = np.unique(check_confidence(confidence, len(right)), return_inverse=True, return_counts=True)
    shared = np.bincount(group, weights=right) / counts
    gaps = np.repeat(values - shared, counts)
    parts = np.array_split(gaps, check_bins(bins))
    return float(sum(abs(part.sum()) for part in parts) / len(right))


def ece_classwise(probs: Scores, labels: Labels, *, bins: int = 15) -> float:
    r"""Class-wise calibration error: the binned error of every class's probability, averaged over classes.

    .. math:: \frac{1}{K N} \sum_{k} \sum_{b} \Bigl| \sum_{i:\, p_{ik} \in b} (p_{ik} - 1[y_i = k]) \Bigr|

    Args:
        probs: probabilities :math:`p`, (N, K), torch or numpy, any float type; used in float64, normalised.
        labels: class indices :math:`y`, (N,) integers.
        bins: number of bins, (lower, upper] of width 1/bins; the first also holds 0.

    Returns:
        The error. It shrinks like 1/K as classes are added: compare it only at the same K.

    Raises:
        TypeError, ValueError, IndexError: as :func:`sfumato.evaluate.per_row`.

    >>> import numpy as np
    >>> round(ece_classwise(np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1])), 4)
    0.4

    Source: Kull et al. 2019, arXiv 1910.12656; Nixon et al. 2019, arXiv 1904.01685, "static".
    """
    source = Source(probs=probs)
    label = torch.from_numpy(check_labels(labels, source.rows, source.classes, "probs"))
    sums = ClasswiseSums(source.classes, bins)
    for chunk in source:
        sums.add(torch.softmax(chunk.shifted, dim=1), label[chunk.rows])
    return sums.ece()


class ClasswiseSums:
    """Running sums of :func:`ece_classwise`, so that one pass over logits can feed it and other metrics together.

    >>> sums = ClasswiseSums(classes=2, bins=15)
    >>> sums.add(torch.tensor([[0.8, 0.2], [0.6, 0.4]], dtype=torch.float64), torch.tensor([0, 1]))
    >>> round(sums.ece(), 4)
    0.4
    """

    def __init__(self, classes: int, bins: int) -> None:
        self._rows = 0
        self._edges = np.linspace(0.0, 1.0, check_bins(bins) + 1)
        self._total = np.zeros(classes)
        self._sums = np.zeros((classes, bins))

    def add(self, p: torch.Tensor, label: torch.Tensor) -> None:
        """Add rows: probabilities (n, K) float64 and labels (n,) int64; neither is changed or kept."""
        classes, bins = self._sums.shape
        self._rows += len(label)
        self._total += p.sum(dim=0).numpy() - np.bincount(label.numpy(), minlength=classes)
        # At most bins − 1 entries of a row can be above the first edge, so only they are sorted into bins;
        # the first bin is what they leave of the total.
        row, col = (p > self._edges[1]).nonzero(as_tuple=True)
        high = p[row, col].numpy()
        gap = high - (label[row] == col).numpy()
        bin_ = np.minimum(np.searchsorted(self._edges, high, side="left") - 1, bins - 1)
        flat = np.bincount(col.numpy() * bins + bin_, weights=gap, minlength=classes * bins)
        self._sums += flat.reshape(classes, bins)

    def ece(self) -> float:
        """The class-wise error of the rows added so far."""
        first = self._total - self._sums[:, 1:].sum(axis=1)
        return float((np.abs(first).sum() + np.abs(self._sums[:, 1:]).sum()) / (self._rows * len(first)))


def ece_jackknife(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> Column:
    r"""The ECE without each row in turn, in O(N); the bins stay where they are.

    .. math:: \mathrm{ECE}_{(-i)} = \frac{1}{N-1} \Bigl( \sum_b |D_b| - |D_{b(i)}|
              + |D_{b(i)} - \text{confidence}_i + \text{correct}_i| \Bigr)

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        correct: whether the row is right, (N,) bool.
        bins: number of equal-width bins.

    Returns:
        Leave-one-out errors, (N,).

    Raises:
        ValueError: as :func:`ece`, and fewer than 2 rows.

    >>> ece_jackknife([0.9, 0.6], [True, True]).round(4).tolist()
    [0.4, 0.1]

    Source: own; the jackknife is Quenouille's and Tukey's.
    """
    right = check_correct(correct)
    values = check_confidence(confidence, len(right))
    if len(right) < 2:
        raise ValueError("leaving one row out needs at least 2 rows, got 1")
    bin_, sums = _bin_sums(values, right, check_bins(bins))
    without = np.abs(sums[bin_] - (values - right))
    return (np.abs(sums).sum() - np.abs(sums)[bin_] + without) / (len(right) - 1)


def reliability(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> Reliability:
    r"""Accuracy against confidence by equal-width bins, with Wilson's 95 % interval.

    .. math:: \frac{a + z^2/2n \pm z \sqrt{a(1-a)/n + z^2/4n^2}}{1 + z^2/n}, \quad z = 1.96

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        correct: whether the row is right, (N,) bool.
        bins: number of bins, (lower, upper] of width 1/bins; the first also holds 0.

    Returns:
        :class:`Reliability`, columns of length ``bins``; in the formula a is a bin's accuracy and n its count.

    Raises:
        ValueError: as :func:`ece`.

    >>> table = reliability([0.9, 0.9, 0.4], [True, False, True], bins=2)
    >>> table.count.tolist(), table.accuracy.tolist(), table.low.round(3).tolist()
    ([1, 2], [1.0, 0.5], [0.207, 0.095])

    Source: DeGroot and Fienberg 1983; the interval is Wilson 1927.
    """
    right = check_correct(correct)
    values = check_confidence(confidence, len(right))
    edges = np.linspace(0.0, 1.0, check_bins(bins) + 1)
    bin_ = _bin_of(values, bins)
    count = np.bincount(bin_, minlength=bins)
    n = np.where(count > 0, count, np.nan)
    accuracy = np.bincount(bin_, weights=right, minlength=bins) / n
    z = float(ndtri(0.975))
    centre = (accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Reliability(
        lower=edges[:-1],
        upper=edges[1:],
        count=count,
        confidence=np.bincount(bin_, weights=values, minlength=bins) / n,
        accuracy=accuracy,
        low=np.clip(centre - half, 0.0, 1.0),
        high=np.clip(centre + half, 0.0, 1.0),
    )


def noise_floor(confidence: npt.ArrayLike, *, bins: int = 15, resamples: int = 200, seed: int = 0) -> NoiseFloor:
    r"""The ECE that a perfectly calibrated model with these confidences would show at this N.

    Labels are redrawn, :math:`\text{correct}_i \sim \mathrm{Bernoulli}(\text{confidence}_i)`, and the ECE computed each
    time. An ECE inside the interval is no sign of miscalibration.

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        bins: number of equal-width bins.
        resamples: how often labels are redrawn.
        seed: of a generator of its own; the result depends on it, on the confidences and not on their order.

    Returns:
        :class:`NoiseFloor`: the mean, and the 2.5 % and 97.5 % quantiles.

    Raises:
        ValueError: as :func:`ece`, and fewer than 1 resample.

    >>> floor = noise_floor([0.7] * 100)
    >>> floor.low < floor.mean < floor.high, 0.02 < floor.mean < 0.06
    (True, True)

    Source: the consistency resampling of Bröcker and Smith 2007, applied to the ECE.
    """
    values = np.sort(check_confidence(confidence))
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    rng = np.random.default_rng(seed)
    bin_ = _bin_of(values, check_bins(bins))
    starts = np.searchsorted(bin_, np.arange(bins + 1))
    error = np.zeros(resamples)
    for b in range(bins):
        inside = values[starts[b] : starts[b + 1]]
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


def signed_gap(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    r"""Mean confidence less accuracy: positive when over-confident, negative when under-confident.

    .. math:: \frac{1}{N} \sum_i (\text{confidence}_i - \text{correct}_i)

    Args:
        confidence: largest probabilities, (N,), in [0, 1].
        correct: whether the row is right, (N,) bool.

    Returns:
        The gap, from −1 to 1; its size is at most the ECE.

    Raises:
        ValueError: as :func:`ece`.

    >>> signed_gap([0.75, 0.75], [True, True])
    -0.25

    Source: own; smoothing typically changes this sign, which an ECE cannot show.
    """
    right = check_correct(correct)
    return float(np.mean(check_confidence(confidence, len(right)) - right))


def _bin_of(confidence: Column, bins: int) -> npt.NDArray[np.intp]:
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)


def _bin_sums(confidence: Column, right: npt.NDArray[np.bool_], bins: int) -> tuple[npt.NDArray[np.intp], Column]:
    bin_ = _bin_of(confidence, bins)
    sums = np.bincount(bin_, weights=confidence - right, minlength=bins)
    return bin_, np.asarray(sums, dtype=np.float64)
