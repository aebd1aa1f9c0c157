"""Arms whose floor and gap depend on the training rows: towards the classes' shares, of mixed rows, and of soft labels.

Each has a function that measures the rows and makes the arm; the table of kinds names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.lab.arms.arm import Arm
from sfumato.lab.arms.kind import AskedArm, TrainingLabels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Column: TypeAlias = npt.NDArray[np.float64]


def prior_arm(asked: AskedArm, rows: TrainingLabels) -> Arm:
    """Smoothing towards the share of each class among the training rows."""
    (eps,) = asked.numbers
    classes, shares = rows.num_classes, rows.shares
    entropies, gaps = entropies_and_gaps((1 - eps) * np.eye(classes) + eps * shares, np.arange(classes))
    counted = shares > 0  # a class without rows may have an infinite gap
    floor, gap = float(entropies @ shares), float(gaps[counted] @ shares[counted])
    return _PriorArm(asked.arm_name, eps, "prior", floor, gap, tuple(shares.tolist()))


def mix_arm(asked: AskedArm, rows: TrainingLabels) -> Arm:
    r"""Rows and their targets mixed in pairs, by mixup or CutMix.

    The floor is the expected entropy of a mixed target, :math:`(\psi(2\alpha+1) - \psi(\alpha+1))\,P(y \ne y')`.
    """
    from scipy.special import digamma

    (alpha,) = asked.numbers
    apart = 1 - sum(share * share for share in rows.shares.tolist())
    floor = float(digamma(2 * alpha + 1) - digamma(alpha + 1)) * apart
    return _MixArm(asked.arm_name, alpha, "cutmix" if asked.kind.name == "cutmix" else "mixup", floor, math.inf)


def soft_arm(asked: AskedArm, rows: TrainingLabels) -> Arm:
    """The soft labels of the data themselves."""
    assert rows.soft is not None, "refused before"
    labels = rows.labels
    entropies, gaps = entropies_and_gaps(rows.soft, labels)
    off, gap = float(1 - rows.soft[np.arange(len(labels)), labels].mean()), float(gaps.mean())
    return _SoftArm("soft", off, None, float(entropies.mean()), gap if math.isfinite(gap) else math.inf)


@dataclass(frozen=True)
class MeasuredArm(Arm):
    """An arm whose floor and gap, in nats, were measured on the training rows."""

    mean_floor: float
    mean_gap: float

    def floor(self, num_classes: int) -> float:
        """The floor that was measured."""
        return self.mean_floor

    def gap(self, num_classes: int) -> float:
        """The gap that was measured."""
        return self.mean_gap


@dataclass(frozen=True)
class _PriorArm(MeasuredArm):
    """(1−ε)·e_y + ε·prior, where the prior is the share of each class among the training rows."""

    prior: tuple[float, ...]

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import PriorLoss

        return PriorLoss(self.prior, self.strength)

    def target(self, label: int, num_classes: int) -> list[float]:
        return [(1 - self.strength) * (k == label) + self.strength * share for k, share in enumerate(self.prior)]


@dataclass(frozen=True)
class _MixArm(MeasuredArm):
    """mixup or CutMix of one-hot targets, whose floor is a mean over pairs of rows, and over λ."""

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import MixLoss

        return MixLoss(self.strength, cut=self.over == "cutmix")

    def target(self, label: int, num_classes: int) -> list[float]:
        """The target of a row that is mixed 7 to 3 with a row of the next class."""
        q = [0.0] * num_classes
        q[label], q[(label + 1) % num_classes] = 0.7, 0.3
        return q

    def probed(self, loss: Any, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda logits, labels: loss.of(logits, labels, (labels + 1) % num_classes, 0.7)


@dataclass(frozen=True)
class _SoftArm(MeasuredArm):
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


def entropies_and_gaps(targets: Column, labels: npt.NDArray[np.int64]) -> tuple[Column, Column]:
    """Of each target (n, K) its entropy, and log q_y less the mean of the other log q_k; in nats, (n,) each."""
    rows = np.arange(len(labels))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(targets)
        entropies = -(targets * np.where(targets > 0, logs, 0.0)).sum(1)
        own = logs[rows, labels]
        logs[rows, labels] = 0.0  # not taken off again: it may be −∞
        return entropies, own - logs.sum(1) / (targets.shape[1] - 1)
