"""A loss made again with other arguments: ε at its ends and beyond, class weights, evaluation mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sfumato.probe.call.caller import Loss
from sfumato.probe.call.named import PAD_NAMES, UNSURE_NAMES, WEIGHT_NAMES, Spec
from sfumato.probe.call.signature import understand
from sfumato.probe.checks.numerics import gradient_of_value
from sfumato.probe.findings import Finding, defect, note, warning
from sfumato.probe.identify import identify, levels
from sfumato.probe.read.gradients import Reading, read
from sfumato.probe.read.prior import prior_of


def remade(spec: Spec, loss: Loss, classes: int, **changes: Any) -> Loss:
    """The same loss with other arguments, called in the same way."""
    return replace(loss, function=spec.made(classes, **changes))


def is_strength(spec: Spec, name: str, loss: Loss, classes: int) -> bool:
    """Whether an argument of a doubtful name is one: with more of it, the other classes have more."""
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


def at_the_ends(spec: Spec, name: str, loss: Loss, reading: Reading) -> list[Finding]:
    """ε = 0, 1, below 0, NaN and above 1, where the loss can be made again."""
    findings: list[Finding] = []
    plain: Reading | None = None
    classes = reading.classes
    for eps in (0.0, 1.0, -0.1, float("nan"), 1.5):
        told = f"ε = {eps:g}"
        try:
            made = remade(spec, loss, classes, **{name: eps})
            at = read(made, classes)
            values = made.values(np.zeros((2, classes)), np.array([1, classes - 1]))
        except Exception:
            if eps in (0.0, 1.0) or eps != eps or eps > 1:
                findings.append(note(told, "refused"))
            else:
                findings.append(note("negative ε", "refused"))
            continue
        if eps == 0.0:
            plain = at
            findings += _mass_moves(name, at, reading)
        findings += _told(eps, told, at, values, plain, made)
    return findings


def _mass_moves(name: str, plain: Reading, reading: Reading) -> list[Finding]:
    """A factor is the same at every strength; a sum that is not was never meant."""
    before, now = levels(plain), levels(reading)
    if before is None or now is None or "softmax" not in (before.kind, now.kind) or before.kind == "sigmoid":
        return []
    if abs(now.mass - before.mass) <= 1e-5 * abs(before.mass):
        return []
    told = f"Σq changes with {name}: {before.mass:.6g} at 0, {now.mass:.6g} here: the target is not normalised"
    return [defect("total mass", told)]


def _told(eps: float, told: str, at: Reading, values: Any, plain: Reading | None, made: Loss) -> list[Finding]:
    if not np.isfinite(at.targets).all() or not np.isfinite(values).all():
        what = "not refused: the loss or its gradient is NaN"
        if eps in (0.0, 1.0):
            return [defect(told, "the loss or its gradient is NaN")]
        return [note(told, what)] if eps != eps else [warning("negative ε" if eps < 0 else told, what)]
    level = levels(at)
    shown = "" if level is None else f"{level.true:.4g} on the label, {level.other:.4g} on each other class"
    if level is None and eps in (0.0, 1.0):
        return []  # it may not be a strength at all
    hard = plain is not None and np.allclose(at.targets, plain.targets, atol=1e-6)
    if eps == 0.0:
        exact = level is not None and abs(level.other) < 1e-7
        return [note(told, "one-hot")] if exact else [warning(told, f"not one-hot: {shown}")]
    if eps == 1.0:
        uniform = level is not None and abs(level.true - level.other) < 1e-6
        return [note(told, f"uniform: {shown}" if uniform else shown)]
    if eps != eps:
        return [warning(told, "not refused: it silently means 0" if hard else "not refused")]
    if eps > 1:
        return [warning(told, f"not refused: {shown}" if shown else "not refused")]
    apart = gradient_of_value(made, at, where=" at ε = −0.1")
    if apart:
        return [defect("negative ε", f"not refused, and the value is not that of the gradient: {apart[0].text}")]
    if hard:
        return [warning("negative ε", "not refused: it silently means 0")]
    if level is None:
        return [warning("negative ε", "not refused but applied")]
    low, high = min(level.optimum), max(level.optimum)
    endless = "; such a loss has no lower bound" if low < 0 or (level.kind == "sigmoid" and high > 1) else ""
    return [warning("negative ε", f"not refused but applied: {shown}{endless}")]


def ignoring_survives(spec: Spec, name: str, loss: Loss, reading: Reading) -> list[Finding]:
    """Whether a label that is ignored at ε = 0 still is with smoothing."""
    k = reading.classes
    pad = spec.parameter(PAD_NAMES)
    label = spec.given(pad) if pad is not None else -100
    if not isinstance(label, int):
        return []
    try:
        without = remade(spec, loss, k, **{name: 0.0})
        # another style of labels may be in force where smoothing is off
        inert_without = _inert(without, k, label)
        inert_with = _inert(remade(spec, loss, k, **{name: 0.1}), k, label)
    except Exception:
        return []
    if inert_without and inert_with is False:
        return [defect("ignored rows", f"rows of label {label} are ignored at ε = 0, and trained on as soon as ε > 0")]
    if inert_without and inert_with is None:
        return [defect("ignored rows", f"rows of label {label} are ignored at ε = 0, and an error as soon as ε > 0")]
    return []


def _inert(loss: Loss, classes: int, label: int) -> bool | None:
    z = np.random.default_rng(53).normal(size=(3, classes))
    labels = np.array([1 % classes, label, classes - 1])
    try:
        gradient = loss.gradient(z, labels)
    except Exception:
        return None
    return bool(np.abs(gradient[1]).max() < 1e-9)


def class_weights(spec: Spec, loss: Loss, reading: Reading) -> list[Finding]:
    """What class weights do to the optimum, where the loss takes any and was given none."""
    k = reading.classes
    name = spec.parameter(WEIGHT_NAMES)
    base = levels(reading)
    if name is None or spec.given(name) is not None or base is None or base.kind != "softmax":
        return []
    weights = np.linspace(0.5, 2.0, k)
    for given in (torch.tensor(weights), list(weights), torch.tensor(weights, dtype=torch.float32)):
        try:
            made = remade(spec, loss, k, **{name: given})
            at = read(made, k)
            z = np.random.default_rng(59).normal(size=(4, k))
            labels = np.array([0, 1, k - 1, 1]) if k > 1 else np.zeros(4, dtype=int)
            together = made.gradient(z, labels)
            singles = np.concatenate([made.gradient(z[i : i + 1], labels[i : i + 1]) for i in range(4)])
        except Exception:
            continue
        counts = (together * singles).sum(axis=1) / (singles**2).sum(axis=1)
        return [_weighed(at, base, weights, counts, name)]
    return []


def _weighed(at: Reading, base: Any, weights: Any, counts: Any, name: str) -> Finding:
    """Compare the optimum of each label with the one without weights."""
    if at.kind != "softmax":
        return note("class weights", f"{name}=… makes it another kind of loss")
    rows = list(at.labels)
    optimum = at.targets / at.masses[:, None]
    own = np.eye(at.classes, dtype=bool)[rows]
    plain = np.where(own, base.optimum[0], base.optimum[1])
    moved = plain * weights
    moved /= moved.sum(axis=1, keepdims=True)
    uneven = np.ptp(counts) > 1e-4 or np.ptp(at.masses) > 1e-4
    times = float(at.masses.mean()) / base.factor
    if not uneven and abs(times - 1) > 1e-4 and np.allclose(optimum, plain, atol=1e-5):
        told = f"{name}=… weights no class and no row: the whole loss is multiplied by {times:.4g}"
        return defect("class weights", told)
    if abs(base.other) < 1e-9:
        where = "weights rows, and cannot move the optimum of one-hot" if uneven else "has no effect"
        return note("class weights", f"{name}=… {where}")
    if np.allclose(optimum, plain, atol=1e-5):
        if uneven:
            return note("class weights", f"{name}=… weights rows by their label; the optimum stays")
        return defect("class weights", f"{name}=… is taken and has no effect")
    if np.allclose(optimum, moved, atol=1e-5):
        return warning("class weights", f"{name}=… multiplies every class's term: the optimum moves to p ∝ w·q")
    label_term = np.where(own, plain - base.optimum[1], 0.0) * weights[rows][:, None] + base.optimum[1]
    label_term /= label_term.sum(axis=1, keepdims=True)
    if np.allclose(optimum, label_term, atol=1e-5):
        return warning(
            "class weights", f"{name}=… is on the label's term alone: rare and common labels are smoothed unequally"
        )
    return warning("class weights", f"{name}=… moves the optimum")


def in_evaluation(loss: Loss, reading: Reading) -> list[Finding]:
    """Whether a module smooths in evaluation mode too."""
    module = loss.function
    if not isinstance(module, torch.nn.Module):
        return []
    was = module.training
    try:
        module.eval()
        at = read(loss, reading.classes, reading.labels)
    finally:
        module.train(was)
    training, evaluation = levels(reading), levels(at)
    if training is None or evaluation is None:
        same = np.allclose(at.targets, reading.targets, atol=1e-6)
        return [] if same else [note("evaluation mode", "another loss than in training mode")]
    if abs(training.other) < 1e-9 and abs(evaluation.other) < 1e-9:
        return []
    if np.allclose((training.true, training.other), (evaluation.true, evaluation.other), atol=1e-6):
        return [note("evaluation mode", "smooths too: a validation loss is not the hard NLL")]
    shown = "one-hot" if abs(evaluation.other) < 1e-9 else f"{evaluation.true:.4g} and {evaluation.other:.4g}"
    return [note("evaluation mode", f"other than in training: {shown}")]


def by_default(spec: Spec, name: str, loss: Loss, classes: int) -> list[Finding]:
    """Where a loss is one-hot as given, what its strength would mean."""
    try:
        at = {k: levels(read(remade(spec, loss, k, **{name: 0.1}), k)) for k in (classes, *OTHER_CLASSES)}
    except Exception:
        return []
    known = {k: level for k, level in at.items() if level is not None}
    told = identify(known, 0.1) if known else None
    if told is None or told.convention in (None, "one-hot"):
        return []
    level = known.get(classes) or next(iter(known.values()))
    return [
        note(
            "its strength",
            f"{name}=0.1 would be {told.convention} with ε = {told.eps:g}: {level.true:.6g} on the label, "
            f"{level.other:.6g} on each other class at K = {level.classes}",
        )
    ]


OTHER_CLASSES = (4, 7, 25)
"""K tried beside the one asked for."""


def understood_again(spec: Spec, classes: int, **changes: Any) -> Loss:
    """A loss made with other arguments, and its way of being called found anew."""
    return understand(spec.made(classes, **changes), classes)
