"""Models whose scores do not belong to the rows, the classes or the arm that they are given for, and the likely cause.

How far scores p belong to labels y is measured by their correlation over rows and classes,

    Σ_k cov(p_k, 1[y = k]) / sqrt(Σ_k var(p_k) · Σ_k var(1[y = k])).

It is 0 for shuffled rows and for equal scores, negative where the sign is wrong, and depends little on the scale of the
logits. The numerator is the mean probability of the label minus its expectation over all orders of the rows, whose
variance over these orders shows what is chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.scores.score_matrix import ScoreMatrix
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.extras import lab_imports
from sfumato.text import joined, number

MAX_CLASSES = 1000
"""Classes up to which another order of them is looked for."""

SIGNIFICANT = 4.0
"""Standard errors by which another reading has to fit better, or a model worse than those it is compared with."""

TINY = 1e-24
"""A variance of probabilities up to which all rows have the same."""

MOVES = (1, -1, 2, -2)
"""By how many rows scores may be shifted."""


class LabelFit(NamedTuple):
    """How well scores fit if they are read in one way."""

    correlation: float
    effect: float  # the numerator of the correlation in standard deviations of one row over the orders of the rows
    accuracy: float
    cause: str = ""  # "shifted", "reversed", "permuted", "negated"
    how: str = ""  # in words that follow "with"


@dataclass(frozen=True)
class ModelFit:
    """How the scores of one model fit their rows as they are given, and in the other reading that fits best."""

    name: str
    given: LabelFit
    better: LabelFit | None
    rows: float  # effective number of test rows
    constant: bool  # whether every row has the same scores
    uniform: bool  # and every class too
    gap: Column

    @property
    def level(self) -> float:
        """The correlation in the reading that fits best."""
        return self.given.correlation if self.better is None else self.better.correlation

    def same_scores(self, other: ModelFit) -> bool:
        """Whether both have the same logit gap in every row, as copies in another precision have."""
        return len(self.gap) == len(other.gap) and np.allclose(self.gap, other.gap, 1e-6, 3e-6, equal_nan=True)

    def is_below(self, other: LabelFit) -> bool:
        """Whether this model fits worse than in another reading, by more than these rows show by chance."""
        return (other.effect - self.given.effect) * np.sqrt(self.rows / 2) > SIGNIFICANT


Arms: TypeAlias = Sequence[tuple[str, Sequence[ModelFit]]]
"""The name of each arm and its models."""


@dataclass(frozen=True)
class Broken:
    """Models of one arm that look broken for one reason."""

    cause: str  # that of a reading, "constant", "copied", or "unknown"
    text: str


def fit_of(name: str, logits: Any, labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], gap: Column,
           groups: RowGroups) -> ModelFit:  # fmt: skip
    """The fit of one model to its test rows."""
    source = ScoreMatrix(logits=logits)
    others = {("shifted", _move_in_words(by)): np.roll(labels, by) for by in MOVES}
    others["reversed", "the labels in reverse order"] = labels[::-1]
    half = groups.number % 2
    sums = _Sums.over(source, [labels, *others.values()], labels, half)
    given = LabelFit(*sums.fit(sums.excess(0)), float(np.mean(predicted == labels)))
    readings = [
        LabelFit(*sums.fit(sums.excess(place)), float(np.mean(predicted == column)), *what)
        for place, (what, column) in enumerate(others.items(), 1)
    ]
    if (order := sums.order(0)) is not None:
        again = sums.order(1)
        tested = [1] if again is None or (again != order).any() else [0, 1]  # by rows that did not choose it
        gain = sums.gain(order, tested)
        accuracy = float(np.mean((predicted == order[labels])[np.isin(half, tested)]))
        readings.append(LabelFit(*sums.fit(sums.excess(0) + gain), accuracy, "permuted", _order_in_words(order)))
    if source.classes > 2 and given.effect * np.sqrt(groups.effective) < -SIGNIFICANT:
        turned = _Sums.over(source, [labels], labels, half, sign=-1)
        how = "the sign of its scores turned"
        readings.append(LabelFit(*turned.fit(turned.excess(0)), turned.accuracy, "negated", how))
    better = max(readings, key=lambda each: each.correlation)
    same = sums.scatter <= TINY
    fit = ModelFit(name, given, None, groups.effective, same, same and bool(np.ptp(sums.mean) < 1e-9), gap)
    if same or not fit.is_below(better) or given.correlation >= 0.9 * better.correlation:
        return fit
    return replace(fit, better=better)


@dataclass(frozen=True)
class _Sums:
    """What one pass over the scores adds up; p are the probabilities (n, K)."""

    own: Column  # mean p of the label, by column of labels
    mean: Column  # of p, (K,)
    shares: Column  # of the classes, (K,)
    spread: Column  # variance of p over the rows, (K,)
    scatter: float  # variance of one row over the orders of the rows
    by_class: Column  # sums of p by half and label, (2, K, K); empty above MAX_CLASSES
    counts: npt.NDArray[np.int64]  # rows by half and label, (2, K)
    accuracy: float

    @classmethod
    def over(
        cls, source: ScoreMatrix, columns: Sequence[npt.NDArray[np.int64]], labels: npt.NDArray[np.int64],
        half: npt.NDArray[np.int64], sign: int = 1,
    ) -> _Sums:  # fmt: skip
        k, n = source.classes, source.rows
        shares = np.bincount(labels, minlength=k) / n
        place = half * k + labels
        by_class = np.zeros((2 * k, k if k <= MAX_CLASSES else 0))
        mean, square, own = np.zeros(k), np.zeros(k), np.zeros(len(columns))
        expected, right, start_row = np.empty(n), 0, None
        for at, z in source:
            z = z if sign > 0 else z.min(axis=1, keepdims=True) - z
            p = np.exp(z)
            p /= p.sum(axis=1, keepdims=True)
            each = np.arange(len(p))
            if start_row is None:
                start_row = p[0].copy()
            own += [p[each, column[at]].sum() for column in columns]
            right += int(np.count_nonzero(p.argmax(axis=1) == labels[at]))
            p -= start_row  # of equal rows exactly 0 is left
            mean += p.sum(axis=0)
            square += np.square(p).sum(axis=0)
            expected[at] = p @ shares
            if by_class.size:
                order = np.argsort(place[at], kind="stable")
                number, start = np.unique(place[at][order], return_index=True)
                by_class[number] += np.add.reduceat(p[order], start, axis=0)
        mean, square = mean / n, square / n
        assert start_row is not None
        spread = square - np.square(mean)
        scatter = float(shares @ spread - expected.var())
        counts = np.bincount(place, minlength=2 * k).reshape(2, k)
        return cls(own / n, start_row + mean, shares, spread, scatter, by_class.reshape(2, k, -1), counts, right / n)

    def excess(self, column: int) -> float:
        """The mean probability of the labels of one column, minus that over all orders of the rows."""
        return float(self.own[column] - self.shares @ self.mean)

    def fit(self, excess: float) -> tuple[float, float]:
        """The correlation and the effect."""
        if self.scatter <= TINY:
            return 0.0, 0.0
        total = float(self.spread.sum() * (1 - np.square(self.shares).sum()))
        return excess / float(np.sqrt(total)), excess / float(np.sqrt(self.scatter))

    def _excess(self, half: int) -> Column:
        """Sums of p of one half by label (K, K), minus what they would be if the rows of the half were shuffled."""
        counts = self.counts[half]
        return self.by_class[half] - np.outer(counts, self.by_class[half].sum(axis=0) / max(counts.sum(), 1))

    def order(self, half: int) -> npt.NDArray[np.int64] | None:
        """The column of each class that fits the rows of a half best; None where that is its own."""
        if not self.by_class.size:
            return None
        excess, own = self._excess(half), np.arange(len(self.mean))
        chance = np.sqrt(np.outer(self.counts[half], np.maximum(self.mean * (1 - self.mean), 0.0)))
        gain = excess - 2 * chance
        gain[own, own] = excess[own, own]
        if (gain.argmax(axis=1) == own).all():
            return None
        with lab_imports("a verdict"):  # not above: scipy takes as long to load as a small audit
            from scipy.optimize import linear_sum_assignment

        order = np.asarray(linear_sum_assignment(gain, maximize=True)[1])
        return None if (order == own).all() else order

    def gain(self, order: npt.NDArray[np.int64], halves: Sequence[int]) -> float:
        """By how much the excess of these halves grows with the classes in this order."""
        excess, own = np.sum([self._excess(half) for half in halves], axis=0), np.arange(len(order))
        return float((excess[own, order] - excess[own, own]).sum()) / max(int(self.counts[halves].sum()), 1)


def _move_in_words(by: int) -> str:
    where = "before" if by > 0 else "after"
    return f"the label of the row {where}" if abs(by) == 1 else f"the label of the row {abs(by)} {where}"


def _order_in_words(order: npt.NDArray[np.int64]) -> str:
    if len(order) == 2:
        return "the two classes swapped, or the sign of its scores turned"
    if len(order) <= 12:
        return f"the columns taken in the order {', '.join(map(str, order.tolist()))}"
    return f"{np.count_nonzero(order != np.arange(len(order)))} of its {len(order)} columns in other places"


def broken_models(arms: Arms, *, trained_here: bool) -> list[Broken]:
    """The models that look broken, those of one arm and cause together."""
    every = [fit for _, fits in arms for fit in fits]
    found = list[Broken]()
    for arm, fits in arms:
        causes = [_cause(fit, fits, arms) for fit in fits]
        sound = [fit for fit, cause in zip(fits, causes, strict=True) if not cause]
        for cause in dict.fromkeys(filter(None, causes)):
            own = [fit for fit, other in zip(fits, causes, strict=True) if other == cause]
            rest = sound or [fit for fit in every if fit not in fits and not fit.better]
            found.append(_described(arm, cause[0], own, len(fits), rest, trained_here=trained_here))
    return [*found, *_copies(arms)]


def _cause(fit: ModelFit, sisters: Sequence[ModelFit], arms: Arms) -> tuple[str, ...]:
    """What looks wrong with a model, its cause and the words for it; nothing where it looks sound."""
    others = [each for _, fits in arms for each in fits if each is not fit]
    if fit.constant:
        lone = not all(each.constant for each in sisters) or (fit.uniform and not all(e.constant for e in others))
        return ("constant", "") if lone else ()
    usual, best = _usual_level(fit, sisters, arms), max((each.level for each in others), default=0.0)
    own, better = fit.given.correlation, fit.better
    clue = any(each.given.correlation > 0.1 for each in others)  # else all may be worse than chance
    if better is not None and better.correlation >= max(0.6 * (usual or best), 0.0 if clue else 0.2):
        moved = better.cause in ("shifted", "reversed")
        unlike = any(each.better is None for each in sisters)
        if not moved or unlike or own < better.correlation / 4:  # a forecast may repeat the label of the row before
            return better.cause, better.how
    if usual is None or not fit.is_below(sorted((each.given for each in sisters), key=lambda e: e.correlation)[-1]):
        return ()
    at_chance = fit.given.effect * np.sqrt(fit.rows) < 3 and own < usual / 4
    apart = [np.abs(np.array([each.level for each in sisters if each is not fit]) - usual)]
    for _, fits in arms:
        levels = np.array([each.level for each in fits if fits is not sisters])
        apart += [np.abs(levels - np.median(levels))] if len(levels) > 2 else []
    spread = max(1.4826 * float(max(np.median(apart[0]), np.median(np.concatenate(apart)))), 0.5 / np.sqrt(fit.rows))
    return ("unknown", "") if at_chance or (own < usual / 2 and usual - own > 8 * spread) else ()


def _usual_level(fit: ModelFit, sisters: Sequence[ModelFit], arms: Arms) -> float | None:
    """The level of sound models of this arm: that of most others, or of the best where those of other arms have it."""
    levels = np.array([each.level for each in sisters if each is not fit])
    if len(levels) < 2:
        return None
    usual = float(levels.max() if len(levels) == 2 else np.median(levels))
    elsewhere = [each.level for _, fits in arms if fits is not sisters for each in fits]
    shared = 2 * np.count_nonzero(np.abs(levels - usual) <= 0.3 * usual) > len(levels)
    return usual if shared or (elsewhere and abs(np.median(elsewhere) - usual) <= 0.15 * usual) else None


def _described(
    arm: str, cause: str, fits: Sequence[ModelFit], models: int, rest: Sequence[ModelFit], *, trained_here: bool
) -> Broken:
    """One sentence each on what is seen, the likely cause, and what to do."""
    many = len(fits) > 1
    who = f"All {models} models of {arm}" if many and len(fits) == models else joined([fit.name for fit in fits])
    text = f"{who} look{'' if many else 's'} broken: {_seen(fit.given for fit in fits)}"
    text += f"; the other models have {_seen(fit.given for fit in rest)}." if rest else "."
    better = fits[0].better
    if cause == "constant":
        text += " Every row has the same scores."
    elif cause == "unknown" or better is None:
        rows = "Its training may have failed" if trained_here else "Its rows may be in another order than the labels"
        text += f" {rows}." if trained_here else f" {rows}, or its training may have failed."
    else:
        as_if = {
            "shifted": "the rows were shifted against the labels",
            "reversed": "the rows were in reverse order",
            "permuted": "the classes were in another order than the labels count them",
            "negated": "the scores had the wrong sign",
        }[cause]
        text += f" With {better.how}, the accuracy is {100 * better.accuracy:.1f} %, as if {as_if}."
    way_out = "save the scores again, or leave these models out, and judge again"
    if trained_here:
        way_out = "look at how these models were trained (--learning-rate, --epochs)"
    return Broken(cause, f"{text} Before anything else, {way_out}.")


def _seen(readings: Iterable[LabelFit]) -> str:
    """Accuracy and correlation, as means over models."""
    both = np.array([(each.accuracy, each.correlation) for each in readings]).mean(axis=0)
    return f"an accuracy of {100 * both[0]:.1f} % and a correlation with the labels of {number(both[1], 2)}"


def _copies(arms: Arms) -> list[Broken]:
    """Models of two arms with the same scores in every row, unless the arms hold the same models throughout."""
    found = list[Broken]()
    for place, (arm, fits) in enumerate(arms):
        for other, theirs in arms[place + 1 :]:
            pairs = [(x, y) for x in fits for y in theirs if not x.constant and x.same_scores(y)]
            if pairs and not (len(pairs) == len(fits) == len(theirs)):
                names = joined([f"{x.name} and {y.name}" for x, y in pairs])
                text = (
                    f"{names} have the same scores in every row, so a model of {arm} or {other} was probably copied "
                    "to the wrong place. Before anything else, replace the copy and judge again."
                )
                found.append(Broken("copied", text))
    return found
