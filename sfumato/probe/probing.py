"""Put a loss through everything, and say what it is: the whole of ``sfumato probe``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sfumato.probe.call.caller import Loss
from sfumato.probe.call.named import PAD_NAMES, ProbeError, Spec, load, of
from sfumato.probe.call.signature import understand
from sfumato.probe.checks.arguments import (
    OTHER_CLASSES,
    at_the_ends,
    by_default,
    class_weights,
    ignoring_survives,
    in_evaluation,
    is_strength,
    understood_again,
)
from sfumato.probe.checks.numerics import at_infinity, far_out, gradient_of_value, in_half, is_changing, side_effects
from sfumato.probe.checks.rows import ignored_by, odd_labels, reduction_of
from sfumato.probe.findings import Finding, defect, note, warning
from sfumato.probe.identify import Identity, Levels, identify, levels, strength_over
from sfumato.probe.read.class_weights import without_weights
from sfumato.probe.read.gradients import Reading, read
from sfumato.probe.read.prior import Prior, prior_of
from sfumato.probe.recipe import Recipe, recipe_of

SCHEMA = "sfumato.probe/1"


@dataclass(frozen=True)
class Probe:
    """What a loss trains towards.

    Attributes:
        name: how the loss was named.
        called: how it is called, as in ``"logits[N, K], labels[N]"``.
        classes: K that ``target`` and the strengths are for.
        convention: its name in :data:`sfumato.conventions.SPREADS`, ``"one-hot"``, ``"prior"`` for (1−ε)·e_y + ε·π
            with another π than the uniform, or None where it cannot be told.
        eps: the strength in that convention, or None.
        eps_all: the strength over all classes with the same optimum, or None.
        eps_others: the strength over the others with the same optimum, or None.
        target: (q_true, q_other) as the gradient has them, or None where there are not two levels.
        mass: Σq, or None.
        ignore_index: the label of rows without gradient, or None.
        reduction: ``"mean"``, ``"sum"``, ``"none"`` or ``"other"``.
        why: how the convention was told, or why it was not.
        findings: what was found, the worst first.
        recipe: the same loss in sfumato, or why there is none.

    >>> import torch
    >>> probe(torch.nn.CrossEntropyLoss(), classes=3).to_dict()["target"]
    [1.0, 0.0]
    """

    name: str
    called: str
    classes: int
    convention: str | None
    eps: float | None
    eps_all: float | None
    eps_others: float | None
    target: tuple[float, float] | None
    mass: float | None
    ignore_index: int | None
    reduction: str
    why: str
    findings: tuple[Finding, ...]
    recipe: Recipe | str

    @property
    def line(self) -> str | None:
        """The line of code that gives the same loss in sfumato; None where there is none."""
        return self.recipe.code if isinstance(self.recipe, Recipe) else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: see the design's page on commands."""
        return {
            "schema": SCHEMA,
            "loss": self.name,
            "called": self.called,
            "classes": self.classes,
            "convention": self.convention,
            "eps": self.eps,
            "eps_all": self.eps_all,
            "eps_others": self.eps_others,
            "target": None if self.target is None else list(self.target),
            "mass": self.mass,
            "ignore_index": self.ignore_index,
            "reduction": self.reduction,
            "findings": [str(finding) for finding in self.findings],
            "why": self.why,
            "line": self.line,
        }


def probe(loss: Callable[..., Any] | str, *, classes: int = 10) -> Probe:
    r"""Read what a loss trains towards off its gradient, and look for what will surprise.

    .. math:: q = S\,p - \partial L/\partial z

    at several logits, labels and K; then batches with ignored rows, strengths at and beyond their range, half
    precision, infinite logits, evaluation mode.

    Args:
        loss: called as ``loss(logits[N, K], labels[N])``, of torch, numpy, jax or Keras, with logits, log-probabilities
            or probabilities, labels whole or one-hot; or ``"module:callable"``, with literal arguments. A class or
            factory is made, and made again for what an argument can tell.
        classes: K to report, at least 2.

    Returns:
        :class:`Probe`.

    Raises:
        ProbeError: the loss cannot be found, made, or called; it says why.

    >>> import torch
    >>> found = probe(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    >>> found.convention, found.eps, found.reduction, found.ignore_index
    ('all', 0.1, 'mean', -100)
    >>> found.line
    'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="all")'

    Source: the note, eq. 1, solved for the target.
    """
    if classes < 2:
        raise ProbeError(f"classes must be at least 2 to tell a target, got {classes}")
    spec = load(loss) if isinstance(loss, str) else of(loss)
    findings: list[Finding] = [note("loading", text) for text in spec.notes]
    called, spec = _made(spec, classes, findings)
    called, more = _unchanging(spec, called, classes)
    findings += more
    reading = _read(called, classes, spec.name)
    if called.differences:
        findings.append(_without_gradient(called))
    level = levels(reading)
    weighted = without_weights(reading) if level is None else None
    if weighted is not None:
        level = levels(weighted.reading)
        findings.append(warning("class weights", weighted.told))
    prior = prior_of(reading) if level is None and weighted is None and reading.extra is None else None
    identity, several = _identity(spec, called, reading, level, weighted is not None)
    if prior is not None:
        identity = Identity("prior", prior.eps, f"the target is {prior.told}")
    if called.seeded:
        draw = "" if identity.eps is None else f"; one draw is {identity.convention} with ε = {identity.eps:g}"
        identity = Identity(None, None, f"it is random, and its expectation unknown{draw}")
    try:
        rows, more = reduction_of(called, reading)
    except Exception as error:
        raise ProbeError(f"{spec.name} cannot be called with four rows: {_said(error)}") from error
    findings += more + _of_target(reading, level, prior, identity, several) + _declared(spec, called, rows.reduction)
    strength = spec.strength
    if strength is not None and not is_strength(spec, strength, called, classes):
        strength = None
    candidates = [*_pads(spec, called), -100, -1]
    ignored: int | None = None
    if reading.alive.any():
        ignored, more = _safely(lambda: ignored_by(called, reading, rows, candidates), (None, []))
        findings += more
        checks: list[Callable[[], list[Finding]]] = [
            lambda: odd_labels(called, reading, rows),
            lambda: gradient_of_value(called, reading),
            lambda: side_effects(called, reading, ignored),
            lambda: in_half(*_largest(spec, called, classes)),
            lambda: at_infinity(called, reading),
            lambda: far_out(called, reading),
            lambda: in_evaluation(called, reading),
            lambda: class_weights(spec, called, reading),
        ]
        if strength is not None:
            name = strength
            if identity.convention == "one-hot" and spec.given(name) in (None, 0, 0.0):
                checks.append(lambda: by_default(spec, name, called, classes))
            checks.append(lambda: at_the_ends(spec, name, called, reading))
            checks.append(lambda: ignoring_survives(spec, name, called, reading))
        for check in checks:
            findings += _safely(check, [])
    recipe: Recipe | str
    if called.seeded:
        recipe = "there is no line: the loss is random"
    elif called.fresh:
        recipe = "there is no line: the loss changes with every call"
    else:
        recipe = recipe_of(
            level, reading, called, rows.reduction, ignored, identity.convention, weighted=weighted, prior=prior
        )
        findings += _checked(recipe, called, reading, ignored)
        if identity.convention is None and level is not None and len(several) > 1 and isinstance(recipe, Recipe):
            findings.append(warning("same loss", f"at K = {classes} alone: at another K the strength is another"))
    raw = None if level is None else (level.true, level.other)
    return Probe(
        name=spec.name,
        called=called.style.describe(),
        classes=classes,
        convention=identity.convention,
        eps=identity.eps,
        eps_all=None if level is None else strength_over("all", level),
        eps_others=None if level is None else strength_over("others", level),
        target=raw,
        mass=None if level is None else level.mass,
        ignore_index=ignored,
        reduction=rows.reduction,
        why=identity.why,
        findings=tuple(sorted(dict.fromkeys(findings), key=lambda f: ("defect", "warning", "note").index(f.level))),
        recipe=recipe,
    )


def _made(spec: Spec, classes: int, findings: list[Finding]) -> tuple[Loss, Spec]:
    """The loss, called once; with a strength of its own where it cannot be called without."""
    function = spec.made(classes)
    try:
        return understand(function, classes), spec
    except ProbeError as error:
        name = spec.strength
        if name is None or name in spec.arguments:
            raise ProbeError(f"{spec.name}: {error}{_other_classes(spec, classes)}") from None
        try:
            loss = understood_again(spec, classes, **{name: 0.1})
        except Exception:
            raise ProbeError(f"{spec.name}: {error}{_other_classes(spec, classes)}") from None
        findings.append(defect("default", f"as made by default it cannot be called ({error}); probed with {name}=0.1"))
        return loss, Spec(spec.name, spec.target, {**spec.arguments, name: 0.1}, spec.positional, spec.kind, spec.notes)


def _other_classes(spec: Spec, classes: int) -> str:
    """A number of classes that it can be called with, if this one cannot be what it is made for."""
    for k in (2, 3, 5):  # few: each way of calling costs differences of every logit
        try:
            if k != classes and understand(spec.made(k), k):
                return f"; with {k} classes it can be: --classes {k}"
        except Exception:
            continue
    return ""


def _unchanging(spec: Spec, loss: Loss, classes: int) -> tuple[Loss, list[Finding]]:
    """The loss with chance held still, or copied for every call where a call changes the next."""
    try:
        if not is_changing(loss, classes):
            return loss, []
        seeded = replace(loss, seeded=True)
        if not is_changing(seeded, classes):
            return seeded, [warning("randomness", "two calls with the same rows differ: all else is of one draw")]
        fresh = replace(loss, fresh=True, function=loss.function if spec.kind == "loss" else spec.made(classes))
        if not is_changing(fresh, classes):
            told = "a call changes what the next one returns: all else is of a new copy"
            return fresh, [warning("state", told)]
    except Exception as error:
        raise ProbeError(f"{spec.name} cannot be called with four rows: {_said(error)}") from error
    raise ProbeError(f"{spec.name} returns another number in every call, with the same seed too: nothing can be told")


def _read(loss: Loss, classes: int, name: str) -> Reading:
    try:
        return read(loss, classes)
    except Exception as error:
        raise ProbeError(f"{name} cannot be called with one row at a time: {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _identity(
    spec: Spec, loss: Loss, reading: Reading, own: Levels | None, weighted: bool
) -> tuple[Identity, dict[int, Levels]]:
    """The convention, from every K at which the loss can be made and called."""
    found: dict[int, Levels] = {}
    if own is None:
        return Identity(None, None, "the target has not two levels"), found
    found[reading.classes] = own
    for k in OTHER_CLASSES:
        if k == reading.classes:
            continue
        try:
            function = loss.function if spec.kind == "loss" and not spec.arguments else spec.made(k)
            # Weights need every label; without them a few tell as much, and numpy's gradients are dear.
            at = read(replace(loss, function=function), k, tuple(range(k)) if weighted else None)
            clean = without_weights(at) if weighted else None
            level = levels(at if clean is None else clean.reading)
        except Exception:
            continue
        if level is not None:
            found[k] = level
    name = spec.strength
    value = spec.given(name) if name is not None else None
    argument = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return identify(found, argument), found


def _of_target(
    reading: Reading, level: Levels | None, prior: Prior | None, identity: Identity, several: dict[int, Levels]
) -> list[Finding]:
    findings: list[Finding] = []
    if not reading.alive.any():
        return [defect("gradient", "it is 0 for every label")]
    if reading.kind == "other":
        near = f"; the nearest leaves {reading.residual:.2g} of it, as half precision inside would"
        told = "not a cross entropy of a softmax or sigmoids: no fixed target explains its gradient"
        return [warning("target", told + (near if reading.residual < 5e-3 else ""))]
    if reading.extra is not None:
        name, coefficient = reading.extra
        findings.append(note("extra term", f"{name}, coefficient {coefficient:.6g}"))
    if prior is not None:
        return [*findings, note("target", prior.told)]
    if level is None:
        findings.append(warning("target", f"differs between labels or classes: {_labels_differ(reading)}"))
        return findings
    if identity.convention is None:
        findings.append(warning("convention", identity.why))
    if identity.eps is not None and identity.eps < 0:
        findings.append(defect("target", f"ε = {identity.eps:g}: negative smoothing, which has no lower bound"))
    if level.pad is not None:
        findings.append(note("target", f"class {level.pad} gets no mass: its logit is pushed to −∞ without end"))
    if level.kind == "sigmoid" and abs(level.factor - 1) > 1e-6:
        findings.append(note("scale", _factor(level.factor, {k: each.factor for k, each in several.items()})))
    if level.kind != "sigmoid" and abs(level.mass - level.factor) > 1e-5 * abs(level.factor):
        findings.append(
            defect(
                "total mass",
                f"Σq = {level.mass:.6g}, while p counts {level.factor:.6g}: the gradient does not sum to 0, and the "
                "logits drift together",
            )
        )
    elif level.kind != "sigmoid" and abs(level.mass - 1) > 1e-5:
        findings.append(_of_mass(level, identity, several))
    floor = float(reading.floors[reading.alive].mean())
    if abs(floor) > 1e-5 and abs(reading.offset + floor) < 1e-5 * max(1, abs(floor)):
        findings.append(
            note(
                "value",
                f"the entropy of the target, {floor:.4g}, is subtracted (a KL divergence): its smallest value is 0",
            )
        )
    elif abs(reading.offset) > 1e-4 * max(1, abs(floor)):
        findings.append(note("value", f"shifted by {reading.offset:.6g} from the plain cross entropy; it trains alike"))
    return findings


def _of_mass(level: Levels, identity: Identity, several: dict[int, Levels]) -> Finding:
    masses = {k: each.mass for k, each in several.items()}
    if identity.convention == "deficit":
        return defect("total mass", f"Σq = {level.mass:.6g}, not 1: the ε/K of the label was left out")
    told = _factor(level.mass, masses)
    if level.mass < 0:
        return defect("total mass", f"Σq = {level.mass:.6g}: the sign is turned, and it is smallest at the wrong class")
    constant = len(masses) > 1 and max(masses.values()) - min(masses.values()) < 1e-5
    level_of = warning if constant or told.startswith("1/K") else defect
    return level_of("total mass", f"Σq = {level.mass:.6g}, not 1: {told}")


def _factor(value: float, at: dict[int, float]) -> str:
    if all(abs(each * k - 1) < 1e-4 for k, each in at.items()):
        return "1/K: the mean is over rows and classes"
    if len(at) > 1 and max(at.values()) - min(at.values()) < 1e-5:
        return f"{value:.6g} times the loss, at every K"
    return ", ".join(f"{each:.6g} at K = {k}" for k, each in sorted(at.items()))


def _labels_differ(reading: Reading) -> str:
    parts: list[str] = []
    for i in np.flatnonzero(reading.alive)[:2]:
        q = ", ".join(f"{each:.4g}" for each in np.round(reading.targets[i, :6], 9) + 0.0)
        parts.append(f"label {reading.labels[i]} has ({q}{', …' if reading.classes > 6 else ''})")
    return "; ".join(parts)


def _without_gradient(loss: Loss) -> Finding:
    if loss.style.library in ("torch", "jax"):
        return defect("gradient", "it returns no gradient (detached, or a plain number): read by finite differences")
    return note("gradient", "read by finite differences: numpy has no others")


def _declared(spec: Spec, loss: Loss, reduction: str) -> list[Finding]:
    """Whether an argument called reduction is what is done."""
    declared = spec.given("reduction") if "reduction" in {**spec.parameters, **spec.arguments} else None
    declared = declared or getattr(loss.function, "reduction", None)
    if declared in ("mean", "sum", "none") and reduction in ("mean", "sum", "none") and declared != reduction:
        return [defect("reduction", f'reduction="{declared}" is the {reduction}')]
    return []


def _pads(spec: Spec, loss: Loss) -> list[int]:
    """Labels that an argument or an attribute says are ignored."""
    found: list[int] = []
    for name in PAD_NAMES:
        for value in (spec.given(name), getattr(loss.function, name, None), getattr(loss.function, f"_{name}", None)):
            if isinstance(value, int) and not isinstance(value, bool) and value not in found:
                found.append(value)
    return found


def _largest(spec: Spec, loss: Loss, classes: int) -> tuple[Loss, int]:
    """The loss for 1000 classes if it can be had, for that is where half precision gives out."""
    for k in (1000, classes):
        try:
            function = loss.function if spec.kind == "loss" and not spec.arguments else spec.made(k)
            made = replace(loss, function=function)
            if np.isfinite(made.values(np.zeros((2, k)), np.array([1, k - 1]))).all():
                return made, k
        except Exception:
            continue
    return loss, classes


def _checked(recipe: Recipe | str, loss: Loss, reading: Reading, ignored: int | None) -> list[Finding]:
    """Whether the line gives the same numbers; without that there is no claim."""
    if isinstance(recipe, str):
        return []
    apart = _safely(lambda: recipe.difference(loss, reading), float("nan"))
    if not apart <= 1e-4:
        return [
            warning(
                "same loss", f"sfumato's line differs by {apart:.2g} on batches of 8 and 5 rows: take it as the nearest"
            )
        ]
    told = f"checked on batches of 8 and 5 rows: within {max(apart, 1e-16):.0e} of sfumato's"
    if ignored is None:
        return [note("same loss", told)]
    beside = _safely(lambda: recipe.difference(loss, reading, ignored), float("nan"))
    if beside <= 1e-4:
        return [note("same loss", f"{told}, with ignored rows among them too")]
    return [warning("same loss", f"{told}, but off by {beside:.2g} where rows of label {ignored} are among them")]


def _safely(check: Callable[[], Any], otherwise: Any) -> Any:
    """A check that a strange loss may break: then there is nothing to report from it."""
    try:
        return check()
    except Exception:
        return otherwise
