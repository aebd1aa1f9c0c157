"""Arms whose strength moves with the step, as the functions of ``sf.schedules`` say; it is spread over all classes.

The ``eps`` of such an arm is its last strength, and so are its closed form and its target. What trains at any other
step is proved too: the loss object that trained is probed at the step that it ended with, and then at others. In the
middle a line and a cosine are equal, so that step is not among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.lab.arms.arm import Arm
from sfumato.lab.arms.kind import AskedArm, TrainingLabels
from sfumato.lab.errors import ArmError, OptionError
from sfumato.verdict.schedule_words import ScheduleOfArm

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ScheduledArm(Arm):
    """(1−ε)·e_y + ε/K, where ε is a function of the step alone."""

    kind: str
    strengths: tuple[tuple[str, float], ...]  # by the names of the function's arguments

    @property
    def schedule(self) -> ScheduleOfArm:
        """The schedule with its strengths."""
        return ScheduleOfArm(self.kind, dict(self.strengths))

    def at(self, step: int, steps: int) -> float:
        """The strength of one step, counted from 0, of so many."""
        from sfumato import schedules

        strength: float = getattr(schedules, self.kind)(step, steps, **dict(self.strengths))
        return strength

    def loss(self) -> torch.nn.Module:
        """A new loss module, which is told each step."""
        from sfumato.lab.train.objectives import ScheduledLoss

        return ScheduledLoss(self.kind, dict(self.strengths))

    def told(self, num_classes: int) -> str:
        """How the strength moves, in words."""
        return self.schedule.told(num_classes)

    def refuse_steps(self, steps: int) -> None:
        """Refuse a training that is too short for the strength to come to its last value.

        Raises:
            OptionError: it says what to change.
        """
        last = self.at(steps - 1, steps)
        if last != self.eps:
            where = "the only step" if steps == 1 else f"the last of {steps:,} steps"
            raise OptionError(
                f"the strength of {self.name} is still {last:g} at {where}, and never comes to {self.strength:g}; give "
                "more --epochs" + (" or a smaller part of the steps" if self.kind == "drop_late" else "")
            )

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Probe the loss at the step that it ended with, and as it was after 0, 1 and 3 quarters of the steps.

        Returns:
            ``[q_true, q_other]`` at the step that it ended with.

        Raises:
            ArmError: the target of one of these steps is not that of the schedule.
        """
        from sfumato.lab.train.objectives import ScheduledLoss

        if not isinstance(loss, ScheduledLoss):
            raise ArmError(f'arm "{self.name}" should have a strength that moves, and its loss has none')
        ended, steps = loss.at
        found = self._verified(loss, ended, steps, num_classes)
        for step in (0, steps // 4, 3 * steps // 4):
            loss.begin_step(step, steps, 1.0)
            self._verified(loss, step, steps, num_classes)
        return found

    def _verified(self, loss: Any, step: int, steps: int, num_classes: int) -> list[float]:
        return Arm(f"{self.name} at step {step}", self.at(step, steps), "all").verify(loss, num_classes)


def scheduled_arm(asked: AskedArm, rows: TrainingLabels) -> Arm:
    """The arm of a schedule that is called as its kind."""
    kind, strengths = asked.kind.name, asked.named
    last = 0.0 if kind == "drop_late" else strengths["end"]
    if kind != "drop_late" and strengths["start"] == last:
        instead = f"all:{last:g}" if last else "onehot"
        raise OptionError(f"--arm {kind}:{last:g}:{last:g} has a strength that never moves: use {instead}")
    return ScheduledArm(asked.arm_name, last, "all", kind, tuple(strengths.items()))
