"""Name the convention of readings at several K: one K cannot tell them apart, for each has an ε that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.conventions import SPREADS, Convention
from sfumato.probe.read.gradients import Reading

CLOSE = 2e-6
"""Relative difference up to which a strength is the one that was given, when a loss works in float32."""


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
        factor: S of the fit: what p is multiplied by; for a softmax the same as Σq, or nothing makes the gradient 0.
        coarse: whether they were read by differences of values with float32's digits.
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
        """Q over its sum; q itself for sigmoids."""
        total = 1.0 if self.kind == "sigmoid" or self.mass == 0 else self.mass
        return self.true / total, self.other / total


@dataclass(frozen=True)
class Identity:
    """What is known of a convention.

    Attributes:
        convention: its name, ``"one-hot"``, or None where it cannot be told.
        eps: the strength in it, or None.
        why: a sentence.
    """

    convention: str | None
    eps: float | None
    why: str


def levels(reading: Reading) -> Levels | None:
    """The two levels of a reading; None where targets have more than two, or differ between labels."""
    if reading.kind == "other":
        return None
    alive = np.flatnonzero(reading.alive)
    if len(alive) == 0:
        return None
    masses = reading.masses[alive]
    if np.ptp(masses) > 1e-4 * np.abs(masses).max():
        return None
    slope = float(masses.mean())
    q = reading.targets[alive]
    labels = [reading.labels[i] for i in alive]
    k = reading.classes
    own = q[np.arange(len(alive)), labels]
    rest: Any = np.ma.masked_array(q, np.eye(k, dtype=bool)[labels])
    pad = _padding(reading, rest)
    if pad is not None:
        rest = np.ma.masked_array(rest, np.broadcast_to(np.arange(k) == pad, rest.shape))
    size = max(abs(slope), float(np.abs(own).max()))
    if np.ptp(own) > 1e-4 * size or (rest.count() and float(np.ma.max(rest) - np.ma.min(rest)) > 1e-4 * size):
        return None
    other = float(rest.mean()) if rest.count() else 0.0
    if reading.kind == "sigmoid":
        true, other = _zero(float(own.mean()) / slope), _zero(other / slope)
        return Levels(k, "sigmoid", true, other, _tidy(true + (k - 1) * other), None, slope, reading.coarse)
    kind = "softmax" if pad is None else "softmax without padding"
    true, other = _zero(float(own.mean())), _zero(other)
    mass = true + (k - 1 if pad is None else k - 2) * other
    return Levels(k, kind, true, other, _tidy(mass), pad, slope, reading.coarse)


def identify(at: Mapping[int, Levels], argument: float | None = None) -> Identity:
    """The convention whose strength is the same at every K.

    Args:
        at: levels by K.
        argument: the strength that the loss was given, if that is known; it decides where K cannot.

    Returns:
        :class:`Identity`.

    >>> at = {k: Levels(k, "softmax", 0.9, 0.1 / (k - 1), 1.0) for k in (3, 10)}
    >>> identify(at).convention, round(identify(at).eps, 6)
    ('others', 0.1)
    >>> identify({10: at[10]}).convention is None
    True

    Source: the formulas of :mod:`sfumato.conventions`.
    """
    found = list(at.values())
    kinds = {each.kind for each in found}
    if len(kinds) != 1:
        return Identity(None, None, "the kind of target is not the same at every K")
    if all(_hard(each) for each in found):
        name = "one-hot" if "sigmoid" not in kinds else "sigmoid-hard"
        return Identity(name, 0.0, "all mass is on the label")
    fits: dict[str, float] = {}
    for name, spread in SPREADS.items():
        if spread.space in kinds:
            strength = _common(spread, found)
            if strength is not None:
                fits[name] = snapped(strength, coarse=found[0].coarse)
    fits = _of_right_mass(fits, found)
    several = len(at) > 1
    if argument is not None:
        close = CLOSE * (10 if found[0].coarse else 1) * max(abs(argument), 0.01)
        exact = [name for name, eps in fits.items() if abs(eps - argument) <= close]
        if len(exact) == 1:
            how = "the strength that it was given, at every K tried" if several else "the strength that it was given"
            return Identity(exact[0], argument, how)
    if not fits:
        return Identity(None, None, "no convention known has one strength that fits every K tried")
    if several:
        best = _roundest(fits)
        also = [f"{name} with {eps:.6g}" for name, eps in fits.items() if name != best]
        told = f"one strength at K = {', '.join(map(str, sorted(at)))}"
        return Identity(best, fits[best], told + (f"; the same as {', '.join(also)}" if also else ""))
    if len(fits) == 1 and "softmax" not in kinds:
        (only,) = fits
        return Identity(only, fits[only], "the only convention of this kind that fits")
    readings = ", ".join(f"{name} with {eps:.6g}" for name, eps in fits.items())
    return Identity(None, None, f"one K alone cannot tell: {readings} fit alike")


def _hard(level: Levels) -> bool:
    """All mass on the label, up to what a guard such as log(p + 1e-7) leaves; a sigmoid's label must be at 1 too."""
    close = 2e-5 if level.coarse else 2e-6
    if level.kind == "sigmoid" and abs(level.true - 1) > close:
        return False
    return abs(level.other) <= close * max(abs(level.true), 1e-9)


def strength_over(name: str, level: Levels) -> float | None:
    """The strength that one convention needs for the optimum of some levels; None where it has none.

    >>> round(strength_over("all", Levels(10, "softmax", 0.9, 0.1 / 9, 1.0)), 9)
    0.111111111

    Source: as :func:`identify`.
    """
    spread = SPREADS[name]
    if _hard(level):
        return 0.0 if (level.kind == "sigmoid") == (spread.space == "sigmoid") else None
    true, other = level.optimum
    if level.kind != spread.space:
        return None
    eps = snapped(spread.inverse(other if abs(other) > 1e-11 else 0.0, level.classes), coarse=level.coarse)
    if not np.isfinite(eps):
        return None
    back = spread.pair(eps, level.classes)  # not optimum, which refuses strengths out of range
    total = 1.0 if spread.space == "sigmoid" else back[0] + (level.classes - 1 - (level.pad is not None)) * back[1]
    if total == 0:
        return None
    back = back[0] / total, back[1] / total
    close = 1e-4 if level.coarse else 2e-5
    return eps if abs(back[0] - true) <= close and abs(back[1] - other) <= close * max(abs(other), 1e-3) else None


def snapped(value: float, *, coarse: bool = False) -> float:
    """The number that a person typed: 0.10000000149 was 0.1 in float32, and 0.3000000000000001 was 0.3.

    >>> snapped(0.10000000149), snapped(1 / 9)
    (0.1, 0.1111111111111111)

    Source: at most four digits within two units of float32 (a hundred if coarse), or twelve within 1e-11.
    """
    if value == 0 or not np.isfinite(value):
        return value + 0.0
    near = 1e-5 if coarse else 2e-7
    for digits, close in ((1, near), (2, near), (3, near), (4, near), (9, 1e-11)):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= close * abs(value):
            return short
    return value


def _common(spread: Convention, found: list[Levels]) -> float | None:
    strengths = [strength_over(spread.name, each) for each in found]
    told = [each for each in strengths if each is not None]
    if len(told) < len(strengths):
        return None
    middle = float(np.median(told))
    close = 1e-4 * max(abs(middle), 0.01)  # where the others' share is small, a loss in float32 has few digits of it
    return middle if max(told) - min(told) <= close else None


def _of_right_mass(fits: dict[str, float], found: list[Levels]) -> dict[str, float]:
    """``deficit`` explains a mass below 1, and only that; the other softmax conventions have a constant mass."""
    masses = [each.mass for each in found]
    if "deficit" in fits:
        eps = fits["deficit"]
        explained = all(abs(each.mass - (1 - eps / each.classes)) < 1e-5 for each in found)
        if explained:
            return {"deficit": eps}
        fits = {name: each for name, each in fits.items() if name != "deficit"}
    if found[0].kind == "softmax" and len(found) > 1 and max(masses) - min(masses) > 1e-5:
        inverse = all(abs(each.mass * each.classes - masses[0] * found[0].classes) < 1e-4 for each in found)
        return fits if inverse else {}
    return fits


def _roundest(fits: dict[str, float]) -> str:
    """Where two conventions are the same target, the one whose strength a person would have typed."""

    def digits(name: str) -> tuple[int, int]:
        return len(f"{fits[name]:.10g}"), list(SPREADS).index(name)

    return min(fits, key=digits)


def _padding(reading: Reading, rest: Any) -> int | None:
    """The one class, beside a label's own, that no label gives mass, while the others get some."""
    k = reading.classes
    if reading.kind == "sigmoid" or k < 4:
        return None
    size = float(np.ma.max(np.ma.abs(rest))) if rest.count() else 0.0
    if size < 1e-9:
        return None
    empty = [c for c in range(k) if rest[:, c].count() and float(np.ma.max(np.ma.abs(rest[:, c]))) < 1e-7 * size]
    return empty[0] if len(empty) == 1 else None


def _zero(value: float) -> float:
    return 0.0 if abs(value) < 1e-11 else _tidy(value)


def _tidy(value: float) -> float:
    """Without the rounding of the fit itself."""
    return float(f"{value:.12g}")
