"""An arm: one target in a comparison, the loss that trains it, and the proof that the loss used it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from sfumato import conventions, theory
from sfumato.lab.errors import ArmError, OptionError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato.theory import Over

Column: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One target of a comparison.

    Attributes:
        name: ``"one-hot"``, ``"smoothed"``, or the target that ``--arm`` named.
        eps: strength ε; for arms that mix, α of the Beta distribution.
        over: what ε is spread over; at ε = 0 this makes no difference. None for soft labels.
    """

    name: str
    eps: float
    over: Over | Literal["prior", "mixup", "cutmix"] | None

    def loss(self) -> torch.nn.Module:
        """A new loss module for this arm."""
        from sfumato.loss import CrossEntropyLoss

        return CrossEntropyLoss(label_smoothing=self.eps, over=self._over)

    def floor(self, num_classes: int) -> float:
        """The smallest value of the loss, in nats: a mean over the training rows where it differs between them."""
        return theory.loss_floor(self.eps, num_classes, over=self._over)

    def gap(self, num_classes: int) -> float:
        """The mean logit gap at the optimum, in nats; ``inf`` for one-hot and for arms that mix."""
        return theory.optimal_gap(self.eps, num_classes, over=self._over)

    def target(self, label: int, num_classes: int) -> list[float]:
        """The whole target of one label, (K,); an example of one where the label alone does not decide it."""
        true, other = conventions.CONVENTIONS[self._over].target(self.eps, num_classes)
        return [true if k == label else other for k in range(num_classes)]

    def told(self, num_classes: int) -> str:
        """The strength in words, with torch's argument for it."""
        try:
            in_torch = f"label_smoothing={theory.convert_eps(self.eps, num_classes, frm=self._over, to='all'):.4g}"
            in_torch += " in torch"
        except ValueError:
            in_torch = "torch's label_smoothing cannot express it"
        others, everyone = "the other classes", f"all {num_classes} classes"
        if num_classes == 2:
            others, everyone = "the other class", "both classes"
        where = others if self.over == "others" else everyone
        return f"ε = {self.eps:g} over {where} ({in_torch})"

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
                    f'arm "{self.name}" (ε = {self.eps:g} over {self.over}) should train towards {wanted[label]:.6g} '
                    f"on the label and {wanted[other]:.6g} on each other class, but its loss implies {q[label]:.6g} "
                    f"and {q[other]:.6g}; nothing of this comparison can be trusted"
                )
        return [round(q[num_classes - 1], 12), round(q[0], 12) + 0.0]  # the rest is rounding of the probe itself

    def probed(self, loss: Any, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss as a function of logits and labels, whose target is that of :meth:`target`."""
        return loss

    @property
    def _over(self) -> Over:
        return cast("Over", self.over)


@dataclass(frozen=True)
class _MeasuredArm(Arm):
    """An arm whose floor and gap, in nats, were measured on the training rows."""

    mean_floor: float
    mean_gap: float

    def floor(self, num_classes: int) -> float:
        return self.mean_floor

    def gap(self, num_classes: int) -> float:
        return self.mean_gap


@dataclass(frozen=True)
class _PriorArm(_MeasuredArm):
    """(1−ε)·e_y + ε·prior, where the prior is the share of each class among the training rows."""

    prior: tuple[float, ...]

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import PriorLoss

        return PriorLoss(self.prior, self.eps)

    def target(self, label: int, num_classes: int) -> list[float]:
        return [(1 - self.eps) * (k == label) + self.eps * share for k, share in enumerate(self.prior)]

    def told(self, num_classes: int) -> str:
        return (
            f"ε = {self.eps:g} over the classes by their share of the training rows (sf.smooth_prior; torch's "
            "label_smoothing cannot express it)"
        )


@dataclass(frozen=True)
class _MixArm(_MeasuredArm):
    """mixup or CutMix of one-hot targets, whose floor is a mean over pairs of rows, and over λ."""

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import MixLoss

        return MixLoss(self.eps, cut=self.over == "cutmix")

    def target(self, label: int, num_classes: int) -> list[float]:
        """The target of a row that is mixed 7 to 3 with a row of the next class."""
        q = [0.0] * num_classes
        q[label], q[(label + 1) % num_classes] = 0.7, 0.3
        return q

    def probed(self, loss: Any, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda logits, labels: loss.of(logits, labels, (labels + 1) % num_classes, 0.7)

    def told(self, num_classes: int) -> str:
        return f"(λ from Beta({self.eps:g}, {self.eps:g}), one a batch)"


@dataclass(frozen=True)
class _SoftArm(_MeasuredArm):
    """The soft labels of the data themselves; ``eps`` is the mass that they leave off the label on average."""

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import SoftLoss

        return SoftLoss()

    def target(self, label: int, num_classes: int) -> list[float]:
        """The target of a made-up row: most of the mass is on the label, and the rest rises over the classes."""
        rest = [float(k) for k in range(num_classes)]
        q = [0.4 * each / sum(rest) for each in rest]
        q[label] += 0.6
        return q

    def probed(self, loss: Any, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        import torch

        rows = torch.tensor([self.target(label, num_classes) for label in range(num_classes)], dtype=torch.float64)
        return lambda logits, labels: loss.of(logits, rows[labels])

    def told(self, num_classes: int) -> str:
        return f"(which leave {self.eps:.2g} of the mass off the label on average)"


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


def kind_and_strength(spec: str) -> tuple[str, float]:
    """What an ``--arm`` asks for; the strength is 0 for a kind that has none.

    Raises:
        OptionError: there is no such kind, or the strength is missing or out of range.

    >>> kind_and_strength("others:0.1"), kind_and_strength("onehot")
    (('others', 0.1), ('onehot', 0.0))
    """
    kind, _, strength = spec.partition(":")
    if kind not in ("onehot", "others", "all", "prior", "mixup", "cutmix", "soft"):
        raise OptionError(
            f'--arm "{spec}" is not a target that compare knows. Use one of: onehot, others:0.1, all:0.1, prior:0.1, '
            "mixup:0.2, cutmix:1, soft"
        )
    if kind in ("onehot", "soft"):
        if strength:
            raise OptionError(f"--arm {kind} takes no strength, got {strength}")
        return kind, 0.0
    if not strength:
        raise OptionError(f"--arm {kind} needs a strength: {kind}:0.1")
    try:
        eps = float(strength)
    except ValueError:
        eps = math.nan
    if kind in ("mixup", "cutmix") and not 0 < eps <= 100:
        raise OptionError(f"--arm {spec}: α of its Beta distribution must be above 0 and at most 100")
    if kind not in ("mixup", "cutmix") and not 0 < eps <= 1:
        raise OptionError(f"--arm {spec}: its strength must be above 0 and at most 1")
    return kind, eps


def arm_of(spec: str, labels: npt.NDArray[np.int64], num_classes: int, soft: Column | None = None) -> Arm:
    r"""The arm that an ``--arm`` asks for.

    The floor of an arm that mixes is the expected entropy of a mixed target,
    :math:`(\psi(2\alpha+1) - \psi(\alpha+1))\,P(y \ne y')`.

    Args:
        spec: a kind, and a strength where it has one; see :func:`kind_and_strength`.
        labels: of the training rows, (n,).
        num_classes: K.
        soft: their soft labels, (n, K), or None.

    >>> arm_of("others:0.1", np.array([0, 1]), 2)
    Arm(name='others-0.1', eps=0.1, over='others')
    """
    kind, eps = kind_and_strength(spec)
    name, shares = f"{kind}-{eps:g}", np.bincount(labels, minlength=num_classes) / len(labels)
    if kind == "onehot":
        return Arm("one-hot", 0.0, "others")
    if kind == "soft":
        assert soft is not None, "refused before"
        entropies, gaps = _entropies_and_gaps(soft, labels)
        off, gap = float(1 - soft[np.arange(len(labels)), labels].mean()), float(gaps.mean())
        return _SoftArm("soft", off, None, float(entropies.mean()), gap if math.isfinite(gap) else math.inf)
    if kind == "prior":
        entropies, gaps = _entropies_and_gaps((1 - eps) * np.eye(num_classes) + eps * shares, np.arange(num_classes))
        counted = shares > 0  # a class without rows may have an infinite gap
        floor, gap = float(entropies @ shares), float(gaps[counted] @ shares[counted])
        return _PriorArm(name, eps, "prior", floor, gap, tuple(shares.tolist()))
    if kind in ("mixup", "cutmix"):
        from scipy.special import digamma

        apart = 1 - sum(share * share for share in shares.tolist())
        return _MixArm(name, eps, kind, float(digamma(2 * eps + 1) - digamma(eps + 1)) * apart, math.inf)
    return Arm(name, eps, cast("Over", kind))


def _entropies_and_gaps(targets: Column, labels: npt.NDArray[np.int64]) -> tuple[Column, Column]:
    """Of each target (n, K) its entropy, and log q_y less the mean of the other log q_k; in nats, (n,) each."""
    rows = np.arange(len(labels))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(targets)
        entropies = -(targets * np.where(targets > 0, logs, 0.0)).sum(1)
        own = logs[rows, labels]
        logs[rows, labels] = 0.0  # not taken off again: it may be −∞
        return entropies, own - logs.sum(1) / (targets.shape[1] - 1)
