"""The time budget (``--time-budget``): epochs are cut until the whole comparison fits."""

from __future__ import annotations

from dataclasses import replace

from sfumato.lab.cost_estimate import Cost, duration, estimate
from sfumato.lab.errors import OptionError
from sfumato.lab.prepared import Prepared
from sfumato.lab.train.plan import Plan

_LEAST_EPOCHS = 3


def in_time(ready: Prepared) -> Prepared:
    """The comparison with as many epochs as ``--time-budget`` allows; without a budget, the comparison unchanged.

    Raises:
        OptionError: fewer than three epochs would be left.
    """
    minutes = ready.options.time_budget
    if minutes is None:
        return ready
    plan = within(ready.plan, estimate(ready), 60 * minutes)
    if plan == ready.plan:
        return ready
    return replace(ready, plan=plan, options=replace(ready.options, epochs=plan.epochs))


def note_on_cut(full: Plan, cut: Plan) -> str:
    """What a reader of the verdict should know of a budget that was cut."""
    return (
        f"Cut from {full.epochs:,} to {cut.epochs:,} epochs by --time-budget: the arms may be short of their "
        "optima, and a full budget may change the verdict."
    )


def within(plan: Plan, expected: Cost, budget: float) -> Plan:
    """A plan, whose cost is known, with as many epochs as a budget in seconds allows.

    Raises:
        OptionError: fewer than three epochs would be left.
    """
    if expected.seconds <= budget:
        return plan
    epochs = int(plan.epochs * budget / expected.seconds)
    if epochs < _LEAST_EPOCHS:
        raise OptionError(
            f"--time-budget {budget / 60:g} minutes is too short: {expected.runs} runs of {plan.epochs:,} epochs take "
            f"about {duration(expected.seconds)} here, and less than {_LEAST_EPOCHS} epochs would be left; give more "
            "time, fewer --seeds, or a smaller --model"
        )
    return replace(plan, epochs=epochs)
