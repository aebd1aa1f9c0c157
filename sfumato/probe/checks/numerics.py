"""Where arithmetic gives out: half precision, large and infinite logits, clipped probabilities, gradients apart."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch

from sfumato.probe.call.caller import Array, Labels, Loss
from sfumato.probe.findings import Finding, defect, note, warning
from sfumato.probe.read.gradients import Reading


def gradient_of_value(loss: Loss, reading: Reading, *, where: str = "") -> list[Finding]:
    """Whether the gradient is that of the value: kernels compute the two apart."""
    if loss.differences:
        return []
    alive = [y for y, lives in zip(reading.labels, reading.alive, strict=True) if lives][:2] or [reading.labels[0]]
    z = np.random.default_rng(31).normal(size=(len(alive), reading.classes))
    labels = np.array(alive)
    own = loss.gradient(z, labels)
    fine, other = loss.by_differences(z, labels, 2e-3), loss.by_differences(z, labels, 2e-2)
    worst = float(np.abs(own - other).max())
    scale = max(float(np.abs(own).max()), float(np.abs(other).max()), 1e-12)
    # Two steps disagree where values have few digits: that much is rounding, and says nothing of the gradient.
    if worst <= 1e-5 * scale + 3 * float(np.abs(fine - other).max()):
        return []
    row, k = np.unravel_index(int(np.abs(own - other).argmax()), own.shape)
    return [
        defect(
            "gradient",
            f"it is not that of the value{where}: {own[row, k]:.4g} for class {k} at label {labels[row]}, by "
            f"differences of the value {other[row, k]:.4g}",
        )
    ]


def in_half(loss: Loss, classes: int, rows: int = 32) -> list[Finding]:
    """float16 and bfloat16, against the same logits in float64."""
    if loss.style.library != "torch":
        return []
    rng = np.random.default_rng(41)
    labels = rng.integers(0, classes, rows)
    findings: list[Finding] = []
    for dtype, name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16")):
        z = torch.tensor(3 * rng.normal(size=(rows, classes)), dtype=dtype).double().numpy()
        try:
            value, truth = loss.values(z, labels, dtype).ravel(), loss.values(z, labels).ravel()
        except Exception as error:
            findings.append(note("half precision", f"{name} is refused: {type(error).__name__}"))
            continue
        if not np.isfinite(value).all() and np.isfinite(truth).all():
            worst = value[~np.isfinite(value)][0]
            findings.append(
                defect(
                    "half precision",
                    f"{name}: {worst:g} at N = {rows}, K = {classes}, where it is {truth[~np.isfinite(value)][0]:.4g}",
                )
            )
            continue
        unit = float(torch.finfo(dtype).eps)
        off = float((np.abs(value - truth) / np.maximum(np.abs(truth), 1e-6)).max() / unit)
        if off > 4:
            findings.append(
                warning("half precision", f"{name}: off by {off:.0f} units of it at N = {rows}, K = {classes}")
            )
    return findings


def at_infinity(loss: Loss, reading: Reading) -> list[Finding]:
    """A class at −∞, as masked ones are: the loss is +inf if it has mass, and otherwise as if it were not there."""
    k = reading.classes
    alive = [i for i, lives in enumerate(reading.alive) if lives]
    if not alive or k < 3:
        return []
    i = alive[0]
    label = reading.labels[i]
    masked = (label + 1) % k
    z = np.random.default_rng(43).normal(size=(1, k))
    z[0, masked] = -np.inf
    labels = np.array([label])
    value = loss.value(z, labels)
    if reading.kind == "other":  # what mass the class has cannot be known
        return (
            [defect("−∞ logits", "a class at −∞ that is not the label makes the loss NaN")] if np.isnan(value) else []
        )
    has_mass = abs(reading.targets[i, masked]) > 2e-6
    gradient = None if loss.differences else loss.gradient(z, labels)
    lost = gradient is not None and not np.isfinite(gradient).all()
    if np.isnan(value):
        return [defect("−∞ logits", "a class at −∞ that is not the label makes the loss NaN")]
    if not has_mass and np.isinf(value):
        return [defect("−∞ logits", "a class at −∞ without mass makes the loss infinite")]
    if lost and not has_mass:
        return [defect("−∞ logits", "a class at −∞ without mass makes the gradient NaN")]
    if has_mass and np.isinf(value):
        rest = "and the gradient NaN" if lost else "with a finite gradient"
        return [note("−∞ logits", f"a class at −∞ has mass: the loss is {value:+g}, as the formula says, {rest}")]
    if has_mass:
        return [note("−∞ logits", f"a class at −∞ has mass, and the loss is {value:.4g}: it is clipped or left out")]
    return []


def far_out(loss: Loss, reading: Reading) -> list[Finding]:
    """Large logits: an overflow that a shift would have spared, and probabilities that are clipped."""
    alive = [i for i, lives in enumerate(reading.alive) if lives]
    if not alive or reading.kind == "other" or reading.extra is not None:
        return []
    i = alive[0]
    label, k = reading.labels[i], reading.classes
    z = np.zeros((1, k))
    z[0, label] = 800.0
    labels = np.array([label])
    value = loss.value(z, labels)
    if not np.isfinite(value):
        told = f"a logit of 800 makes the loss {value:g}: an exponential overflows, or a logarithm meets 0"
        return [defect("large logits", told)]
    wrong = np.zeros((1, k))
    wrong[0, (label + 1) % k] = 60.0
    value, expected = loss.value(wrong, labels), _expected(reading, i, wrong)
    if abs(value - expected) > 0.01 * abs(expected) + 0.01:
        least = np.exp(-min(value / abs(reading.masses[i]), 700))
        cap = f": about {least:.1g} is the least probability it knows" if value < expected else ""
        told = f"at a gap of −60 the loss is {value:.4g} where the formula has {expected:.4g}"
        return [warning("large logits", told + cap)]
    return []


def _expected(reading: Reading, i: int, z: Array) -> float:
    shifted = z.max() + np.log(np.exp(z - z.max()).sum())
    partition = np.logaddexp(0, z).sum() if reading.kind == "sigmoid" else shifted
    return float(reading.masses[i] * partition - reading.targets[i] @ z[0] + reading.offset)


def side_effects(loss: Loss, reading: Reading, ignored: int | None = None) -> list[Finding]:
    """Whether a call changes the tensors or arrays that it is given; labels that are no class are tried too."""
    findings: list[Finding] = []
    z = np.random.default_rng(47).normal(size=(4, reading.classes))
    alive = [y for y, lives in zip(reading.labels, reading.alive, strict=True) if lives] or [0]
    labels: Labels = np.array([alive[i % len(alive)] for i in range(4)])
    style = loss.style
    if style.library not in ("torch", "numpy") or style.layout != "rows" or style.inputs != "logits":
        return findings
    odd = [np.where(np.arange(4) == 1, label, labels) for label in (-100, -1, ignored) if label is not None]
    for given in [labels] if style.one_hot else [labels, *odd]:
        target: Any = np.eye(reading.classes)[given] if style.one_hot else given.copy()
        inputs: Any = z.astype(np.float32)
        if style.library == "torch":
            inputs, target = torch.tensor(inputs), torch.tensor(target)
            target = target.float() if style.one_hot else target
        kept = copy.deepcopy((inputs, target))
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                loss.function(*((target, inputs) if style.labels_first else (inputs, target)))
        except Exception:
            continue
        for what, now, before in (("logits", inputs, kept[0]), ("labels", target, kept[1])):
            if not np.array_equal(np.asarray(now), np.asarray(before), equal_nan=True):
                told = f"the {what} are overwritten: what else uses them gets other numbers"
                findings.append(defect("side effects", told))
    return findings


def is_changing(loss: Loss, classes: int) -> bool:
    """Whether two calls with the same logits and labels differ."""
    z = np.random.default_rng(67).normal(size=(4, classes))
    labels: Labels = np.array([1, classes - 1, 1, classes - 1])
    first, *more = (loss.values(z, labels) for _ in range(4))
    return any(not np.array_equal(first, each, equal_nan=True) for each in more)
