"""An arm: one target in a comparison, the loss that trains it, and the proof that the loss used it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from sfumato import conventions, theory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.theory import Over

KINDS = ("onehot", "others", "all", "prior")
"""What ``--arm`` takes before the colon."""


class ArmError(RuntimeError):
    """An arm was not trained towards its own target: its result must not be shown."""


@dataclass(frozen=True)
class Arm:
    """One target of a comparison.

    Attributes:
        name: ``"one-hot"``, ``"smoothed"``, or what ``--arm`` said.
        eps: strength ε.
        over: what ε is spread over; at ε = 0 it makes no difference.
    """

    name: str
    eps: float
    over: Over | Literal["prior"]

    def loss(self) -> torch.nn.Module:
        """A new loss module for this arm."""
        from sfumato.loss import CrossEntropyLoss

        return CrossEntropyLoss(label_smoothing=self.eps, over=self._over)

    def floor(self, num_classes: int) -> float:
        """The smallest value of the loss, in nats: a mean over the training rows where it differs between classes."""
        return theory.loss_floor(self.eps, num_classes, over=self._over)

    def gap(self, num_classes: int) -> float:
        """The mean logit gap at the optimum, in nats; ``inf`` for one-hot."""
        return theory.optimal_gap(self.eps, num_classes, over=self._over)

    def target(self, label: int, num_classes: int) -> list[float]:
        """The whole target of one label, (K,)."""
        true, other = conventions.CONVENTIONS[self._over].target(self.eps, num_classes)
        return [true if k == label else other for k in range(num_classes)]

    def told(self, num_classes: int) -> str:
        """The strength in words, with torch's argument for it."""
        try:
            in_torch = f"label_smoothing={theory.convert_eps(self.eps, num_classes, frm=self._over, to='all'):.4g}"
            in_torch += " in torch"
        except ValueError:
            in_torch = "torch's label_smoothing cannot express it"
        where = "the others" if self.over == "others" else f"all {num_classes} classes"
        return f"ε = {self.eps:g} over {where} ({in_torch})"

    def verify(self, loss: torch.nn.Module, num_classes: int) -> list[float]:
        """Probe the loss object that trained, and refuse a result that another target made.

        Returns:
            ``[q_true, q_other]`` of the last class, as the gradient tells it; the other class is the first one.

        Raises:
            ArmError: the target implied by the loss is not this arm's.
        """
        from sfumato.probe import implied_target

        q: list[float] = []
        for label in (0, num_classes - 1):
            implied = implied_target(loss, num_classes, label=label)
            q, wanted = implied.target.tolist(), self.target(label, num_classes)
            if max(abs(a - b) for a, b in zip(q, wanted, strict=True)) > 1e-9 or abs(implied.mass - 1) > 1e-9:
                other = (label + 1) % num_classes
                raise ArmError(
                    f'arm "{self.name}" (ε = {self.eps:g} over {self.over}) should train towards {wanted[label]:.6g} '
                    f"on the label and {wanted[other]:.6g} on each other class, but its loss implies {q[label]:.6g} "
                    f"and {q[other]:.6g}; nothing of this comparison can be trusted"
                )
        return [round(q[num_classes - 1], 12), round(q[0], 12) + 0.0]  # the rest is rounding of the probe itself

    @property
    def _over(self) -> Over:
        return cast("Over", self.over)


@dataclass(frozen=True)
class PriorArm(Arm):
    """ε spread over the classes as the training rows have them: (1−ε)·e_y + ε·prior.

    Attributes:
        prior: share of each class among the training rows.
    """

    prior: tuple[float, ...] = ()

    def loss(self) -> torch.nn.Module:
        """A new loss module for this arm."""
        return _prior_loss(self.prior, self.eps)

    def floor(self, num_classes: int) -> float:
        """The mean entropy of the targets of the training rows, in nats."""
        return float(sum(f * _entropy(self.target(y, num_classes)) for y, f in enumerate(self.prior)))

    def gap(self, num_classes: int) -> float:
        """The mean over the training rows of log q_y − the mean of the other log q_k, in nats."""
        gaps = [_gap(self.target(y, num_classes), y) for y in range(num_classes)]
        return float(sum(f * gap for f, gap in zip(self.prior, gaps, strict=True)))

    def target(self, label: int, num_classes: int) -> list[float]:
        """The whole target of one label, (K,)."""
        return [(1 - self.eps) * (k == label) + self.eps * share for k, share in enumerate(self.prior)]

    def told(self, num_classes: int) -> str:
        """The strength in words."""
        return (
            f"ε = {self.eps:g} over the classes by their share of the training rows (sf.smooth_prior; torch's "
            "label_smoothing cannot express it)"
        )


def _prior_loss(prior: Sequence[float], eps: float) -> torch.nn.Module:
    import torch

    from sfumato.loss import cross_entropy
    from sfumato.targets import smooth_prior

    class PriorLoss(torch.nn.Module):
        def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
            shares = torch.tensor(prior, dtype=torch.float64, device=input.device)
            return cross_entropy(input, smooth_prior(target, shares, eps), sample_weight=sample_weight)

    return PriorLoss()


def _entropy(target: Sequence[float]) -> float:
    q = np.array([each for each in target if each > 0])
    return float(-(q * np.log(q)).sum())


def _gap(target: Sequence[float], label: int) -> float:
    with np.errstate(divide="ignore"):
        logs = np.log(np.array(target))
    return float(logs[label] - np.delete(logs, label).mean())


def arms_of(eps: float, over: Over) -> tuple[Arm, ...]:
    """One-hot and smoothed, in the order in which they are shown."""
    return Arm("one-hot", 0.0, over), Arm("smoothed", eps, over)


def complaint(spec: str) -> str | None:
    """What is wrong with an ``--arm``; None if nothing is.

    >>> complaint("others:0.1"), complaint("prior")
    (None, '--arm prior needs a strength: prior:0.1')
    """
    kind, _, strength = spec.partition(":")
    if kind not in KINDS:
        return f'--arm "{spec}" is none: it takes onehot, others:0.1, all:0.1 or prior:0.1'
    if kind == "onehot":
        return None if not strength else f"--arm onehot takes no strength, got {strength}"
    if not strength:
        return f"--arm {kind} needs a strength: {kind}:0.1"
    try:
        eps = float(strength)
    except ValueError:
        eps = float("nan")
    return None if 0 < eps <= 1 else f"--arm {spec}: its strength must be above 0 and at most 1"


def arm_of(spec: str, prior: Sequence[float]) -> Arm:
    """The arm that an ``--arm`` asks for; see :func:`complaint`.

    Args:
        spec: ``"onehot"``, or a kind and a strength.
        prior: share of each class among the training rows.

    >>> arm_of("others:0.1", (0.5, 0.5))
    Arm(name='others-0.1', eps=0.1, over='others')
    """
    kind, _, strength = spec.partition(":")
    if kind == "onehot":
        return Arm("one-hot", 0.0, "others")
    eps = float(strength)
    if kind == "prior":
        return PriorArm(f"prior-{eps:g}", eps, "prior", tuple(prior))
    return Arm(f"{kind}-{eps:g}", eps, cast("Over", kind))


def rungs_of(strengths: Sequence[float], over: Over) -> tuple[Arm, ...]:
    """The arms of a ladder: one-hot, and each strength above 0, rising.

    >>> [arm.name for arm in rungs_of([0.1, 0, 0.05], "others")]
    ['one-hot', 'smoothed-0.05', 'smoothed-0.1']
    """
    softened = sorted({eps for eps in strengths if eps > 0})
    return Arm("one-hot", 0.0, over), *(Arm(f"smoothed-{eps:g}", eps, over) for eps in softened)
