"""Arms whose target differs between rows of one class: rows mixed in pairs, and the soft labels of the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.lab.arms.kind import ArmKind, ArmSpec, MeasuredArm, Parameter, TrainingLabels, Words, entropies_and_gaps

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_BETA = Parameter("alpha", "α of its Beta distribution", "above 0 and at most 100", lambda alpha: 0 < alpha <= 100)


def _mixed(asked: ArmSpec, rows: TrainingLabels) -> MeasuredArm:
    r"""Rows and their targets mixed in pairs, by mixup or CutMix.

    The floor is the expected entropy of a mixed target, :math:`(\psi(2\alpha+1) - \psi(\alpha+1))\,P(y \ne y')`.
    """
    from scipy.special import digamma

    (alpha,) = asked.numbers
    apart = 1 - sum(share * share for share in rows.shares.tolist())
    floor = float(digamma(2 * alpha + 1) - digamma(alpha + 1)) * apart
    return _MixArm(asked.arm_name, alpha, asked.kind.name, floor, math.inf, words=asked.kind.words)


def _soft(asked: ArmSpec, rows: TrainingLabels) -> MeasuredArm:
    """The soft labels of the data themselves."""
    import numpy as np

    assert rows.soft is not None, "refused before"
    labels = rows.labels
    entropies, gaps = entropies_and_gaps(rows.soft, labels)
    off, gap = float(1 - rows.soft[np.arange(len(labels)), labels].mean()), float(gaps.mean())
    gap = gap if math.isfinite(gap) else math.inf
    return _SoftArm("soft", off, None, float(entropies.mean()), gap, words=asked.kind.words)


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


MIXING = (
    ArmKind(
        "mixup",
        "mixup:0.2",
        "λ·e_y + (1−λ)·e_y', λ from Beta(α, α), rows mixed as their targets",
        _mixed,
        (_BETA,),
        needs="rows that can be mixed",
        words=Words(
            method="mixup",
            strength="(λ from Beta({eps:g}, {eps:g}), one a batch)",
            target="Beta({eps:g}, {eps:g})",
            code="lam = torch.distributions.Beta({eps:g}, {eps:g}).sample().item()\n"
            "other = torch.randperm(len(labels))\n"
            "logits = model(lam * inputs + (1 - lam) * inputs[other])\n"
            "target = sf.mix(sf.one_hot(labels, K), sf.one_hot(labels[other], K), lam)\n"
            "loss = sf.cross_entropy(logits, target)",
            varies="mixed rows",
        ),
    ),
    ArmKind(
        "cutmix",
        "cutmix:1",
        "λ·e_y + (1−λ)·e_y', λ the share of a picture that is left",
        _mixed,
        (_BETA,),
        note="α of their Beta distribution",
        needs="pictures",
        words=Words(
            method="CutMix",
            strength="(λ from Beta({eps:g}, {eps:g}), one a batch)",
            target="Beta({eps:g}, {eps:g})",
            code="mix = torchvision.transforms.v2.CutMix(num_classes=K, alpha={eps:g})\n"
            "inputs, probabilities = mix(inputs, labels)\n"
            "logits = model(inputs)\n"
            "target = sf.from_probs(probabilities)\n"
            "loss = sf.cross_entropy(logits, target)",
            varies="mixed rows",
        ),
    ),
    ArmKind(
        "soft",
        "soft",
        "the row's soft label",
        _soft,
        note="the data's soft labels",
        needs="soft labels",
        words=Words(
            method="soft labels",
            strength="(which leave {eps:.2g} of the mass off the label on average)",
            target="its own",
            code="target = sf.from_probs(probabilities)  # the rows' soft labels, (N, K)\n"
            "loss = sf.cross_entropy(logits, target)",
            varies="soft labels",
        ),
    ),
)
