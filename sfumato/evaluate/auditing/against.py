"""Two models on the same rows: paired differences, and which of them can be relied on and matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sfumato.evaluate.auditing.findings import Finding
from sfumato.evaluate.metrics.compute import Interval, MetricValue
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.scores.per_row import Rows
from sfumato.evaluate.statistics.differences import MIN_MISTAKES, Metric, Pair, compare_pairs
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.intervals import pseudo_values
from sfumato.evaluate.statistics.margins import FindingName, Margins
from sfumato.messages import Note
from sfumato.text import between, decimal, joined


@dataclass(frozen=True)
class PairedDifference(Interval):
    """This model minus the other in one metric, with its 95 % interval; the rest is None outside headline metrics."""

    finding: FindingName | None = None  # as of sfumato.evaluate.statistics.margins.finding_of
    margin: float | None = None  # the largest difference that does not matter, in the metric's unit
    p_adjusted: float | None = None  # for all headline tests


def paired_differences(
    mine: Mapping[str, MetricValue],
    theirs: Mapping[str, MetricValue],
    rows: tuple[Rows, Rows],
    margins: Margins,
    together: RowGroups | None = None,
) -> dict[str, PairedDifference]:
    """One model minus the other, in every metric of which both know what each row adds; tested as by ``judge``."""
    mine, theirs = (_ranked_exactly(each, own) for each, own in zip((mine, theirs), rows, strict=True))
    groups = together or RowGroups.each_row(len(rows[0].label))
    pairs, found = list[Pair](), dict[str, PairedDifference]()
    mistakes = min((1 - each["accuracy"].value) * len(groups.sizes) for each in (mine, theirs))
    for name in METRICS:
        one, other = (_metric(each.get(name), groups) for each in (mine, theirs))
        if one is None or other is None:
            continue
        value = mine[name].value - theirs[name].value
        found[name] = PairedDifference(value, math.nan, math.nan)
        if not (np.isfinite(one.values).all() and np.isfinite(other.values).all()):
            continue  # a row costs one of them an infinite log loss, which cannot be compared
        base = other
        if name == "eaurc":
            base = _metric(theirs["aurc"], groups) or other
        elif name == "accuracy":
            base = replace(other, values=1 - other.values, by_model=1 - other.by_model)
        pairs.append(Pair(name, one, other, base, paired=True, mistakes=mistakes))
    for each in compare_pairs(pairs, margins):
        found[each.metric] = PairedDifference(
            each.mean, each.low, each.high, each.finding, each.margin, each.p_adjusted
        )
    return found


def _ranked_exactly(metrics: Mapping[str, MetricValue], rows: Rows) -> Mapping[str, MetricValue]:
    """The metrics with what each row adds to the areas by leaving it out, as ``judge`` has it; an audit comes close."""
    ranked = RankedGroups(rows.score, rows.right)
    parts = {"aurc": pseudo_values(ranked.aurc(), ranked.aurc_without_each())}
    if (pair := METRICS["eaurc"].of_seed(rows)) is not None:
        parts["eaurc"] = pair[0]
    return {**metrics, **{name: replace(metrics[name], part=part) for name, part in parts.items() if name in metrics}}


def _metric(value: MetricValue | None, groups: RowGroups) -> Metric | None:
    """A number of one model as a table of one seed; None where it is not known what each row adds."""
    if value is None or value.part is None:
        return None
    return Metric.stacked([[(value.part, value.value)]], [groups])


def judge_differences(differences: Mapping[str, PairedDifference]) -> tuple[list[Finding], list[Note]]:
    """A finding for the headline metrics that are better or worse, and notes on the others."""
    by_finding: dict[str, list[str]] = {}
    for name, number in differences.items():
        if number.finding is not None and number.margin is not None:
            title = METRICS[name].label
            ends = between(*sorted((abs(number.low), abs(number.high))))
            by, margin = f"by {decimal(abs(number.value))} ({ends})", decimal(number.margin)
            text = {
                "equivalent": f"{title} (within {margin})",
                "not worse": f"{title} (by {margin})",
                "not better": f"{title} (by {margin})",
                "inconclusive": title,
                "not tested": title,
            }.get(number.finding, f"{number.finding} in {title}, {by}")
            by_finding.setdefault(number.finding, []).append(text)
    start = "Against the other model on the same rows, this one is"
    findings, notes = list[Finding](), list[Note]()
    if found := by_finding.get("better", []) + by_finding.get("worse", []):
        advice = "Intervals are paired over rows; another training of either model would move both."
        findings.append(Finding("differs-from-other", f"{start} {'; '.join(found)}.", advice))
    if little := by_finding.get("slightly better", []) + by_finding.get("slightly worse", []):
        notes.append(Note(code="small-difference", text=f"{start} {'; '.join(little)}: less than what would matter."))
    sentences = {
        "equivalent": "On the same rows, the two models are equivalent in {}.",
        "not worse": "On the same rows, this model is not worse than the other in {}.",
        "not better": "On the same rows, this model is not better than the other in {}.",
        "inconclusive": "On the same rows, there is no difference to rely on in {}, but these rows cannot rule out one "
        "that matters.",
        "not tested": f"Fewer than {MIN_MISTAKES} mistakes are not enough to test {{}}.",
    }
    for finding, sentence in sentences.items():
        if names := by_finding.get(finding):
            text = sentence.format(joined(names, "or" if finding == "inconclusive" else "and"))
            notes.append(Note(code=finding.replace(" ", "-"), text=text))
    return findings, notes
