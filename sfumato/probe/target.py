"""All that gradients say of a target: the reading at one K, the convention from several K, and what is peculiar."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sfumato.conventions import SPREADS
from sfumato.probe.call import Loss, Relabelling
from sfumato.probe.find_loss import Spec, attempt, refusing
from sfumato.probe.gradients import SQUASHED, TEMPERATURE, Reading, read
from sfumato.probe.levels import Levels, Prior, Weighted, as_typed, in_figures, levels, prior_of, without_weights
from sfumato.probe.result import ProbeFinding, defect, note, warning
from sfumato.probe.understand import OTHER_CLASSES, remade

CLOSE = 2e-6  # relative difference up to which a strength is the given one, for losses that work in float32


class Identity(NamedTuple):
    """What is known of a convention."""

    convention: str | None  # its name, "one-hot", or None where it cannot be told
    eps: float | None  # the strength in that convention, or None
    why: str  # how the convention was told, or why it cannot be told, as a sentence


def identify(at: Mapping[int, Levels], argument: float | None = None) -> Identity:
    """The convention whose strength is the same for the levels at every K."""
    known = list(at.values())
    kinds = {level.kind for level in known}
    if len(kinds) != 1:
        return Identity(None, None, "the kind of target is not the same at every K")
    if all(level.is_hard for level in known):
        return Identity("sigmoid-hard" if "sigmoid" in kinds else "one-hot", 0.0, "all mass is on the label")
    fits: dict[str, float] = {}
    for name in (name for name, spread in SPREADS.items() if spread.space in kinds):
        strengths = [eps for level in known if (eps := strength_over(name, level)) is not None]
        middle = float(np.median(strengths)) if len(strengths) == len(known) else np.inf
        # A loss in float32 has few digits of a small share of the others.
        if np.isfinite(middle) and np.ptp(strengths) <= 1e-4 * max(abs(middle), 0.01):
            fits[name] = as_typed(middle, coarse=known[0].coarse)
    fits = _with_right_mass(fits, known)
    several = len(at) > 1
    if argument is not None:
        close = CLOSE * (10 if known[0].coarse else 1) * max(abs(argument), 0.01)
        exact = [name for name, eps in fits.items() if abs(eps - argument) <= close]
        if len(exact) == 1:
            how = "the strength that it was given, at every K tried" if several else "the strength that it was given"
            return Identity(exact[0], argument, how)
    if not fits:
        return Identity(None, None, "no convention known has one strength that fits every K tried")
    if several:
        # Where two conventions are the same target, a person typed the strength with the fewer digits.
        best = min(
            fits, key=lambda name: (not 0 <= fits[name] <= 1, len(f"{fits[name]:.10g}"), list(SPREADS).index(name))
        )
        also = [f"{name} with {eps:.6g}" for name, eps in fits.items() if name != best]
        why = f"one strength at K = {', '.join(map(str, sorted(at)))}"
        return Identity(best, fits[best], why + (f"; the same as {', '.join(also)}" if also else ""))
    if len(fits) == 1 and "softmax" not in kinds:
        (only,) = fits
        return Identity(only, fits[only], "the only convention of this kind that fits")
    readings = ", ".join(f"{name} with {eps:.6g}" for name, eps in fits.items())
    return Identity(None, None, f"one K alone cannot tell: {readings} fit alike")


def strength_over(name: str, level: Levels) -> float | None:
    """The strength that a convention needs for the optimum of some levels; None where no strength has that optimum."""
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


def _with_right_mass(fits: dict[str, float], known: list[Levels]) -> dict[str, float]:
    """The conventions that have the masses found: ``deficit`` has 1 − ε/K, the other softmax conventions a constant."""
    masses = [level.mass for level in known]
    if "deficit" in fits:
        eps = fits["deficit"]
        if all(abs(level.mass - (1 - eps / level.classes)) < 1e-5 for level in known):
            return {"deficit": eps}
        fits = {name: each for name, each in fits.items() if name != "deficit"}
    if known[0].kind == "softmax" and max(masses) - min(masses) > 1e-5:
        inverse = all(abs(level.mass * level.classes - masses[0] * known[0].classes) < 1e-4 for level in known)
        return fits if inverse else {}
    return fits


@dataclass(frozen=True)
class TargetRead:
    """What a loss trains towards, as far as its gradients tell."""

    reading: Reading  # the targets at the K asked for
    level: Levels | None  # the two levels of the target, without class weights; None where there are more levels
    weighted: Weighted | None  # the class weights, if the targets have any
    prior: Prior | None  # the prior that the targets are spread over, if they have no two levels
    identity: Identity  # the convention
    level_at: dict[int, Levels]  # the two levels at every K at which they could be read
    relabelling: Relabelling | None = None  # which class each label is trained towards, where it is another
    labels_matter: bool = True

    @property
    def moved_by(self) -> str | None:
        """Why the loss is not smallest at the two levels, as a clause; None where it is, and where there are none."""
        level, extra = self.level, self.reading.extra
        if level is None:
            return None
        if self.weighted is not None and np.ptp(self.weighted.classes) > 1e-4:
            return "class weights move the optimum"
        if extra is not None and extra.kind.moves:
            return extra.kind.moves
        if extra is not None and extra.kind is TEMPERATURE and extra.size < 0:
            return "the sign of the logits is turned"
        if extra is None and level.drifts:
            return "its gradient is nowhere 0, and the logits drift"
        if level.mass < 0:
            return "the sign is turned, and the loss has no lower bound"
        if not level.is_hard and min(level.optimum) < 0:
            return "a share of this target is negative, and the loss has no lower bound"
        return None

    def strength_over(self, name: str) -> float | None:
        """The strength in a convention whose optimum is that of the loss; None where no strength has that optimum."""
        return None if self.level is None or self.moved_by else strength_over(name, self.level)


def read_target(spec: Spec, loss: Loss, classes: int) -> TargetRead:
    """Read the target of a loss at K classes, and name its convention from other K."""
    with refusing(f"{spec.name} cannot be called with one row at a time"):
        reading = read(loss, classes)
    level, weighted, prior = _explained(reading)
    relabelling = _relabelling(reading) if level is None and weighted is None and prior is None else None
    if relabelling is not None:
        reading = _relabelled(reading, relabelling)
        level, weighted, prior = _explained(reading)
        loss = replace(loss, relabelling=relabelling) if relabelling.is_one_to_one else loss
    matter = _labels_matter(reading)
    if not matter and (level is None or level.drifts or level.mass <= 0):
        unknown = Identity(None, None, "its gradient is the same whatever the labels are")
        return TargetRead(reading, None, None, None, unknown, {}, relabelling, labels_matter=False)
    level_at = {} if level is None else {classes: level}
    for k in OTHER_CLASSES:
        if level is None or k == classes:
            continue
        # Weights need every label; without them a few tell as much, and differences of values are slow.
        asked = None if weighted is None else tuple(range(k))
        at = attempt(lambda k=k, asked=asked: read(remade(spec, loss, k), k, asked))
        clean = None if weighted is None or at is None else without_weights(at)
        elsewhere = None if at is None else levels(at if clean is None else clean.reading)
        if elsewhere is not None:
            level_at[k] = elsewhere
    return TargetRead(
        reading, level, weighted, prior, _identity(spec, loss, level_at, prior), level_at, relabelling, matter
    )


def _explained(reading: Reading) -> tuple[Levels | None, Weighted | None, Prior | None]:
    """The two levels of a target, its class weights, or its prior."""
    level = levels(reading)
    weighted = without_weights(reading) if level is None else None
    if weighted is not None:
        level = levels(weighted.reading)
    return level, weighted, prior_of(reading) if level is None and reading.extra is None else None


def _relabelling(reading: Reading) -> Relabelling | None:
    """The class that each label is trained towards, if the target is a plain one for these and not for the labels."""
    live = np.flatnonzero(reading.alive)
    if reading.kind == "other" or len(live) < 2:
        return None
    q = reading.optima[live]
    most = q.argmax(axis=1) if q.max(axis=1).min() > 0.5 else (q - np.median(q, axis=0)).argmax(axis=1)
    table = {reading.labels[i]: int(c) for i, c in zip(live, most, strict=True)}
    found = Relabelling.of(reading.classes, table)
    is_other = any(y != c for y, c in table.items())
    return found if is_other and any(_explained(_relabelled(reading, found))) else None


def _labels_matter(reading: Reading) -> bool:
    """Whether any two labels have different gradients."""
    q = np.column_stack([reading.targets, reading.masses])
    return reading.kind == "other" or len(q) < 2 or bool(np.ptp(q, axis=0).max() > 1e-9 * np.abs(q).max())


def _relabelled(reading: Reading, by: Relabelling) -> Reading:
    """The reading with each class in the place of the label that is trained towards it."""
    order = sorted(by.table, key=by.table.__getitem__)
    at = [reading.labels.index(y) for y in order]
    slopes = None if reading.slopes is None else reading.slopes[at]
    labels = tuple(by.table[y] for y in order)
    return replace(reading, labels=labels, targets=reading.targets[at], masses=reading.masses[at], slopes=slopes)


def _identity(spec: Spec, loss: Loss, level_at: dict[int, Levels], prior: Prior | None) -> Identity:
    if prior is not None:
        known = Identity("prior", prior.eps, f"the target is {prior.description}")
    elif not level_at:
        known = Identity(None, None, "the target has not two levels")
    elif any(each.drifts for each in level_at.values()):
        known = Identity(None, None, "its gradient is that of no cross entropy")
    else:
        value = None if spec.strength is None else spec.given(spec.strength)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        known = identify(level_at, value if is_number else None)
    if not loss.seeded:
        return known
    draw = "" if known.eps is None else f"; one draw is {known.convention} with ε = {known.eps:g}"
    return Identity(None, None, f"it is random, and its expectation unknown{draw}")


def target_findings(target: TargetRead) -> Iterator[ProbeFinding]:
    """What is peculiar about a target, its mass and its levels."""
    reading, level = target.reading, target.level
    if not reading.alive.any():
        yield defect("no-gradient", "the gradient is 0 for every label")
        return
    if reading.kind == "other":
        near = f"; the nearest leaves {reading.residual:.2g} of it, as half precision inside would"
        text = "the loss is not a cross entropy of a softmax or sigmoids: no fixed target explains its gradient"
        yield warning("no-fixed-target", text + (near if reading.residual < 5e-3 else ""))
        return
    if target.relabelling is not None:
        yield defect("label-becomes-another", target.relabelling.description)
    if not target.labels_matter:
        text = "the gradient is the same whatever the labels are"
        yield (
            warning("labels-unused", f"{text}, as label smoothing with ε = 1 has it")
            if level
            else defect("labels-unused", f"labels are not looked at: {text}")
        )
    if not target.labels_matter and level is None:
        return
    if target.weighted is not None:
        yield warning("weighted-target", target.weighted.description)
    if reading.extra is not None and reading.extra.kind.moves == SQUASHED:
        yield defect("squashed-before-loss", f"{reading.extra.kind.formula}: {SQUASHED}")
    elif reading.extra is not None and reading.extra.kind is TEMPERATURE and reading.extra.size < 0:
        text = f"the loss is that of −z/{-reading.extra.size:.6g}: the logit of the label is pushed down"
        yield defect("logits-negated", text)
    elif reading.extra is not None:
        text = f"a term beside the cross entropy: {reading.extra.kind.formula}, coefficient "
        yield note("extra-term", f"{text}{reading.extra.size:.6g}")
    if target.prior is not None:
        yield note("prior-target", f"the target is {target.prior.description}")
    elif level is None:
        first_two = np.flatnonzero(reading.alive)[:2]
        differ = "; ".join(f"label {reading.labels[i]} has {in_figures(reading.targets[i])}" for i in first_two)
        yield warning("target-differs", f"the target differs between labels or classes: {differ}")
    else:
        yield from _level_findings(level, target)
        floor = float(reading.floors[reading.alive].mean())
        if abs(floor) > 1e-5 and abs(reading.offset + floor) < 1e-5 * max(1, abs(floor)):
            text = f"the entropy of the target, {floor:.4g}, is subtracted (a KL divergence): the smallest loss is 0"
            yield note("entropy-subtracted", text)
        elif abs(reading.offset) > 1e-4 * max(1, abs(floor)):
            text = f"the value is shifted by {reading.offset:.6g} from the plain cross entropy; it trains alike"
            yield note("value-shifted", text)


def _level_findings(level: Levels, target: TargetRead) -> Iterator[ProbeFinding]:
    identity, total = target.identity, f"Σq = {level.mass:.6g}"
    if identity.convention is None and not level.drifts:
        yield warning("convention-unknown", identity.why)
    if identity.eps is not None and identity.eps < 0:
        yield defect("negative-smoothing", f"ε = {identity.eps:g}: negative smoothing, which has no lower bound")
    if level.pad is not None:
        yield note("padding-class", f"class {level.pad} gets no mass: its logit is pushed to −∞ without limit")
    if level.kind == "sigmoid":
        if abs(level.factor - 1) > 1e-6:
            scale = _factor_in_words(level.factor, {k: each.factor for k, each in target.level_at.items()})
            yield note("scale", f"the loss is scaled, by {scale}")
    elif level.drifts:
        text = f"{total}, while p counts {level.factor:.6g}: the gradient does not sum to 0, and the "
        yield defect("logits-drift", f"{text}logits drift together")
    elif identity.convention == "deficit" and abs(level.mass - 1) > 1e-5:
        yield defect("mass-deficit", f"{total}, not 1: the ε/K of the label was left out")
    elif level.mass < 0:
        yield defect("sign-turned", f"{total}: the sign is turned, and the loss is smallest at the wrong class")
    elif abs(level.mass - 1) > 1e-5:  # a factor of the loss, the same at every K, or a target that is not normalised
        masses = {k: each.mass for k, each in target.level_at.items()}
        scale = _factor_in_words(level.mass, masses)
        constant = len(masses) > 1 and max(masses.values()) - min(masses.values()) < 1e-5
        is_factor = constant or scale.startswith("1/K")
        yield (warning if is_factor else defect)(
            "mass-factor" if is_factor else "mass-changes-with-classes", f"{total}, not 1: {scale}"
        )


def _factor_in_words(value: float, at: dict[int, float]) -> str:
    if all(abs(each * k - 1) < 1e-4 for k, each in at.items()):
        return "1/K: the mean is over rows and classes"
    if len(at) > 1 and max(at.values()) - min(at.values()) < 1e-5:
        return f"{value:.6g} times the loss, at every K"
    return ", ".join(f"{each:.6g} at K = {k}" for k, each in sorted(at.items()))
