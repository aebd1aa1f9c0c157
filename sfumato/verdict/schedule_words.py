"""What schedules of the strength are called in sentences, and with which function of ``sf.schedules`` they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sfumato.runs.schema import ArmSummary

_FORMS = {"linear": "a straight line", "cosine": "half a cosine"}


@dataclass(frozen=True)
class ScheduleOfArm:
    """The schedule of an arm: its function in ``sf.schedules``, and that function's strengths by their names."""

    kind: str
    strengths: Mapping[str, float]

    def course(self) -> str:
        """How the strength moves, from the first step to the last.

        >>> ScheduleOfArm("linear", {"start": 0.2, "end": 0.0}).course()
        '0.2 to 0'
        >>> ScheduleOfArm("drop_late", {"eps": 0.1, "after": 0.8}).course()
        '0.1, then 0'
        """
        if self.kind == "drop_late":
            return f"{self.strengths['eps']:g}, then 0"
        if self.kind in _FORMS:
            return f"{self.strengths['start']:g} to {self.strengths['end']:g}"
        return self.kind

    def told(self, num_classes: int) -> str:
        """The schedule in words.

        >>> ScheduleOfArm("linear", {"start": 0.2, "end": 0.0}).told(10)
        'ε from 0.2 to 0 on a straight line over the steps, spread over all 10 classes (sf.schedules.linear)'
        """
        if self.kind == "drop_late":
            kept = f"{100 * self.strengths['after']:g} %"
            moves = f"ε = {self.strengths['eps']:g} for the first {kept} of the steps and 0 after them"
        elif self.kind in _FORMS:
            moves = f"ε from {self.course()} on {_FORMS[self.kind]} over the steps"
        else:
            moves = "ε that moves with the step"
        return f"{moves}, spread over all {num_classes} classes (sf.schedules.{self.kind})"

    def arguments(self) -> list[str]:
        """The strengths as arguments of the function, after the step and the number of steps.

        >>> ScheduleOfArm("drop_late", {"eps": 0.1, "after": 0.8}).arguments()
        ['0.1', 'after=0.8']
        """
        return [f"{name}={value:g}" if name == "after" else f"{value:g}" for name, value in self.strengths.items()]


def schedule_of(arm: ArmSummary) -> ScheduleOfArm | None:
    """The schedule of an arm of a summary; None where its strength stands still."""
    found = arm.get("schedule")
    return None if found is None else ScheduleOfArm(found["kind"], found["strengths"])
