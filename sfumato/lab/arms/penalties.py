"""Arms that train with a penalty or a rival loss on one-hot labels, and the proof that the loss has its strength.

The proof is a comparison of gradients: that of the loss object that trained, and the formula written out in numpy here,
which calls nothing of ``sf.penalty``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato import theory
from sfumato.lab.arms.arm import Arm
from sfumato.lab.arms.kind import AskedArm, TrainingLabels
from sfumato.lab.errors import ArmError
from sfumato.verdict.penalty_words import PenaltyOfArm

if TYPE_CHECKING:
    import torch

Rows: TypeAlias = npt.NDArray[np.float64]

_DRAWN = 24
"""Rows of each sort of logits that a trained loss is tried on."""


@dataclass(frozen=True)
class PenaltyArm(Arm):
    """An arm whose loss is the cross entropy of one-hot labels with a penalty, or another loss in its place."""

    kind: str
    strengths: tuple[tuple[str, float], ...]  # by the names of the arguments

    @property
    def penalty(self) -> PenaltyOfArm:
        """The penalty with its strengths."""
        return PenaltyOfArm(self.kind, dict(self.strengths))

    def loss(self) -> torch.nn.Module:
        """A new loss module for this arm."""
        from sfumato.lab.train.objectives import PenaltyLoss

        return PenaltyLoss(self.penalty.words.function, dict(self.strengths))

    def floor(self, num_classes: int) -> float:
        """The smallest value of the loss, in nats; ``-inf`` where it has none."""
        return self._optimum(num_classes).floor

    def gap(self, num_classes: int) -> float:
        """The logit gap at the optimum, in nats; ``inf`` where no finite gap is the only best one."""
        return math.inf if self.penalty.words.no_gap else self._optimum(num_classes).gap

    def told(self, num_classes: int) -> str:
        """The strengths in brackets."""
        return self.penalty.told()

    def target(self, label: int, num_classes: int) -> list[float]:
        """The one-hot target beside which the penalty acts."""
        return [float(k == label) for k in range(num_classes)]

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Compare the gradient of the loss object that trained with the formula, on drawn logits.

        Returns:
            Nothing: the loss trains towards no target that could be named.

        Raises:
            ArmError: the gradient is another one.
        """
        import torch

        z, labels = _drawn(num_classes, dict(self.strengths))
        leaf = torch.from_numpy(z).requires_grad_()
        given = loss(leaf, torch.from_numpy(labels))
        found = torch.autograd.grad(given, leaf)[0].numpy() * len(z)
        wanted = GRADIENTS[self.kind](z, np.eye(num_classes)[labels], **dict(self.strengths))
        off = np.abs(found - wanted)
        if not off.max() <= 1e-9:  # NaN is refused too
            row, place = np.unravel_index(int(np.nan_to_num(off, nan=np.inf).argmax()), off.shape)
            raise ArmError(
                f'arm "{self.name}" {self.told(num_classes)} should have the gradient {wanted[row, place]:.6g} where '
                f"its loss has {found[row, place]:.6g}: the loss that trained is not {self.penalty.words.name} at "
                "this strength; nothing of this comparison can be trusted"
            )
        return []

    def _optimum(self, num_classes: int) -> theory.Optimum:
        return _OPTIMA[self.kind](num_classes=num_classes, **dict(self.strengths))


def penalty_arm(asked: AskedArm, rows: TrainingLabels) -> Arm:
    """The arm of a penalty; a parameter that was left out and has no value of its own is left to the function."""
    given = {name: value for name, value in asked.named.items() if not (isinstance(value, float) and math.isnan(value))}
    name = "-".join([asked.kind.name, *(f"{value:g}" for value in given.values())])
    return PenaltyArm(name, None, None, asked.kind.name, tuple(given.items()))


def _drawn(num_classes: int, strengths: Mapping[str, float]) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Logits and labels: near the origin, spread out, and close to where a hinge opens, on both of its sides."""
    draw = np.random.default_rng(0)
    z = np.repeat([0.5, 3.0, 12.0], _DRAWN // 3)[:, None] * draw.normal(size=(_DRAWN, num_classes))
    labels = draw.integers(0, num_classes, 3 * _DRAWN)
    z[np.arange(_DRAWN), labels[:_DRAWN]] += 2.0  # some rows are answered well, and some are not
    opens = draw.normal(size=(_DRAWN, num_classes))
    opens *= _scale_at_hinge(opens, strengths)
    return np.concatenate([z, 0.998 * opens, 1.002 * opens]), labels


def _scale_at_hinge(z: Rows, strengths: Mapping[str, float]) -> Rows:
    """What to multiply rows by so that they lie where the hinge of a penalty opens, (n, 1); 1 where there is none."""
    if strengths.get("margin"):
        return strengths["margin"] / np.ptp(z, axis=1, keepdims=True)
    threshold = strengths.get("threshold", math.inf)
    if threshold >= math.log(z.shape[1]):  # of every row's entropy
        return np.ones((len(z), 1))
    low, high = np.zeros((len(z), 1)), np.full((len(z), 1), 1e4)
    for _ in range(60):
        middle = (low + high) / 2
        closed = _entropy(middle * z) > threshold
        low, high = np.where(closed, middle, low), np.where(closed, high, middle)
    return high


def _log_p(z: Rows) -> Rows:
    low = z - z.max(1, keepdims=True)
    return low - np.log(np.exp(low).sum(1, keepdims=True))


def _entropy(z: Rows) -> Rows:
    log_p = _log_p(z)
    return -(np.exp(log_p) * log_p).sum(1, keepdims=True)


def _hard(z: Rows, y: Rows) -> Rows:
    return np.exp(_log_p(z)) - y


def _confidence(z: Rows, y: Rows, beta: float, threshold: float = math.inf) -> Rows:
    log_p, entropy = _log_p(z), _entropy(z)
    p = np.exp(log_p)
    return _hard(z, y) + beta * np.where(entropy < threshold, p * (log_p + entropy), 0.0)


def _margin(z: Rows, y: Rows, margin: float, alpha: float) -> Rows:
    top = z.max(1, keepdims=True)
    beyond, largest = top - z > margin, z == top
    return _hard(z, y) + alpha / z.shape[1] * (beyond.sum(1, keepdims=True) * largest - beyond)


def _maxsup(z: Rows, y: Rows, alpha: float) -> Rows:
    return _hard(z, y) + alpha * ((z == z.max(1, keepdims=True)) - 1 / z.shape[1])


def _relaxation(z: Rows, y: Rows, alpha: float) -> Rows:
    p = np.exp(_log_p(z))
    true = (p * y).sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (alpha / (1 - true) - (1 - alpha) / true) * true
    return np.where(true >= 1 - alpha, 0.0, slope * (y - p))


def _focal(z: Rows, y: Rows, gamma: float) -> Rows:
    p = np.exp(_log_p(z))
    true = (p * y).sum(1, keepdims=True)
    rest = ((1 - y) * p).sum(1, keepdims=True)
    slope = gamma * rest ** (gamma - 1) * np.log(true) * true - rest**gamma
    return slope * (y - p)


def _l2(z: Rows, y: Rows, beta: float) -> Rows:
    return _hard(z, y) + beta * z


def _negative(z: Rows, y: Rows, rate: float) -> Rows:
    return np.exp(_log_p(z)) - (1 - rate) * y - rate / z.shape[1]


GRADIENTS: Mapping[str, Callable[..., Rows]] = {
    "confidence": _confidence,
    "margin": _margin,
    "maxsup": _maxsup,
    "relax": _relaxation,
    "focal": _focal,
    "l2": _l2,
    "negative": _negative,
}
"""The gradient of each kind at logits (n, K) and one-hot labels (n, K), written out."""

_OPTIMA: Mapping[str, Callable[..., theory.Optimum]] = {
    "confidence": theory.confidence_optimum,
    "margin": theory.margin_optimum,
    "maxsup": theory.maxsup_optimum,
    "relax": theory.relaxation_optimum,
    "focal": theory.focal_optimum,
    "l2": theory.l2_optimum,
    "negative": theory.negative_optimum,
}
