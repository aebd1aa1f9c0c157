"""What happens to rows: how they are reduced, which are ignored, and labels that are no class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sfumato.probe.call.caller import Array, Labels, Loss
from sfumato.probe.findings import Finding, defect, note, warning
from sfumato.probe.read.gradients import Reading, read

Reduction = Literal["mean", "sum", "none", "other"]


@dataclass(frozen=True)
class Rows:
    """How rows are reduced.

    Attributes:
        reduction: ``"mean"``, ``"sum"``, ``"none"`` or ``"other"``.
        factors: gradient of each row in a batch of four, over that of the row alone; NaN if that has none.
        labels: the labels of those rows.
    """

    reduction: Reduction
    factors: Array
    labels: tuple[int, ...]


def reduction_of(loss: Loss, reading: Reading) -> tuple[Rows, list[Finding]]:
    """The reduction, from gradients of four rows together and one by one.

    Args:
        loss: the loss.
        reading: its reading at the same K, for the labels that have a gradient.
    """
    k = reading.classes
    alive = [y for y, lives in zip(reading.labels, reading.alive, strict=True) if lives] or [0]
    labels = np.array([alive[i % len(alive)] for i in (1, 2, 0, 3)])
    z = _logits(4, k)
    together = loss.gradient(z, labels)
    singles = [loss.gradient(z[i : i + 1], labels[i : i + 1])[0] for i in range(4)]
    with np.errstate(all="ignore"):
        factors = np.array([g @ s / (s @ s) if s @ s > 0 else np.nan for g, s in zip(together, singles, strict=True)])
    values = loss.values(z, labels)
    shape = values.shape
    apart = [np.abs(g - f * s).max() for g, s, f in zip(together, singles, factors, strict=True) if np.isfinite(f)]
    findings: list[Finding] = []
    if max(apart, default=0.0) > 1e-3 * np.abs(together).max() and not loss.seeded:
        others = z.copy()
        others[1:] = others[1:, ::-1]
        if np.abs(loss.gradient(others, labels)[0] - together[0]).max() > 1e-3 * np.abs(together).max():
            told = "the gradient of a row depends on the other rows: they leak into each other"
            findings.append(defect("rows", told))
        else:
            told = "the gradient of a row in a batch is no multiple of its gradient alone"
            findings.append(warning("rows", told))
    if int(np.prod(shape)) in (4, 4 * k) and len(shape) >= 1:
        shown = values.reshape(4, -1).sum(axis=1)
        alone = np.array([loss.value(z[i : i + 1], labels[i : i + 1]) for i in range(4)])
        if np.abs(shown - alone).max() > 1e-3 * np.abs(alone).max() and not loss.seeded:
            told = f"the value of a row depends on the other rows: {shown[0]:.4g} among four, {alone[0]:.4g} alone"
            findings.append(defect("rows", told))
        return Rows("none", factors, tuple(labels.tolist())), findings
    hidden = [i for i in range(4) if abs(factors[i]) < 1e-7]
    if hidden and not loss.seeded:
        findings.append(
            defect(
                "reduction",
                f"hides rows: {len(hidden)} of 4 have no gradient in a batch (rows {', '.join(map(str, hidden))}), "
                "each of which has one alone",
            )
        )
        return Rows("other", factors, tuple(labels.tolist())), findings
    if np.allclose(factors, 0.25, rtol=1e-4):
        return Rows("mean", factors, tuple(labels.tolist())), findings
    if np.allclose(factors, 1.0, rtol=1e-4):
        return Rows("sum", factors, tuple(labels.tolist())), findings
    if loss.seeded:  # draws may differ with the size of the batch: nothing is known
        return Rows("other", factors, tuple(labels.tolist())), findings
    return _weighted(factors, labels, findings)


def _weighted(factors: Array, labels: Labels, findings: list[Finding]) -> tuple[Rows, list[Finding]]:
    shown = ", ".join(f"{f:.4g}" for f in factors)
    by_label = {int(y): [f for f, o in zip(factors, labels, strict=True) if o == y] for y in labels}
    told = tuple(labels.tolist())
    if abs(float(factors.sum()) - 1) < 1e-4 and all(np.ptp(fs) < 1e-4 for fs in by_label.values()):
        findings.append(note("reduction", f"a mean over the labels' weights: four rows count {shown}"))
        return Rows("mean", factors, told), findings
    findings.append(
        warning("reduction", f"neither mean nor sum: a row in a batch of four counts {shown} of what it does alone")
    )
    return Rows("other", factors, told), findings


def ignored_by(loss: Loss, reading: Reading, rows: Rows, candidates: Sequence[int]) -> tuple[int | None, list[Finding]]:
    """Which label is ignored, whether cleanly, and what other labels below 0 do.

    Args:
        loss: the loss.
        reading: its reading.
        rows: its reduction.
        candidates: labels to try, the likeliest first.

    Returns:
        The ignored label, or None; and findings.
    """
    findings: list[Finding] = []
    found: int | None = None
    dead = [y for y, lives in zip(reading.labels, reading.alive, strict=True) if not lives]
    if dead and len(dead) < len(reading.labels):
        told = f"rows of class {', '.join(map(str, dead))} have no gradient"
        if _inert(loss, reading, dead[0]):
            found = dead[0]
            told += ": ignored"
        findings.append(warning("ignored rows", told))
    if loss.style.one_hot:
        return found, findings
    for label in dict.fromkeys([*candidates, *dead]):
        try:
            seen = _one(loss, reading, rows, label)
        except Exception:
            continue  # refused: what a label that is no class deserves
        if seen is None:
            found = label if found is None else found
            findings += _cleanly(loss, reading, rows, label)
        else:
            findings.append(seen)
    return found, findings


def _batch(reading: Reading) -> tuple[Array, Labels]:
    alive = [y for y, lives in zip(reading.labels, reading.alive, strict=True) if lives]
    labels = np.array([alive[i % len(alive)] for i in (1, 0, 2, 1)])
    return _logits(4, reading.classes), labels


def _one(loss: Loss, reading: Reading, rows: Rows, label: int) -> Finding | None:
    """None if the row is inert, else what it is trained towards; raises what the loss raises."""
    z, labels = _batch(reading)
    labels[1] = label
    gradient = loss.gradient(z, labels)
    size = float(np.nanmax(np.abs(gradient[[0, 2, 3]])))
    if not np.isfinite(gradient[1]).all():
        return defect("ignored rows", f"a row of label {label} gets a gradient of NaN")
    if np.abs(gradient[1]).max() <= 1e-7 * size:
        return None
    alone = loss.gradient(z[1:2], labels[1:2])
    if not np.isfinite(alone).all() or np.abs(alone).max() <= 1e-7 * size:
        return defect("ignored rows", f"a row of label {label} gets a gradient from the other rows: it leaks")
    like = [y for y in reading.labels if np.allclose(loss.gradient(z[1:2], np.array([y])), alone, rtol=1e-5, atol=1e-8)]
    if len(like) == 1 and label != like[0]:
        return defect("labels", f"label {label} is not refused: it silently becomes class {like[0]}")
    if reading.extra is not None:
        return warning("ignored rows", f"a row of label {label} still gets a gradient: the extra term counts it")
    if reading.kind == "other":
        return defect("labels", f"label {label} is not refused")
    at = read(loss, reading.classes, (label,))
    if at.kind == "other":
        return defect("labels", f"label {label} is not refused, and trained towards no fixed target")
    q = at.targets[0] / (at.masses[0] or 1.0)
    if np.ptp(q) < 1e-5:
        return defect("ignored rows", f"a row of label {label} is trained towards the uniform target, not ignored")
    shown = ", ".join(f"{each:.4g}" for each in q[:6])
    return defect(
        "labels", f"label {label} is not refused: it is trained towards ({shown}{', …' if len(q) > 6 else ''})"
    )


def _inert(loss: Loss, reading: Reading, label: int) -> bool:
    """Whether a row of a label has no gradient in a batch: alone, NaN may be of a mean over nothing."""
    z, labels = _batch(reading)
    labels[1] = label
    gradient = loss.gradient(z, labels)
    return bool(np.abs(gradient[1]).max() <= 1e-7 * np.nanmax(np.abs(gradient)))


def _cleanly(loss: Loss, reading: Reading, rows: Rows, label: int) -> list[Finding]:
    findings: list[Finding] = []
    z, labels = _batch(reading)
    keep = [0, 2, 3]
    alone = loss.gradient(z[keep], labels[keep])
    labels[1] = label
    beside = loss.gradient(z, labels)[keep]
    ratio = float((beside * alone).sum() / (alone**2).sum())
    if np.abs(beside - ratio * alone).max() > 1e-5 * np.abs(alone).max():
        if loss.seeded:
            return findings
        findings.append(defect("ignored rows", f"a row of label {label} changes the gradients of other rows: it leaks"))
    elif rows.reduction == "mean" and abs(ratio - 0.75) < 1e-4:
        findings.append(
            defect("ignored rows", f"the mean counts ignored rows: one of four of label {label} makes the rest 3/4")
        )
    elif rows.reduction == "mean" and abs(ratio - 1) < 1e-4:
        findings.append(note("ignored rows", f"label {label} is ignored; the mean is over the rows that count"))
    elif abs(ratio - 1) > 1e-4:
        findings.append(warning("ignored rows", f"one of four of label {label} scales the other rows by {ratio:.4g}"))
    findings += _with_nan(loss, z, labels, label)
    empty = loss.values(z, np.full(4, label))
    if not np.isfinite(empty).all():
        findings.append(note("ignored rows", "a batch of ignored rows only is NaN, as torch's mean is"))
    return findings


def _with_nan(loss: Loss, z: Array, labels: Labels, label: int) -> list[Finding]:
    if loss.differences:
        return []
    held = z.copy()
    held[1] = np.nan
    values = loss.values(held, labels)
    gradient = loss.gradient(held, labels)
    kept = values if values.size == 1 else values.reshape(4, -1)[[0, 2, 3]]
    if not np.isfinite(kept).all() or not np.isfinite(gradient[[0, 2, 3]]).all():
        return [defect("ignored rows", f"an ignored row (label {label}) that holds NaN makes the loss NaN")]
    if not np.isfinite(gradient[1]).all():
        return [warning("ignored rows", f"an ignored row (label {label}) that holds NaN gets a gradient of NaN, not 0")]
    return []


def odd_labels(loss: Loss, reading: Reading, rows: Rows) -> list[Finding]:
    """Labels out of range, labels that are not whole, and probabilities for labels."""
    findings: list[Finding] = []
    if loss.style.one_hot:
        return findings
    k = reading.classes
    z, labels = _batch(reading)
    if reading.kind == "other" and np.allclose(loss.gradient(z, labels), loss.gradient(z, np.roll(labels, 1))):
        return [defect("labels", "they are not looked at: the gradient is the same whatever they are")]
    outside = labels.copy()
    outside[1] = k
    try:
        values, gradient = loss.values(z, outside), loss.gradient(z, outside)
    except Exception:
        pass
    else:
        row = values.reshape(4, -1)[1].sum() if values.size >= 4 else None
        moves = bool(np.abs(gradient[1]).max() > 1e-9)
        if row is not None and abs(float(row)) < 1e-9 and moves:
            findings.append(
                defect("labels", f"label {k} of {k} classes is not refused: loss 0, and a gradient that is not")
            )
        else:
            what = "trained on" if moves else "without a gradient"
            findings.append(defect("labels", f"label {k} of {k} classes is not refused ({what})"))
    findings += _broken_labels(loss, z, labels)
    if not np.ptp(rows.factors) > 1e-4:  # weighted: what probabilities become cannot be told from the weights
        findings += _probabilities(loss, reading)
    return findings


def _broken_labels(loss: Loss, z: Array, labels: Labels) -> list[Finding]:
    try:
        broken = loss.gradient(z, labels + 0.75)
    except Exception:
        return []
    if np.allclose(broken, loss.gradient(z, labels)):
        return [defect("labels", "labels that are not whole are cut: 1.75 is taken for class 1 without a word")]
    return []


def _probabilities(loss: Loss, reading: Reading) -> list[Finding]:
    k = reading.classes
    given = np.zeros(k)
    given[1], given[0] = 0.7, 0.3
    read_as = _Dense(loss, given)
    try:
        at = read(read_as, k, (1,))  # type: ignore[arg-type]
    except Exception:
        return []
    if at.kind == "other":
        return []
    q = at.targets[0] / (at.masses[0] or 1.0)
    if np.allclose(q, given, atol=1e-5):
        return [note("probabilities", "taken as they are in place of labels")]
    if np.ptp(reading.masses) > 1e-4 or not np.allclose(reading.targets[:, -1][:-1], reading.targets[0, -1], rtol=1e-3):
        return []  # weighted: what the probabilities became cannot be told apart from the weights
    softened = (q - q[-1]) / max(float(q[1] - q[-1]), 1e-12) * 0.7
    if np.ptp(reading.targets[0]) < 1e-9:
        return []  # towards uniform whatever the label is
    if k > 2 and q[1] - q[-1] > 1e-6 and np.allclose(softened, given, atol=1e-4):
        return [note("probabilities", f"taken in place of labels, and softened: (0.3, 0.7, 0, …) becomes {_few(q)}")]
    return [defect("probabilities", f"(0.3, 0.7, 0, …) is not refused in place of labels, and becomes {_few(q)}")]


class _Dense:
    """A loss whose label is one row of probabilities, whatever label it is asked for."""

    def __init__(self, loss: Loss, given: Array) -> None:
        self.loss, self.given = loss, given
        self.differences, self.coarse = loss.differences, loss.coarse

    def value(self, logits: Array, labels: Labels) -> float:
        return self.loss.value(logits, np.tile(self.given, (len(logits), 1)))

    def gradient(self, logits: Array, labels: Labels) -> Array:
        return self.loss.gradient(logits, np.tile(self.given, (len(logits), 1)))


def _few(q: Array) -> str:
    return f"({', '.join(f'{round(float(each), 6) + 0.0:.4g}' for each in q[:3])}{', …' if len(q) > 3 else ''})"


def _logits(rows: int, classes: int) -> Any:
    return np.random.default_rng(23).normal(size=(rows, classes))
