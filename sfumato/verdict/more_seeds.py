"""What would settle a comparison that found nothing: how large a difference it could see, and how many seeds it needs.

Everything follows from the components of variance that the comparison itself estimated. These are known roughly, so the
text says "about".
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sfumato import evaluate
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.verdict.analyse import HEADLINE, ArmResult, difference
from sfumato.verdict.wording import SHOWN

LIMIT = 100
"""The most seeds that are worth naming."""


def settle(
    base: ArmResult,
    other: ArmResult,
    tests: int,
    names: Sequence[str] = HEADLINE,
    *,
    paired: bool = True,
    grouped: bool = False,
) -> list[str]:
    """What to do to settle it, and then what this comparison can see; nothing where nothing varies.

    Power is that of the first step of Holm, α = 0.05 / ``tests``, so that it holds whatever the other tests say.
    """
    rows, each_row = ("groups of test rows",) * 2 if grouped else ("test rows", "distinct test rows")
    estimates = {name: difference(other.metrics[name], base.metrics[name], paired=paired) for name in names}
    estimates = {name: estimate for name, estimate in estimates.items() if estimate.se > 0 and estimate.seeds > 1}
    if not estimates:
        return []
    level = 1 - 0.05 / tests
    shown, estimate = next(iter(estimates.items()))
    now, ever = (evaluate.detectable_difference(estimate, seeds=seeds, level=level) for seeds in (estimate.seeds, inf))
    rows_matter = ever > 1e-6 * now  # below that a variance of 0 was rounded
    metric = SHOWN[shown]
    whole = METRICS[shown].highest - METRICS[shown].lowest
    sees = [
        f"With {estimate.seeds} seeds and {estimate.rows} {each_row}, a difference in the {metric.name} of "
        f"{metric.amount(now)} would be found four times in five."
    ] if now < whole else []  # fmt: skip
    needed = {name: evaluate.seeds_to_settle(each, level=level, limit=LIMIT) for name, each in estimates.items()}
    enough = {name: max(seeds, estimate.seeds + 1) for name, seeds in needed.items() if seeds is not None}
    run = "train about {} models of each arm" if not other.arm.method else "run about {} seeds (--seeds)"
    if enough:
        soonest = min(enough, key=lambda name: enough[name])
        do = (
            f"To settle whether it helps, {run.format(enough[soonest])}: they would settle the "
            f"{SHOWN[soonest].name}, if it differs by as much as it looks "
            f"({SHOWN[soonest].amount(abs(estimates[soonest].mean))})."
        )
    elif rows_matter:
        do = (
            f"To settle whether it helps, use more {rows}: with these {estimate.rows:,}, not even {LIMIT} seeds "
            "would settle differences as small as these look."
        )
    else:
        do = f"Not even {LIMIT} seeds would settle differences as small as these look."
    if rows_matter:
        sees.append(
            f"Differences in the {metric.name} below {metric.amount(ever)} cannot be seen however many seeds are run: "
            f"that takes more {rows}."
        )
    return [do, *sees]
