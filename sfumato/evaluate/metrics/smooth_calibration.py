r"""Smooth calibration error: in place of bins stands a Gaussian kernel, whose width the error itself decides.

Let :math:`r_\sigma(t)` be the residuals confidence − correct, smoothed by a Gaussian of width σ that is reflected at 0
and 1. The error at σ is :math:`\int |r_\sigma|`. It falls as σ grows, so it equals σ at one σ, where it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column, check_rows

_GRID = 4096  # cells of [0, 1]
_NARROWEST = 2.0 / _GRID  # the kernel is wider than a cell throughout


@dataclass(frozen=True)
class SmoothError:
    """A smooth calibration error, from 0 to 1, with the σ (``bandwidth``) of the kernel at which it was taken.

    ``part`` is what each row adds to it, (N,), with the weighted mean ``value``.
    """

    value: float
    bandwidth: float
    part: Column


def smooth_ece(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bandwidth: float | None = None,
    weights: npt.ArrayLike | None = None,
) -> SmoothError:
    r"""Smooth calibration error (smECE).

    .. math:: \mathrm{smECE}_\sigma = \int_0^1 \Bigl| \frac{1}{\sum_i w_i}
              \sum_i w_i (\text{confidence}_i - \text{correct}_i)\, K_\sigma(t, \text{confidence}_i) \Bigr| dt,
              \qquad \mathrm{smECE} = \mathrm{smECE}_{\sigma^*} \text{ where } \mathrm{smECE}_{\sigma^*} = \sigma^*

    Each residual is divided between its two nearest points of a grid of 4096 cells, so that no bin has an edge. The
    reflection at 0 and 1 makes the convolution a product of cosine series.

    ``bandwidth`` is a fixed :math:`\sigma`, above 0; by default the error decides it. An error below the narrowest
    kernel, 2/4096, is taken at that kernel. The other arguments and errors are those of :func:`sfumato.evaluate.ece`.

    >>> found = smooth_ece([0.9] * 10, [True] * 5 + [False] * 5)
    >>> round(found.value, 3), round(found.bandwidth, 3)
    (0.4, 0.4)

    Source: Błasiok and Nakkiran 2023, arXiv 2309.12236, definitions 7 to 9 and lemma 8.
    """
    return smoothed(*check_rows(confidence, correct, weights), bandwidth)


def smoothed(values: Column, right: npt.NDArray[Any], w: Column | None, bandwidth: float | None = None) -> SmoothError:
    """:func:`smooth_ece` of checked columns, where ``right`` is from 0 to 1 if labels are soft."""
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

    if bandwidth is None:
        low, high = _NARROWEST, 1.0
        if _area(_smoothed(laid, low)) <= low:
            high = low
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (middle, high) if _area(_smoothed(laid, middle)) > middle else (low, middle)
        bandwidth = (low + high) / 2
    density = _smoothed(laid, bandwidth)
    # ∫|r| = ∫ sign(r)·r, so smoothing sign(r) instead of r gives what one row adds; quadrature weights as in _area
    sign = _smoothed(np.sign(density) * _quadrature(), bandwidth)
    part = residual * np.interp(values, np.linspace(0.0, 1.0, _GRID + 1), sign)
    return SmoothError(_area(density), float(bandwidth), part)


def _smoothed(laid: Column, width: float) -> Column:
    """The density, at the points of the grid, of masses at these points under the reflected Gaussian."""
    # A mass at an end is its own mirror image, so in the even extension it stands once where others stand twice.
    mirrored = laid.copy()
    mirrored[[0, -1]] *= 2
    wave = np.fft.rfft(np.concatenate([mirrored, mirrored[-2:0:-1]]))
    wave *= np.exp(-0.5 * (np.pi * np.arange(len(wave)) * width) ** 2)
    return np.fft.irfft(wave)[: _GRID + 1] * _GRID


def _quadrature() -> Column:
    weights = np.full(_GRID + 1, 1.0 / _GRID)
    weights[[0, -1]] /= 2
    return weights


def _area(density: Column) -> float:
    """∫|r|, by the trapezoid rule."""
    return float(np.abs(density) @ _quadrature())
