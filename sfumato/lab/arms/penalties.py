"""Arms that train with a penalty or a rival loss on one-hot labels, and the proof that the loss has its strength.

The proof is a comparison of gradients: that of the loss object that trained, and the formula written out here, which
calls nothing of ``sf.penalty``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfumato.lab.arms.kind import Arm, ArmKind, ArmSpec, Parameter, TrainingLabels, Words
from sfumato.lab.errors import ArmError
from sfumato.verdict.arms import call

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sfumato import theory

_DRAWN = 24
"""Rows of each sort of logits that a trained loss is tried on."""

_SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "exponent", "margin": "m", "rate": "r", "threshold": "Γ"}


def _penalised(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """The arm of a penalty; a parameter that was left out and has no value of its own is left to the function."""
    strengths = {name: value for name, value in spec.named.items() if value == value}
    name = "-".join([spec.kind.name, *(f"{value:g}" for value in strengths.values())])
    return PenaltyArm(name, None, None, spec.kind.name, words=spec.kind.words, strengths=tuple(strengths.items()))


@dataclass(frozen=True, kw_only=True)
class PenaltyKind(ArmKind):
    """A kind of arm with a penalty: its function in ``sf.penalty``, the optimum of that, and the gradient."""

    make: Callable[[ArmSpec, TrainingLabels], Arm] = _penalised
    function: str
    optimum: str  # the function of ``sfumato.theory`` that gives its floor and gap
    gradient: Callable[..., Tensor]  # at logits (n, K) and one-hot labels (n, K), written out
    hinge: str = ""  # why the mean gap of a trained network stays below the margin of a hinge


@dataclass(frozen=True)
class PenaltyArm(Arm):
    """An arm whose loss is the cross entropy of one-hot labels with a penalty, or another loss in its place."""

    kind: str

    @property
    def record(self) -> PenaltyKind:
        """The kind's record."""
        return next(kind for kind in PENALTIES if kind.name == self.kind)

    @property
    def penalty(self) -> dict[str, Any]:
        return {"kind": self.kind, "strengths": dict(self.strengths)}

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import PenaltyLoss

        return PenaltyLoss(self.record.function, dict(self.strengths))

    def floor(self, num_classes: int) -> float:
        return self._optimum(num_classes).floor

    def gap(self, num_classes: int) -> float:
        return math.inf if self.words is not None and self.words.no_gap else self._optimum(num_classes).gap

    def describe(self, num_classes: int) -> str:
        strengths = [f"{_SYMBOLS.get(name, name)} = {value:g}" for name, value in self.strengths]
        return f"({', '.join(strengths)})".replace("= -", "= −")

    def code(self) -> str:
        strengths = [f"{name}={value:g}" for name, value in self.strengths]
        return call(f"loss = sf.penalty.{self.record.function}", "logits", "labels", *strengths)

    def below(self, num_classes: int) -> str:
        return self.record.hinge if self.gap(num_classes) == dict(self.strengths).get("margin") else ""

    def target(self, label: int, num_classes: int) -> list[float]:
        """The one-hot target to which the penalty is added."""
        return [float(k == label) for k in range(num_classes)]

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Compare the gradient of the loss object that trained with the formula, on drawn logits.

        Returns nothing: the loss trains towards no target that could be named.
        """
        import torch

        z, labels = _drawn(num_classes, dict(self.strengths))
        leaf, one_hot = z.clone().requires_grad_(), torch.nn.functional.one_hot(labels, num_classes).double()
        gradient = torch.autograd.grad(loss(leaf, labels), leaf)[0] * len(z)
        expected = self.record.gradient(z, one_hot, **dict(self.strengths))
        off = (gradient - expected).abs()
        if not off.max() <= 1e-9:  # NaN is refused too
            worst = int(off.nan_to_num(nan=math.inf).argmax())
            method = "the penalty" if self.words is None else self.words.method
            raise ArmError(
                f'arm "{self.name}" {self.describe(num_classes)} should have the gradient '
                f"{expected.flatten()[worst].item():.6g} where its loss has {gradient.flatten()[worst].item():.6g}: "
                f"the loss that trained is not {method} at this strength; nothing of this comparison can be trusted"
            )
        return []

    def _optimum(self, num_classes: int) -> theory.Optimum:
        from sfumato import theory

        return getattr(theory, self.record.optimum)(num_classes=num_classes, **dict(self.strengths))


def _drawn(num_classes: int, strengths: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """Logits and labels: near the origin, spread out, and close to where a hinge opens, on both of its sides."""
    import numpy as np
    import torch

    draw = np.random.default_rng(0)
    z = np.repeat([0.5, 3.0, 12.0], _DRAWN // 3)[:, None] * draw.normal(size=(_DRAWN, num_classes))
    labels = draw.integers(0, num_classes, 3 * _DRAWN)
    z[np.arange(_DRAWN), labels[:_DRAWN]] += 2.0  # some rows are answered well, and some are not
    opens = torch.from_numpy(draw.normal(size=(_DRAWN, num_classes)))
    opens = opens * _scale_at_hinge(opens, strengths)
    return torch.cat([torch.from_numpy(z), 0.998 * opens, 1.002 * opens]), torch.from_numpy(labels)


def _scale_at_hinge(z: Tensor, strengths: Mapping[str, float]) -> Tensor:
    """What to multiply rows by so that they lie where the hinge of a penalty opens, (n, 1); 1 where there is none."""
    ones = z.new_ones(len(z), 1)
    if strengths.get("margin"):
        return strengths["margin"] / (z.amax(1, keepdim=True) - z.amin(1, keepdim=True))
    threshold = strengths.get("threshold", math.inf)
    if threshold >= math.log(z.shape[1]):  # of every row's entropy
        return ones
    low, high = 0 * ones, 1e4 * ones
    for _ in range(60):
        middle = (low + high) / 2
        closed = _entropy(middle * z) > threshold
        low, high = middle.where(closed, low), high.where(closed, middle)
    return high


def _entropy(z: Tensor) -> Tensor:
    return -(z.softmax(1) * z.log_softmax(1)).sum(1, keepdim=True)


def _hard(z: Tensor, y: Tensor) -> Tensor:
    return z.softmax(1) - y


def _confidence(z: Tensor, y: Tensor, beta: float, threshold: float = math.inf) -> Tensor:
    entropy = _entropy(z)
    return _hard(z, y) + beta * z.softmax(1) * (entropy < threshold) * (z.log_softmax(1) + entropy)


def _margin(z: Tensor, y: Tensor, margin: float, alpha: float) -> Tensor:
    top = z.amax(1, keepdim=True)
    beyond, largest = (top - z > margin).double(), z == top
    return _hard(z, y) + alpha / z.shape[1] * (beyond.sum(1, keepdim=True) * largest - beyond)


def _maxsup(z: Tensor, y: Tensor, alpha: float) -> Tensor:
    return _hard(z, y) + alpha * ((z == z.amax(1, keepdim=True)).double() - 1 / z.shape[1])


def _relaxation(z: Tensor, y: Tensor, alpha: float) -> Tensor:
    true = (z.softmax(1) * y).sum(1, keepdim=True)
    below = true.clip(max=1 - alpha)  # from there on the loss is 0
    return (true < 1 - alpha) * (alpha / (1 - below) * below - (1 - alpha)) * -_hard(z, y)


def _focal(z: Tensor, y: Tensor, gamma: float) -> Tensor:
    p = z.softmax(1)
    true, rest = (p * y).sum(1, keepdim=True), (p * (1 - y)).sum(1, keepdim=True)
    log_true = (z.log_softmax(1) * y).sum(1, keepdim=True)
    return (gamma * rest ** (gamma - 1) * log_true * true - rest**gamma) * -_hard(z, y)


def _l2(z: Tensor, y: Tensor, beta: float) -> Tensor:
    return _hard(z, y) + beta * z


def _negative(z: Tensor, y: Tensor, rate: float) -> Tensor:
    return _hard(z, (1 - rate) * y + rate / z.shape[1])


def _words(method: str, no_gap: str = "") -> Words:
    return Words(method=method, target="none", no_gap=no_gap)


def _positive(name: str, called: str, default: float | None = None) -> Parameter:
    return Parameter(name, called, "above 0 and at most 100", lambda value: 0 < value <= 100, default)


_WEIGHT = Parameter("alpha", "its strength α", "above 0 and below 1", lambda alpha: 0 < alpha < 1)

PENALTIES = (
    PenaltyKind(
        name="confidence",
        example="confidence:0.1",
        formula="CE − β·H(p); with Γ, CE + β·max(0, Γ − H(p))",
        parameters=(
            _positive("beta", "its strength β"),
            Parameter(
                "threshold", "its threshold Γ", "above 0 and at most 100, or left out", lambda t: 0 < t <= 100, math.nan
            ),
        ),
        note="β, then Γ if there is a hinge",
        words=_words("the confidence penalty"),
        function="confidence",
        optimum="confidence_optimum",
        gradient=_confidence,
    ),
    PenaltyKind(
        name="margin",
        example="margin:10:0.1",
        formula="CE + (α/K)·Σ max(0, max z − z_k − m)",
        parameters=(
            Parameter("margin", "its margin m", "at least 0 and at most 1000", lambda m: 0 <= m <= 1000),
            _positive("alpha", "its strength α", 0.1),
        ),
        note="m in nats, then α",
        words=_words("the margin penalty"),
        function="margin",
        optimum="margin_optimum",
        gradient=_margin,
        hinge="it holds only the wrong classes that lie furthest below the label, and the others may be nearer",
    ),
    PenaltyKind(
        name="maxsup",
        example="maxsup:0.1",
        formula="CE + α·(max z − z̄)",
        parameters=(_WEIGHT,),
        note="α",
        words=_words("MaxSup"),
        function="maxsup",
        optimum="maxsup_optimum",
        gradient=_maxsup,
    ),
    PenaltyKind(
        name="relax",
        example="relax:0.1",
        formula="0 from p_y = 1−α on, else KL((1−α, α) ‖ (p_y, 1−p_y))",
        parameters=(_WEIGHT,),
        note="label relaxation by α",
        words=_words("label relaxation", "from some gap on the loss is 0, and every larger gap is as good"),
        function="relaxation",
        optimum="relaxation_optimum",
        gradient=_relaxation,
    ),
    PenaltyKind(
        name="focal",
        example="focal:3",
        formula="−(1−p_y)^γ·log p_y",
        parameters=(_positive("gamma", "its exponent γ"),),
        note="γ",
        words=_words("the focal loss", "the loss falls for as long as the gap grows, but ever more slowly"),
        function="focal",
        optimum="focal_optimum",
        gradient=_focal,
    ),
    PenaltyKind(
        name="l2",
        example="l2:0.002",
        formula="CE + (β/2)·Σ z_k²",
        parameters=(_positive("beta", "its strength β"),),
        note="β on squared logits",
        words=_words("the penalty on squared logits"),
        function="logit_l2",
        optimum="l2_optimum",
        gradient=_l2,
    ),
    PenaltyKind(
        name="negative",
        example="negative:-0.2",
        formula="CE towards (1−r)·e_y + r/K, r < 0",
        parameters=(Parameter("rate", "its rate r", "at least -10 and below 0", lambda rate: -10 <= rate < 0),),
        note="smoothing by r < 0, whose loss has no floor",
        words=_words("negative smoothing", "the loss has no floor: it falls for ever as the gap grows"),
        function="negative_smoothing",
        optimum="negative_optimum",
        gradient=_negative,
    ),
)
