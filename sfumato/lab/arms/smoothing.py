"""Arms of plain smoothing, smoothing towards the classes' shares, and strengths that move with the step.

The ``eps`` of an arm with a schedule is its last strength, and so are its closed form and its target. What trains at
any other step is proved too: the loss object that trained is probed at the step that it ended with, and then at others.
In the middle a line and a cosine are equal, so that step is not among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.lab.arms.kind import Arm, ArmKind, ArmSpec, MeasuredArm, Parameter, TrainingLabels, Words, floor_and_gap
from sfumato.lab.errors import ArmError, OptionError
from sfumato.verdict.arms import call

if TYPE_CHECKING:
    import torch

STRENGTH = Parameter("eps", "its strength", "above 0 and at most 1", lambda eps: 0 < eps <= 1)
_FROM_TO = tuple(
    Parameter(name, f"its {called} strength", "at least 0 and at most 1", lambda eps: 0 <= eps <= 1)
    for name, called in (("start", "first"), ("end", "last"))
)
_AFTER = Parameter(
    "after", "the part of the steps that is smoothed", "above 0 and below 1", lambda part: 0 < part < 1, 0.8
)


def _one_hot(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    return Arm("one-hot", 0.0, "others")


def _smoothed(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    (eps,) = spec.numbers
    return Arm(spec.arm_name, eps, spec.kind.name)


def _prior(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """Smoothing towards the share of each class among the training rows."""
    import numpy as np

    (eps,), shares = spec.numbers, rows.shares
    floor, gap = floor_and_gap((1 - eps) * np.eye(rows.num_classes) + eps * shares, shares)
    return _PriorArm(spec.arm_name, eps, "prior", floor, gap, tuple(shares.tolist()), words=spec.kind.words)


@dataclass(frozen=True)
class _PriorArm(MeasuredArm):
    """(1−ε)·e_y + ε·prior, where the prior is the share of each class among the training rows."""

    prior: tuple[float, ...]

    def loss(self) -> torch.nn.Module:
        import torch

        from sfumato.lab.train.objectives import TargetLoss
        from sfumato.targets.labelled import smooth_prior

        prior = torch.tensor(self.prior, dtype=torch.float64)
        return TargetLoss(lambda logits, labels: smooth_prior(labels, prior.to(logits.device), self.strength))

    def target(self, label: int, num_classes: int) -> list[float]:
        return [(1 - self.strength) * (k == label) + self.strength * share for k, share in enumerate(self.prior)]


@dataclass(frozen=True)
class ScheduledArm(Arm):
    """(1−ε)·e_y + ε/K, where ε is a function of the step alone."""

    kind: str

    @property
    def schedule(self) -> dict[str, Any]:
        return {"kind": self.kind, "strengths": dict(self.strengths)}

    def at(self, step: int, steps: int) -> float:
        """The strength of one step, counted from 0, of so many."""
        from sfumato import schedules

        return getattr(schedules, self.kind)(step, steps, **dict(self.strengths))

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import ScheduledLoss

        return ScheduledLoss(self.kind, dict(self.strengths))

    def code(self) -> str:
        strengths = [f"{name}={value:g}" if name == "after" else f"{value:g}" for name, value in self.strengths]
        eps = call(f"eps = sf.schedules.{self.kind}", "step", "steps", *strengths)
        return (
            f"criterion = sf.CrossEntropyLoss()  # once\n{eps}  # before each step\n"
            "criterion.label_smoothing = eps\nloss = criterion(logits, labels)"
        )

    def refuse_steps(self, steps: int) -> None:
        """Refuse a training that is too short for the strength to come to its last value."""
        last = self.at(steps - 1, steps)
        if last != self.eps:
            where = "the only step" if steps == 1 else f"the last of {steps:,} steps"
            raise OptionError(
                f"the strength of {self.name} is still {last:g} at {where}, and never comes to {self.strength:g}; give "
                "more --epochs" + (" or a smaller part of the steps" if self.kind == "drop_late" else "")
            )

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Probe the loss at the step that it ended with, and as it was after 0, 1 and 3 quarters of the steps."""
        from sfumato.lab.train.objectives import ScheduledLoss

        if not isinstance(loss, ScheduledLoss):
            raise ArmError(f'arm "{self.name}" should have a strength that moves, and its loss has none')
        ended, steps = loss.at
        proof = self._verified(loss, ended, steps, num_classes)
        for step in (0, steps // 4, 3 * steps // 4):
            loss.begin_step(step, steps, 1.0)
            self._verified(loss, step, steps, num_classes)
        return proof

    def _verified(self, loss: Any, step: int, steps: int, num_classes: int) -> list[float]:
        return Arm(f"{self.name} at step {step}", self.at(step, steps), "all").verify(loss, num_classes)


def _scheduled(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """The arm of a schedule that is called as its kind."""
    kind, strengths = spec.kind.name, spec.named
    last = 0.0 if kind == "drop_late" else strengths["end"]
    if kind != "drop_late" and strengths["start"] == last:
        instead = f"all:{last:g}" if last else "onehot"
        raise OptionError(f"--arm {kind}:{last:g}:{last:g} has a strength that never moves: use {instead}")
    return ScheduledArm(spec.arm_name, last, "all", kind, words=spec.kind.words, strengths=tuple(strengths.items()))


def _course(course: str, form: str, kind: str) -> Words:
    """The words of a schedule, from how its strength moves in a table and in a sentence."""
    return Words(
        strength=f"{form}, spread over all {{classes}} classes (sf.schedules.{kind})",
        target=f"{course} over all",
        title="{name} (all)",
        code_strength=f"{course}, over all",
        code_note="A step is a batch, counted from 0. torch.nn.CrossEntropyLoss does as well.",
    )


SMOOTHING = (
    ArmKind("onehot", "onehot", "e_y", _one_hot),
    ArmKind("others", "others:0.1", "(1−ε)·e_y + ε·u, u even over the others", _smoothed, (STRENGTH,)),
    ArmKind("all", "all:0.1", "(1−ε)·e_y + ε·u, u even over all", _smoothed, (STRENGTH,)),
    ArmKind(
        "prior",
        "prior:0.1",
        "(1−ε)·e_y + ε·π, π the classes' shares",
        _prior,
        (STRENGTH,),
        note="spread by the classes' shares",
        words=Words(
            strength="ε = {eps:g} over the classes by their share of the training rows (sf.smooth_prior; torch's "
            "label_smoothing cannot express it)",
            code="target = sf.smooth_prior(labels, shares, {eps:g})  # shares of the classes among the training rows\n"
            "loss = sf.cross_entropy(logits, target)",
            code_strength="{eps:g} over the classes' shares",
        ),
    ),
)

SCHEDULES = (
    ArmKind(
        "linear",
        "linear:0.2:0",
        "(1−ε)·e_y + ε·u, u even over all, ε on a line over the steps",
        _scheduled,
        _FROM_TO,
        note="ε over all classes, from its first value to its last on a line over the steps",
        words=_course(
            "{start:g} to {end:g}", "ε from {start:g} to {end:g} on a straight line over the steps", "linear"
        ),
    ),
    ArmKind(
        "cosine",
        "cosine:0.2:0",
        "(1−ε)·e_y + ε·u, u even over all, ε on half a cosine over the steps",
        _scheduled,
        _FROM_TO,
        note="the same on half a cosine",
        words=_course("{start:g} to {end:g}", "ε from {start:g} to {end:g} on half a cosine over the steps", "cosine"),
    ),
    ArmKind(
        "drop_late",
        "drop_late:0.1:0.8",
        "(1−ε)·e_y + ε·u, u even over all, then e_y after this part of the steps",
        _scheduled,
        (STRENGTH, _AFTER),
        note="ε over all classes, and the part of the steps after which there is none",
        words=_course(
            "{eps:g}, then 0", "ε = {eps:g} for the first {after_percent} of the steps and 0 after them", "drop_late"
        ),
    ),
)
