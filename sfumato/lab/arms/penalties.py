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
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt
    import torch

    from sfumato import theory

    Rows: TypeAlias = npt.NDArray[np.float64]

_DRAWN = 24
"""Rows of each sort of logits that a trained loss is tried on."""

_SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "exponent", "margin": "m", "rate": "r", "threshold": "Γ"}


@dataclass(frozen=True, kw_only=True)
class PenaltyKind(ArmKind):
    """A kind of arm with a penalty: its function in ``sf.penalty``, the optimum of that, and the gradient."""

    function: str
    optimum: str  # the function of ``sfumato.theory`` that gives its floor and gap
    gradient: Callable[..., Rows]  # at logits (n, K) and one-hot labels (n, K), written out
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
        """The penalty with its strengths."""
        return {"kind": self.kind, "strengths": dict(self.strengths)}

    def loss(self) -> torch.nn.Module:
        """A new loss module for this arm."""
        from sfumato.lab.train.objectives import PenaltyLoss

        return PenaltyLoss(self.record.function, dict(self.strengths))

    def floor(self, num_classes: int) -> float:
        """The smallest value of the loss, in nats; ``-inf`` where it has none."""
        return self._optimum(num_classes).floor

    def gap(self, num_classes: int) -> float:
        """The logit gap at the optimum, in nats; ``inf`` where no finite gap is the only best one."""
        return math.inf if self.words is not None and self.words.no_gap else self._optimum(num_classes).gap

    def describe(self, num_classes: int) -> str:
        """The strengths in brackets."""
        strengths = [f"{_SYMBOLS.get(name, name)} = {value:g}" for name, value in self.strengths]
        return f"({', '.join(strengths)})".replace("= -", "= −")

    def code(self) -> str:
        """The call of the function."""
        strengths = [f"{name}={value:g}" for name, value in self.strengths]
        return call(f"loss = sf.penalty.{self.record.function}", "logits", "labels", *strengths)

    def below(self, num_classes: int) -> str:
        """Why the mean gap of a network stays below the best one, where that is the margin of a hinge."""
        return self.record.hinge if self.gap(num_classes) == dict(self.strengths).get("margin") else ""

    def target(self, label: int, num_classes: int) -> list[float]:
        """The one-hot target to which the penalty is added."""
        return [float(k == label) for k in range(num_classes)]

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Compare the gradient of the loss object that trained with the formula, on drawn logits.

        Returns nothing: the loss trains towards no target that could be named. Raises ArmError where they differ.
        """
        import numpy as np
        import torch

        z, labels = _drawn(num_classes, dict(self.strengths))
        leaf = torch.from_numpy(z).requires_grad_()
        given = loss(leaf, torch.from_numpy(labels))
        found = torch.autograd.grad(given, leaf)[0].numpy() * len(z)
        wanted = self.record.gradient(z, np.eye(num_classes)[labels], **dict(self.strengths))
        off = np.abs(found - wanted)
        if not off.max() <= 1e-9:  # NaN is refused too
            row, place = np.unravel_index(int(np.nan_to_num(off, nan=np.inf).argmax()), off.shape)
            method = "the penalty" if self.words is None else self.words.method
            raise ArmError(
                f'arm "{self.name}" {self.describe(num_classes)} should have the gradient {wanted[row, place]:.6g} '
                f"where its loss has {found[row, place]:.6g}: the loss that trained is not {method} at this strength; "
                "nothing of this comparison can be trusted"
            )
        return []

    def _optimum(self, num_classes: int) -> theory.Optimum:
        from sfumato import theory

        return getattr(theory, self.record.optimum)(num_classes=num_classes, **dict(self.strengths))


def _penalised(asked: ArmSpec, rows: TrainingLabels) -> PenaltyArm:
    """The arm of a penalty; a parameter that was left out and has no value of its own is left to the function."""
    given = {name: value for name, value in asked.named.items() if not (isinstance(value, float) and math.isnan(value))}
    name = "-".join([asked.kind.name, *(f"{value:g}" for value in given.values())])
    return PenaltyArm(name, None, None, asked.kind.name, words=asked.kind.words, strengths=tuple(given.items()))


def _drawn(num_classes: int, strengths: Mapping[str, float]) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Logits and labels: near the origin, spread out, and close to where a hinge opens, on both of its sides."""
    import numpy as np

    draw = np.random.default_rng(0)
    z = np.repeat([0.5, 3.0, 12.0], _DRAWN // 3)[:, None] * draw.normal(size=(_DRAWN, num_classes))
    labels = draw.integers(0, num_classes, 3 * _DRAWN)
    z[np.arange(_DRAWN), labels[:_DRAWN]] += 2.0  # some rows are answered well, and some are not
    opens = draw.normal(size=(_DRAWN, num_classes))
    opens *= _scale_at_hinge(opens, strengths)
    return np.concatenate([z, 0.998 * opens, 1.002 * opens]), labels


def _scale_at_hinge(z: Rows, strengths: Mapping[str, float]) -> Rows:
    """What to multiply rows by so that they lie where the hinge of a penalty opens, (n, 1); 1 where there is none."""
    import numpy as np

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
    import numpy as np

    low = z - z.max(1, keepdims=True)
    return low - np.log(np.exp(low).sum(1, keepdims=True))


def _p(z: Rows) -> Rows:
    import numpy as np

    return np.exp(_log_p(z))


def _entropy(z: Rows) -> Rows:
    log_p = _log_p(z)
    return -(_p(z) * log_p).sum(1, keepdims=True)


def _hard(z: Rows, y: Rows) -> Rows:
    return _p(z) - y


def _confidence(z: Rows, y: Rows, beta: float, threshold: float = math.inf) -> Rows:
    entropy = _entropy(z)
    return _hard(z, y) + beta * (entropy < threshold) * _p(z) * (_log_p(z) + entropy)


def _margin(z: Rows, y: Rows, margin: float, alpha: float) -> Rows:
    top = z.max(1, keepdims=True)
    beyond, largest = top - z > margin, z == top
    return _hard(z, y) + alpha / z.shape[1] * (beyond.sum(1, keepdims=True) * largest - beyond)


def _maxsup(z: Rows, y: Rows, alpha: float) -> Rows:
    return _hard(z, y) + alpha * ((z == z.max(1, keepdims=True)) - 1 / z.shape[1])


def _relaxation(z: Rows, y: Rows, alpha: float) -> Rows:
    p = _p(z)
    true = (p * y).sum(1, keepdims=True)
    below = true.clip(max=1 - alpha)  # from there on the loss is 0
    return (true < 1 - alpha) * (alpha / (1 - below) * below - (1 - alpha)) * (y - p)


def _focal(z: Rows, y: Rows, gamma: float) -> Rows:
    p = _p(z)
    true = (p * y).sum(1, keepdims=True)
    rest = ((1 - y) * p).sum(1, keepdims=True)
    log_true = (_log_p(z) * y).sum(1, keepdims=True)
    slope = gamma * rest ** (gamma - 1) * log_true * true - rest**gamma
    return slope * (y - p)


def _l2(z: Rows, y: Rows, beta: float) -> Rows:
    return _hard(z, y) + beta * z


def _negative(z: Rows, y: Rows, rate: float) -> Rows:
    return _p(z) - (1 - rate) * y - rate / z.shape[1]


def _words(method: str, no_gap: str = "") -> Words:
    return Words(method=method, target="none", no_gap=no_gap)


def _positive(name: str, called: str, default: float | None = None) -> Parameter:
    return Parameter(name, called, "above 0 and at most 100", lambda value: 0 < value <= 100, default)


_MARGIN = Parameter("margin", "its margin m", "at least 0 and at most 1000", lambda m: 0 <= m <= 1000)
_WEIGHT = Parameter("alpha", "its strength α", "above 0 and below 1", lambda alpha: 0 < alpha < 1)
_RATE = Parameter("rate", "its rate r", "at least -10 and below 0", lambda rate: -10 <= rate < 0)
_THRESHOLD = Parameter(
    "threshold", "its threshold Γ", "above 0 and at most 100, or left out", lambda t: 0 < t <= 100, math.nan
)

PENALTIES = (
    PenaltyKind(
        "confidence",
        "confidence:0.1",
        "CE − β·H(p); with Γ, CE + β·max(0, Γ − H(p))",
        _penalised,
        (_positive("beta", "its strength β"), _THRESHOLD),
        note="β, then Γ if there is a hinge",
        words=_words("the confidence penalty"),
        function="confidence",
        optimum="confidence_optimum",
        gradient=_confidence,
    ),
    PenaltyKind(
        "margin",
        "margin:10:0.1",
        "CE + (α/K)·Σ max(0, max z − z_k − m)",
        _penalised,
        (_MARGIN, _positive("alpha", "its strength α", 0.1)),
        note="m in nats, then α",
        words=_words("the margin penalty"),
        function="margin",
        optimum="margin_optimum",
        gradient=_margin,
        hinge="it holds only the wrong classes that lie furthest below the label, and the others may be nearer",
    ),
    PenaltyKind(
        "maxsup",
        "maxsup:0.1",
        "CE + α·(max z − z̄)",
        _penalised,
        (_WEIGHT,),
        note="α",
        words=_words("MaxSup"),
        function="maxsup",
        optimum="maxsup_optimum",
        gradient=_maxsup,
    ),
    PenaltyKind(
        "relax",
        "relax:0.1",
        "0 from p_y = 1−α on, else KL((1−α, α) ‖ (p_y, 1−p_y))",
        _penalised,
        (_WEIGHT,),
        note="label relaxation by α",
        words=_words("label relaxation", "from some gap on the loss is 0, and every larger gap is as good"),
        function="relaxation",
        optimum="relaxation_optimum",
        gradient=_relaxation,
    ),
    PenaltyKind(
        "focal",
        "focal:3",
        "−(1−p_y)^γ·log p_y",
        _penalised,
        (_positive("gamma", "its exponent γ"),),
        note="γ",
        words=_words("the focal loss", "the loss falls for as long as the gap grows, but ever more slowly"),
        function="focal",
        optimum="focal_optimum",
        gradient=_focal,
    ),
    PenaltyKind(
        "l2",
        "l2:0.002",
        "CE + (β/2)·Σ z_k²",
        _penalised,
        (_positive("beta", "its strength β"),),
        note="β on squared logits",
        words=_words("the penalty on squared logits"),
        function="logit_l2",
        optimum="l2_optimum",
        gradient=_l2,
    ),
    PenaltyKind(
        "negative",
        "negative:-0.2",
        "CE towards (1−r)·e_y + r/K, r < 0",
        _penalised,
        (_RATE,),
        note="smoothing by r < 0, whose loss has no floor",
        words=_words("negative smoothing", "the loss has no floor: it falls for ever as the gap grows"),
        function="negative_smoothing",
        optimum="negative_optimum",
        gradient=_negative,
    ),
)
