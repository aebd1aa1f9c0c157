"""Two models on the same rows: paired differences, and which of them can be relied on and matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sfumato.evaluate.auditing.findings import Finding
from sfumato.evaluate.metrics.compute import Interval, MetricValue, half_width, t95
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.intervals import t_quantile
from sfumato.evaluate.statistics.margins import Margins, Word, word_for
from sfumato.messages import Note
from sfumato.text import between, decimal, joined

# Bonferroni: what a 95 % interval is multiplied by where one, two or three headline metrics are looked at together,
# from the normal's quantiles for 5 % divided by their number
_WIDER = {1: 1.0, 2: 2.2414 / 1.96, 3: 2.394 / 1.96}


@dataclass(frozen=True)
class PairedDifference(Interval):
    """This model less the other in one metric, with its 95 % interval.

    Attributes:
        finding: the word for a headline metric, as of :func:`~sfumato.evaluate.statistics.margins.word_for`; else None.
        margin: the largest difference that does not matter, in the metric's unit; None outside the headline metrics.
    """

    finding: Word | None = None
    margin: float | None = None


def paired_differences(
    mine: Mapping[str, MetricValue],
    theirs: Mapping[str, MetricValue],
    margins: Margins,
    together: RowGroups | None = None,
) -> dict[str, PairedDifference]:
    """One model less the other, with 95 % intervals, in every metric of which both know what each row adds."""
    both: dict[str, Column] = {}
    for name in METRICS:
        one, other = mine.get(name), theirs.get(name)
        if one is not None and other is not None and one.part is not None and other.part is not None:
            with np.errstate(invalid="ignore"):  # a row may cost both models an infinite log loss
                both[name] = one.part - other.part
    wider = _WIDER.get(sum(METRICS[name].headline for name in both), 1.0)
    differences: dict[str, PairedDifference] = {}
    for name, part in both.items():
        defined, value, half = METRICS[name], mine[name].value - theirs[name].value, half_width(part, None, together)
        width = defined.highest - defined.lowest
        ends = max(value - half, -width), min(value + half, width)
        if not defined.headline:
            differences[name] = PairedDifference(value, *ends)
            continue
        base = theirs["aurc" if name == "eaurc" else name]
        number, fraction = margins.of(name)
        margin, reliable = number + fraction * base.value, half > 0 and abs(value) > wider * half
        assert base.part is not None
        above, below = (_half90(part - sign * fraction * base.part, together) for sign in (1, -1))
        inside = value - margin + above <= 0 <= value + margin - below
        word = word_for(value, inside=inside, reliable=reliable, better=defined.better or "")
        differences[name] = PairedDifference(value, *ends, word, margin)
    return differences


def _half90(part: Column, together: RowGroups | None) -> float:
    """Half the width of the 90 % interval of the mean of parts."""
    half = half_width(part, None, together)
    df = (len(part) if together is None else together.effective) - 1
    return half * t_quantile(df, 0.95) / t95(df) if half > 0 else 0.0


def judge_differences(differences: Mapping[str, PairedDifference]) -> tuple[list[Finding], list[Note]]:
    """A finding for the headline metrics that are better or worse, and notes on the others."""
    said: dict[str, list[str]] = {}
    for name, number in differences.items():
        if number.finding is not None and number.margin is not None:
            title = METRICS[name].label
            ends = between(*sorted((abs(number.low), abs(number.high))))
            told = {"the same": f"{title} (within {decimal(number.margin)})", "not settled": title}
            by = f"{number.finding} in {title}, by {decimal(abs(number.value))} ({ends})"
            said.setdefault(number.finding, []).append(told.get(number.finding, by))
    start = "Against the other model on the same rows, this one is"
    findings, notes = list[Finding](), list[Note]()
    if found := said.get("better", []) + said.get("worse", []):
        advice = "Intervals are paired over rows; another training of either model would move both."
        findings.append(Finding("differs-from-other", f"{start} {'; '.join(found)}.", advice))
    if little := said.get("better by little", []) + said.get("worse by little", []):
        notes.append(Note(code="small-difference", text=f"{start} {'; '.join(little)}: less than what would matter."))
    if same := said.get("the same"):
        notes.append(
            Note(code="same-as-other", text=f"On the same rows, the two models are the same in {joined(same)}.")
        )
    if unsettled := said.get("not settled"):
        text = (
            f"On the same rows, there is no difference to rely on in {joined(unsettled, 'or')}, but these rows cannot "
            "rule out one that matters."
        )
        notes.append(Note(code="not-settled", text=text))
    return findings, notes
