"""The two levels of a target, one for the label and one for every other class, at one number of classes K."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.conventions.batch import own_class
from sfumato.probe.read.gradients import Reading


@dataclass(frozen=True)
class Levels:
    """The two levels of a target at one K.

    Attributes:
        classes: K.
        kind: ``"softmax"``, ``"softmax without padding"`` or ``"sigmoid"``.
        true: q of the label; for sigmoids divided by S.
        other: q of each other class.
        mass: Σq.
        pad: the class without mass, if there is one.
        factor: S, the number that p is multiplied by. For a softmax S must be Σq, or no logits make the gradient 0.
        coarse: whether the levels were read from differences of values with float32's digits.
    """

    classes: int
    kind: str
    true: float
    other: float
    mass: float
    pad: int | None = None
    factor: float = 1.0
    coarse: bool = False

    @property
    def optimum(self) -> tuple[float, float]:
        """The probabilities at the optimum: q over its sum, or q itself for sigmoids."""
        total = 1.0 if self.kind == "sigmoid" or self.mass == 0 else self.mass
        return self.true / total, self.other / total

    @property
    def is_hard(self) -> bool:
        """Whether all mass is on the label, up to what a guard such as log(p + 1e-7) leaves."""
        if self.kind == "sigmoid" and abs(self.true - 1) > (2e-5 if self.coarse else 2e-6):
            return False
        return abs(self.other) <= least_share(self.classes, coarse=self.coarse) * max(abs(self.true), 1e-9)

    @property
    def is_balanced(self) -> bool:
        """Whether Σq is S, so that the gradient of a softmax sums to 0."""
        return abs(self.mass - self.factor) <= 1e-5 * abs(self.factor)

    @property
    def drifts(self) -> bool:
        """Whether no logits make the gradient 0: that of a softmax does not sum to 0. Sigmoids need no balance."""
        return self.kind != "sigmoid" and not self.is_balanced


def least_share(classes: int, *, coarse: bool = False) -> float:
    """The share of another class up to which it counts as none: far less than ε/K, of however many classes."""
    return (2e-5 if coarse else 2e-6) * min(1.0, 25 / classes)


def levels(reading: Reading) -> Levels | None:
    """The two levels of a reading; None where targets have more than two, or differ between labels."""
    alive = np.flatnonzero(reading.alive)
    if reading.kind == "other" or len(alive) == 0:
        return None
    masses = reading.masses[alive]
    if np.ptp(masses) > 1e-4 * np.abs(masses).max():
        return None
    factor, k = float(masses.mean()), reading.classes
    q, labels = reading.targets[alive], reading.live_labels
    own = q[np.arange(len(alive)), labels]
    rest: Any = np.ma.masked_array(q, own_class(labels, k))
    pad = None if reading.kind == "sigmoid" else _padding(rest)
    if pad is not None:
        rest = np.ma.masked_array(rest, np.broadcast_to(np.arange(k) == pad, rest.shape))
    close = 1e-4 * max(abs(factor), float(np.abs(own).max()))
    if np.ptp(own) > close or (rest.count() and float(np.ma.max(rest) - np.ma.min(rest)) > close):
        return None
    unit = factor if reading.kind == "sigmoid" else 1.0
    true = _without_rounding(float(own.mean()) / unit)
    other = _without_rounding(float(rest.mean()) / unit if rest.count() else 0.0)
    mass = float(f"{true + (k - 1 - (pad is not None)) * other:.12g}")
    kind = reading.kind if pad is None else "softmax without padding"
    return Levels(k, kind, true, other, mass, pad, factor, reading.coarse)


def as_typed(value: float, *, coarse: bool = False) -> float:
    """The number that a person typed: 0.10000000149 was 0.1 in float32, and 0.3000000000000001 was 0.3.

    A number of at most four digits may be two units of float32 away, or a hundred if ``coarse``; a number of nine
    digits may be 1e-11 away, relatively.

    >>> as_typed(0.10000000149), as_typed(1 / 9)
    (0.1, 0.1111111111111111)
    """
    if value == 0 or not np.isfinite(value):
        return value + 0.0
    near = 1e-5 if coarse else 2e-7
    for digits, close in ((1, near), (2, near), (3, near), (4, near), (9, 1e-11)):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= close * abs(value):
            return short
    return value


def _padding(rest: Any) -> int | None:
    """The only class to which no other label gives mass, while the other classes get some."""
    k = rest.shape[1]
    size = float(np.ma.max(np.ma.abs(rest))) if rest.count() else 0.0
    if k < 4 or size < 1e-9:
        return None
    (empty,) = np.nonzero(np.ma.abs(rest).max(axis=0).filled(np.inf) < 1e-7 * size)
    return int(empty[0]) if len(empty) == 1 else None


def _without_rounding(value: float) -> float:
    """A level without the rounding of its fit."""
    return 0.0 if abs(value) < 1e-11 else float(f"{value:.12g}")
