r"""The optimum of each penalty and rival loss on free logits, for a one-hot label among K classes (``num_classes``, ≥
2).

With the other logits equal, everything depends on the gap d = z_true − z_other again:

.. math:: p_y = \frac{1}{1 + (K-1)e^{-d}}, \qquad \mathrm{CE} = \log\bigl(1 + (K-1)e^{-d}\bigr), \qquad
          H(p) = \mathrm{CE} + d\,(1 - p_y)

Where the optimum has no closed form it is the root of a rising function, found to the last bit. Every function returns
an :class:`Optimum`, and raises ValueError for K below 2 and for a coefficient that is negative or not finite.
"""

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

from sfumato.theory.smoothing import class_count, optimal_gap


class Optimum(NamedTuple):
    """Where a loss is smallest on free logits, and what is true there.

    ``gap`` is z_true − z_other in nats, ``inf`` where the loss falls for as long as the gap grows; ``probability`` is
    that of the label, p_y; ``floor`` is the smallest value of the loss in nats, ``-inf`` where it has none.
    """

    gap: float
    probability: float
    floor: float


def confidence_optimum(beta: float, num_classes: int, *, threshold: float | None = None) -> Optimum:
    r"""Optimum of the confidence penalty, CE − β·H(p), or of its hinge form, CE + β·max(0, Γ − H(p)).

    .. math:: \beta\,p_y\,d^* = 1, \qquad d^*_\Gamma = \max\bigl(d^*,\; d : H(p) = \Gamma\bigr)

    ``threshold`` is Γ in nats; None for the form without a hinge, whose floor is negative where β·H(p) is above the
    cross entropy. β = 0 (``beta``) and Γ = 0 give a gap of ``inf``.

    >>> [round(x, 4) for x in confidence_optimum(0.5, 10)]
    [2.9459, 0.6789, -0.2793]

    Source: set the gradient p − y + β p (log p + H) to 0; the other classes then have one probability.
    """
    _check(beta, "beta")
    k = class_count(num_classes)
    gap = math.inf
    if beta > 0:
        # p is between 1/K and 1, and so 1/(βp) between these ends.
        gap = _root(lambda d: math.log(beta) + math.log(d) - _cross_entropy(d, k), 1 / beta, k / beta)
    if threshold is not None:
        _check(threshold, "threshold")
        if threshold < math.log(k):  # from there on the hinge is never open
            gap = max(gap, _gap_of_entropy(threshold, k))
    if math.isinf(gap):
        return Optimum(gap, 1.0, 0.0)
    penalty = -_entropy(gap, k) if threshold is None else max(0.0, threshold - _entropy(gap, k))
    return Optimum(gap, _probability(gap, k), _cross_entropy(gap, k) + beta * penalty)


def margin_optimum(alpha: float, num_classes: int, *, margin: float) -> Optimum:
    r"""Optimum of the margin penalty, CE + (α/K)·Σ max(0, max z − z_k − m), m the ``margin`` in nats.

    .. math:: d^* = \max\Bigl(m,\; \log\Bigl(1 + \frac{K(1-\alpha)}{\alpha}\Bigr)\Bigr)

    Up to the margin nothing holds the gap back. Beyond it the pull is that of smoothing by α over all. α = 0 gives
    ``inf``.

    >>> [round(x, 4) for x in margin_optimum(0.1, 10, margin=6)]
    [6.0, 0.9782, 0.0221]

    Source: the slope in the gap is −(1 − p_y) up to m, and −(1 − p_y) + α(K−1)/K beyond.
    """
    _check(alpha, "alpha")
    _check(margin, "margin")
    k = class_count(num_classes)
    gap = max(float(margin), optimal_gap(alpha, k, over="all") if alpha < 1 else 0.0)
    if math.isinf(gap):
        return Optimum(gap, 1.0, 0.0)
    return Optimum(gap, _probability(gap, k), _cross_entropy(gap, k) + alpha * (k - 1) / k * (gap - margin))


def maxsup_optimum(alpha: float, num_classes: int) -> Optimum:
    r"""Optimum of max suppression, CE + α(max z − z̄): that of smoothing by α over all.

    .. math:: d^* = \log\Bigl(1 + \frac{K(1-\alpha)}{\alpha}\Bigr), \qquad p_y = 1 - \alpha + \frac\alpha K
              \qquad\text{for } \alpha < 1

    α = 0 gives a gap of ``inf``; from 1 on the optimum is equal logits.

    >>> [round(x, 4) for x in maxsup_optimum(0.1, 10)]
    [4.5109, 0.91, 0.5003]

    Source: :func:`margin_optimum` with a margin of 0.
    """
    return margin_optimum(alpha, num_classes, margin=0.0)


def relaxation_optimum(alpha: float, num_classes: int) -> Optimum:
    r"""The smallest gap at which label relaxation has no loss. Every larger gap has none either.

    .. math:: d^* = \log\frac{(K-1)(1-\alpha)}{\alpha}, \qquad p_y = 1 - \alpha

    α is at least 0, which gives ``inf``, and below 1.

    >>> [round(x, 4) for x in relaxation_optimum(0.1, 10)]
    [4.3944, 0.9, 0.0]

    Source: the slope in the gap is p_y − (1 − α) until it is 0.
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be at least 0 and below 1, got {alpha:g}")
    return Optimum(optimal_gap(alpha, class_count(num_classes), over="others"), 1.0 - alpha, 0.0)


def focal_optimum(gamma: float, num_classes: int) -> Optimum:
    """Optimum of the focal loss towards a label, −(1 − p_y)^γ log p_y: none that is finite, for any γ.

    Its slope fades like e^{−(1+γ)d}, faster than that of the cross entropy, so that trained gaps are smaller; what they
    come to depends on how long one trains.

    >>> focal_optimum(3.0, 10)
    Optimum(gap=inf, probability=1.0, floor=0.0)

    Source: both factors fall as p_y rises.
    """
    _check(gamma, "gamma")
    class_count(num_classes)
    return Optimum(math.inf, 1.0, 0.0)


def l2_optimum(beta: float, num_classes: int) -> Optimum:
    r"""Optimum of the penalty on squared logits, CE + (β/2)·Σ z². β = 0 gives a gap of ``inf``.

    .. math:: d^*\,(e^{d^*} + K - 1) = \frac K\beta, \qquad z^*_{true} = \frac{(K-1)\,d^*}{K}, \quad
              z^*_{other} = -\frac{d^*}{K}

    >>> [round(x, 4) for x in l2_optimum(0.002, 10)]
    [6.6158, 0.9881, 0.0514]

    Source: set the gradient p − y + βz to 0; its sum over the classes says that the logits sum to 0.
    """
    _check(beta, "beta")
    k = class_count(num_classes)
    if beta == 0:
        return Optimum(math.inf, 1.0, 0.0)

    def rising(d: float) -> float:  # the logarithm, because e^d may overflow
        return math.log(d) + d + _cross_entropy(d, k) - math.log(k) + math.log(beta)

    gap = _root(rising, 0.0, min(1 / beta, sys.float_info.max))  # for e^d + K − 1 is at least K
    floor = _cross_entropy(gap, k) + beta / 2 * gap * gap * (k - 1) / k
    return Optimum(gap, _probability(gap, k), floor)


def negative_optimum(rate: float, num_classes: int) -> Optimum:
    r"""Optimum of smoothing by a negative rate r: there is none, and the loss has no floor below r = 0.

    .. math:: \frac{\partial L}{\partial d} = -(1 - p_y) - |r|\frac{K-1}{K} \;<\; 0

    ``rate`` is r, at most 0. At 0 the floor is 0, that of the cross entropy.

    >>> negative_optimum(-0.5, 10)
    Optimum(gap=inf, probability=1.0, floor=-inf)

    Source: identity CE(q′) = CE(q) + r(⟨q, z⟩ − z̄) for q′ = (1−r)q + r/K.
    """
    if not (rate <= 0 and math.isfinite(rate)):
        raise ValueError(f"rate must be a finite number, at most 0, got {rate:g}")
    class_count(num_classes)
    return Optimum(math.inf, 1.0, -math.inf if rate < 0 else 0.0)


def _cross_entropy(d: float, k: int) -> float:
    """−log p_y at a gap d ≥ 0."""
    return math.log1p((k - 1) * math.exp(-d))


def _probability(d: float, k: int) -> float:
    return 1 / (1 + (k - 1) * math.exp(-d))


def _entropy(d: float, k: int) -> float:
    """H(p) at a gap d ≥ 0."""
    ratio = (k - 1) * math.exp(-d)
    return math.log1p(ratio) + d * ratio / (1 + ratio)


def _gap_of_entropy(entropy: float, k: int) -> float:
    """The gap d ≥ 0 at which H(p) is this, which is below log K."""
    if entropy == 0:
        return math.inf
    high = 1.0
    while _entropy(high, k) > entropy:
        high *= 2
    return _root(lambda d: entropy - _entropy(d, k), 0.0, high)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, to the last bit; it is not called at ``low``."""
    while low < (middle := low + (high - low) / 2) < high:
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high


def _check(value: float, name: str) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a finite number, at least 0, got {value:g}")
