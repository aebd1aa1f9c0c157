r"""Intervals and tests for means over seeds and rows at once.

Models trained from other seeds and judged on other rows would give other numbers; both kinds of chance count. With
values :math:`x_{sn}` (S seeds, N rows) = mean + seed + row + rest, all random, the grand mean has the variance

.. math:: V = \frac{MS_{seed} + \max(MS_{row} - MS_{rest}, 0)}{S N}

which is the random-reader random-case analysis of medical imaging, readers being seeds and cases rows. Two arms whose
seeds are not paired have a seed term each, and share the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        df: effective degrees of freedom; inf where nothing varies.
        se: standard error.
        var_seed: variance between seeds, a component, ≥ 0; 0 with one seed, where it cannot be seen.
        var_row: variance between rows, a component, ≥ 0; 0 with one row.
        var_rest: variance of what neither explains, ≥ 0; 0 with one seed or one row.
        seeds: S.
        rows: N.
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

    def interval(self, level: float) -> tuple[float, float]:
        """The ends of the interval at another level, in (0, 1).

        >>> estimate = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
        >>> estimate.interval(0.95) == (estimate.low, estimate.high)
        True
        """
        half = t_quantile(self.df, (1 + level) / 2) * self.se if self.se > 0 else 0.0
        return self.mean - half, self.mean + half


def t_quantile(df: float, chance: float) -> float:
    """The value that Student's t is below with this chance."""
    with lab_imports("an interval"):  # not above: scipy takes as long to load as a small audit
        from scipy.special import stdtrit

    return float(stdtrit(df, chance))


def estimate_interval(
    values: npt.ArrayLike, *, estimate: float | None = None, level: float = 0.95, units: float | None = None
) -> Estimate:
    r"""Mean over seeds and rows with a t interval that counts both as random.

    .. math:: \mathrm{mean} \pm t_{df} \sqrt V, \qquad
              \frac{1}{df} = \frac{w_{seed}}{S-1} + \frac{w_{row}}{N-1}, \qquad
              w_{seed} = \frac{MS_{seed}}{S N V}, \quad w_{row} = 1 - w_{seed}

    V is given in this module's head, and w are the shares in it. Satterthwaite's degrees of freedom have their squares
    instead: with three seeds and most of V from seeds he errs 1.4 times too often at 5 %, and 2.5 times at the 1.7 % of
    a first of three tests, for where MS_seed is small by chance V is small, and its share, squared, says that V is well
    known. Where the row term is cut off at 0, only the seed term stays, and df = S − 1. Where V itself is 0 although
    values vary (seed means equal by accident), V is :math:`MS_{rest}/SN`, df = S − 1.

    Args:
        values: :math:`x`, (S, N): per-row values or jackknife pseudo-values, of one arm or of a paired difference. With
            one seed only rows are random, :math:`V = MS_{row}/N`, df = N − 1, and the interval speaks of that one
            model; with one row only seeds are.
        estimate: the centre, if it is not the mean of ``values``.
        level: coverage of the interval, in (0, 1).
        units: independent pieces of evidence among the N values, more than 1; it takes the place of N in the degrees of
            freedom where the values are of groups of uneven size.

    Returns:
        :class:`Estimate`. If nothing varies the interval is the mean alone, and p is 1 for a mean of 0, else 0.

    Raises:
        ValueError: not (S, N), fewer than 2 values, a value that is not finite (names seed and row), or a level outside
            (0, 1).

    >>> result = estimate_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    >>> round(result.mean, 4), round(result.se, 4), round(result.df, 2), result.low < 0 < result.high
    (1.5, 0.7638, 1.4, True)

    Source: Dorfman, Berbaum and Metz 1992; Hillis 2007, Statistics in Medicine 26:596; Satterthwaite 1946; the shares
    are the weights of Cochran and Cox 1950 for critical values of t, taken for the degrees of freedom.
    """
    x = _table(values)
    centre = float(x.mean()) if estimate is None else float(estimate)
    seeds, rows = x.shape
    ms_seed, ms_row, ms_rest = _mean_squares(x)
    by_seed = [(ms_seed / x.size, seeds - 1)] if seeds > 1 else []
    by_row = max(ms_row - ms_rest, 0.0) / seeds if rows > 1 else 0.0
    components = (max(ms_seed - ms_rest, 0.0) / rows if seeds > 1 else 0.0, by_row, ms_rest)
    # Few seeds can have the same mean by accident (equal counts of right rows) while their rows disagree. That is
    # no certainty: without variance between seeds or rows, MS_seed is MS_rest on average.
    spare = [(ms_rest / x.size, seeds - 1)]
    return _estimate(centre, level, by_seed, by_row, spare, components, (seeds, rows), units)


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

    Each arm has its own seeds, S and S'; :math:`\bar x_n` are means over seeds and s² is their variance over rows.
    1/df is :math:`w/(S-1) + w'/(S'-1) + w_{row}/(N-1)` with the shares of the three terms in V, as for
    :func:`estimate_interval`. An arm of one seed has no seed term: the interval is then about that one model.

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

    Source: Welch 1947 for the two variances; the weights are those of :func:`estimate_interval`.
    """
    x, y = _table(values), _table(others)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both arms must have the same rows, got {x.shape[1]} and {y.shape[1]}")
    centre = float(x.mean() - y.mean()) if estimate is None else float(estimate)
    rows, varying = x.shape[1], [each for each in (x, y) if len(each) > 1]
    squares = [(each, *_mean_squares(each)) for each in varying]
    rest = sum(ms_rest / len(each) for each, _, _, ms_rest in squares)
    apart = x.mean(axis=0) - y.mean(axis=0)
    apart -= apart[0]
    by_row = max(float(apart.var(ddof=1)) - rest, 0.0) if rows > 1 else 0.0
    by_seed = [(ms_seed / each.size, len(each) - 1) for each, ms_seed, _, _ in squares]
    components = (
        sum(max(ms_seed - ms_rest, 0.0) / rows for _, ms_seed, _, ms_rest in squares),
        by_row,
        sum(ms_rest for _, _, _, ms_rest in squares),
    )
    spare = [(ms_rest / each.size, len(each) - 1) for each, _, _, ms_rest in squares]
    found = _estimate(centre, level, by_seed, by_row, spare, components, (min(len(x), len(y)), rows), units)
    # means over two and over five equal numbers differ by rounding, which is no difference
    if max(found.se, abs(centre)) <= 1e-12 * max(float(np.abs(x).max()), float(np.abs(y).max())):
        return _estimate(0.0, level, [], 0.0, [], components, (found.seeds, rows), units)
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


def _estimate(
    centre: float,
    level: float,
    by_seed: Sequence[tuple[float, float]],
    by_row: float,
    spare: Sequence[tuple[float, float]],
    components: tuple[float, float, float],
    shape: tuple[int, int],
    units: float | None,
) -> Estimate:
    """The t interval of terms of variance, each with its degrees of freedom.

    Args:
        centre: the estimate.
        level: coverage.
        by_seed: terms of the seeds.
        by_row: variance between rows, a component.
        spare: terms that stand for all others where these are 0 although values vary.
        components: of seeds, rows and the rest.
        shape: seeds and rows.
        units: what takes the place of the rows in the degrees of freedom, or None.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    if not np.isfinite(centre):
        raise ValueError(f"estimate must be finite, got {centre}")
    terms = list(by_seed)
    if by_row > 0:
        terms.append((by_row / shape[1], max((units or shape[1]) - 1, 1e-9)))
    variance, left = sum(term for term, _ in terms), sum(term for term, _ in spare)
    if variance <= 1e-20 * left:
        terms, variance = list(spare), left
    if variance == 0:
        return Estimate(centre, centre, centre, 1.0 if centre == 0 else 0.0, np.inf, 0.0, *components, *shape)
    with lab_imports("estimate_interval"):  # not above: scipy takes as long to load as a small audit
        from scipy.special import stdtr

    df = 1 / sum(term / variance / freedom for term, freedom in terms)
    se = float(np.sqrt(variance))
    half = t_quantile(df, (1 + level) / 2) * se
    p = float(2 * stdtr(df, -abs(centre) / se))
    return Estimate(centre, centre - half, centre + half, p, df, se, *components, *shape)


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


def _mean_squares(x: Column) -> tuple[float, float, float]:
    """Mean squares of seeds, rows and the rest; 0 where there are no degrees of freedom for one."""
    seeds, rows = x.shape
    # the first value out first: a large constant then costs no digits
    y = x - x[0, 0]
    by_seed, by_row, grand = y.mean(axis=1), y.mean(axis=0), y.mean()
    rest = y - by_seed[:, None] - by_row[None, :] + grand
    ms_seed = rows * float(np.sum((by_seed - grand) ** 2)) / max(seeds - 1, 1)
    ms_row = seeds * float(np.sum((by_row - grand) ** 2)) / max(rows - 1, 1)
    ms_rest = float(np.sum(rest**2)) / max((seeds - 1) * (rows - 1), 1) if seeds > 1 and rows > 1 else 0.0
    return ms_seed, ms_row, ms_rest
