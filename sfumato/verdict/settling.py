"""What would settle an undecided comparison: how large a difference it could see, and which rows or seeds it needs.

Everything follows from the components of variance that the comparison itself estimated. These are known roughly, so the
text says "about".
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, inf, log10
from typing import NamedTuple

from sfumato import evaluate
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.evaluate.statistics.differences import MIN_MISTAKES, difference
from sfumato.evaluate.statistics.intervals import Estimate
from sfumato.text import plural
from sfumato.verdict.decision import Decision
from sfumato.verdict.wording import SHOWN

LIMIT = 100
"""The most seeds that are worth naming."""


class SeedCost(NamedTuple):
    """What one more model of every arm costs, in seconds of this machine."""

    seconds: float

    def of(self, models: int) -> str:
        """``, about 5 minutes here``, in round numbers, so that a run that is repeated says the same."""
        minutes = max(self.seconds * models / 60, 1.0)
        unit, amount = ("minute", minutes) if minutes < 60 else ("hour", minutes / 60)
        digit = 10 ** floor(log10(amount))
        round_number = min((digit, 2 * digit, 5 * digit, 10 * digit), key=lambda each: abs(log10(amount / each)))
        return f", about {plural(round_number, unit)} here"


def settle(decision: Decision, tests: int, *, grouped: bool = False, cost: SeedCost | None = None) -> list[str]:
    """What to do to settle it, and then what this comparison can detect.

    A difference is settled where it is found, or where it is shown to lie within the margin. Power is that of the first
    step of Holm, α = 0.05 / ``tests``, so that it holds whatever the other tests find; two one-sided tests need none.
    """
    base, other = decision.base, decision.other
    rows = "groups of test rows" if grouped else "test rows"
    names = decision.called("inconclusive", "not better") or decision.called("not worse")
    estimates = {name: difference(other.metrics[name], base.metrics[name], paired=decision.paired) for name in names}
    estimates = {name: each for name, each in estimates.items() if each.se > 0 and (each.seeds > 1 or each.folds > 1)}
    if not names:  # the metric that matters most was not tested
        fewer, so_far = min(base.mistakes, other.mistakes), base.errors.values.shape[1]
        more = f"about {_rounded(ceil(so_far * MIN_MISTAKES / fewer - 1e-6)):,}" if fewer > 0 else "more"
        return [f"To decide, use {more} {rows}, on which the models make at least {MIN_MISTAKES} mistakes."]
    if not estimates:
        return [f"To decide, use more {rows}, or train more models of each arm."]
    level = 1 - 0.05 / max(tests, 1)
    plans = [_Plan(name, each, level, decision.rows[name].get("margin") or 0.0) for name, each in estimates.items()]
    do = _by_seeds(decision, plans, cost) or _by_rows(plans, rows)
    metric, estimate = SHOWN[plans[0].metric], plans[0].estimate
    now, sees = evaluate.detectable_difference(estimate, level=level), list[str]()
    if now < METRICS[plans[0].metric].highest - METRICS[plans[0].metric].lowest:
        sees.append(f"The smallest difference in {metric.name} detectable with 80 % power is {metric.amount(now)}.")
    if estimate.seeds > 1:
        ever = evaluate.detectable_difference(estimate, seeds=inf, level=level)
        if sees and ever > 1e-6 * now:  # below that a variance of 0 was rounded
            sees.append(f"Below {metric.amount(ever)}, more seeds will not help: that takes more {rows}.")
    elif cost is not None:
        folds = estimate.folds
        sees.append(
            f"Three seeds per fold (--resume RUN --seeds 3) take {3 * folds} models of each arm{cost.of(3 * folds)}, "
            "and show how much of the uncertainty is due to seeds."
        )
    return [do, *sees]


class _Plan(NamedTuple):
    """How one metric could be settled."""

    metric: str
    estimate: Estimate
    level: float
    margin: float

    def seeds(self) -> tuple[int, bool] | None:
        """How many seeds settle it, and whether by showing that it lies within the margin; None where none do."""
        if self.estimate.seeds < 2:
            return None
        found = evaluate.seeds_to_settle(self.estimate, level=self.level, limit=LIMIT)
        inside = None
        if (room := self._room()) > 0:
            inside = evaluate.seeds_to_settle(self.estimate, difference=room, level=0.9, chance=0.9, limit=LIMIT)
        return _fewer(found, inside, self.estimate.seeds + 1)

    def rows(self) -> tuple[int, bool] | None:
        """How many rows settle it, likewise."""
        found = evaluate.rows_to_settle(self.estimate, level=self.level)
        inside = None
        if (room := self._room()) > 0:
            inside = evaluate.rows_to_settle(self.estimate, difference=room, level=0.9, chance=0.9)
        return _fewer(found, inside, self.estimate.rows + 1)

    def _room(self) -> float:
        """How far the difference lies within the margin."""
        return self.margin - abs(self.estimate.mean)

    def result(self, *, inside: bool) -> str:
        """What would come of it."""
        name, looks = SHOWN[self.metric].plain, SHOWN[self.metric].amount(abs(self.estimate.mean))
        if inside:
            return f"show that {name} is equivalent, if the difference is as small as it looks ({looks})"
        return f"settle {name}, if the difference is as large as it looks ({looks})"


def _fewer(found: int | None, inside: int | None, least: int) -> tuple[int, bool] | None:
    """The smaller of two numbers, at least ``least``, and whether it is the second."""
    both = [(max(each, least), second) for each, second in ((found, False), (inside, True)) if each is not None]
    return min(both, default=None)


def _by_seeds(decision: Decision, plans: Sequence[_Plan], cost: SeedCost | None) -> str:
    """How many seeds would settle the metric that needs the fewest; empty where none would."""
    needed = [(*seeds, plan) for plan in plans if (seeds := plan.seeds()) is not None]
    if not needed:
        return ""
    seeds, inside, plan = min(needed, key=lambda each: each[:2])
    time = "" if cost is None else cost.of((seeds - plan.estimate.seeds) * plan.estimate.folds)
    run = f"run about {seeds} seeds{' per fold' * (plan.estimate.folds > 1)} (--resume RUN --seeds {seeds}{time})"
    if not decision.other.arm.method:
        run = f"train about {seeds} models of each arm"
    return f"To decide, {run}: they would {plan.result(inside=inside)}."


def _by_rows(plans: Sequence[_Plan], rows: str) -> str:
    """How many rows would settle the metric that needs the fewest."""
    needed = [(*count, plan) for plan in plans if (count := plan.rows()) is not None]
    if not needed:
        seeds = f"Neither {LIMIT} seeds nor a" if plans[0].estimate.seeds > 1 else "No"
        return f"{seeds} realistic number of {rows} would settle differences as small as these look."
    count, inside, plan = min(needed, key=lambda each: each[:2])
    times = count / plan.estimate.rows
    many = f"about {_rounded(count):,} {rows} ({times:.1f} times as many)"
    return f"To decide, use {many}: they would {plan.result(inside=inside)}."


def _rounded(count: int) -> int:
    """Two digits, rounded up."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return ceil(count / step) * step
