"""Where arithmetic gives out: gradients that are not those of the value, half precision, large and infinite logits."""

from collections.abc import Iterator

import numpy as np
import torch

from sfumato.conventions.row_losses import own_class
from sfumato.probe.call import Loss
from sfumato.probe.gradients import Reading, log_partition
from sfumato.probe.levels import least_share
from sfumato.probe.result import ProbeFinding, defect, note, warning

MAX_CLASSES = 64
"""How many classes finite differences are taken of, beside the labels: evenly from the first to the last."""


def gradient_of_value(loss: Loss, reading: Reading, *, where: str = "") -> Iterator[ProbeFinding]:
    """Whether the gradient is that of the value: kernels compute the two apart."""
    if loss.differences:
        return
    labels = np.array(reading.live_labels[:2] or [reading.labels[0]])
    z = np.random.default_rng(31).normal(size=(len(labels), reading.classes))
    some = np.unique([*labels, *np.linspace(0, reading.classes - 1, MAX_CLASSES).round().astype(int)])
    own = loss.gradient(z, labels)[:, some]
    fine, other = (loss.by_differences(z, labels, step, some) for step in (2e-3, 2e-2))
    worst = float(np.abs(own - other).max())
    scale = max(float(np.abs(own).max()), float(np.abs(other).max()), 1e-12)
    # Where values have few digits two steps disagree: that much is rounding, and says nothing of the gradient.
    if worst > 1e-5 * scale + 3 * float(np.abs(fine - other).max()):
        row, k = np.unravel_index(int(np.abs(own - other).argmax()), own.shape)
        text = f"the gradient is not that of the value{where}: {own[row, k]:.4g} for class {some[k]} at label "
        yield defect("gradient-wrong", f"{text}{labels[row]}, by differences of the value {other[row, k]:.4g}")


def in_half(loss: Loss, classes: int, rows: int = 32) -> Iterator[ProbeFinding]:
    """The values in float16 and bfloat16, against those of the same logits in float64."""
    if loss.style.library != "torch":
        return
    rng = np.random.default_rng(41)
    labels = rng.integers(0, classes, rows)
    for dtype, name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16")):
        z = torch.tensor(3 * rng.normal(size=(rows, classes)), dtype=dtype).double().numpy()
        try:
            value, truth = loss.values(z, labels, dtype).ravel(), loss.values(z, labels).ravel()
        except Exception as error:
            yield note("half-precision-refused", f"{name} is refused: {type(error).__name__}")
            continue
        where, lost = f"at N = {rows}, K = {classes}", ~np.isfinite(value)
        if lost.any() and np.isfinite(truth).all():
            first = value[lost][0]
            how = "gives" if np.isnan(first) else "overflows to"
            text = f"{name} {how} {first:g} {where} (correct value {truth[lost][0]:.4g})"
            yield defect("half-precision-overflow", text)
            continue
        unit = float(torch.finfo(dtype).eps)
        sound = np.isfinite(truth) & np.isfinite(value)
        far = np.abs(value - truth)[sound] / np.maximum(np.abs(truth[sound]), 1e-6)
        off = float(far.max(initial=0.0) / unit)
        if off > 4:
            yield warning("half-precision-rounding", f"{name} is off by {off:.0f} of its units {where}")


def at_infinity(loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """A class at −∞, as masked ones are: the loss is +inf if it has mass, and otherwise as if it were not there."""
    k = reading.classes
    if k < 3:
        return
    labels = np.array(reading.live_labels[:1])
    masked = (labels[0] + 1) % k
    z = np.random.default_rng(43).normal(size=(1, k))
    z[0, masked] = -np.inf
    value = loss.value(z, labels)
    if np.isnan(value):
        yield defect("masked-class-nan", "a class at −∞ that is not the label makes the loss NaN")
    elif reading.kind != "other":  # of another kind nobody knows which mass the class has
        lost = not loss.differences and not np.isfinite(loss.gradient(z, labels)).all()
        own = np.abs(reading.targets[reading.labels.index(labels[0])])
        has_mass = own[masked] > least_share(k) * own.max()
        if has_mass and np.isinf(value):
            rest = "and the gradient NaN" if lost else "with a finite gradient"
            text = f"a class at −∞ has mass: the loss is {value:+g}, as the formula says, {rest}"
            yield note("masked-class-with-mass", text)
        elif has_mass:
            text = f"a class at −∞ has mass, and the loss is {value:.4g}: the class is clipped or left out"
            yield note("masked-class-clipped", text)
        elif np.isinf(value):
            yield defect("masked-class-infinite", "a class at −∞ without mass makes the loss infinite")
        elif lost:
            yield defect("masked-class-nan-gradient", "a class at −∞ without mass makes the gradient NaN")


def far_out(loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """Large logits: an overflow that a shift would have spared, and probabilities that are clipped."""
    if reading.kind == "other" or reading.extra is not None:
        return
    label, k = reading.live_labels[0], reading.classes
    labels = np.array([label])
    value = loss.value(np.where(own_class(labels, k), 800.0, 0.0), labels)
    if not np.isfinite(value):
        text = f"a logit of 800 makes the loss {value:g}: an exponential overflows, or a logarithm meets 0"
        yield defect("large-logit-overflow", text)
        return
    other = (label + 1) % k
    wrong = np.where(own_class([other], k), 60.0, 0.0)
    i = reading.labels.index(label)
    plain = float(reading.masses[i] * log_partition(wrong, reading.kind)[0] - reading.targets[i] @ wrong[0])
    value, expected = loss.value(wrong, labels), plain + reading.offset
    if abs(value - expected) > 0.01 * abs(expected) + 0.01:
        text = f"at a gap of −60 the loss is {value:.4g} where the formula gives {expected:.4g}"
        if abs(loss.value(2 * wrong, labels) - value) > 1e-3 * abs(value):  # what grows on is not clipped
            yield warning("large-gap-differs", text)
            return
        beyond = reading.masses[i] - reading.targets[i, other]  # the mass of the classes whose probability is clipped
        least = np.exp(-np.clip((value - reading.offset) / beyond, 0, 700))
        cap = "" if reading.kind == "sigmoid" else f": about {least:.1g} is the smallest probability it knows"
        yield warning("probability-clipped", text + cap)
