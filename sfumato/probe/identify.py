"""Name the convention of levels at several K. One K cannot tell the conventions apart, for each has an ε that fits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sfumato.conventions import SPREADS, Convention
from sfumato.probe.read.levels import Levels, as_typed

CLOSE = 2e-6
"""Relative difference up to which a strength is the given one, for losses that work in float32."""


@dataclass(frozen=True)
class Identity:
    """What is known of a convention.

    Attributes:
        convention: its name, ``"one-hot"``, or None where it cannot be told.
        eps: the strength in that convention, or None.
        why: how the convention was told, or why it cannot be told, as a sentence.
    """

    convention: str | None
    eps: float | None
    why: str


def identify(at: Mapping[int, Levels], argument: float | None = None) -> Identity:
    """The convention whose strength is the same for the levels at every K.

    The ``argument``, the strength that the loss was given where that is known, decides where K cannot.

    >>> at = {k: Levels(k, "softmax", 0.9, 0.1 / (k - 1), 1.0) for k in (3, 10)}
    >>> identify(at).convention, round(identify(at).eps, 6)
    ('others', 0.1)
    >>> identify({10: at[10]}).convention is None
    True
    """
    found = list(at.values())
    kinds = {each.kind for each in found}
    if len(kinds) != 1:
        return Identity(None, None, "the kind of target is not the same at every K")
    if all(each.is_hard for each in found):
        return Identity("sigmoid-hard" if "sigmoid" in kinds else "one-hot", 0.0, "all mass is on the label")
    common = {name: _common(spread, found) for name, spread in SPREADS.items() if spread.space in kinds}
    fits = {name: as_typed(eps, coarse=found[0].coarse) for name, eps in common.items() if eps is not None}
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
        # Where two conventions are the same target, a person typed the strength with the fewer digits.
        best = min(fits, key=lambda name: (len(f"{fits[name]:.10g}"), list(SPREADS).index(name)))
        also = [f"{name} with {eps:.6g}" for name, eps in fits.items() if name != best]
        told = f"one strength at K = {', '.join(map(str, sorted(at)))}"
        return Identity(best, fits[best], told + (f"; the same as {', '.join(also)}" if also else ""))
    if len(fits) == 1 and "softmax" not in kinds:
        (only,) = fits
        return Identity(only, fits[only], "the only convention of this kind that fits")
    readings = ", ".join(f"{name} with {eps:.6g}" for name, eps in fits.items())
    return Identity(None, None, f"one K alone cannot tell: {readings} fit alike")


def strength_over(name: str, level: Levels) -> float | None:
    """The strength that a convention needs for the optimum of some levels; None where no strength has that optimum.

    >>> round(strength_over("all", Levels(10, "softmax", 0.9, 0.1 / 9, 1.0)), 9)
    0.111111111
    """
    spread = SPREADS[name]
    if level.is_hard:
        return 0.0 if (level.kind == "sigmoid") == (spread.space == "sigmoid") else None
    if level.kind != spread.space:
        return None
    true, other = level.optimum
    eps = as_typed(spread.inverse(other if abs(other) > 1e-11 else 0.0, level.classes), coarse=level.coarse)
    if not np.isfinite(eps):
        return None
    back = spread.pair(eps, level.classes)  # not spread.optimum, which refuses strengths out of range
    total = 1.0 if spread.space == "sigmoid" else back[0] + (level.classes - 1 - (level.pad is not None)) * back[1]
    if total == 0:
        return None
    close = 1e-4 if level.coarse else 2e-5
    fits = abs(back[0] / total - true) <= close and abs(back[1] / total - other) <= close * max(abs(other), 1e-3)
    return eps if fits else None


def _common(spread: Convention, found: list[Levels]) -> float | None:
    """The strength of a convention that fits all levels; None where there is none."""
    told = [eps for each in found if (eps := strength_over(spread.name, each)) is not None]
    if len(told) < len(found):
        return None
    middle = float(np.median(told))
    close = 1e-4 * max(abs(middle), 0.01)  # a loss in float32 has few digits of a small share of the others
    return middle if max(told) - min(told) <= close else None


def _of_right_mass(fits: dict[str, float], found: list[Levels]) -> dict[str, float]:
    """The conventions that have the masses found: ``deficit`` has 1 − ε/K, the other softmax conventions a constant."""
    masses = [each.mass for each in found]
    if "deficit" in fits:
        eps = fits["deficit"]
        if all(abs(each.mass - (1 - eps / each.classes)) < 1e-5 for each in found):
            return {"deficit": eps}
        fits = {name: each for name, each in fits.items() if name != "deficit"}
    if found[0].kind == "softmax" and max(masses) - min(masses) > 1e-5:
        inverse = all(abs(each.mass * each.classes - masses[0] * found[0].classes) < 1e-4 for each in found)
        return fits if inverse else {}
    return fits
