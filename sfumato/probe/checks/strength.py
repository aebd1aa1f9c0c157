"""The argument that is the strength ε: at its ends and beyond, and what it leaves of ignored rows."""

from collections.abc import Iterator

import numpy as np

from sfumato.probe.call.caller import Loss
from sfumato.probe.call.find import PAD_NAMES, UNSURE_NAMES, Spec
from sfumato.probe.call.make import OTHER_CLASSES, remade
from sfumato.probe.checks.numerics import gradient_of_value
from sfumato.probe.findings import ProbeFinding, defect, note, warning
from sfumato.probe.identify import identify
from sfumato.probe.read.gradients import Reading, read
from sfumato.probe.read.levels import levels
from sfumato.probe.read.prior import prior_of


def is_strength(spec: Spec, name: str, loss: Loss, classes: int) -> bool:
    """Whether an argument of a doubtful name is the strength: with more of it, the other classes have more."""
    if name not in UNSURE_NAMES:
        return True
    shares: list[float] = []
    for eps in (0.1, 0.2):
        try:
            at = read(remade(spec, loss, classes, **{name: eps}), classes)
        except Exception:
            return False
        level = levels(at)
        if level is None:
            prior = prior_of(at)
            shares.append(0.0 if prior is None else prior.eps)
        else:
            shares.append(level.other if level.kind != "sigmoid" else level.other + 1 - level.true)
    return shares[1] > shares[0] > 1e-4


def at_the_ends(spec: Spec, name: str, loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """The loss at ε = 0, 1, below 0, NaN and above 1, where it can be made again."""
    plain: Reading | None = None
    k = reading.classes
    for eps in (0.0, 1.0, -0.1, float("nan"), 1.5):
        about = "negative ε" if eps < 0 else f"ε = {eps:g}"
        try:
            made = remade(spec, loss, k, **{name: eps})
            at = read(made, k)
            values = made.values(np.zeros((2, k)), np.array([1, k - 1]))
        except Exception:
            yield note(about, "refused")
            continue
        if eps == 0.0:
            plain = at
            yield from _mass_moves(name, at, reading)
        finite = bool(np.isfinite(at.targets).all() and np.isfinite(values).all())
        if 0 <= eps <= 1:
            yield from _within(eps, about, at, finite)
        elif not finite:
            told = "not refused: the loss or its gradient is NaN"
            yield note(about, told) if np.isnan(eps) else warning(about, told)
        else:
            is_plain = plain is not None and np.allclose(at.targets, plain.targets, atol=1e-6)
            yield _beyond(eps, about, at, is_plain, made)


def _mass_moves(name: str, plain: Reading, reading: Reading) -> Iterator[ProbeFinding]:
    """A factor of the loss is the same at every strength; a Σq that changes with the strength was never meant."""
    before, now = levels(plain), levels(reading)
    if before is None or now is None or "softmax" not in (before.kind, now.kind) or before.kind == "sigmoid":
        return
    if abs(now.mass - before.mass) > 1e-5 * abs(before.mass):
        told = f"Σq changes with {name}: {before.mass:.6g} at 0, {now.mass:.6g} here: the target is not normalised"
        yield defect("total mass", told)


def _shown(reading: Reading) -> str:
    level = levels(reading)
    return "" if level is None else f"{level.true:.4g} on the label, {level.other:.4g} on each other class"


def _within(eps: float, about: str, at: Reading, finite: bool) -> Iterator[ProbeFinding]:
    """What ε = 0 or ε = 1 gives."""
    level = levels(at)
    if not finite:
        yield defect(about, "the loss or its gradient is NaN")
    elif level is None:  # the argument may be no strength at all
        return
    elif eps == 0.0:
        yield note(about, "one-hot") if abs(level.other) < 1e-7 else warning(about, f"not one-hot: {_shown(at)}")
    else:
        uniform = abs(level.true - level.other) < 1e-6
        yield note(about, f"uniform: {_shown(at)}" if uniform else _shown(at))


def _beyond(eps: float, about: str, at: Reading, is_plain: bool, made: Loss) -> ProbeFinding:
    """What an ε gives that is NaN, above 1 or below 0, and was not refused."""
    shown = _shown(at)
    if eps > 1:
        return warning(about, f"not refused: {shown}" if shown else "not refused")
    apart = None if np.isnan(eps) else next(gradient_of_value(made, at, where=" at ε = −0.1"), None)
    if apart is not None:
        return defect(about, f"not refused, and the value is not that of the gradient: {apart.text}")
    if is_plain:
        return warning(about, "not refused: it silently means 0")
    if np.isnan(eps):
        return warning(about, "not refused")
    level = levels(at)
    if level is None:
        return warning(about, "not refused but applied")
    low, high = min(level.optimum), max(level.optimum)
    endless = "; such a loss has no lower bound" if low < 0 or (level.kind == "sigmoid" and high > 1) else ""
    return warning(about, f"not refused but applied: {shown}{endless}")


def ignoring_survives(spec: Spec, name: str, loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """Whether a label that is ignored at ε = 0 is ignored with smoothing too."""
    k = reading.classes
    pad = spec.parameter(PAD_NAMES)
    label = -100 if pad is None else spec.given(pad)
    if not isinstance(label, int):
        return
    plain, smoothed = (_is_inert(remade(spec, loss, k, **{name: eps}), k, label) for eps in (0.0, 0.1))
    if plain and not smoothed:
        then = "an error" if smoothed is None else "trained on"
        yield defect("ignored rows", f"rows of label {label} are ignored at ε = 0, and {then} as soon as ε > 0")


def _is_inert(loss: Loss, classes: int, label: int) -> bool | None:
    """Whether a row of the label has no gradient; None where the loss refuses the label."""
    z = np.random.default_rng(53).normal(size=(3, classes))
    try:
        gradient = loss.gradient(z, np.array([1 % classes, label, classes - 1]))
    except Exception:
        return None
    return bool(np.abs(gradient[1]).max() < 1e-9)


def by_default(spec: Spec, name: str, loss: Loss, classes: int) -> Iterator[ProbeFinding]:
    """What the strength of a loss would mean, where the loss is one-hot unless it is given one."""
    try:
        at = {k: levels(read(remade(spec, loss, k, **{name: 0.1}), k)) for k in (classes, *OTHER_CLASSES)}
    except Exception:
        return
    known = {k: level for k, level in at.items() if level is not None}
    told = identify(known, 0.1) if known else None
    if told is None or told.convention in (None, "one-hot"):
        return
    level = known.get(classes) or next(iter(known.values()))
    shown = f"{level.true:.6g} on the label, {level.other:.6g} on each other class at K = {level.classes}"
    yield note("its strength", f"{name}=0.1 would be {told.convention} with ε = {told.eps:g}: {shown}")
