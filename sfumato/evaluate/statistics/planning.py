r"""What more seeds or rows could settle: the power of the test of :mod:`.intervals` at other numbers of them.

A first comparison estimates components of variance: a of seeds, b of rows, c of the rest and, with F folds, d of folds.
With S seeds per fold and N rows, the variance of the difference is then

.. math:: V = \frac{a}{S F} + \frac{b}{N} + \frac{c}{S N} + \frac{d}{F}

More seeds shrink only the terms with S, so for small differences only more rows help. With one seed per fold, a and c
cannot be told from d and b: only other numbers of rows can be planned, with V proportional to 1/N.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.statistics.intervals import Estimate, weighted_quantile
from sfumato.extras import lab_imports


def power(
    estimate: Estimate,
    difference: float,
    *,
    seeds: float | None = None,
    rows: int | None = None,
    level: float = 0.95,
) -> float:
    r"""Chance that the test finds a true difference, if the components of variance are as estimated.

    .. math:: P\Bigl(\frac{|Z + \delta / \sqrt V|}{\sqrt U} > q\Bigr)

    Here V is the expected variance, q the quantile that :func:`~sfumato.evaluate.estimate_interval` takes for its
    terms, Z normal, and U, the estimated variance over V, is :math:`\chi^2_\nu/\nu` with Satterthwaite's
    :math:`\nu = V^2/\sum_i V_i^2/\nu_i`.

    Args:
        estimate: the estimate of a paired difference from at least 2 seeds; only its components a, b and c are used.
        difference: :math:`\delta`, the true difference, of either sign.
        seeds: :math:`S`, at least 2, ``inf`` allowed; by default the number behind the estimate.
        rows: :math:`N`, at least 2; by default the number behind the estimate.
        level: the level of the interval that must not hold 0, in (0, 1); it is 1 − α of the test.

    Returns:
        The chance. At no difference it is about 1 − ``level``, and less with few seeds and rows, where the test is a
        careful one. Where nothing varies it is 1 for any difference but 0.

    Raises:
        ValueError: an estimate from one seed or one row, fewer than 2 seeds or rows asked for, a level outside (0, 1),
            or a difference that is not finite.

    >>> from sfumato.evaluate import estimate_interval
    >>> pilot = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.0, 2.0, 2.0]])
    >>> [round(power(pilot, 1.0, seeds=s, rows=100), 2) for s in (3, 5, 10)]
    [0.48, 0.92, 1.0]

    Source: Hillis, Obuchowski and Berbaum 2011, Academic Radiology 18:129, on reader studies; seeds are the readers.
    """
    if not np.isfinite(difference):
        raise ValueError(f"difference must be finite, got {difference}")
    alpha = _alpha(level)
    terms = _terms(estimate, seeds, rows)
    if not terms:
        return alpha if difference == 0 else 1.0
    return _Test(terms, alpha).power(abs(difference) / np.sqrt(sum(term for term, _ in terms)))


def detectable_difference(
    estimate: Estimate,
    *,
    seeds: float | None = None,
    rows: int | None = None,
    level: float = 0.95,
    chance: float = 0.8,
) -> float:
    r"""The smallest true difference that the test finds with a given chance.

    .. math:: \delta \quad\text{such that}\quad \mathrm{power}(\delta) = \text{chance}

    The arguments and errors are those of :func:`power`, with ``chance`` in (1 − ``level``, 1). With ``inf`` seeds, the
    result is the difference below which no number of seeds helps. It is 0 where nothing varies, and with ``inf``
    seeds also where rows do not vary.

    >>> from sfumato.evaluate import estimate_interval
    >>> pilot = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.0, 2.0, 2.0]])
    >>> [round(detectable_difference(pilot, seeds=s, rows=100), 2) for s in (3, 5, float("inf"))]
    [1.53, 0.83, 0.28]

    Source: as :func:`power`.
    """
    alpha = _alpha(level)
    _check_chance(chance, alpha)
    terms = _terms(estimate, seeds, rows)
    if not terms:
        return 0.0
    test = _Test(terms, alpha)
    if test.power(0.0) >= chance:
        return 0.0
    highest = 1.0
    while test.power(highest) < chance:
        highest *= 2

    def lacking(ncp: float) -> float:
        return test.power(ncp) - chance

    with lab_imports("detectable_difference"):  # not above: scipy takes as long to load as a small audit
        from scipy.optimize import brentq

    ncp: Any = brentq(lacking, 0.0, highest)
    return float(ncp * np.sqrt(sum(term for term, _ in terms)))


def seeds_to_settle(
    estimate: Estimate,
    *,
    difference: float | None = None,
    rows: int | None = None,
    level: float = 0.95,
    chance: float = 0.8,
    limit: int = 1000,
) -> int | None:
    """How many seeds the test needs to find a difference with a given chance.

    It is the smallest S at which :func:`power` reaches ``chance``, at least 2. An estimate from few seeds gives a rough
    number, because it knows the component of seeds to a factor of two or three only.

    The arguments and errors are those of :func:`power`, with ``chance`` in (1 − ``level``, 1). The ``difference`` is by
    default the one that was observed. Up to ``limit`` seeds, at least 2, are tried; None says that they are not enough.

    >>> from sfumato.evaluate import estimate_interval
    >>> pilot = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.0, 2.0, 2.0]])
    >>> [seeds_to_settle(pilot, difference=d, rows=100) for d in (1.6, 0.5, 0.2)]
    [3, 13, None]

    Source: as :func:`power`.
    """
    if limit < 2:
        raise ValueError(f"limit must be at least 2 seeds, got {limit}")
    _check_chance(chance, _alpha(level))
    wanted = estimate.mean if difference is None else difference

    def enough(seeds: int) -> bool:
        return power(estimate, wanted, seeds=seeds, rows=rows, level=level) >= chance

    if not enough(limit):
        return None
    return 2 + bisect_left(range(2, limit), True, key=enough)  # the power grows with the number of seeds


def rows_to_settle(
    estimate: Estimate,
    *,
    difference: float | None = None,
    level: float = 0.95,
    chance: float = 0.8,
    limit: int = 1_000_000,
) -> int | None:
    """How many rows the test needs to find a difference with a given chance, with as many seeds and folds as now.

    The arguments and errors are those of :func:`seeds_to_settle`. None says that ``limit`` rows are not enough.

    >>> from sfumato.evaluate import estimate_interval
    >>> pilot = estimate_interval([[0.0, 1.0, 2.0, 0.5, 0.2, 1.9]], folds=[0, 0, 0, 1, 1, 1])
    >>> [rows_to_settle(pilot, difference=d) for d in (1.0, 0.5, 0.01)]
    [10, 31, 71558]

    Source: as :func:`power`.
    """
    _check_chance(chance, _alpha(level))
    wanted = estimate.mean if difference is None else difference

    def enough(rows: int) -> bool:
        return power(estimate, wanted, rows=rows, level=level) >= chance

    least = max(2 * estimate.folds, 2)
    return None if not enough(limit) else least + bisect_left(range(least, limit), True, key=enough)


def _alpha(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    return 1 - level


def _check_chance(chance: float, alpha: float) -> None:
    if not alpha < chance < 1:
        raise ValueError(f"chance must be above {alpha:.4g} (1 − level) and below 1, got {chance}")


def _terms(estimate: Estimate, seeds: float | None, rows: int | None) -> list[tuple[float, float]]:
    """Expected terms of the variance of the mean, each with its degrees of freedom; none where nothing varies."""
    folds, one_seed = estimate.folds, estimate.seeds < 2
    if estimate.rows < 2 or (one_seed and folds < 2):
        raise ValueError(
            f"components of variance need at least 2 seeds and 2 rows, got {estimate.seeds} and {estimate.rows}"
        )
    if one_seed and seeds not in (None, 1):
        raise ValueError("with one seed per fold, the effect of more seeds is unknown; at least 2 show it")
    s = float(estimate.seeds if seeds is None else seeds)
    n = float(estimate.rows if rows is None else rows)
    if not s >= 2 and not one_seed:
        raise ValueError(f"seeds must be at least 2, got {seeds}")
    if not 2 <= n < np.inf:
        raise ValueError(f"rows must be at least 2 and finite, got {rows}")
    by_row, by_fold = estimate.var_row / n, estimate.var_fold / folds
    by_seed = estimate.var_seed / (s * folds) + estimate.var_rest / (s * n)
    if one_seed:
        by_fold *= estimate.rows / n
    terms = [
        (by_row, max(n - folds, 1.0)),
        (by_seed, folds * (s - 1)),
        (by_fold, max(folds - 1.0, 1.0)),
    ]
    return [(term, freedom) for term, freedom in terms if term > 0]


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Column, Column]:
    """Nodes and weights of Gauss and Legendre on (0, 1); 256 of them give a mean over χ² to about 1e-6."""
    nodes, weights = np.polynomial.legendre.leggauss(256)
    return (nodes + 1) / 2, weights / 2


class _Test:
    """The power of a two-sided test as a function of the noncentrality δ/√V.

    The power is the mean over U of Φ(±ncp − q√U), which is bounded and smooth. The noncentral t of scipy is not used,
    because it is NaN in places.
    """

    def __init__(self, terms: Sequence[tuple[float, float]], alpha: float) -> None:
        nodes, self.weights = _quadrature()
        with lab_imports("power"):
            from scipy.special import gammaincinv

        df = sum(term for term, _ in terms) ** 2 / sum(term**2 / freedom for term, freedom in terms)
        u = gammaincinv(df / 2, nodes) * 2 / df if np.isfinite(df) else np.ones_like(nodes)
        self.bounds = weighted_quantile(terms, alpha / 2) * np.sqrt(u)

    def power(self, ncp: float) -> float:
        """The chance of a finding."""
        from scipy.special import ndtr

        return float(self.weights @ (ndtr(ncp - self.bounds) + ndtr(-ncp - self.bounds)))
