r"""Label noise, what smoothing has to do with it, and the one check of whether rows are distributions.

A transition table T, (K, K), says how often a row whose true class is y gets the label k: T_yk, so its rows sum to 1.
Symmetric noise of rate η replaces a label by another class, each as likely (``over="others"``), or by a class drawn
from all K, the label's own included (``over="all"``). Its T is the table of a smoothed target: **one-hot training on
labels of noise η is, on average, smoothed training on the true labels, ε = η in the same convention**;
:func:`convert_eps` converts a noise as it does a strength. Smoothing adds to noise: ε on labels of noise η is
1 − (1−ε)(1−η) over all. Undoing noise takes the negative strength −η/(1−η) over all, whose loss has no lower bound.

Every function raises ValueError for η (``noise``) outside [0, 1] or NaN, K below 2, an unknown ``over``, or a table
whose rows are not distributions (the message names the row).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.theory.smoothing import Over, check_over, class_count

_Array = NDArray[np.float64]


def distribution_fault(values: Any, tolerance: Any, *, axis: int = -1) -> tuple[str, tuple[int, ...], float] | None:
    """Why an array, of numpy or torch, holds no distributions along an axis; None where it does.

    ``("entry", where, value)`` of the first entry below 0 or not finite; else ``("sum", where, value)`` of the first
    sum that is further than ``tolerance`` from 1.

    >>> distribution_fault(np.array([[0.5, 0.5], [0.5, 0.75]]), 1e-6)
    ('sum', (1,), 1.25)
    """
    sums = values.sum(axis)
    entries = ("entry", ~((values >= 0) & (values < math.inf)), values)
    for kind, bad, of in (entries, ("sum", abs(sums - 1) > tolerance, sums)):
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(np.asarray(bad))[0])
            return kind, where, float(of[where])
    return None


def noise_transition(noise: float, num_classes: int, *, over: Over) -> _Array:
    r"""The transition table T, (K, K), of symmetric noise.

    .. math:: T_{yk} = (1-\eta)\,[k=y] + \frac{\eta}{K-1}\,[k \ne y] \quad\text{(others)}, \qquad
              T_{yk} = (1-\eta)\,[k=y] + \frac{\eta}{K} \quad\text{(all)}

    ``over`` is what a label is replaced by: ``"all"`` leaves it as it is in one of K cases.

    >>> noise_transition(0.3, 4, over="others").round(3).tolist()[0]
    [0.7, 0.1, 0.1, 0.1]

    Source: Natarajan et al. 2013, section 2, for K = 2; Patrini et al. 2017, section 2.
    """
    k = _checked_classes(noise, num_classes, over)
    other = noise / (k - 1 if over == "others" else k)
    own = 1 - noise + (other if over == "all" else 0.0)
    table = np.full((k, k), other)
    np.fill_diagonal(table, own)
    return table


def backward_rows(transition: ArrayLike) -> _Array:
    r"""The targets R, (K, K), that undo noise on average: the inverse of the transition table.

    .. math:: R = T^{-1}, \qquad \mathbb{E}_{k \sim T_y}\,R_k = e_y

    A loss is linear in its target, so training towards R_k on each noisy label k is, on average over the noise, one-hot
    training on the true labels. Rows sum to 1 and have negative masses, so that **the loss has no lower bound**: it
    falls without limit as logits grow along such a class. Stop early, or use the forward correction of
    :func:`sfumato.noisy_cross_entropy`, which is bounded by 0. The correction also multiplies the variance of the
    gradient, the more the nearer T is to singular. For symmetric noise it is smoothing by −η/(1−η) over all.

    ValueError also where T cannot be inverted: then some classes cannot be told apart by their labels.

    >>> backward_rows([[0.75, 0.25], [0.25, 0.75]]).tolist()
    [[1.5, -0.5], [-0.5, 1.5]]

    Source: Natarajan et al. 2013, lemma 1; Patrini et al. 2017, theorem 1.
    """
    table = _checked_table(transition)
    if np.linalg.svd(table, compute_uv=False)[-1] < 1e-9:
        raise ValueError(
            "transition cannot be inverted: the labels of some classes are spread alike, so they cannot be told apart"
        )
    return np.asarray(np.linalg.inv(table), dtype=np.float64)


def _checked_classes(noise: float, num_classes: int, over: str) -> int:
    check_over(over)
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be in [0, 1], got {noise:g}")
    return class_count(num_classes)


def _checked_table(transition: Any) -> _Array:
    table = np.asarray(transition, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise ValueError(f"transition must be (K, K), K at least 2, got {table.shape}")
    if fault := distribution_fault(table, 1e-6):
        y = fault[1][0]
        raise ValueError(f"row {y} of transition must be at least 0 and sum to 1, got {table[y].tolist()}")
    return table
