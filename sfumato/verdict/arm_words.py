"""What arms are called in sentences: targets with their strength, or models of whose training nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from sfumato import theory
from sfumato.theory import Over
from sfumato.verdict.penalty_words import PenaltyOfArm
from sfumato.verdict.schedule_words import ScheduleOfArm


@dataclass(frozen=True)
class TrainedArm:
    """An arm whose strength is known: ε and what it is spread over, a schedule of it, or a penalty."""

    name: str
    eps: float | None
    over: str | None
    penalty: PenaltyOfArm | None = None
    schedule: ScheduleOfArm | None = None

    def told(self, num_classes: int) -> str:
        """The strength in words."""
        if self.penalty is not None:
            return self.penalty.told()
        if self.schedule is not None:
            return self.schedule.told(num_classes)
        return strength_in_words(self.eps or 0.0, self.over, num_classes)


@dataclass(frozen=True)
class JudgedArm:
    """Models that were trained anywhere; only their name is known."""

    name: str
    eps: float | None = 0.0
    over: str | None = None
    penalty: PenaltyOfArm | None = None
    schedule: ScheduleOfArm | None = None

    def told(self, num_classes: int) -> str:
        """The name: there is no strength to tell."""
        return self.name


def strength_in_words(eps: float, over: str | None, num_classes: int) -> str:
    """The strength of a target, with torch's argument for it.

    >>> strength_in_words(0.1, "others", 10)
    'ε = 0.1 over the other classes (label_smoothing=0.1111 in torch)'
    """
    if over is None:
        return f"(which leave {eps:.2g} of the mass off the label on average)"
    if over in ("mixup", "cutmix"):
        return f"(λ from Beta({eps:g}, {eps:g}), one a batch)"
    if over == "prior":
        return (
            f"ε = {eps:g} over the classes by their share of the training rows (sf.smooth_prior; torch's "
            "label_smoothing cannot express it)"
        )
    if over == "likeness":
        return (
            f"targets that rise with the likeness of the classes (sf.class_tables.similarity; {eps:.2g} of the "
            "mass is off the label on average)"
        )
    if over in ("order", "tree"):
        along, maker = ("in the order", "ordinal") if over == "order" else ("in the tree", "hierarchy")
        return (
            f"targets that fall with distance {along} of the classes (sf.class_tables.{maker}; {eps:.2g} of the mass "
            "is off the label on average)"
        )
    if over == "confusions":
        return (
            f"ε = {eps:g} over the other classes by how often each class is taken for them (sf.class_tables.confusion; "
            "torch's label_smoothing cannot express it)"
        )
    if over == "own predictions":
        return f"ε = {eps:g} to the model's own right predictions of the class (sf.OnlineSmoothing)"
    try:
        in_torch = (
            f"label_smoothing={theory.convert_eps(eps, num_classes, frm=cast('Over', over), to='all'):.4g} in torch"
        )
    except ValueError:
        in_torch = "torch's label_smoothing cannot express it"
    others, everyone = "the other classes", f"all {num_classes} classes"
    if num_classes == 2:
        others, everyone = "the other class", "both classes"
    where = others if over == "others" else everyone
    return f"ε = {eps:g} over {where} ({in_torch})"
