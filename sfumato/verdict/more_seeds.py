"""What would settle a comparison that found nothing: how large a difference it could see, and how many seeds it needs.

Everything follows from the components of variance that the comparison itself estimated. These are known roughly, so the
text says "about".
"""

from __future__ import annotations

from math import inf

from sfumato import evaluate
from sfumato.verdict.analyse import HEADLINE, SHOWN, ArmResult

LIMIT = 100
"""The most seeds that are worth naming."""


def settle(base: ArmResult, other: ArmResult, tests: int) -> str:
    """One clause on what this comparison can see and what more seeds would; empty where nothing varies.

    Power is that of the first step of Holm, α = 0.05 / ``tests``, so that it holds whatever the other tests say.

    Args:
        base: the arm compared against.
        other: the arm that does not differ reliably from it.
        tests: p-values adjusted together.
    """
    estimates = {name: other.metrics[name].minus(base.metrics[name]).estimate() for name in HEADLINE}
    estimates = {name: estimate for name, estimate in estimates.items() if estimate.se > 0}
    if not estimates:
        return ""
    level = 1 - 0.05 / tests
    shown, estimate = next(iter(estimates.items()))
    now, ever = (evaluate.detectable_difference(estimate, seeds=seeds, level=level) for seeds in (estimate.seeds, inf))
    text = (
        f"with {estimate.seeds} seeds and {estimate.rows} distinct test rows a difference in {SHOWN[shown][0]} of "
        f"{_amount(shown, now)} would be found four times in five"
    )
    needed = {name: evaluate.seeds_to_settle(each, level=level, limit=LIMIT) for name, each in estimates.items()}
    enough = {name: max(seeds, estimate.seeds + 1) for name, seeds in needed.items() if seeds is not None}
    if enough:
        soonest = min(enough, key=lambda name: enough[name])
        text += (
            f", and about {enough[soonest]} seeds would settle {SHOWN[soonest][0]} if it differs by as much as it "
            f"looks ({_amount(soonest, abs(estimates[soonest].mean))})"
        )
    else:
        text += f", and not even {LIMIT} seeds would settle differences as small as these look"
    if ever > 0:
        text += f"; one in {SHOWN[shown][0]} below {_amount(shown, ever)} no number of seeds can settle, only more rows"
    return text


def _amount(name: str, value: float) -> str:
    """Two digits, in the unit of the metric."""
    _, factor, _, unit = SHOWN[name]
    number = f"{float(f'{factor * value:.2g}'):g}"
    return f"{number}{unit.removesuffix('s') if number == '1' else unit}"
