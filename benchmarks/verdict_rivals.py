"""Other ways to judge the same paired differences, for benchmarks/verdict.py: what is usually done, as it is done.

Each takes differences of seeds × rows, (S, N), and gives a p-value and a 95 % interval for their mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Matrix = npt.NDArray[np.float64]

RESAMPLES = 1000


class Result(NamedTuple):
    """A two-sided p-value of the mean being 0, and a 95 % interval."""

    p: float
    low: float
    high: float


def judge(difference: Matrix, rng: np.random.Generator) -> dict[str, Result]:
    """Every rival's result, by name.

    Args:
        difference: (S, N), values or pseudo-values of a paired difference.
        rng: of the resamples.
    """
    seeds, rows = difference.shape
    by_seed, by_row = difference.mean(axis=1), difference.mean(axis=0)
    pick_seeds, pick_rows = _shares(seeds, rng), _shares(rows, rng)
    return {
        **exact(difference),
        "percentiles, seeds": _percentiles(pick_seeds @ by_seed),
        "percentiles, rows": _percentiles(pick_rows @ by_row),
        "percentiles, seeds and rows": _percentiles(np.einsum("bn,bn->b", pick_seeds @ difference, pick_rows)),
    }


def exact(difference: Matrix) -> dict[str, Result]:
    """The rivals that resample nothing: t tests, and the components of variance with Satterthwaite's own formula."""
    return {
        "t test, seeds": _t_test(difference.mean(axis=1)),
        "t test, rows of one seed": _t_test(difference[0]),
        "seeds × rows, squared shares": _satterthwaite(difference),
    }


def _shares(count: int, rng: np.random.Generator) -> Matrix:
    """How often each of ``count`` things is drawn in each resample, as shares: (B, count)."""
    drawn = rng.integers(count, size=(RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count) / count


def _satterthwaite(x: Matrix) -> Result:
    """The same variance as the verdict's, its degrees of freedom by the squares of the mean squares."""
    seeds, rows = x.shape
    mean, by_seed, by_row = x.mean(), x.mean(axis=1), x.mean(axis=0)
    ms_seed = rows * by_seed.var(ddof=1)
    ms_row = seeds * by_row.var(ddof=1)
    ms_rest = float(np.sum((x - by_seed[:, None] - by_row + mean) ** 2)) / ((seeds - 1) * (rows - 1))
    terms = [(ms_seed, seeds - 1)]
    if ms_row > ms_rest:
        terms += [(ms_row, rows - 1), (-ms_rest, (seeds - 1) * (rows - 1))]
    total = sum(ms for ms, _ in terms)
    if total <= 1e-20 * ms_rest or total == 0:
        terms, total = [(ms_rest, seeds - 1)], ms_rest
    if total == 0:
        return Result(1.0 if mean == 0 else 0.0, float(mean), float(mean))
    df, se = 1 / sum((ms / total) ** 2 / freedom for ms, freedom in terms), np.sqrt(total / x.size)
    half = float(stats.t.ppf(0.975, df)) * se
    return Result(float(2 * stats.t.sf(abs(mean) / se, df)), float(mean - half), float(mean + half))


def _t_test(values: Matrix) -> Result:
    mean, n = float(values.mean()), len(values)
    se = float(values.std(ddof=1)) / np.sqrt(n)
    if se < 1e-15:
        return Result(1.0 if abs(mean) < 1e-15 else 0.0, mean, mean)
    half = float(stats.t.ppf(0.975, n - 1)) * se
    return Result(float(2 * stats.t.sf(abs(mean) / se, n - 1)), mean - half, mean + half)


def _percentiles(means: Matrix) -> Result:
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return Result(min(1.0, 2 * (tail + 1) / (len(means) + 1)), float(low), float(high))
