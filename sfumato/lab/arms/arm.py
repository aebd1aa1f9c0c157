"""An arm: one target in a comparison, the loss that trains it, and the proof that the loss used it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from sfumato import conventions, theory
from sfumato.lab.arms.kind import AskedArm, TrainingLabels
from sfumato.lab.errors import ArmError
from sfumato.verdict.arm_words import strength_in_words
from sfumato.verdict.penalty_words import PenaltyOfArm
from sfumato.verdict.schedule_words import ScheduleOfArm

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.theory import Over


@dataclass(frozen=True)
class Arm:
    """One target of a comparison.

    Attributes:
        name: ``"one-hot"``, ``"smoothed"``, or the target that ``--arm`` named.
        eps: strength ε, the last one where it moves; for arms that mix, α of the Beta distribution. None for
            penalties, which have no ε.
        over: what ε is spread over; at ε = 0 this makes no difference. None for soft labels.
    """

    name: str
    eps: float | None
    over: Over | Literal["prior", "mixup", "cutmix"] | None

    @property
    def penalty(self) -> PenaltyOfArm | None:
        """The penalty that it trains with; None for an arm that trains towards a target."""
        return None

    @property
    def schedule(self) -> ScheduleOfArm | None:
        """How the strength moves with the step; None for an arm whose strength stands still."""
        return None

    def refuse_steps(self, steps: int) -> None:
        """Refuse a training of so many steps if the arm cannot be trained in it; every other arm can.

        Raises:
            OptionError: it says what to change.
        """

    def loss(self) -> torch.nn.Module:
        """A new loss module for this arm."""
        from sfumato.loss import CrossEntropyLoss

        return CrossEntropyLoss(label_smoothing=self.strength, over=self._over)

    def floor(self, num_classes: int) -> float:
        """The smallest value of the loss, in nats: a mean over the training rows where it differs between them."""
        return theory.loss_floor(self.strength, num_classes, over=self._over)

    def gap(self, num_classes: int) -> float:
        """The mean logit gap at the optimum, in nats; ``inf`` for one-hot and for arms that mix."""
        return theory.optimal_gap(self.strength, num_classes, over=self._over)

    def target(self, label: int, num_classes: int) -> list[float]:
        """The whole target of one label, (K,); an example of one where the label alone does not decide it."""
        true, other = conventions.CONVENTIONS[self._over].target(self.strength, num_classes)
        return [true if k == label else other for k in range(num_classes)]

    def told(self, num_classes: int) -> str:
        """The strength in words, with torch's argument for it."""
        return strength_in_words(self.strength, self.over, num_classes)

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Probe the loss object that trained, and refuse a result that another target made.

        Returns:
            ``[q_true, q_other]`` of the last class, as the gradient tells it; the other class is the first one.

        Raises:
            ArmError: the target implied by the loss is not this arm's.
        """
        from sfumato.probe import implied_target

        q: list[float] = []
        for label in (0, num_classes - 1):
            implied = implied_target(self.probed(loss, num_classes), num_classes, label=label)
            q, wanted = implied.target.tolist(), self.target(label, num_classes)
            if max(abs(a - b) for a, b in zip(q, wanted, strict=True)) > 1e-9 or abs(implied.mass - 1) > 1e-9:
                other = (label + 1) % num_classes
                raise ArmError(
                    f'arm "{self.name}" (ε = {self.strength:g} over {self.over}) should train towards '
                    f"{wanted[label]:.6g} on the label and {wanted[other]:.6g} on each other class, but its loss "
                    f"implies {q[label]:.6g} and {q[other]:.6g}; nothing of this comparison can be trusted"
                )
        return [round(q[num_classes - 1], 12), round(q[0], 12) + 0.0]  # the rest is rounding of the probe itself

    def probed(self, loss: Any, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss as a function of logits and labels, whose target is that of :meth:`target`."""
        return loss

    @property
    def strength(self) -> float:
        """The strength ε, of an arm that has one."""
        assert self.eps is not None, "an arm towards a target has a strength"
        return self.eps

    @property
    def _over(self) -> Over:
        return cast("Over", self.over)


def arms_of(eps: float, over: Over) -> tuple[Arm, ...]:
    """One-hot and smoothed, in the order in which they are shown."""
    return Arm("one-hot", 0.0, over), Arm("smoothed", eps, over)


def rungs_of(strengths: Sequence[float], over: Over) -> tuple[Arm, ...]:
    """The arms of a ladder: one-hot, and each strength above 0, rising.

    >>> [arm.name for arm in rungs_of([0.1, 0, 0.05], "others")]
    ['one-hot', 'smoothed-0.05', 'smoothed-0.1']
    """
    softened = sorted({eps for eps in strengths if eps > 0})
    return Arm("one-hot", 0.0, over), *(Arm(f"smoothed-{eps:g}", eps, over) for eps in softened)


def one_hot_arm(asked: AskedArm, rows: TrainingLabels) -> Arm:
    """One-hot labels."""
    return Arm("one-hot", 0.0, "others")


def smoothed_arm(asked: AskedArm, rows: TrainingLabels) -> Arm:
    """Smoothing over the others or over all, as the kind is called."""
    (eps,) = asked.numbers
    return Arm(asked.arm_name, eps, "all" if asked.kind.name == "all" else "others")
