"""What is peculiar about a target: its mass, its levels, and terms beside the cross entropy."""

from collections.abc import Iterator

import numpy as np

from sfumato.probe.findings import ProbeFinding, defect, in_figures, note, warning
from sfumato.probe.read.gradients import Reading
from sfumato.probe.read.levels import Levels
from sfumato.probe.read.target import TargetRead


def of_target(target: TargetRead) -> Iterator[ProbeFinding]:
    """What the gradients say of the target."""
    reading, level = target.reading, target.level
    if not reading.alive.any():
        yield defect("gradient", "it is 0 for every label")
        return
    if reading.kind == "other":
        near = f"; the nearest leaves {reading.residual:.2g} of it, as half precision inside would"
        told = "not a cross entropy of a softmax or sigmoids: no fixed target explains its gradient"
        yield warning("target", told + (near if reading.residual < 5e-3 else ""))
        return
    if target.weighted is not None:
        yield warning("class weights", target.weighted.told)
    if reading.extra is not None:
        name, coefficient = reading.extra
        yield note("extra term", f"{name}, coefficient {coefficient:.6g}")
    if target.prior is not None:
        yield note("target", target.prior.told)
    elif level is None:
        first_two = np.flatnonzero(reading.alive)[:2]
        differ = "; ".join(f"label {reading.labels[i]} has {in_figures(reading.targets[i])}" for i in first_two)
        yield warning("target", f"differs between labels or classes: {differ}")
    else:
        yield from _of_levels(level, target)
        yield from _of_value(reading)


def _of_levels(level: Levels, target: TargetRead) -> Iterator[ProbeFinding]:
    identity = target.identity
    if identity.convention is None and not level.drifts:
        yield warning("convention", identity.why)
    if identity.eps is not None and identity.eps < 0:
        yield defect("target", f"ε = {identity.eps:g}: negative smoothing, which has no lower bound")
    if level.pad is not None:
        yield note("target", f"class {level.pad} gets no mass: its logit is pushed to −∞ without end")
    if level.kind == "sigmoid":
        if abs(level.factor - 1) > 1e-6:
            yield note("scale", _factor(level.factor, {k: each.factor for k, each in target.level_at.items()}))
    elif level.drifts:
        told = f"Σq = {level.mass:.6g}, while p counts {level.factor:.6g}: the gradient does not sum to 0, and the "
        yield defect("total mass", told + "logits drift together")
    elif abs(level.mass - 1) > 1e-5:
        yield _of_mass(level, target)


def _of_mass(level: Levels, target: TargetRead) -> ProbeFinding:
    """Whether a Σq other than 1 is a factor of the loss, the same at every K, or that of a target not normalised."""
    masses = {k: each.mass for k, each in target.level_at.items()}
    if target.identity.convention == "deficit":
        return defect("total mass", f"Σq = {level.mass:.6g}, not 1: the ε/K of the label was left out")
    if level.mass < 0:
        return defect("total mass", f"Σq = {level.mass:.6g}: the sign is turned, and it is smallest at the wrong class")
    told = _factor(level.mass, masses)
    constant = len(masses) > 1 and max(masses.values()) - min(masses.values()) < 1e-5
    finding = warning if constant or told.startswith("1/K") else defect
    return finding("total mass", f"Σq = {level.mass:.6g}, not 1: {told}")


def _of_value(reading: Reading) -> Iterator[ProbeFinding]:
    floor = float(reading.floors[reading.alive].mean())
    if abs(floor) > 1e-5 and abs(reading.offset + floor) < 1e-5 * max(1, abs(floor)):
        told = f"the entropy of the target, {floor:.4g}, is subtracted (a KL divergence): its smallest value is 0"
        yield note("value", told)
    elif abs(reading.offset) > 1e-4 * max(1, abs(floor)):
        yield note("value", f"shifted by {reading.offset:.6g} from the plain cross entropy; it trains alike")


def _factor(value: float, at: dict[int, float]) -> str:
    if all(abs(each * k - 1) < 1e-4 for k, each in at.items()):
        return "1/K: the mean is over rows and classes"
    if len(at) > 1 and max(at.values()) - min(at.values()) < 1e-5:
        return f"{value:.6g} times the loss, at every K"
    return ", ".join(f"{each:.6g} at K = {k}" for k, each in sorted(at.items()))
