"""Labels that are no class, and calls that change the labels or logits that they are given."""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sfumato.conventions.row_losses import own_class
from sfumato.probe.call.loss import Array, Labels, Loss
from sfumato.probe.read.gradients import Reading, read
from sfumato.probe.read.levels import least_share
from sfumato.probe.result import ProbeFinding, defect, in_figures, note


def odd_labels(loss: Loss, reading: Reading, factors: Array) -> Iterator[ProbeFinding]:
    """What the loss does with labels that are no class; ``factors`` say how much each row of a batch counts."""
    if loss.style.one_hot:
        return
    z, labels = reading.batch(4, seed=23)
    if reading.kind == "other" and np.allclose(loss.gradient(z, labels), loss.gradient(z, np.roll(labels, 1))):
        yield defect("labels-unused", "labels are not looked at: the gradient is the same whatever they are")
        return
    yield from _out_of_range(loss, z, labels)
    yield from _not_whole(loss, z, labels)
    if not np.ptp(factors) > 1e-4:  # otherwise the weights hide what probabilities become
        yield from _probabilities(loss, reading)


def _out_of_range(loss: Loss, z: Array, labels: Labels) -> Iterator[ProbeFinding]:
    k = z.shape[1]
    outside = np.where(np.arange(4) == 1, k, labels)
    try:
        values, gradient = loss.values(z, outside), loss.gradient(z, outside)
    except Exception:
        return
    row = float(values.reshape(4, -1)[1].sum()) if values.size >= 4 else None
    moves = bool(np.abs(gradient[1]).max() > 1e-9)
    what = "trained on" if moves else "without a gradient"
    if row is not None and abs(row) < 1e-9 and moves:
        what = "loss 0, and a gradient that is not 0"
    yield defect("label-out-of-range", f"label {k} of {k} classes is not refused ({what})")


def _not_whole(loss: Loss, z: Array, labels: Labels) -> Iterator[ProbeFinding]:
    try:
        broken = loss.gradient(z, labels + 0.75)
    except Exception:
        return
    if np.allclose(broken, loss.gradient(z, labels)):
        yield defect("labels-cut", "labels that are not whole numbers are cut: 1.75 silently becomes class 1")


def _probabilities(loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """What becomes of probabilities in place of a label: taken as they are, softened, or misread."""
    given = np.zeros(reading.classes)
    given[1], given[0] = 0.7, 0.3
    try:
        at = read(_OfProbabilities(**vars(loss), given=given), reading.classes, (1,))
        whole = read(loss, reading.classes, (0, 1))
    except Exception:
        return
    if at.kind == "other":
        return
    q = at.optima[0]
    if np.allclose(q, given, atol=1e-5):
        yield note("probabilities-taken", "probabilities in place of labels are taken as they are")
        return
    if np.ptp(reading.masses) > 1e-4 or not np.allclose(reading.targets[:, -1][:-1], reading.targets[0, -1], rtol=1e-3):
        return  # the targets are weighted, and the weights hide what the probabilities became
    if np.ptp(reading.targets[0]) < 1e-9:
        return  # the target is uniform whatever the label is
    shown, became = in_figures(given, 3), in_figures(np.where(np.abs(q) > least_share(len(q)), q, 0.0), 3)
    if np.allclose(q, 0.3 * whole.optima[0] + 0.7 * whole.optima[1], atol=1e-4):
        text = f"probabilities in place of labels are taken and smoothed: {shown} becomes {became}"
        yield note("probabilities-smoothed", text)
    else:
        text = f"probabilities in place of labels are not refused, and misread: {shown} becomes {became}"
        yield defect("probabilities-misread", text)


@dataclass(frozen=True)
class _OfProbabilities(Loss):
    """A loss that gets one row of probabilities for every label."""

    given: Array = field(kw_only=True)

    def values(self, logits: Array, labels: Labels, dtype: torch.dtype | None = None) -> Array:
        return super().values(logits, np.tile(self.given, (len(logits), 1)), dtype)

    def gradient(self, logits: Array, labels: Labels) -> Array:
        return super().gradient(logits, np.tile(self.given, (len(logits), 1)))


def side_effects(loss: Loss, reading: Reading, ignored: int | None = None) -> Iterator[ProbeFinding]:
    """Whether a call overwrites logits or labels; labels that are no class are tried too."""
    style = loss.style
    if style.library not in ("torch", "numpy") or style.layout != "rows" or style.inputs != "logits":
        return
    z, labels = reading.batch(4, seed=47)
    odd = [np.where(np.arange(4) == 1, label, labels) for label in (-100, -1, ignored) if label is not None]
    for given in [labels] if style.one_hot else [labels, *odd]:
        inputs: Any = z.astype(np.float32)
        target: Any = own_class(given, reading.classes).astype(np.float32) if style.one_hot else given.copy()
        if style.library == "torch":
            inputs, target = torch.tensor(inputs), torch.tensor(target)
        kept = copy.deepcopy((inputs, target))
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                style.call(loss.function, inputs, target)
        except Exception:
            continue
        for what, now, before in (("logits", inputs, kept[0]), ("labels", target, kept[1])):
            if not np.array_equal(np.asarray(now), np.asarray(before), equal_nan=True):
                yield defect(f"{what}-overwritten", f"the {what} are overwritten: other users get changed numbers")
