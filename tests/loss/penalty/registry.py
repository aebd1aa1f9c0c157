"""The table of penalties: each with its value and its gradient in plain numpy, and its optimum on free logits.

A row of :data:`PENALTIES` is one function of ``sf.penalty``. The tests of the values, the gradients, the reductions and
the fixed points run over its rows, and docs/methods.md prints their formulas. The formulas call nothing of
the package: they are the truth that it is held to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

import sfumato as sf

Strengths = dict[str, Any]


class PenaltyRow(NamedTuple):
    printed: str  # the formula, as docs/methods.md prints it
    value: Callable[..., ndarray]  # (z (N, K), q (N, K), **strengths) → (N,)
    gradient: Callable[..., ndarray]  # the same → (N, K), by hand
    optimum: Callable[..., Any]  # (K, **strengths) → sf.theory.Optimum
    strengths: tuple[Strengths, ...]
    nothing: Strengths  # the strengths at which it is the cross entropy
    soft: bool = True  # whether it takes softened targets


def log_softmax(z: ndarray) -> ndarray:
    d = z - z.max(-1, keepdims=True)
    return d - np.log(np.exp(d).sum(-1, keepdims=True))


def softmax(z: ndarray) -> ndarray:
    return np.exp(log_softmax(z))


def cross_entropy(z: ndarray, q: ndarray) -> ndarray:
    return -(q * log_softmax(z)).sum(-1)


def entropy(z: ndarray) -> ndarray:
    return -(softmax(z) * log_softmax(z)).sum(-1)


def share_of_top(z: ndarray) -> ndarray:
    top = z == z.max(-1, keepdims=True)
    return top / top.sum(-1, keepdims=True)


def below_top(z: ndarray) -> ndarray:
    return z.max(-1, keepdims=True) - z


def _confidence(z, q, beta, threshold=None):
    penalty = -entropy(z) if threshold is None else np.maximum(0, threshold - entropy(z))
    return cross_entropy(z, q) + beta * penalty


def _confidence_gradient(z, q, beta, threshold=None):
    pull = softmax(z) * (log_softmax(z) + entropy(z)[..., None])
    closed = 1.0 if threshold is None else (entropy(z) < threshold)[..., None]
    return softmax(z) - q + beta * closed * pull


def _margin(z, q, margin, alpha):
    return cross_entropy(z, q) + alpha * np.maximum(0, below_top(z) - margin).mean(-1)


def _margin_gradient(z, q, margin, alpha):
    beyond = below_top(z) > margin
    pull = beyond.sum(-1, keepdims=True) * share_of_top(z) - beyond
    return softmax(z) - q + alpha / z.shape[-1] * pull


def _maxsup(z, q, alpha):
    return cross_entropy(z, q) + alpha * (z.max(-1) - z.mean(-1))


def _maxsup_gradient(z, q, alpha):
    return softmax(z) - q + alpha * (share_of_top(z) - 1 / z.shape[-1])


def _l2(z, q, beta):
    return cross_entropy(z, q) + beta / 2 * (z**2).sum(-1)


def _negative(z, q, rate):
    return cross_entropy(z, (1 - rate) * q + rate / z.shape[-1])


def _relaxation(z, q, alpha):
    p = (softmax(z) * q).sum(-1)
    if alpha == 0:
        return -np.log(p)
    far = (1 - alpha) * np.log((1 - alpha) / p) + alpha * np.log(alpha / (1 - p))
    return np.where(p >= 1 - alpha, 0.0, far)


def _relaxation_gradient(z, q, alpha):
    p = (softmax(z) * q).sum(-1, keepdims=True)
    slope = np.where(p >= 1 - alpha, 0.0, -(1 - alpha) / p + alpha / (1 - p))
    return slope * p * (q - softmax(z))


def _focal(z, q, gamma):
    p = softmax(z)
    return -(q * (1 - p) ** gamma * np.log(p)).sum(-1)


def _focal_gradient(z, q, gamma):
    p = softmax(z)
    in_p = gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p
    pull = q * in_p * p
    return pull - pull.sum(-1, keepdims=True) * p


PENALTIES: dict[str, PenaltyRow] = {
    "confidence": PenaltyRow(
        "CE − β·H(p), or CE + β·max(0, Γ − H(p))",
        _confidence,
        _confidence_gradient,
        lambda k, beta, threshold=None: sf.theory.confidence_optimum(beta, k, threshold=threshold),
        ({"beta": 0.3}, {"beta": 2.0}, {"beta": 0.5, "threshold": 1.0}, {"beta": 0.5, "threshold": 0.3}),
        {"beta": 0.0},
    ),
    "margin": PenaltyRow(
        "CE + (α/K)·Σ max(0, max z − z_k − m)",
        _margin,
        _margin_gradient,
        lambda k, margin, alpha: sf.theory.margin_optimum(alpha, k, margin=margin),
        ({"margin": 1.0, "alpha": 0.1}, {"margin": 6.0, "alpha": 0.1}, {"margin": 0.5, "alpha": 2.0}),
        {"margin": 10.0, "alpha": 0.0},
    ),
    "maxsup": PenaltyRow(
        "CE + α·(max z − z̄)",
        _maxsup,
        _maxsup_gradient,
        lambda k, alpha: sf.theory.maxsup_optimum(alpha, k),
        ({"alpha": 0.1}, {"alpha": 0.5}),
        {"alpha": 0.0},
    ),
    "logit_l2": PenaltyRow(
        "CE + (β/2)·Σ z_k²",
        _l2,
        lambda z, q, beta: softmax(z) - q + beta * z,
        lambda k, beta: sf.theory.l2_optimum(beta, k),
        ({"beta": 0.002}, {"beta": 0.3}),
        {"beta": 0.0},
    ),
    "negative_smoothing": PenaltyRow(
        "CE towards (1−r)·q + r/K, r ≤ 0",
        _negative,
        lambda z, q, rate: softmax(z) - ((1 - rate) * q + rate / z.shape[-1]),
        lambda k, rate: sf.theory.negative_optimum(rate, k),
        ({"rate": -0.2}, {"rate": -2.0}),
        {"rate": 0.0},
    ),
    "relaxation": PenaltyRow(
        "0 from p_y = 1−α on, else KL((1−α, α) ‖ (p_y, 1−p_y))",
        _relaxation,
        _relaxation_gradient,
        lambda k, alpha: sf.theory.relaxation_optimum(alpha, k),
        ({"alpha": 0.1}, {"alpha": 0.4}),
        {"alpha": 0.0},
        soft=False,
    ),
    "focal": PenaltyRow(
        "−Σ q_k·(1−p_k)^γ·log p_k",
        _focal,
        _focal_gradient,
        lambda k, gamma: sf.theory.focal_optimum(gamma, k),
        ({"gamma": 3.0}, {"gamma": 0.5}, {"gamma": 1.0}),
        {"gamma": 0.0},
    ),
}

CASES = [(name, strengths) for name, row in PENALTIES.items() for strengths in row.strengths]
IDS = [f"{name}-{'-'.join(map(str, strengths.values()))}" for name, strengths in CASES]
