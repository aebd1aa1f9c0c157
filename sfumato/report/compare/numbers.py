"""The arithmetic of the figures on arrays of logits: float64, numpy only, so that a page is made without torch.

Each has its counterpart in ``sfumato.evaluate``, and the tests hold the two together.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.runs.read import Floats

Logits = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Z95 = 1.959963984540054


def softmax(logits: Logits, temperature: float = 1.0) -> Floats:
    """Probabilities of logits (n, K) divided by a temperature.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(_shifted(logits, temperature))
    return shifted / shifted.sum(axis=1, keepdims=True)


def hard_nll(logits: Logits, labels: Ints, temperature: float = 1.0) -> float:
    """Mean −log p of the label, in nats.

    >>> round(hard_nll(np.array([[0.0, 0.0]]), np.array([1])), 4)
    0.6931
    """
    shifted = _shifted(logits, temperature)
    true = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - true))


def log_confidence(logits: Logits, temperature: float = 1.0) -> Floats:
    """Log of the largest probability (n,); unlike the probability it does not run out of digits below 1.

    >>> log_confidence(np.array([[90.0, 0.0]])).tolist() == [-np.exp(-90.0)]
    True
    """
    shifted = _shifted(logits, temperature)
    np.put_along_axis(shifted, shifted.argmax(axis=1)[:, None], -np.inf, axis=1)
    return -np.log1p(np.exp(shifted).sum(axis=1))


def logit_gap(logits: Logits, labels: Ints) -> Floats:
    """z_true − mean of the other logits, of each row (n,).

    >>> logit_gap(np.array([[3.0, 1.0, 0.0]]), np.array([0])).tolist()
    [2.5]
    """
    z = logits.astype(np.float64)
    true = np.take_along_axis(z, labels[:, None], axis=1)[:, 0]
    return true - (z.sum(axis=1) - true) / (z.shape[1] - 1)


def risk_by_coverage(score: Floats, correct: Bools) -> Floats:
    """Expected error rate among the i most confident rows, for i = 1 … n.

    Tied rows count in expectation over their orders: within a group of equal scores errors come at a constant rate, so
    the number of errors is linear between the ends of groups.

    >>> risk_by_coverage(np.array([0.9, 0.5, 0.5]), np.array([True, True, False])).round(3).tolist()
    [0.0, 0.25, 0.333]
    """
    _, group, size = np.unique(-score, return_inverse=True, return_counts=True)
    ends = np.cumsum(size)
    errors = np.cumsum(np.bincount(group, weights=~correct, minlength=len(size)))
    place = np.arange(1, len(score) + 1)
    return np.interp(place, np.append(0, ends), np.append(0.0, errors)) / place


def wilson(right: Floats, n: Ints) -> tuple[Floats, Floats]:
    """Wilson's 95 % interval for a share ``right`` of ``n`` rows; NaN where n is 0.

    >>> low, high = wilson(np.array([0.9]), np.array([10]))
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (0.596, 0.982)
    """
    size = np.where(n > 0, n, np.nan)
    centre = (right + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 * np.sqrt(right * (1 - right) / size + Z95**2 / (4 * size**2)) / (1 + Z95**2 / size)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _shifted(logits: Logits, temperature: float) -> Floats:
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    return z / temperature
