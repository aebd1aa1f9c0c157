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


def _mixed(spec: ArmSpec, rows: TrainingLabels) -> MeasuredArm:
    r"""Rows and their targets mixed in pairs, by mixup or CutMix.

    The floor is the expected entropy of a mixed target, :math:`(\psi(2\alpha+1) - \psi(\alpha+1))\,P(y \ne y')`.
    """
    from scipy.special import digamma

    (alpha,) = spec.numbers
    apart = 1 - sum(share * share for share in rows.shares.tolist())
    floor = float(digamma(2 * alpha + 1) - digamma(alpha + 1)) * apart
    return _MixArm(spec.arm_name, alpha, spec.kind.name, floor, math.inf, words=spec.kind.words)


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


def _soft(spec: ArmSpec, rows: TrainingLabels) -> MeasuredArm:
    """The soft labels of the data themselves; ε is the mass that they leave off the label on average."""
    import numpy as np

    assert rows.soft is not None, "refused before"
    entropies, gaps = entropies_and_gaps(rows.soft, rows.labels)
    off, gap = float(1 - rows.soft[np.arange(len(rows.labels)), rows.labels].mean()), float(gaps.mean())
    gap = gap if math.isfinite(gap) else math.inf
    return _SoftArm("soft", off, None, float(entropies.mean()), gap, words=spec.kind.words)


@dataclass(frozen=True)
class _SoftArm(MeasuredArm):
    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import SoftLoss

        return SoftLoss()

    def target(self, label: int, num_classes: int) -> list[float]:
        """The target of a made-up row: most of the mass is on the label, and the rest rises over the classes."""
        rest = num_classes * (num_classes - 1) / 2
        return [0.4 * k / rest + 0.6 * (k == label) for k in range(num_classes)]

    def probed(self, loss: Any, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        import torch

        rows = torch.tensor([self.target(label, num_classes) for label in range(num_classes)], dtype=torch.float64)
        return lambda logits, labels: loss.of(logits, rows[labels])


def _mix_words(method: str, code: str) -> Words:
    strength, target = "(λ from Beta({eps:g}, {eps:g}), one a batch)", "Beta({eps:g}, {eps:g})"
    return Words(method=method, strength=strength, target=target, code=code, varies="mixed rows")


MIXING = (
    ArmKind(
        "mixup",
        "mixup:0.2",
        "λ·e_y + (1−λ)·e_y', λ from Beta(α, α), rows mixed as their targets",
        _mixed,
        (_BETA,),
        needs="rows that can be mixed",
        words=_mix_words(
            "mixup",
            "lam = torch.distributions.Beta({eps:g}, {eps:g}).sample().item()\n"
            "other = torch.randperm(len(labels))\n"
            "logits = model(lam * inputs + (1 - lam) * inputs[other])\n"
            "target = sf.mix(sf.one_hot(labels, K), sf.one_hot(labels[other], K), lam)\n"
            "loss = sf.cross_entropy(logits, target)",
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
        words=_mix_words(
            "CutMix",
            "mix = torchvision.transforms.v2.CutMix(num_classes=K, alpha={eps:g})\n"
            "inputs, probabilities = mix(inputs, labels)\n"
            "logits = model(inputs)\n"
            "target = sf.from_probs(probabilities)\n"
            "loss = sf.cross_entropy(logits, target)",
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
