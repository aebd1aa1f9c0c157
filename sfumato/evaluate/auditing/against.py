"""Two models on the same rows: paired differences, and which of them can be relied on."""

from __future__ import annotations

from collections.abc import Mapping

from sfumato.evaluate.auditing.findings import Finding
from sfumato.evaluate.metrics.compute import MetricValue, half_width
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.text import between, decimal

# Bonferroni: what a 95 % interval is multiplied by where one, two or three headline metrics are looked at together,
# from the normal's quantiles for 5 % divided by their number
_WIDER = {1: 1.0, 2: 2.2414 / 1.96, 3: 2.394 / 1.96}


def paired_differences(mine: Mapping[str, MetricValue], theirs: Mapping[str, MetricValue]) -> dict[str, MetricValue]:
    """One model less the other, with 95 % intervals, in every metric of which both know what each row adds."""
    differences: dict[str, MetricValue] = {}
    for name, defined in METRICS.items():
        one, other = mine.get(name), theirs.get(name)
        if one is None or other is None or one.part is None or other.part is None:
            continue
        part = one.part - other.part
        half, value, width = half_width(part, None), one.value - other.value, defined.highest - defined.lowest
        low, high = max(value - half, -width), min(value + half, width)
        differences[name] = MetricValue(value, low, high, part if defined.headline else None)
    return differences


def judge_differences(differences: Mapping[str, MetricValue]) -> tuple[list[Finding], list[str]]:
    """A finding for the headline metrics that differ reliably, or a note that none does."""
    headline = {name: number for name, number in differences.items() if METRICS[name].headline}
    words = {name: METRICS[name].label.removeprefix("hard ") for name in headline}
    differ: list[str] = []
    for name, number in headline.items():
        assert number.part is not None
        half = half_width(number.part, None)
        if abs(number.value) > _WIDER[len(headline)] * half and half > 0:
            better = (number.value > 0) == (METRICS[name].better == "higher")
            differ.append(
                f"{'better' if better else 'worse'} in {words[name]}, by {decimal(abs(number.value))} "
                f"({between(*sorted((abs(number.low), abs(number.high))))})"
            )
    if differ:
        says = f"Against the other model on the same rows, this one is {'; '.join(differ)}."
        advice = "Intervals are paired over rows; another training of either model would move both."
        return [Finding("against", says, advice)], []
    if not headline:
        return [], []
    *some, last = words.values()
    looked_at = " or ".join(filter(None, (", ".join(some), last)))
    together = ", looked at together." if some else "."
    return [], [f"Against the other model on the same rows there is no difference to rely on in {looked_at}{together}"]
