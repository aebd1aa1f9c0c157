"""A loss with class weights, and in evaluation mode."""

from collections.abc import Iterator

import numpy as np
import torch

from sfumato.conventions.batch import own_class
from sfumato.probe.call.caller import Array, Loss
from sfumato.probe.call.find import WEIGHT_NAMES, Spec
from sfumato.probe.call.make import remade
from sfumato.probe.findings import ProbeFinding, defect, note, warning
from sfumato.probe.read.gradients import Reading, read
from sfumato.probe.read.levels import Levels, levels


def class_weights(spec: Spec, loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """What class weights do to the optimum, where the loss takes weights and was given none."""
    k = reading.classes
    name = spec.parameter(WEIGHT_NAMES)
    base = levels(reading)
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
        yield _weighted(at, base, weights, uneven, name)
        return


def _weighted(at: Reading, base: Levels, weights: Array, uneven: bool, name: str) -> ProbeFinding:
    """Compare the optimum of each label with the optimum without weights."""
    about, told = "class weights", f"{name}=…"
    if at.kind != "softmax":
        return note(about, f"{told} makes it another kind of loss")
    true, other = base.optimum
    rows, own = list(at.labels), own_class(at.labels, at.classes)
    plain = np.where(own, true, other)
    stays = np.allclose(at.optima, plain, atol=1e-5)
    times = float(at.masses.mean()) / base.factor
    if not uneven and stays and abs(times - 1) > 1e-4:
        return defect(about, f"{told} weights no class and no row: the whole loss is multiplied by {times:.4g}")
    if abs(base.other) < 1e-9:
        effect = "weights rows, and cannot move the optimum of one-hot" if uneven else "has no effect"
        return note(about, f"{told} {effect}")
    if stays and uneven:
        return note(about, f"{told} weights rows by their label; the optimum stays")
    if stays:
        return defect(about, f"{told} is taken and has no effect")
    if _is_optimum(at.optima, plain * weights):
        return warning(about, f"{told} multiplies every class's term: the optimum moves to p ∝ w·q")
    if _is_optimum(at.optima, np.where(own, true - other, 0.0) * weights[rows][:, None] + other):
        return warning(about, f"{told} is on the label's term alone: rare and common labels are smoothed unequally")
    return warning(about, f"{told} moves the optimum")


def _is_optimum(optima: Array, q: Array) -> bool:
    return bool(np.allclose(optima, q / q.sum(axis=1, keepdims=True), atol=1e-5))


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
            yield note("evaluation mode", "another loss than in training mode")
    elif abs(training.other) < 1e-9 and abs(evaluation.other) < 1e-9:
        return
    elif np.allclose((training.true, training.other), (evaluation.true, evaluation.other), atol=1e-6):
        yield note("evaluation mode", "smooths too: a validation loss is not the log loss")
    else:
        shown = "one-hot" if abs(evaluation.other) < 1e-9 else f"{evaluation.true:.4g} and {evaluation.other:.4g}"
        yield note("evaluation mode", f"other than in training: {shown}")
