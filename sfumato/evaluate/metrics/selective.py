"""Selective prediction: how many errors are left when only the most confident rows are answered.

Rows of equal score have no order, so every number here is the expectation over all orders of the tied rows. Let a group
of n tied rows with e errors follow after a rows with E errors. Then E_i = E + (i − a)·e/n errors are expected among the
first i rows. All numbers are sums of E_i, so the order in which rows are given never matters. A row of weight w ≥ 0
counts as w tied copies; sums of 1/i over places become differences of the digamma function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.ranking import RankedGroups, best_area, best_area_without_each
from sfumato.evaluate.scores.column_checks import Column, check_correct


@dataclass(frozen=True)
class RiskCoverage:
    """The risk–coverage curve: ``coverage`` i/N and ``risk`` E_i/i for i = 1 … N, both (N,)."""

    coverage: Column
    risk: Column


def aurc(score: npt.ArrayLike, correct: npt.ArrayLike, *, weights: npt.ArrayLike | None = None) -> float:
    r"""Area under the risk–coverage curve: the mean, over i, of the error rate among the i most confident rows.

    .. math:: \mathrm{AURC} = \frac{1}{N} \sum_{i=1}^{N} \frac{E_i}{i}

    Args:
        score: what rows are ranked by, most confident highest, (N,); only its order counts.
        correct: whether the row is right, (N,) bool.
        weights: one number a row, (N,), ≥ 0; a row of weight 2 counts as two rows.

    Returns:
        The area, from 0 (no error) to 1; :math:`E_i` is the expected number of errors among the first i rows.

    Raises:
        ValueError: shapes that differ, no rows, a score that is NaN (names the first row).

    >>> round(aurc([0.9, 0.8, 0.7], [True, False, True]), 4)
    0.2778

    Source: Geifman et al. 2019, arXiv 1805.08206. Some code uses the trapezoid from (0, 0), which is smaller.
    """
    return RankedGroups(score, check_correct(correct), weights).aurc()


def eaurc(score: npt.ArrayLike, correct: npt.ArrayLike, *, weights: npt.ArrayLike | None = None) -> float:
    r"""AURC less that of the best order at the same error rate r: it judges the ranking without the accuracy.

    .. math:: \mathrm{AURC} - \bigl(r + (1 - r) \ln(1 - r)\bigr)

    The arguments and errors are those of :func:`aurc`. The best area is the limit for large N, so a perfect order
    gives O(1/N), not exactly 0.

    >>> round(eaurc([0.9, 0.8, 0.7], [True, False, True]), 4)
    0.2148

    Source: Geifman et al. 2019, arXiv 1805.08206.
    """
    return RankedGroups(score, check_correct(correct), weights).eaurc()


def aurc_jackknife(score: npt.ArrayLike, correct: npt.ArrayLike) -> Column:
    r"""The exact leave-one-out values of the AURC, (N,), in the order of the rows given, in O(N log N).

    Take a row out of a group at places a+1 … a+n, with x = 1 if the row is an error and 0 otherwise. Places up to a
    stay as they are; the group has n − 1 rows and e − x errors; a later place i becomes i − 1 and holds
    :math:`E_i - x` errors:

    .. math:: (N-1)\,\mathrm{AURC}_{(-)} = \sum_{i \le a} \frac{E_i}{i}
              + E\,h + \frac{e - x}{n - 1}\,(n - 1 - a\,h) + \sum_{i > a+n} \frac{E_i - x}{i - 1},
              \qquad h = \sum_{i=a+1}^{a+n-1} \frac{1}{i}

    The arguments and errors are those of :func:`aurc`; there must be at least 2 rows.

    >>> aurc_jackknife([0.9, 0.8, 0.7], [True, False, True]).round(4).tolist()
    [0.75, 0.0, 0.25]

    Source: the definition of :func:`aurc` with one row left out; the jackknife is Quenouille's and Tukey's.
    """
    return aurc_without_each(RankedGroups(score, check_correct(correct)))


def aurc_without_each(g: RankedGroups) -> Column:
    """:func:`aurc_jackknife` of rows without weights, which may be right in part."""
    total = len(g.place)
    if total < 2:
        raise ValueError("leaving one row out needs at least 2 rows, got 1")
    before = np.concatenate([[0.0], np.cumsum(g.errors / g.place)])
    earlier = np.maximum(g.place - 1, 1)  # place 1 follows no group, so its value is not used
    after = _suffix_sums(g.errors / earlier)
    after_inverse = _suffix_sums(1 / earlier)

    a, n, e, end = g.start, g.size, g.wrong, g.start + g.size
    h = np.add.reduceat(1 / g.place, a) - 1 / end
    by_wrong = np.empty((2, len(a)))
    for x in (0, 1):
        inside = g.errors_before * h + (e - x) / np.maximum(n - 1, 1) * (n - 1 - a * h)
        by_wrong[x] = before[a] + np.where(n > 1, inside, 0.0) + after[end] - x * after_inverse[end]
    if g.risk.dtype == np.bool_:
        return by_wrong[g.risk.astype(np.intp), g.group] / (total - 1)
    right, wrong = by_wrong[:, g.group]
    return (right + g.risk * (wrong - right)) / (total - 1)


def eaurc_jackknife(score: npt.ArrayLike, correct: npt.ArrayLike) -> Column:
    r"""The exact leave-one-out values of the E-AURC, (N,), in the order of the rows given, in O(N log N).

    Each is that of :func:`aurc_jackknife`, which has the same arguments and errors, less the best area at the error
    rate of the rows that stay.

    >>> eaurc_jackknife([0.9, 0.8, 0.7], [True, False, True]).round(4).tolist()
    [0.5966, 0.0, 0.0966]

    Source: as :func:`aurc_jackknife`.
    """
    return eaurc_without_each(RankedGroups(score, check_correct(correct)))


def eaurc_without_each(g: RankedGroups) -> Column:
    """:func:`eaurc_jackknife` of rows without weights, which may be right in part."""
    without = aurc_without_each(g)
    if g.risk.dtype == np.bool_:
        return without - best_area((np.count_nonzero(g.risk) - g.risk) / (len(g.risk) - 1))
    return without - best_area_without_each(g.risk)


def augrc(score: npt.ArrayLike, correct: npt.ArrayLike, *, weights: npt.ArrayLike | None = None) -> float:
    r"""Area under the generalised risk–coverage curve: the chance that a row is answered and wrong, over coverages.

    .. math:: \mathrm{AUGRC} = \frac{1}{N^2} \sum_{i=1}^{N} \frac{E_{i-1} + E_i}{2}
              = r(1-r)(1 - \mathrm{AUROC}) + \tfrac12 r^2

    The arguments and errors are those of :func:`aurc`. The area lies in 0 to 1/2; r is the error rate, and the AUROC
    is that of telling right rows from wrong rows by their score.

    >>> round(augrc([0.9, 0.8, 0.7], [True, False, True]), 4)
    0.1667

    Source: Traub et al. 2024, arXiv 2407.01032.
    """
    return RankedGroups(score, check_correct(correct), weights).augrc()


def risk_coverage_curve(
    score: npt.ArrayLike, correct: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
) -> RiskCoverage:
    """The expected error rate among the i most confident rows, for every i. The mean of the risks is the AURC.

    The arguments and errors are those of :func:`aurc`. With weights, i is the weight of the rows so far, and a row of
    weight 0 has no place on the curve.

    >>> risk_coverage_curve([0.9, 0.8], [True, False]).risk.tolist()
    [0.0, 0.5]

    Source: El-Yaniv and Wiener 2010.
    """
    g = RankedGroups(score, check_correct(correct), weights)
    return RiskCoverage(coverage=g.place / g.total, risk=g.errors / g.place)


def risk_at_coverage(
    score: npt.ArrayLike, correct: npt.ArrayLike, coverage: float, *, weights: npt.ArrayLike | None = None
) -> float:
    r"""Expected error rate among the most confident part of the rows.

    .. math:: \frac{E(m)}{m}, \quad m = \text{coverage} \cdot N

    ``coverage`` is the share of the rows that is answered, in (0, 1]; E is linear between places, so m need not be
    whole. The other arguments and errors are those of :func:`aurc`.

    >>> risk_at_coverage([0.9, 0.9, 0.1], [True, False, False], 1 / 3)
    0.5

    Source: Geifman and El-Yaniv 2017, arXiv 1705.08500.
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must be in (0, 1], got {coverage}")
    return RankedGroups(score, check_correct(correct), weights).risk_at(coverage)


def coverage_at_risk(
    score: npt.ArrayLike, correct: npt.ArrayLike, risk: float, *, weights: npt.ArrayLike | None = None
) -> float:
    """The largest share of the rows that can be answered at an error rate of at most ``risk``, which is in [0, 1].

    Tied rows are answered together or not at all, since a threshold on the score cannot part them. The coverage is 0
    where not even the first group may be answered. The other arguments and errors are those of :func:`aurc`.

    >>> coverage_at_risk([0.9, 0.8, 0.8, 0.1], [True, True, False, False], 0.4)
    0.75

    Source: Geifman and El-Yaniv 2017, arXiv 1705.08500. This is the coverage of these rows; it guarantees nothing of
    new rows.
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"risk must be in [0, 1], got {risk}")
    return RankedGroups(score, check_correct(correct), weights).coverage_at(risk)


def _suffix_sums(values: Column) -> Column:
    return np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])
