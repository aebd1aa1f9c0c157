"""An arm: one target in a comparison, the loss that trains it, and the proof that the loss used it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato import conventions, theory

if TYPE_CHECKING:
    import torch

    from sfumato.loss import CrossEntropyLoss
    from sfumato.theory import Over


class ArmError(RuntimeError):
    """An arm was not trained towards its own target: its result must not be shown."""


@dataclass(frozen=True)
class Arm:
    """One target of a comparison.

    Attributes:
        name: ``"one-hot"``, ``"smoothed"``.
        eps: strength ε.
        over: what ε is spread over; at ε = 0 it makes no difference.
    """

    name: str
    eps: float
    over: Over

    def loss(self) -> CrossEntropyLoss:
        """A new loss module for this arm."""
        from sfumato.loss import CrossEntropyLoss

        return CrossEntropyLoss(label_smoothing=self.eps, over=self.over)

    def floor(self, num_classes: int) -> float:
        """The smallest value of the loss, in nats."""
        return theory.loss_floor(self.eps, num_classes, over=self.over)

    def gap(self, num_classes: int) -> float:
        """The logit gap at the optimum, in nats; ``inf`` for one-hot."""
        return theory.optimal_gap(self.eps, num_classes, over=self.over)

    def verify(self, loss: torch.nn.Module, num_classes: int) -> list[float]:
        """Probe the loss object that trained, and refuse a result that another target made.

        Returns:
            ``[q_true, q_other]`` as the gradient tells it.

        Raises:
            ArmError: the target implied by the loss is not this arm's.
        """
        from sfumato.probe import implied_target

        expected = conventions.CONVENTIONS[self.over].target(self.eps, num_classes)
        for label in (0, num_classes - 1):
            implied = implied_target(loss, num_classes, label=label)
            q = implied.target.tolist()
            wanted = [expected[0] if k == label else expected[1] for k in range(num_classes)]
            if max(abs(a - b) for a, b in zip(q, wanted, strict=True)) > 1e-9 or abs(implied.mass - 1) > 1e-9:
                other = q[(label + 1) % num_classes]
                raise ArmError(
                    f'arm "{self.name}" (ε = {self.eps:g} over {self.over}) should train towards {expected[0]:.6g} on '
                    f"the label and {expected[1]:.6g} on each other class, but its loss implies {q[label]:.6g} and "
                    f"{other:.6g}; nothing of this comparison can be trusted"
                )
        return [round(q[label], 12), round(q[0], 12) + 0.0]  # the rest is rounding of the probe itself


def arms_of(eps: float, over: Over) -> tuple[Arm, ...]:
    """One-hot and smoothed, in the order in which they are shown."""
    return Arm("one-hot", 0.0, over), Arm("smoothed", eps, over)
