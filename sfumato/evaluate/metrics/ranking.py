r"""Rows in groups of equal score, which give every number of selective prediction and what each row adds to it.

All numbers share one sort. What a row adds ("part") is the derivative of the number in the weight of the row, scaled so
that the spread of the parts over √N is the standard error of the number: the infinitesimal jackknife.

The E-AURC is counted from the area of the best order. Rows answered in the order of their risks ρ have the least area;
in the limit of many rows it is

.. math:: B = \int_0^1 \rho(s) (-\ln s) \, ds

with ρ(s) the risks in rising order, as a function of the coverage s. Risks of 0 and 1 make it r + (1 − r)·ln(1 − r), r
the error rate. A soft label q gives a row the risk 1 − q of its predicted class.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.calibration import wilson
from sfumato.evaluate.scores.column_checks import Column, check_score, check_weights, mean
from sfumato.extras import lab_imports


class RankedGroups:
    """Rows by descending score, in groups of equal score. Without weights, every row has weight 1.

    Attributes:
        right: whether each row is right, or how far, as given.
        risk: whether, or how far, each row is wrong.
        group: the group of each row; −1 for a row of weight 0.
        start: weight of all rows before each group, a.
        size: weight of each group, n.
        wrong: weight of its wrong rows, or of the wrong parts of its rows, e.
        errors_before: that of all rows before it, E.
        total: weight of all rows.
    """

    def __init__(self, score: npt.ArrayLike, right: npt.NDArray[Any], weights: npt.ArrayLike | None = None) -> None:
        """Rank the rows."""
        self.right = right
        self.risk: npt.NDArray[Any] = ~right if right.dtype == np.bool_ else 1 - right
        values = check_score(score, len(self.right))
        self._weights = w = check_weights(weights, len(self.right))
        # Sums of whole numbers are the same in any order, and an order that need not be stable is found sooner.
        whole = w is None and self.risk.dtype == np.bool_
        order = np.argsort(-values, kind=None if whole else "stable")
        if w is not None:
            order = order[w[order] > 0]
        ordered = values[order]
        first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self._order = order
        self._rows = np.diff(np.append(first, len(order)))  # rows of each group
        self.group = np.full(len(values), -1, dtype=np.int64)
        self.group[order] = np.repeat(np.arange(len(first)), self._rows)
        error = self.risk[order]
        if w is None:
            self.size: npt.NDArray[Any] = self._rows
            self.wrong: npt.NDArray[Any] = np.add.reduceat(
                error.astype(np.int64) if error.dtype == np.bool_ else error, first
            )
        else:
            self.size = np.add.reduceat(w[order], first)
            self.wrong = np.add.reduceat(w[order] * error, first)
        end = np.cumsum(self.size)
        self.start = end - self.size
        self.errors_before = np.cumsum(self.wrong) - self.wrong
        self.total = float(end[-1])

    @cached_property
    def place(self) -> npt.NDArray[Any]:
        """The weight up to each row, by descending score: 1 to N without weights; rows of weight 0 are left out."""
        return np.arange(1, len(self._order) + 1) if self._weights is None else np.cumsum(self._weights[self._order])

    @cached_property
    def errors(self) -> Column:
        """Expected errors up to each place."""
        within = self.place - np.repeat(self.start, self._rows)
        rate = self.wrong / self.size
        # the order of operations keeps whole numbers whole in a group that is wholly right or wholly wrong
        return np.repeat(self.errors_before, self._rows) + within * np.repeat(rate, self._rows)

    def aurc(self) -> float:
        """Area under the risk–coverage curve."""
        if self._weights is None:
            return float(np.mean(self.errors / self.place))
        rate = self.wrong / self.size
        area = self.wrong + (self.errors_before - self.start * rate) * self._harmonic[0]
        return float(area.sum() / self.total)

    def eaurc(self) -> float:
        """AURC less that of the best order."""
        return self.aurc() - self.best()

    def best(self) -> float:
        """AURC of the best order of these rows."""
        if self.risk.dtype == np.bool_:
            return float(best_area(np.asarray(self.wrong.sum() / self.total)))
        return best_area_of(self.risk, self._weights)

    def augrc(self) -> float:
        """Area under the generalised risk–coverage curve."""
        return float((self.size * (self.errors_before + self.wrong / 2)).sum() / self.total**2)

    def risk_at(self, coverage: float) -> float:
        """Expected error rate of the most confident part."""
        m = coverage * self.total
        # E is linear from (0, 0) on, so below one row the risk is that of the first row
        ends = np.append(0.0, self.start + self.size)
        return float(np.interp(m, ends, np.append(0.0, self.errors_before + self.wrong)) / m)

    def coverage_at(self, risk: float) -> float:
        """Largest share of the rows that can be answered at that risk."""
        end = self.start + self.size
        allowed = end[(self.errors_before + self.wrong) / end <= risk]
        return float(allowed.max(initial=0) / self.total)

    def coverage_interval(self, risk: float) -> tuple[float, float]:
        """The coverages at which Wilson's 95 % interval of the risk first and last holds ``risk``."""
        end = self.start + self.size
        low, high = wilson(np.minimum((self.errors_before + self.wrong) / end, 1.0), end)
        sure, possible = end[high <= risk], end[low <= risk]
        return float(sure.max(initial=0) / self.total), float(possible.max(initial=0) / self.total)

    def aurc_part(self) -> Column:
        """What each row adds to the AURC."""
        return self._aurc_part

    @cached_property
    def _aurc_part(self) -> Column:
        n, e, a, before = (np.asarray(x, np.float64) for x in (self.size, self.wrong, self.start, self.errors_before))
        rate = e / n
        harmonic, squares, last = self._harmonic
        # per group: derivatives of e + (E − a·e/n)·h in its size, its errors, its start and the errors before it
        by_size = a * rate / n * harmonic + (before - a * rate) * last
        by_wrong = 1 - a / n * harmonic
        by_start = -rate * harmonic - (before - a * rate) * squares
        later = _after(by_start), _after(harmonic)
        return self._per_row(by_size + later[0], by_wrong + later[1])

    def eaurc_part(self) -> Column:
        """What each row adds to the E-AURC."""
        if self.risk.dtype != np.bool_:
            return self.aurc_part() - best_area_part(self.risk, self._weights)
        r = float(self.wrong.sum() / self.total)
        slope = -np.log1p(-r) if r < 1 else 0.0
        return self.aurc_part() - best_area(np.asarray(r)) - slope * (self.risk - r)

    def augrc_part(self) -> Column:
        """What each row adds to the AUGRC."""
        later = self.total - (self.start + self.size)
        whole = self._per_row(self.errors_before + self.wrong / 2, self.size / 2 + later)
        return whole / self.total - self.augrc()

    def risk_part(self, coverage: float) -> Column:
        """What each row adds to the risk at a coverage."""
        m = coverage * self.total
        at = int(np.minimum(np.searchsorted(self.start + self.size, m), len(self.size) - 1))
        rate = self.wrong[at] / self.size[at]
        share = np.where(np.arange(len(self.size)) < at, 1.0, 0.0)
        share[at] = (m - self.start[at]) / self.size[at]
        own = np.where(self.group >= 0, share[self.group], 0.0)
        return own * (self.risk - rate) / coverage + rate

    @cached_property
    def _harmonic(self) -> tuple[Column, Column, Column]:
        """Per group Σ 1/i and Σ 1/i² over its places, and Σ 1/i² from its end on less that of all places."""
        end = np.asarray(self.start + self.size, np.float64)
        if self._weights is None:
            one = np.cumsum(1.0 / self.place)
            two = np.cumsum(1.0 / np.square(self.place.astype(np.float64)))
            stop = end.astype(np.int64) - 1
            h, q = np.diff(one[stop], prepend=0.0), np.diff(two[stop], prepend=0.0)
            return h, q, np.pi**2 / 6 - two[stop]
        with lab_imports("a ranking of weighted rows"):
            from scipy.special import digamma, zeta

        begin = np.asarray(self.start, np.float64)
        last = zeta(2.0, end + 1)
        return digamma(end + 1) - digamma(begin + 1), zeta(2.0, begin + 1) - last, last

    def _per_row(self, by_size: Column, by_wrong: Column) -> Column:
        held = np.maximum(self.group, 0)
        part = by_size[held] + self.risk * by_wrong[held]
        return np.where(self.group >= 0, part, 0.0)


def _after(values: Column) -> Column:
    """Sum of the values of all later groups."""
    return np.cumsum(values[::-1])[::-1] - values


def best_area(error_rate: Column) -> Column:
    """AURC of the best order at an error rate r, of risks that are 0 or 1: r + (1 − r)·ln(1 − r)."""
    kept = 1 - error_rate
    return error_rate + kept * np.log(np.where(kept > 0, kept, 1.0))


def best_area_of(risk: Column, weights: Column | None = None) -> float:
    """AURC of the best order of these risks, (N,), each from 0 to 1."""
    order = np.argsort(risk, kind="stable")
    steps = np.arange(1, len(risk) + 1) / len(risk) if weights is None else np.cumsum(weights[order]) / weights.sum()
    return float(risk[order] @ _shares(steps))


def best_area_part(risk: Column, weights: Column | None = None) -> Column:
    """What each row adds to :func:`best_area_of`, (N,): infinitesimal-jackknife values, whose mean is the area."""
    values, place = np.unique(risk, return_inverse=True)
    mass = np.bincount(place, weights=weights).astype(np.float64)
    below = np.cumsum(mass)[:-1] / mass.sum()  # of the rows up to each value but the largest
    with np.errstate(divide="ignore"):  # rows of weight 0 may have the smallest risk
        pull = np.diff(values) * np.where(below > 0, -np.log(below), 0.0)
    part = -np.append(np.cumsum(pull[::-1])[::-1], 0.0)[place]
    return part - mean(part, weights) + best_area_of(risk, weights)


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
    return np.diff(steps - steps * np.log(np.where(steps > 0, steps, 1.0)), prepend=0.0)
