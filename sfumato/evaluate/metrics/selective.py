r"""Selective prediction: how many errors are left when only the most confident rows are answered.

Rows of equal score have no order, so every number is the expectation over all orders of the tied rows. Let a group of n
tied rows with e errors follow after a rows with E errors. Then E_i = E + (i − a)·e/n errors are expected among the
first i rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.calibration import wilson
from sfumato.evaluate.scores.column_checks import Column


class RankedGroups:
    r"""Rows by descending score, in groups of equal score: every number here, and what each row adds to it.

    A "part" is the derivative of a number in the weight of the row, scaled so that the spread of the parts over √N is
    the standard error of the number: the infinitesimal jackknife.

    ``right`` is whether each row is right, or how far; ``risk`` how far it is wrong; ``group`` its group. Per
    group, ``start`` counts all rows before it (a), ``size`` its own (n), ``wrong`` its errors (e), ``errors_before``
    those before it (E) and ``end`` all rows up to its last. ``total`` is the number of rows.
    """

    def __init__(self, score: npt.ArrayLike, right: npt.NDArray[Any]) -> None:
        self.right = right
        self.risk: npt.NDArray[Any] = ~right if right.dtype == np.bool_ else 1 - right
        values = np.asarray(score, np.float64)
        # Sums of whole numbers are the same in any order, and an order that need not be stable is found sooner.
        whole = self.risk.dtype == np.bool_
        order = np.argsort(-values, kind=None if whole else "stable")
        ordered = values[order]
        first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.size = np.diff(np.append(first, len(order)))
        self.group = np.empty(len(values), dtype=np.int64)
        self.group[order] = np.repeat(np.arange(len(first)), self.size)
        error = self.risk[order]
        self.wrong: npt.NDArray[Any] = np.add.reduceat(error.astype(np.int64) if whole else error, first)
        self.end = np.cumsum(self.size)
        self.start = self.end - self.size
        self.errors_before = np.cumsum(self.wrong) - self.wrong
        self.place = np.arange(1, len(order) + 1)  # of each row, by descending score
        self.total = float(len(order))

    @cached_property
    def errors(self) -> Column:
        """Expected errors up to each place."""
        within = self.place - np.repeat(self.start, self.size)
        # the order of operations keeps whole numbers whole in a group that is wholly right or wholly wrong
        return np.repeat(self.errors_before, self.size) + within * np.repeat(self.wrong / self.size, self.size)

    def aurc(self) -> float:
        """Area under the risk–coverage curve."""
        return float(np.mean(self.errors / self.place))

    @cached_property
    def aurc_part(self) -> Column:
        """What each row adds to the AURC."""
        n, e, a, before = (np.asarray(x, np.float64) for x in (self.size, self.wrong, self.start, self.errors_before))
        rate = e / n
        harmonic, squares, last = self._harmonic
        # per group: derivatives of e + (E − a·e/n)·h in its size, its errors, its start and the errors before it
        by_size = a * rate / n * harmonic + (before - a * rate) * last
        by_wrong = 1 - a / n * harmonic
        by_start = -rate * harmonic - (before - a * rate) * squares
        return self._per_row(by_size + later(by_start), by_wrong + later(harmonic))

    def aurc_without_each(self) -> Column:
        r"""The AURC without each row in turn, (N,), of at least 2 rows, in O(N log N).

        Take a row out of a group at places a+1 … a+n, with x = 1 if the row is an error and 0 otherwise. Places up to a
        stay as they are; the group has n − 1 rows and e − x errors; a later place i becomes i − 1 and holds
        :math:`E_i - x` errors:

        .. math:: (N-1)\,\mathrm{AURC}_{(-)} = \sum_{i \le a} \frac{E_i}{i}
                  + E\,h + \frac{e - x}{n - 1}\,(n - 1 - a\,h) + \sum_{i > a+n} \frac{E_i - x}{i - 1},
                  \qquad h = \sum_{i=a+1}^{a+n-1} \frac{1}{i}
        """
        if len(self.place) < 2:
            raise ValueError("leaving one row out needs at least 2 rows, got 1")
        before = np.concatenate([[0.0], np.cumsum(self.errors / self.place)])
        earlier = np.maximum(self.place - 1, 1)  # place 1 follows no group, so its value is not used
        after, after_inverse = (
            np.append(np.cumsum(each[::-1])[::-1], 0.0) for each in (self.errors / earlier, 1 / earlier)
        )
        a, n, e, end = self.start, self.size, self.wrong, self.end
        h = np.add.reduceat(1 / self.place, a) - 1 / end

        def without(x: int) -> Column:
            inside = self.errors_before * h + (e - x) / np.maximum(n - 1, 1) * (n - 1 - a * h)
            return before[a] + np.where(n > 1, inside, 0.0) + after[end] - x * after_inverse[end]

        right, wrong = without(0)[self.group], without(1)[self.group]
        whole = self.risk.dtype == np.bool_
        areas = np.where(self.risk, wrong, right) if whole else right + self.risk * (wrong - right)
        return areas / (len(self.place) - 1)

    def eaurc(self) -> float:
        """AURC less that of the best order. That is the limit for many rows: a perfect order of N rows has O(1/N)."""
        return self.aurc() - self.best()

    def best(self) -> float:
        """AURC of the best order of these rows."""
        if self.risk.dtype == np.bool_:
            return float(best_area(np.asarray(self.wrong.sum() / self.total)))
        return best_area_of(self.risk)

    def eaurc_part(self) -> Column:
        """What each row adds to the E-AURC."""
        if self.risk.dtype != np.bool_:
            return self.aurc_part - best_area_part(self.risk)
        r = float(self.wrong.sum() / self.total)
        slope = -np.log1p(-r) if r < 1 else 0.0
        return self.aurc_part - best_area(np.asarray(r)) - slope * (self.risk - r)

    def eaurc_without_each(self) -> Column:
        """The E-AURC without each row in turn, as :meth:`aurc_without_each`."""
        areas = self.aurc_without_each()
        if self.risk.dtype == np.bool_:
            return areas - best_area((np.count_nonzero(self.risk) - self.risk) / (len(self.risk) - 1))
        return areas - best_area_without_each(self.risk)

    def augrc(self) -> float:
        """Area under the generalised risk–coverage curve."""
        return float((self.size * (self.errors_before + self.wrong / 2)).sum() / self.total**2)

    def augrc_part(self) -> Column:
        """What each row adds to the AUGRC."""
        whole = self._per_row(self.errors_before + self.wrong / 2, self.size / 2 + self.total - self.end)
        return whole / self.total - self.augrc()

    def risk_at(self, coverage: float) -> float:
        """Expected error rate of the most confident part."""
        m = coverage * self.total
        # E is linear from (0, 0) on, so below one row the risk is that of the first row
        return float(np.interp(m, np.append(0.0, self.end), np.append(0.0, self.errors_before + self.wrong)) / m)

    def risk_part(self, coverage: float) -> Column:
        """What each row adds to the risk at a coverage."""
        m = coverage * self.total
        at = int(np.minimum(np.searchsorted(self.end, m), len(self.size) - 1))
        rate = self.wrong[at] / self.size[at]
        share = np.where(np.arange(len(self.size)) < at, 1.0, 0.0)
        share[at] = (m - self.start[at]) / self.size[at]
        return share[self.group] * (self.risk - rate) / coverage + rate

    def coverage_at(self, risk: float) -> float:
        """Largest share of the rows that can be answered at that risk."""
        allowed = self.end[(self.errors_before + self.wrong) / self.end <= risk]
        return float(allowed.max(initial=0) / self.total)

    def coverage_interval(self, risk: float) -> tuple[float, float]:
        """The coverages at which Wilson's 95 % interval of the risk first and last holds ``risk``."""
        low, high = wilson(np.minimum((self.errors_before + self.wrong) / self.end, 1.0), self.end)
        sure, possible = self.end[high <= risk], self.end[low <= risk]
        return float(sure.max(initial=0) / self.total), float(possible.max(initial=0) / self.total)

    @cached_property
    def _harmonic(self) -> tuple[Column, Column, Column]:
        """Per group Σ 1/i and Σ 1/i² over its places, and Σ 1/i² from its end on less that of all places."""
        one = np.cumsum(1.0 / self.place)[self.end - 1]
        two = np.cumsum(1.0 / np.square(self.place.astype(np.float64)))[self.end - 1]
        return np.diff(one, prepend=0.0), np.diff(two, prepend=0.0), np.pi**2 / 6 - two

    def _per_row(self, by_size: Column, by_wrong: Column) -> Column:
        return by_size[self.group] + self.risk * by_wrong[self.group]


def later(values: Column) -> Column:
    """Sum of the values of all later groups."""
    return np.cumsum(values[::-1])[::-1] - values


# The E-AURC is counted from the area of the best order. Rows answered in the order of their risks ρ have the least
# area; in the limit of many rows it is B = ∫ ρ(s)·(−ln s) ds, with ρ(s) the risks in rising order at coverage s. Risks
# of 0 and 1 make it r + (1 − r)·ln(1 − r). A soft label q gives a row the risk 1 − q of its predicted class.


def best_area(error_rate: Column) -> Column:
    """AURC of the best order at an error rate r, of risks that are 0 or 1: r + (1 − r)·ln(1 − r)."""
    kept = 1 - error_rate
    return error_rate + kept * np.log(np.where(kept > 0, kept, 1.0))


def best_area_of(risk: Column) -> float:
    """AURC of the best order of these risks, (N,), each from 0 to 1."""
    return float(np.sort(risk) @ _shares(np.arange(1, len(risk) + 1) / len(risk)))


def best_area_part(risk: Column) -> Column:
    """What each row adds to :func:`best_area_of`, (N,): infinitesimal-jackknife values, whose mean is the area."""
    values, place = np.unique(risk, return_inverse=True)
    below = np.cumsum(np.bincount(place).astype(np.float64))[:-1] / len(risk)  # of the rows, up to each value but one
    pull = np.diff(values) * -np.log(below)
    part = -np.append(np.cumsum(pull[::-1])[::-1], 0.0)[place]
    return part - part.mean() + best_area_of(risk)


def best_area_without_each(risk: Column) -> Column:
    """:func:`best_area_of` with each row left out in turn, (N,), of at least 2 rows."""
    n = len(risk)
    order = np.argsort(risk, kind="stable")
    ordered, shares = risk[order], _shares(np.arange(1, n) / (n - 1))
    before = np.concatenate([[0.0], np.cumsum(ordered[:-1] * shares)])
    after = np.concatenate([np.cumsum((ordered[1:] * shares)[::-1])[::-1], [0.0]])
    without = np.empty(n)
    without[order] = before + after
    return without


def _shares(steps: Column) -> Column:
    """∫ −ln s ds over each step of a rising coverage that begins at 0."""
    return np.diff(steps - steps * np.log(steps), prepend=0.0)
