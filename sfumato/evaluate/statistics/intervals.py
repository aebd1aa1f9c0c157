r"""Intervals and tests for means over seeds, rows and folds.

Models trained from other seeds and tested on other rows would give other numbers; both kinds of chance count. A metric
of an arm, or a paired difference of two, is a table x of S seeds by N rows. Where the data are rotated through F folds,
each row is tested by the S models of its own fold, which trained on other rows than the models of other folds. With

    x_sn = mean + fold + seed in the fold + row + rest,      all random,

and mean squares pooled over the folds, the grand mean has the variance

.. math:: V = V_{row} + V_{seed} + V_{fold}, \qquad
          V_{row} = \frac{\max(MS_{row} - MS_{rest}, 0)}{SN}, \quad V_{seed} = \frac{MS_{seed}}{SN}, \quad
          V_{fold} = \max\Bigl(\frac{MS_{fold}}{SN} - V_{row} - V_{seed}, 0\Bigr)

Without folds this is the random-reader random-case analysis of medical imaging, where readers are seeds and cases are
rows. With one seed per fold it is :math:`s^2_{within}/N + \max(MS_{fold}/N - s^2_{within}/N, 0)`.

A term that rests on few seeds or folds is small by chance where it is small, so no single number of degrees of freedom
serves their sum. The quantile of the interval is therefore the mean of each term's own quantile of t, weighted by the
terms (Cochran and Cox), and p is the level at which the interval ends at 0.

Rows of which few carry most of the variance (the few on which two models disagree) tell their variance badly. With the
kurtosis κ of what the rows add, a variance of N rows has as many degrees of freedom as one of normal rows would have at

.. math:: \nu_{row} = \min\Bigl(\frac{2N}{\kappa - 1 + 2/(N-1)},\ N - F\Bigr)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column
from sfumato.extras import lab_imports


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: the estimate.
        low: lower end of the interval.
        high: upper end.
        p: two-sided p-value of the mean being 0.
        df: degrees of freedom of the whole, those of its terms weighted by what they add; inf where nothing varies.
        se: standard error.
        var_seed: variance between seeds, of one fold where there are several; a component, ≥ 0; 0 with one seed.
        var_row: variance between rows, a component, ≥ 0; 0 with one row.
        var_rest: variance of what neither explains, ≥ 0; 0 with one seed or one row.
        seeds: S, of each fold where there are several.
        rows: N.
        var_fold: variance between folds beyond that of their rows and seeds, a component, ≥ 0; 0 with one fold.
        folds: F.
        terms: what each source adds to the variance of the mean, with its degrees of freedom.
    """

    mean: float
    low: float
    high: float
    p: float
    df: float
    se: float
    var_seed: float
    var_row: float
    var_rest: float
    seeds: int
    rows: int
    var_fold: float = 0.0
    folds: int = 1
    terms: tuple[tuple[float, float], ...] = field(default=(), repr=False)

    def interval(self, level: float) -> tuple[float, float]:
        """The ends of the interval at another level, in (0, 1).

        >>> estimate = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
        >>> estimate.interval(0.95) == (estimate.low, estimate.high)
        True
        """
        half = weighted_quantile(self.terms, (1 - level) / 2) * self.se if self.se > 0 else 0.0
        return self.mean - half, self.mean + half


def estimate_interval(
    values: npt.ArrayLike,
    *,
    estimate: float | None = None,
    level: float = 0.95,
    units: float | None = None,
    folds: npt.ArrayLike | None = None,
) -> Estimate:
    r"""Mean over seeds and rows with an interval that counts both, and folds, as random.

    .. math:: \mathrm{mean} \pm q \sqrt V, \qquad q = \frac{\sum_i V_i\, t_{\nu_i}}{V}

    V, its terms and their degrees of freedom are given in this module's head: :math:`\nu_{row}` for the rows,
    :math:`F(S-1)` for the seeds and F − 1 for the folds. Where the row term is cut off at 0, only the seeds stay. Where
    V itself is 0 although values vary (seed means equal by accident), V is :math:`MS_{rest}/SN`.

    Args:
        values: :math:`x`, (S, N): per-row values or jackknife pseudo-values, of one arm or of a paired difference. With
            one seed and one fold only rows are random, and the interval speaks of that one model; with one row only
            seeds are.
        estimate: the centre, if it is not the mean of ``values``.
        level: coverage of the interval, in (0, 1).
        units: independent pieces of evidence among the N values, more than 1; the degrees of freedom of the rows are at
            most this less one per fold, where the values are of groups of uneven size.
        folds: the fold of each row, (N,) whole numbers 0 to F − 1, where the rows of each were tested by models of
            their own; every fold has at least 2 rows.

    Returns:
        :class:`Estimate`. If nothing varies the interval is the mean alone, and p is 1 for a mean of 0, else 0.

    Raises:
        ValueError: not (S, N), fewer than 2 values, a value that is not finite (names seed and row), folds that do not
            fit, or a level outside (0, 1).

    >>> result = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    >>> round(result.mean, 4), round(result.se, 4), round(result.df, 2), result.low < 0 < result.high
    (1.5, 0.7638, 1.4, True)
    >>> rotated = estimate_interval([[0.0, 1.0, 2.0, 4.0]], folds=[0, 0, 1, 1])
    >>> round(rotated.se, 4), [(round(term, 4), df) for term, df in rotated.terms]
    (1.25, [(0.3125, 2.0), (1.25, 1.0)])

    Source: Dorfman, Berbaum and Metz 1992, and Hillis 2007, Statistics in Medicine 26:596 (seeds and rows); Bayle et
    al. 2020, NeurIPS (the rows of rotated folds); Cochran and Cox 1950 (the weighted quantile).
    """
    x = _table(values)
    seeds, rows = x.shape
    fold = _folds(folds, rows)
    number = int(fold.max()) + 1
    squares = _MeanSquares.of(x, fold)
    by_row = max(squares.row - squares.rest, 0.0) / seeds if rows > 1 else 0.0
    terms = [(by_row / rows, _row_freedom(squares.effect, number, units))] if by_row > 0 else []
    if seeds > 1:
        terms.append((squares.seed / x.size, number * (seeds - 1)))
    by_fold = max(squares.fold / x.size - sum(term for term, _ in terms), 0.0)
    if by_fold > 0:
        terms.append((by_fold, number - 1))
    # Few seeds can have the same mean by accident (equal counts of right rows) while their rows disagree. That is
    # no certainty: without variance between seeds or rows, MS_seed is MS_rest on average.
    spare = [(squares.rest / x.size, number * (seeds - 1))]
    centre = float(x.mean()) if estimate is None else float(estimate)
    return _estimate(
        centre, level, terms, spare, seeds=seeds, rows=rows, folds=number,
        var_seed=max(squares.seed - squares.rest, 0.0) * number / rows if seeds > 1 else 0.0,
        var_row=by_row, var_rest=squares.rest, var_fold=by_fold * number,
    )  # fmt: skip


def estimate_unpaired(
    values: npt.ArrayLike,
    others: npt.ArrayLike,
    *,
    estimate: float | None = None,
    level: float = 0.95,
    units: float | None = None,
) -> Estimate:
    r"""The mean difference between two arms on the same rows whose seeds have nothing in common.

    .. math:: V = \frac{MS_{seed}}{S N} + \frac{MS'_{seed}}{S' N}
              + \frac{1}{N} \max\Bigl(s^2(\bar x_n - \bar x'_n) - \frac{MS_{rest}}{S} - \frac{MS'_{rest}}{S'}, 0\Bigr)

    Each arm has its own seeds, S and S'; :math:`\bar x_n` are means over seeds and s² is their variance over rows. The
    terms make the interval as for :func:`estimate_interval`. Where both arms have as many seeds, at least 3, these are
    one term with Satterthwaite's degrees of freedom; for 2 and 10 seeds such a test would err up to 13 % at 5 %. An arm
    of one seed has no seed term: the interval is then about that one model.

    Args:
        values: :math:`x`, (S, N): of one arm.
        others: :math:`x'`, (S', N): of the other arm, which is subtracted.
        estimate: the centre, if it is not the difference of the means.
        level: coverage of the interval, in (0, 1).
        units: as for :func:`estimate_interval`.

    Returns:
        :class:`Estimate`: the components of seeds and rest are those of both arms together, and ``seeds`` is the
        smaller number.

    Raises:
        ValueError: as :func:`estimate_interval`, or rows that are not as many.

    >>> found = estimate_unpaired([[1.0, 2.0, 3.0], [2.0, 2.0, 4.0]], [[0.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    >>> round(found.mean, 4), round(found.se, 4), round(found.df, 2)
    (1.5, 0.4082, 1.09)

    Source: Welch 1947 and Satterthwaite 1946 for two variances; Cochran and Cox 1950 for the weighted quantile.
    """
    x, y = _table(values), _table(others)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both arms must have the same rows, got {x.shape[1]} and {y.shape[1]}")
    centre = float(x.mean() - y.mean()) if estimate is None else float(estimate)
    rows = x.shape[1]
    one_fold = np.zeros(rows, dtype=np.int64)
    squares = [(each, _MeanSquares.of(each, one_fold)) for each in (x, y) if len(each) > 1]
    rest = sum(found.rest / len(each) for each, found in squares)
    apart = x.mean(axis=0) - y.mean(axis=0)
    apart -= apart[0]
    by_row = max(float(apart.var(ddof=1)) - rest, 0.0) if rows > 1 else 0.0
    by_seed = [(found.seed / each.size, float(len(each) - 1)) for each, found in squares]
    spare = [(found.rest / each.size, float(len(each) - 1)) for each, found in squares]
    terms = _pooled(by_seed) if len(x) == len(y) >= 3 else by_seed
    if by_row > 0:
        terms = [(by_row / rows, _row_freedom(apart - apart.mean(), 1, units)), *terms]
    components = {
        "var_seed": sum(max(found.seed - found.rest, 0.0) / rows for _, found in squares),
        "var_row": by_row,
        "var_rest": sum(found.rest for _, found in squares),
        "seeds": min(len(x), len(y)),
        "rows": rows,
    }
    found = _estimate(centre, level, terms, spare, **components)
    # means over two and over five equal numbers differ by rounding, which is no difference
    if max(found.se, abs(centre)) <= 1e-12 * max(float(np.abs(x).max()), float(np.abs(y).max())):
        return _estimate(0.0, level, [], [], **components)
    return found


def _table(values: npt.ArrayLike) -> Column:
    """Values (seeds, rows), at least 2 and all finite."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or x.size < 2:
        raise ValueError(f"values must be (seeds, rows) and at least 2, got shape {x.shape}")
    if not np.isfinite(x).all():
        seed, row = (int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"values must be finite, got {x[seed, row]} for seed {seed}, row {row}")
    return x


def _folds(folds: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.int64]:
    """The fold of each row, each of at least 2 rows."""
    fold = np.zeros(rows, dtype=np.int64) if folds is None else np.asarray(folds, dtype=np.int64)
    if fold.shape != (rows,):
        raise ValueError(f"folds must be ({rows},), one a row, got shape {fold.shape}")
    if folds is None:
        return fold
    if fold.min() < 0:
        raise ValueError(f"folds must be numbered from 0, got {fold.min()}")
    sizes = np.bincount(fold)
    if sizes.min() < 2:
        raise ValueError(f"each fold must have at least 2 rows, got {sizes.min()} in fold {sizes.argmin()}")
    return fold


@dataclass(frozen=True)
class _MeanSquares:
    """Mean squares of seeds, rows and the rest within folds, and of folds; 0 where one has no degrees of freedom."""

    seed: float
    row: float
    rest: float
    fold: float
    effect: Column  # of each row, its mean over seeds less its fold's, (N,)

    @classmethod
    def of(cls, x: Column, fold: npt.NDArray[np.int64]) -> _MeanSquares:
        seeds, rows = x.shape
        sizes = np.bincount(fold)
        folds = len(sizes)
        y = x - x[0, 0]  # the first value out first: a large constant then costs no digits
        by_model = np.stack([np.bincount(fold, weights=each) for each in y]) / sizes
        by_fold, by_row, grand = by_model.mean(axis=0), y.mean(axis=0), y.mean()
        apart = by_model - by_fold
        effect = by_row - by_fold[fold]
        rest = y - by_row - apart[:, fold]
        return cls(
            seed=float(sizes @ np.square(apart).sum(axis=0)) / max(folds * (seeds - 1), 1),
            row=seeds * float(np.square(effect).sum()) / max(rows - folds, 1),
            rest=float(np.square(rest).sum()) / max((seeds - 1) * (rows - folds), 1) if seeds > 1 and rows > 1 else 0.0,
            fold=seeds * float(sizes @ np.square(by_fold - grand)) / (folds - 1) if folds > 1 else 0.0,
            effect=effect,
        )


def _row_freedom(effect: Column, folds: int, units: float | None) -> float:
    """Degrees of freedom of the variance of rows, by the kurtosis of what they add and the evidence that they are."""
    rows = len(effect)
    squares = np.square(effect / np.abs(effect).max())
    kurtosis = rows * float(np.square(squares).sum()) / float(squares.sum()) ** 2
    most = max((units or rows) - folds, 1e-9)
    return min(2 * rows / (kurtosis - 1 + 2 / (rows - 1)), most)


def _pooled(terms: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Terms as one, with Satterthwaite's degrees of freedom."""
    total = sum(term for term, _ in terms)
    if total == 0:
        return []
    return [(total, total**2 / sum(term**2 / freedom for term, freedom in terms))]


def _estimate(
    centre: float,
    level: float,
    terms: Sequence[tuple[float, float]],
    spare: Sequence[tuple[float, float]],
    **components: Any,
) -> Estimate:
    """The interval of terms of variance, each with its degrees of freedom; ``spare`` stand for terms that are all 0."""
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    if not np.isfinite(centre):
        raise ValueError(f"estimate must be finite, got {centre}")
    variance, left = sum(term for term, _ in terms), sum(term for term, _ in spare)
    if variance <= 1e-20 * left:
        terms, variance = spare, left
    if variance == 0:
        p = 1.0 if centre == 0 else 0.0
        return Estimate(centre, centre, centre, p, np.inf, 0.0, **components)
    kept = tuple((float(term), float(freedom)) for term, freedom in terms if term > 0)
    df, se = variance / sum(term / freedom for term, freedom in kept), float(np.sqrt(variance))
    half = weighted_quantile(kept, (1 - level) / 2) * se
    p = _chance(kept, abs(centre) / se)
    return Estimate(centre, centre - half, centre + half, p, float(df), se, **components, terms=kept)


def t_quantile(df: float, chance: float) -> float:
    """The value that Student's t is below with this chance."""
    with lab_imports("an interval"):  # not above: scipy takes as long to load as a small audit
        from scipy.special import stdtrit

    return float(stdtrit(df, chance))


def weighted_quantile(terms: Sequence[tuple[float, float]], tail: float) -> float:
    """The quantiles of t that have so much above them, one a term, weighted by the terms."""
    return -sum(term * t_quantile(freedom, tail) for term, freedom in terms) / sum(term for term, _ in terms)


def _chance(terms: Sequence[tuple[float, float]], t: float) -> float:
    """Two-sided p: the level at which the interval of these terms ends at 0, for a mean of t standard errors."""
    with lab_imports("an interval"):
        from scipy.optimize import brentq
        from scipy.special import stdtr

    ends = [2 * float(stdtr(freedom, -t)) for _, freedom in terms]  # each term alone: p lies between
    low, high = max(min(ends), 1e-100), max(ends)  # below 1e-100, quantiles of t are not exact
    if high - low <= 1e-12 * high:
        return high

    def excess(log_p: float) -> float:
        return weighted_quantile(terms, float(np.exp(log_p)) / 2) - t

    lowest, highest = float(np.log(low)), float(np.log(high))
    if excess(lowest) <= 0 or excess(highest) >= 0:  # one term is all but everything
        return low if excess(lowest) <= 0 else high
    log_p: Any = brentq(excess, lowest, highest, xtol=1e-13)
    return float(np.exp(log_p))


def pseudo_values(full: npt.ArrayLike, leave_one_out: npt.ArrayLike) -> Column:
    r"""Jackknife pseudo-values: what each row adds to a statistic that is not a mean.

    .. math:: v_i = N \theta - (N - 1)\,\theta_{(-i)} + c

    Args:
        full: :math:`\theta` on all rows: a number, or one a seed (S,).
        leave_one_out: :math:`\theta_{(-i)}`, (N,) or (S, N).

    Returns:
        Shaped like ``leave_one_out``; c is one constant a seed, such that the mean over rows is ``full``.

    Raises:
        ValueError: fewer than 2 rows, or shapes that do not fit.

    >>> pseudo_values(2.0, [2.5, 2.0, 1.5]).tolist()
    [1.0, 2.0, 3.0]

    Source: Tukey 1958; normalised as in Hillis, Obuchowski, Schartz and Berbaum 2005.
    """
    theta, without = np.asarray(full, dtype=np.float64), np.asarray(leave_one_out, dtype=np.float64)
    if without.ndim not in (1, 2) or without.shape[-1] < 2:
        raise ValueError(f"leave_one_out must be (rows,) or (seeds, rows) with at least 2 rows, got {without.shape}")
    if theta.shape != without.shape[:-1]:
        raise ValueError(f"full must be {without.shape[:-1]} to fit leave_one_out {without.shape}, got {theta.shape}")
    n = without.shape[-1]
    # θ and N·θ cancel against the shift, so only the differences from the mean of θ_(−i) are needed
    return theta[..., None] - (n - 1) * (without - without.mean(axis=-1, keepdims=True))


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Holm's adjusted p-values: reject those at most α, and any error is made with chance α at most.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\bigl((m - j + 1)\, p_{(j)},\, 1\bigr)

    Args:
        p_values: m p-values in [0, 1], in any order.

    Returns:
        The adjusted p-values, in the same order.

    Raises:
        ValueError: a p-value outside [0, 1] or NaN (names the first).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm 1979.
    """
    p = np.asarray(p_values, dtype=np.float64).reshape(-1)
    bad = np.flatnonzero(~((p >= 0) & (p <= 1)))
    if len(bad):
        raise ValueError(f"p-values must be in [0, 1], got {p[bad[0]]} at {bad[0]}")
    order = np.argsort(p, kind="stable")
    raised = np.minimum(np.arange(len(p), 0, -1) * p[order], 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(raised)
    return [float(value) for value in adjusted]
