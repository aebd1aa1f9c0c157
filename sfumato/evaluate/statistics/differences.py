"""One metric of one arm as a table of seeds by rows, and differences of such tables, tested together.

A comparison, a judgement and an audit of one model against another all come here, so that the same scores get the same
findings everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.intervals import Estimate, estimate_interval, estimate_unpaired, holm
from sfumato.evaluate.statistics.looks import adjustment
from sfumato.evaluate.statistics.margins import FindingName, Margins, finding_of

Matrix = npt.NDArray[np.float64]
ModelRows = tuple[Matrix, float]
"""Of one model and metric: what each of its test rows adds, (n,), and the value."""

MIN_MISTAKES = 30
"""Mistakes of an arm below which the ranking of mistakes is shown and not tested: its intervals do not hold then."""

_ON_MISTAKES = ("eaurc",)


@dataclass(frozen=True)
class Metric:
    """One metric of one arm: pseudo-values of each seed and row, (S, N), and the value of each model, (S, F).

    Rows of one group count as one, so that N is the number of groups; ``units`` is their effective number where they
    are of uneven size. ``fold`` is the fold of each row, whose rows the S models of that fold have tested; None where
    all models have tested all rows. ``share`` is the share of each fold in the test rows, (F,).
    """

    values: Matrix
    by_model: Matrix
    units: float | None = None
    fold: npt.NDArray[np.int64] | None = None
    share: Matrix | None = None

    @classmethod
    def stacked(cls, folds: Sequence[Sequence[ModelRows]], groups: Sequence[RowGroups]) -> Metric:
        """From the models of each fold, as many in every fold, and the groups of its test rows."""
        tables = [
            np.stack([together.collapse(rows) for rows, _ in models])
            for models, together in zip(folds, groups, strict=True)
        ]
        by_model = np.array([[value for _, value in models] for models in folds]).T
        units = None if all(each.single for each in groups) else float(sum(each.effective for each in groups))
        if len(folds) == 1:
            return cls(tables[0], by_model, units)
        sizes = np.array([len(each.number) for each in groups])
        fold = np.repeat(np.arange(len(folds)), [table.shape[1] for table in tables])
        return cls(np.concatenate(tables, axis=1), by_model, units, fold, sizes / sizes.sum())

    @property
    def mean(self) -> float:
        """The mean over models, those of a fold weighted by its test rows."""
        by_fold = self.by_model.mean(axis=0)
        return float(by_fold.mean() if self.share is None else by_fold @ self.share)

    @property
    def models(self) -> int:
        """How many models there are."""
        return self.by_model.size

    def minus(self, other: Metric, times: float = 1.0, plus: float = 0.0) -> Metric:
        """The paired difference to so many times the other, and to a number more: same seeds, same rows."""
        values = self.values - times * other.values - plus
        return replace(self, values=values, by_model=self.by_model - times * other.by_model - plus)

    def estimate(self) -> Estimate:
        """Mean over models with its interval."""
        return estimate_interval(self.values, estimate=self.mean, units=self.units, folds=self.fold)

    def log(self) -> Metric:
        """The logarithm of a positive metric, pseudo-values by the delta method."""
        own = self.by_model if self.fold is None else self.by_model[:, self.fold]
        return replace(self, values=np.log(own) + (self.values - own) / own, by_model=np.log(self.by_model))


def difference(mine: Metric, theirs: Metric, *, paired: bool) -> Estimate:
    """One arm minus another on the same rows; ``paired`` says that their seeds belong together."""
    if paired:
        return mine.minus(theirs).estimate()
    return estimate_unpaired(mine.values, theirs.values, estimate=mine.mean - theirs.mean, units=mine.units)


@dataclass(frozen=True)
class Pair:
    """One metric of two arms, and what a margin in per cent is a part of."""

    metric: str
    mine: Metric
    theirs: Metric
    base: Metric
    paired: bool
    mistakes: float  # of the arm with fewer, over all distinct test rows
    earlier: Sequence[float] | None = None  # standard errors at earlier looks; None where no more models will be added


@dataclass(frozen=True)
class Difference:
    """One arm minus another in one metric."""

    metric: str
    mean: float
    low: float  # of the 95 % interval
    high: float
    se: float
    p_adjusted: float | None = None  # for all headline tests, and for looks before and after this one
    finding: FindingName | None = None  # of a headline metric
    margin: float | None = None  # the largest difference that does not matter, in the metric's unit
    inner: tuple[float, float] | None = None  # the 90 % interval, whose ends two one-sided tests at 5 % go by


def compare_pairs(pairs: Sequence[Pair], margins: Margins, *, first: str | None = None) -> list[Difference]:
    """The difference of every pair; the headline metrics are tested together, adjusted by Holm.

    The metric ``first``, which matters most, is tested alone, and the others only count where it is found: with its
    p-value below theirs, the error of all tests stays at 5 %.
    """
    differences = [difference(each.mine, each.theirs, paired=each.paired) for each in pairs]
    tested = [
        place
        for place, each in enumerate(pairs)
        if METRICS[each.metric].headline and not (each.metric in _ON_MISTAKES and each.mistakes < MIN_MISTAKES)
    ]
    adjusted = _adjusted([(pairs[place].metric, _chance(pairs[place], differences[place])) for place in tested], first)
    p_adjusted = dict(zip(tested, adjusted, strict=True))
    return [
        _described(pair, estimate, margins, p_adjusted.get(place))
        for place, (pair, estimate) in enumerate(zip(pairs, differences, strict=True))
    ]


def _adjusted(tests: Sequence[tuple[str, float]], first: str | None) -> list[float]:
    """Adjusted p-values of tests of metrics: by Holm, all together or those of the first metric before the others."""
    if first is None:
        return holm([p for _, p in tests])
    before = holm([p for metric, p in tests if metric == first])
    gate = min(before, default=0.0)
    after = iter(holm([p for metric, p in tests if metric != first]))
    leading = iter(before)
    return [next(leading) if metric == first else max(gate, next(after)) for metric, _ in tests]


def _described(pair: Pair, estimate: Estimate, margins: Margins, p_adjusted: float | None) -> Difference:
    defined = METRICS[pair.metric]
    plain = Difference(pair.metric, estimate.mean, estimate.low, estimate.high, estimate.se)
    if not defined.headline:
        return plain
    number, part = margins.of(pair.metric)
    margin = number + part * pair.base.mean
    if p_adjusted is None:
        return replace(plain, finding="not tested", margin=margin, inner=estimate.interval(0.9))
    # the base's own number varies, too: what is tested is the difference minus so large a part of it
    above, below = (
        difference(pair.mine, pair.theirs.minus(pair.base, -sign * part, -sign * number), paired=pair.paired).interval(
            0.9
        )
        for sign in (1, -1)
    )
    equal = plain.low == plain.high == 0  # on every row: then no margin is too small, and none has to be known
    finding = finding_of(
        plain.mean,
        below_margin=equal or above[1] <= 0,
        above_margin=equal or below[0] >= 0,
        reliable=p_adjusted < 0.05,
        better=defined.better or "",
    )
    return replace(plain, p_adjusted=p_adjusted, finding=finding, margin=margin, inner=estimate.interval(0.9))


def _chance(pair: Pair, estimate: Estimate) -> float:
    """The p-value of a difference; where all rows differ alike, of as many signs of a fair coin, whose first is free.

    Two rows that differ by the same, as those of an E-AURC always do, are no certainty.
    """
    p = 0.5 ** (estimate.rows - 1) if estimate.se == 0 and estimate.mean != 0 else estimate.p
    return p if pair.earlier is None else min(p * adjustment(pair.earlier, estimate.se), 1.0)
