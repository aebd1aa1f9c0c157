"""From the findings of one arm against the first to one of three states: take it, keep the first, or undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sfumato.evaluate.metrics.registry import HEADLINE, METRICS
from sfumato.runs.schema import ArmDifference
from sfumato.verdict.analyse import ArmResult, belong_together

HARMLESS = frozenset({"better", "slightly better", "equivalent", "not worse", "slightly worse", "not tested"})
"""Findings that rule out that an arm is worse by as much as matters; what cannot be tested is no argument."""

USELESS = frozenset({"slightly better", "equivalent", "not better", "slightly worse", "worse", "not tested"})
"""Findings that rule out that an arm is better by as much as matters."""

AIMS = {"accuracy": "accuracy", "probabilities": "nll_after_temperature", "ranking": "eaurc"}
"""What a model may be for, and the headline metric that measures it."""


@dataclass(frozen=True)
class Decision:
    """What follows from the findings of one arm against the first."""

    base: ArmResult
    other: ArmResult
    rows: Mapping[str, ArmDifference]  # the headline differences by metric
    paired: bool
    first: str | None = None  # the metric that matters most

    @classmethod
    def of(
        cls,
        base: ArmResult,
        other: ArmResult,
        differences: Sequence[ArmDifference],
        *,
        paired: bool,
        first: str | None = None,
    ) -> Decision:
        """The decision on one arm out of the differences of all."""
        rows = {
            each["metric"]: each
            for each in differences
            if each["arm"] == other.arm.name and each["against"] == base.arm.name and each["metric"] in HEADLINE
        }
        return cls(base, other, rows, belong_together(other, base, paired=paired), first)

    @property
    def deciding(self) -> tuple[str, ...]:
        """The headline metrics that decide: all, or the one that matters most."""
        return tuple(HEADLINE) if self.first is None else (self.first,)

    def called(self, *findings: str) -> list[str]:
        """The deciding metrics that have one of these findings."""
        return [name for name in self.deciding if self.rows[name]["finding"] in findings]

    @property
    def aim(self) -> str:
        """``", for accuracy"`` where one metric matters most; else nothing."""
        return next((f", for {aim}" for aim, metric in AIMS.items() if metric == self.first), "")

    @cached_property
    def verdict(self) -> str:
        """``"other"``, ``"base"`` or ``"undecided"``.

        The other arm is taken where it is better in one headline metric and not worse, beyond the margin, in the rest;
        the first where the other is worse in one and better in none, or cannot be better by as much as matters. Where
        one metric matters most, that one decides.
        """
        if self.first is not None:
            finding = self.rows[self.first]["finding"] or ""
            return "other" if finding == "better" else "base" if finding in USELESS - {"not tested"} else "undecided"
        findings = {each["finding"] or "" for each in self.rows.values()}
        if "better" in findings:
            return "other" if findings <= HARMLESS else "undecided"
        return "base" if "worse" in findings or findings <= USELESS else "undecided"

    @property
    def state(self) -> str:
        """The state of the verdict, for JSON: in a comparison with one-hot its own names, elsewhere those of arms."""
        one_hot = self.base.arm.one_hot and bool(self.other.arm.method)
        return {
            "other": "smooth" if one_hot else "switch",
            "base": "keep-one-hot" if one_hot else "keep",
        }.get(self.verdict, "undecided")

    def risk(self, *, of_other: bool) -> tuple[float, str, float]:
        """How much worse one of the two may be: in margins, in which metric, and in its unit; by the 95 % intervals."""
        worst = []
        for name in self.deciding:
            row, higher = self.rows[name], METRICS[name].better == "higher"
            loss = -row["low"] if higher == of_other else row["high"]
            margin = row.get("margin") or 0.0
            if row["finding"] != "not tested" and margin > 0:
                worst.append((max(loss, 0.0) / margin, name, max(loss, 0.0)))
        return max(worst, default=(0.0, self.deciding[0], 0.0))


STATES = {
    "smooth": "Smooth",
    "switch": "Switch",
    "keep-one-hot": "Keep one-hot",
    "keep": "Keep",
    "undecided": "Undecided",
}
"""The word for each state of a verdict."""
