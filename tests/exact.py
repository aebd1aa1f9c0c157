"""Loss and gradient of a row in 50 digits, by mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
from numpy import ndarray

DIGITS = 50


def exact(z: ndarray, q: ndarray) -> tuple[ndarray, ndarray]:
    """Of (…, K) logits and targets: the loss (…), and its gradient (…, K), S·p − q, each rounded to float64 once."""
    k = z.shape[-1]
    rows = [_row(a, b) for a, b in zip(z.reshape(-1, k).tolist(), q.reshape(-1, k).tolist(), strict=True)]
    return (
        np.array([row[0] for row in rows]).reshape(z.shape[:-1]),
        np.array([row[1] for row in rows]).reshape(z.shape),
    )


def _row(z: list[float], q: list[float]) -> tuple[float, list[float]]:
    with mpmath.workdps(DIGITS):
        top = max(range(len(z)), key=z.__getitem__)
        d = [mpmath.mpf(x) - mpmath.mpf(z[top]) for x in z]
        e = [mpmath.exp(x) for x in d]
        rest = mpmath.fsum(x for i, x in enumerate(e) if i != top)
        lse = mpmath.log1p(rest)
        total = mpmath.fsum(q)
        loss = mpmath.fsum(w * (lse - x) for w, x in zip(q, d, strict=True) if w != 0)
        grad = [total * x / (1 + rest) - w for w, x in zip(q, e, strict=True)]
        return float(loss), [float(x) for x in grad]
