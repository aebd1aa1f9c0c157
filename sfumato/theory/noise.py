r"""Labels that are wrong by chance, and what smoothing has to do with them.

A transition table T, (K, K), says how often a row whose true class is y gets the label k: T_yk, so its rows sum to 1.
Symmetric noise of rate η replaces a label by another class, each as likely (``over="others"``), or by a class drawn
from all K, the label's own included (``over="all"``). Its T is the table of a smoothed target: **one-hot training on
labels of noise η is, on average, smoothed training on the true labels, ε = η in the same convention**;
:func:`convert_eps` gives the other convention's number for a noise as it does for a strength.

Smoothing does not undo noise. It adds to it (:func:`total_eps`); undoing it takes a negative strength
(:func:`correction_eps`), whose loss has no lower bound.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.theory.smoothing import Over, check_over, class_count

_Array = NDArray[np.float64]


def noise_transition(noise: float, num_classes: int, *, over: Over) -> _Array:
    r"""The transition table of symmetric noise.

    .. math:: T_{yk} = (1-\eta)\,[k=y] + \frac{\eta}{K-1}\,[k \ne y] \quad\text{(others)}, \qquad
              T_{yk} = (1-\eta)\,[k=y] + \frac{\eta}{K} \quad\text{(all)}

    Args:
        noise: η in [0, 1]: how often a label is replaced.
        num_classes: K, at least 2.
        over: what it is replaced by: one of the ``"others"``, or one of ``"all"`` classes, which leaves it as it is in
            one of K cases.

    Returns:
        T, (K, K), float64.

    Raises:
        ValueError: η outside [0, 1] or NaN, K below 2, an unknown ``over``.

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


def noisy_posterior(posterior: ArrayLike, transition: ArrayLike) -> _Array:
    r"""How likely each label is where the true class is known in probability: the optimum of training on noisy labels.

    .. math:: \tilde p_k = \sum_y p_y\,T_{yk}

    Args:
        posterior: p(y | x) of the true class, (…, K), each row a distribution.
        transition: T, (K, K).

    Returns:
        p̃, (…, K), float64. For symmetric noise over all it is (1−η)·p + η/K: classes keep their order, and a model
        that has learnt p̃ is under-confident.

    Raises:
        ValueError: a table that is none (names the row), rows of another length, a row that is no distribution.

    >>> noisy_posterior([0.9, 0.1], [[0.8, 0.2], [0.2, 0.8]]).round(3).tolist()
    [0.74, 0.26]

    Source: the law of total probability; Patrini et al. 2017.
    """
    table = _checked_table(transition)
    p = np.asarray(posterior, dtype=np.float64)
    if p.ndim == 0 or p.shape[-1] != len(table):
        raise ValueError(f"posterior must be (…, {len(table)}), got {p.shape}")
    bad = ~((p >= 0).all(-1) & (np.abs(p.sum(-1) - 1) <= 1e-6))
    if bad.any():
        raise ValueError(f"posterior must hold distributions, got {p[bad][0].tolist()}")
    return np.asarray(p @ table, dtype=np.float64)


def backward_rows(transition: ArrayLike) -> _Array:
    r"""The targets that undo noise on average: the inverse of the transition table.

    .. math:: R = T^{-1}, \qquad \mathbb{E}_{k \sim T_y}\,R_k = e_y

    A loss is linear in its target, so training towards R_k on each noisy label k is, on average over the noise, one-hot
    training on the true labels. Rows sum to 1 and have negative masses, so that **the loss has no lower bound**: it
    falls for ever as logits grow along such a class. Stop early, or use the forward correction of
    :func:`sfumato.noisy_cross_entropy`, which is bounded by 0. The correction also multiplies the variance of the
    gradient, the more the nearer T is to singular.

    Args:
        transition: T, (K, K).

    Returns:
        R, (K, K), float64. For symmetric noise it is smoothing by :func:`correction_eps`.

    Raises:
        ValueError: a table that is none (names the row), or one that cannot be inverted: then some classes cannot be
            told apart by their labels.

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


def correction_eps(noise: float, num_classes: int, *, over: Over) -> float:
    r"""The negative strength whose smoothing undoes symmetric noise on average.

    .. math:: \varepsilon = -\frac{\eta}{1-\eta} \quad\text{(all)}, \qquad
              \varepsilon = -\frac{(K-1)\,\eta}{K-1-K\eta} \quad\text{(others)}

    Its target is (1−ε)·e_y + ε·u, with a negative mass on what ε is spread over: see :func:`backward_rows` for the
    floor of −∞ that follows.

    Args:
        noise: η, from 0 to below 1 (all), or below (K−1)/K (others), where labels say nothing of the class.
        num_classes: K, at least 2.
        over: the convention of η, and of the result.

    Returns:
        ε ≤ 0.

    Raises:
        ValueError: η outside its range or NaN, K below 2, an unknown ``over``.

    >>> round(correction_eps(0.4, 10, over="others"), 6)
    -0.72

    Source: invert the table of :func:`noise_transition`; Wei et al. 2022 (generalised smoothing).
    """
    k = _checked_classes(noise, num_classes, over)
    limit = 1.0 if over == "all" else (k - 1) / k
    left = 1 - noise if over == "all" else k - 1 - k * noise
    if noise >= limit or left <= 0:  # just below the limit, what is left may round to 0
        raise ValueError(f'noise must be below {limit:g} over "{over}", got {noise:g}: such labels say nothing')
    return -noise * (1 if over == "all" else k - 1) / left + 0.0


def total_eps(eps: float, noise: float, num_classes: int, *, over: Over) -> float:
    r"""The strength that smoothing ε on labels of noise η is, on average, on true labels.

    .. math:: 1-(1-\varepsilon)(1-\eta) \quad\text{(all)}, \qquad
              \varepsilon + \eta - \varepsilon\eta\,\frac{K}{K-1} \quad\text{(others)}

    Args:
        eps: strength ε in [0, 1], or the negative one of :func:`correction_eps`, which gives 0.
        noise: η in [0, 1], in the same convention.
        num_classes: K, at least 2.
        over: the convention of both, and of the result.

    Returns:
        The strength; the optimal gap and the floor are those of it.

    Raises:
        ValueError: ε above 1 or NaN, η outside [0, 1] or NaN, K below 2, an unknown ``over``.

    >>> round(total_eps(0.1, 0.2, 10, over="all"), 6), round(total_eps(0.1, 0.2, 10, over="others"), 6)
    (0.28, 0.277778)

    Source: the product of the two tables of :func:`noise_transition`.
    """
    k = _checked_classes(noise, num_classes, over)
    if not eps <= 1:
        raise ValueError(f"eps must be at most 1, got {eps:g}")
    both = eps * noise * (1.0 if over == "all" else k / (k - 1))
    return eps + noise - both


def _checked_classes(noise: float, num_classes: int, over: str) -> int:
    """K, where the noise and its convention may be asked for."""
    check_over(over)
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be in [0, 1], got {noise:g}")
    return class_count(num_classes)


def _checked_table(transition: Any) -> _Array:
    table = np.asarray(transition, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
        raise ValueError(f"transition must be (K, K), K at least 2, got {table.shape}")
    bad = ~(table >= 0).all(1) | ~(np.abs(table.sum(1) - 1) <= 1e-6)
    if bad.any():
        y = int(np.flatnonzero(bad)[0])
        raise ValueError(f"row {y} of transition must be at least 0 and sum to 1, got {table[y].tolist()}")
    return table
