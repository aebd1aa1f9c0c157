r"""What more seeds could settle: the power of the test of :mod:`.intervals` at other numbers of seeds.

A first comparison estimates three components of variance: a of seeds, b of rows and c of the rest. With S seeds and N
rows, the variance of the difference is then

.. math:: V = \frac{a}{S} + \frac{b}{N} + \frac{c}{S N}

More seeds shrink all terms but b/N, so for small differences only more rows help.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import Any

import numpy as np

from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.statistics.intervals import Estimate
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

    .. math:: P\bigl(|T_{df}(\delta / \sqrt V)| > t_{df}\bigr), \qquad
              \frac{1}{df} = \frac{1}{V} \Bigl( \frac{a/S + c/SN}{S-1} + \frac{b/N}{N-1} \Bigr)

    Here T has a noncentral t distribution, and :math:`V = a/S + b/N + c/SN` is the variance of the difference.

    Args:
        estimate: the estimate of a paired difference from at least 2 seeds; only its components a, b and c are used.
        difference: :math:`\delta`, the true difference, of either sign.
        seeds: :math:`S`, at least 2, ``inf`` allowed; by default the number behind the estimate.
        rows: :math:`N`, at least 2; by default the number behind the estimate.
        level: the level of the interval that must not hold 0, in (0, 1); it is 1 − α of the test.

    Returns:
        The chance, from 1 − ``level`` at no difference to 1. Where nothing varies it is 1 for any difference but 0.

    Raises:
        ValueError: an estimate from one seed or one row, fewer than 2 seeds or rows asked for, a level outside (0, 1),
            or a difference that is not finite.

    >>> from sfumato.evaluate import estimate_interval
    >>> pilot = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.0, 2.0, 2.0]])
    >>> [round(power(pilot, 1.0, seeds=s, rows=100), 2) for s in (3, 5, 10)]
    [0.52, 0.92, 1.0]

    Source: Hillis, Obuchowski and Berbaum 2011, Academic Radiology 18:129, on reader studies; seeds are the readers.
    """
    if not np.isfinite(difference):
        raise ValueError(f"difference must be finite, got {difference}")
    alpha = _alpha(level)
    variance, df = _variance(estimate, seeds, rows)
    if variance == 0:
        return alpha if difference == 0 else 1.0
    return _Test(df, alpha).power(abs(difference) / np.sqrt(variance))


def detectable_difference(
    estimate: Estimate,
    *,
    seeds: float | None = None,
    rows: int | None = None,
    level: float = 0.95,
    chance: float = 0.8,
) -> float:
    r"""The smallest true difference that the test finds with a given chance.

    .. math:: \delta \quad\text{such that}\quad P\bigl(|T_{df}(\delta / \sqrt V)| > t_{df}\bigr) = \text{chance}

    The arguments and errors are those of :func:`power`, with ``chance`` in (1 − ``level``, 1). With ``inf`` seeds, the
    result is the difference below which no number of seeds helps. It is 0 where nothing varies, and with ``inf``
    seeds also where rows do not vary.

    >>> from sfumato.evaluate import estimate_interval
    >>> pilot = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.0, 2.0, 2.0]])
    >>> [round(detectable_difference(pilot, seeds=s, rows=100), 2) for s in (3, 5, float("inf"))]
    [1.48, 0.83, 0.28]

    Source: as :func:`power`.
    """
    alpha = _alpha(level)
    _check_chance(chance, alpha)
    variance, df = _variance(estimate, seeds, rows)
    if variance == 0:
        return 0.0
    test = _Test(df, alpha)
    highest = 1.0
    while test.power(highest) < chance:
        highest *= 2

    def lacking(ncp: float) -> float:
        return test.power(ncp) - chance

    with lab_imports("detectable_difference"):  # not above: scipy takes as long to load as a small audit
        from scipy.optimize import brentq

    ncp: Any = brentq(lacking, 0.0, highest)
    return float(ncp * np.sqrt(variance))


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


def _alpha(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    return 1 - level


def _check_chance(chance: float, alpha: float) -> None:
    if not alpha < chance < 1:
        raise ValueError(f"chance must be above {alpha:.4g} (1 − level) and below 1, got {chance}")


def _variance(estimate: Estimate, seeds: float | None, rows: int | None) -> tuple[float, float]:
    """Expected variance of the mean, and its effective degrees of freedom."""
    if estimate.seeds < 2 or estimate.rows < 2:
        raise ValueError(
            f"components of variance need at least 2 seeds and 2 rows, got {estimate.seeds} and {estimate.rows}"
        )
    s = float(estimate.seeds if seeds is None else seeds)
    n = float(estimate.rows if rows is None else rows)
    if not s >= 2:
        raise ValueError(f"seeds must be at least 2, got {seeds}")
    if not 2 <= n < np.inf:
        raise ValueError(f"rows must be at least 2 and finite, got {rows}")
    by_seed, by_row = estimate.var_seed / s + estimate.var_rest / (s * n), estimate.var_row / n
    variance = by_seed + by_row
    if variance == 0:
        return 0.0, np.inf
    return variance, variance / (by_seed / (s - 1) + by_row / (n - 1))


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Column, Column]:
    """Nodes and weights of Gauss and Legendre on (0, 1); 256 of them give a mean over χ² to about 1e-6."""
    nodes, weights = np.polynomial.legendre.leggauss(256)
    return (nodes + 1) / 2, weights / 2


class _Test:
    """The power of a two-sided t test as a function of the noncentrality δ/√V.

    T = (Z + ncp)/√U with U = χ²/df, so the power is the mean over U of Φ(±ncp − t√U), which is bounded and smooth.
    The noncentral t of scipy is not used, because it is NaN in places.
    """

    def __init__(self, df: float, alpha: float) -> None:
        nodes, self.weights = _quadrature()
        with lab_imports("power"):
            from scipy.special import gammaincinv, stdtrit

        chi2 = gammaincinv(df / 2, nodes) * 2 / df if np.isfinite(df) else np.ones_like(nodes)
        self.bounds = float(stdtrit(df, 1 - alpha / 2)) * np.sqrt(chi2)

    def power(self, ncp: float) -> float:
        from scipy.special import ndtr

        return float(self.weights @ (ndtr(ncp - self.bounds) + ndtr(-ncp - self.bounds)))
