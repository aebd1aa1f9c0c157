"""The arguments of a loss: its strength at the ends and beyond, class weights, and evaluation mode."""

from collections.abc import Iterator

import numpy as np
import torch

from sfumato.conventions.row_losses import own_class
from sfumato.probe.call import Array, Loss
from sfumato.probe.find_loss import PAD_NAMES, UNSURE_NAMES, WEIGHT_NAMES, Spec, attempt
from sfumato.probe.gradients import Reading, read
from sfumato.probe.levels import Levels, levels, prior_of
from sfumato.probe.numerics import gradient_of_value
from sfumato.probe.result import ProbeFinding, defect, note, warning
from sfumato.probe.target import identify
from sfumato.probe.understand import OTHER_CLASSES, remade

STRENGTHS = {0.0: "zero", 1.0: "one", -0.1: "negative", float("nan"): "nan", 1.5: "above-one"}
"""The strengths that are tried, and how codes call them."""


def is_strength(spec: Spec, name: str, loss: Loss, classes: int) -> bool:
    """Whether an argument of a doubtful name is the strength: with more of it, the other classes have more."""
    if name not in UNSURE_NAMES:
        return True
    shares: list[float] = []
    for eps in (0.1, 0.2):
        at = attempt(lambda eps=eps: read(remade(spec, loss, classes, **{name: eps}), classes))
        if at is None:
            return False
        level, prior = levels(at), prior_of(at)
        if level is None:
            shares.append(0.0 if prior is None else prior.eps)
        else:
            shares.append(level.other if level.kind != "sigmoid" else level.other + 1 - level.true)
    return shares[1] > shares[0] > 1e-4


def at_the_ends(spec: Spec, name: str, loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """The loss at ε = 0, 1, below 0, NaN and above 1, where it can be made again."""
    plain: Reading | None = None
    k = reading.classes
    for eps, word in STRENGTHS.items():
        try:
            made = remade(spec, loss, k, **{name: eps})
            at = read(made, k)
            values = made.values(np.zeros((2, k)), np.array([1, k - 1]))
        except Exception:
            yield note(f"strength-{word}-refused", f"ε = {eps:g} is refused")
            continue
        level = levels(at)
        if eps == 0.0:
            plain, now = at, levels(reading)
            # A factor of the loss is the same at every strength; a Σq that changes with the strength was never meant.
            both = [] if level is None or now is None else [level, now]
            if "softmax" in {each.kind for each in both} and both[0].kind != "sigmoid":
                before, after = (each.mass for each in both)
                if abs(after - before) > 1e-5 * abs(before):
                    text = f"Σq changes with {name}: {before:.6g} at 0, {after:.6g} here: the target is not normalised"
                    yield defect("mass-changes-with-strength", text)
        if not (np.isfinite(at.targets).all() and np.isfinite(values).all()):
            within, accepted = 0 <= eps <= 1, " is not refused" if not 0 <= eps <= 1 else ""
            make = defect if within else note if np.isnan(eps) else warning
            yield make(f"strength-{word}-gives-nan", f"ε = {eps:g}{accepted}: the loss or its gradient is NaN")
        elif not 0 <= eps <= 1:
            is_plain = plain is not None and np.allclose(at.targets, plain.targets, atol=1e-6)
            yield _beyond(eps, word, at, is_plain, made)
        elif level is None:  # the argument may be no strength at all
            continue
        elif eps == 1.0:
            uniform = "uniform: " if abs(level.true - level.other) < 1e-6 else ""
            yield note("strength-one", f"ε = 1: {uniform}{_shown(level)}")
        elif abs(level.other) < 1e-7:
            yield note("strength-zero", "ε = 0: one-hot")
        else:
            yield warning("strength-zero-smooths", f"ε = 0: not one-hot: {_shown(level)}")


def _shown(level: Levels) -> str:
    return f"{level.true:.4g} on the label, {level.other:.4g} on each other class"


def _beyond(eps: float, word: str, at: Reading, is_plain: bool, made: Loss) -> ProbeFinding:
    """What an ε gives that is NaN, above 1 or below 0, and was not refused."""
    level, text = levels(at), f"ε = {eps:g} is not refused"
    if eps > 1:
        return warning("strength-above-one-accepted", text if level is None else f"{text}: {_shown(level)}")
    apart = None if np.isnan(eps) else next(gradient_of_value(made, at, where=" at ε = −0.1"), None)
    if apart is not None:
        return defect("strength-negative-gradient-wrong", f"{text}, and {apart.text}")
    if is_plain:
        return warning(f"strength-{word}-means-zero", f"{text}: it silently means 0")
    if np.isnan(eps):
        return warning("strength-nan-accepted", text)
    if level is None:
        return warning("strength-negative-applied", f"{text} but applied")
    low, high = min(level.optimum), max(level.optimum)
    endless = "; such a loss has no lower bound" if low < 0 or (level.kind == "sigmoid" and high > 1) else ""
    return warning("strength-negative-applied", f"{text} but applied: {_shown(level)}{endless}")


def ignoring_survives(spec: Spec, name: str, loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """Whether a label that is ignored at ε = 0 is ignored with smoothing too."""
    k, pad = reading.classes, spec.parameter(PAD_NAMES)
    label = -100 if pad is None else spec.given(pad)
    if not isinstance(label, int):
        return
    inert: list[bool | None] = []  # None where the loss refuses the label
    for eps in (0.0, 0.1):
        z = np.random.default_rng(53).normal(size=(3, k))
        made = remade(spec, loss, k, **{name: eps})
        gradient = attempt(lambda made=made, z=z: made.gradient(z, np.array([1 % k, label, k - 1])))
        inert.append(None if gradient is None else bool(np.abs(gradient[1]).max() < 1e-9))
    plain, smoothed = inert
    if plain and not smoothed:
        then = "an error" if smoothed is None else "trained on"
        text = f"rows of label {label} are ignored at ε = 0, and {then} as soon as ε > 0"
        yield defect("smoothing-stops-ignoring", text)


def by_default(spec: Spec, name: str, loss: Loss, classes: int) -> Iterator[ProbeFinding]:
    """What the strength of a loss would mean, where the loss is one-hot unless it is given one."""
    # The check says nothing where the loss refuses one of the K.
    at = {k: levels(read(remade(spec, loss, k, **{name: 0.1}), k)) for k in (classes, *OTHER_CLASSES)}
    known = {k: level for k, level in at.items() if level is not None}
    identity = identify(known, 0.1) if known else None
    if identity is None or identity.convention in (None, "one-hot"):
        return
    level = known.get(classes) or next(iter(known.values()))
    shown = f"{level.true:.6g} on the label, {level.other:.6g} on each other class at K = {level.classes}"
    yield note("strength-would-mean", f"{name}=0.1 would be {identity.convention} with ε = {identity.eps:g}: {shown}")


def class_weights(spec: Spec, loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """What class weights do to the optimum, where the loss takes weights and was given none."""
    k, name, base = reading.classes, spec.parameter(WEIGHT_NAMES), levels(reading)
    if name is None or spec.given(name) is not None or base is None or base.kind != "softmax":
        return
    weights = np.linspace(0.5, 2.0, k)
    for given in (torch.tensor(weights), list(weights), torch.tensor(weights, dtype=torch.float32)):
        try:
            made = remade(spec, loss, k, **{name: given})
            at = read(made, k)
            _, _, counts = made.in_a_batch(np.random.default_rng(59).normal(size=(4, k)), np.array([0, 1, k - 1, 1]))
        except Exception:
            continue
        uneven = bool(np.ptp(counts) > 1e-4 or np.ptp(at.masses) > 1e-4)
        yield _weight_finding(at, base, weights, uneven, f"{name}=…")
        return


def _weight_finding(at: Reading, base: Levels, weights: Array, uneven: bool, argument: str) -> ProbeFinding:
    """Compare the optimum of each label with the optimum without weights."""
    if at.kind != "softmax":
        return note("weights-change-kind", f"{argument} makes it another kind of loss")
    true, other = base.optimum
    own = own_class(at.labels, at.classes)

    def is_optimum(q: Array) -> bool:
        return bool(np.allclose(at.optima, q / q.sum(axis=1, keepdims=True), atol=1e-5))

    plain = np.where(own, true, other)
    stays = np.allclose(at.optima, plain, atol=1e-5)
    times = float(at.masses.mean()) / base.factor
    if not uneven and stays and abs(times - 1) > 1e-4:
        text = f"{argument} weights no class and no row: the whole loss is multiplied by {times:.4g}"
        return defect("weights-multiply-loss", text)
    if abs(base.other) < 1e-9:
        if uneven:
            return note("weights-on-rows", f"{argument} weights rows, and cannot move the optimum of one-hot")
        return note("weights-without-effect", f"{argument} has no effect")
    if stays and uneven:
        return note("weights-on-rows", f"{argument} weights rows by their label; the optimum stays")
    if stays:
        return defect("weights-ignored", f"{argument} is taken and has no effect")
    if is_optimum(plain * weights):
        text = f"{argument} multiplies every class's term: the optimum moves to p ∝ w·q"
        return warning("weights-on-classes", text)
    if is_optimum(np.where(own, true - other, 0.0) * weights[list(at.labels)][:, None] + other):
        text = f"{argument} is on the label's term alone: rare and common labels are smoothed unequally"
        return warning("weights-on-label-term", text)
    return warning("weights-move-optimum", f"{argument} moves the optimum")


def in_evaluation(loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """Whether a module smooths in evaluation mode too."""
    module = loss.function
    if not isinstance(module, torch.nn.Module):
        return
    was = module.training
    try:
        module.eval()
        at = read(loss, reading.classes, reading.labels)
    finally:
        module.train(was)
    training, evaluation = levels(reading), levels(at)
    if training is None or evaluation is None:
        if not np.allclose(at.targets, reading.targets, atol=1e-6):
            yield note("evaluation-differs", "in evaluation mode the loss is another than in training mode")
    elif abs(training.other) < 1e-9 and abs(evaluation.other) < 1e-9:
        return
    elif np.allclose((training.true, training.other), (evaluation.true, evaluation.other), atol=1e-6):
        text = "the loss is smoothed in evaluation mode too: a validation loss is not the log loss"
        yield note("evaluation-smoothed", text)
    else:
        shown = "one-hot" if abs(evaluation.other) < 1e-9 else f"{evaluation.true:.4g} and {evaluation.other:.4g}"
        yield note("evaluation-differs", f"in evaluation mode the target is another than in training: {shown}")
