"""Which label is ignored, and whether its rows are inert: no gradient, no share in the mean, no harm from NaN."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from sfumato.probe.call.loss import Array, Labels, Loss
from sfumato.probe.read.gradients import Reading, read
from sfumato.probe.result import ProbeFinding, defect, in_figures, note, warning

OTHERS = [0, 2, 3]
"""The rows of a batch of four beside row 1, which gets the label that is looked at."""


def ignored_by(
    loss: Loss, reading: Reading, reduction: str, candidates: Sequence[int]
) -> tuple[int | None, list[ProbeFinding]]:
    """Which label is ignored, if any; and whether cleanly. The candidates are tried in their order."""
    findings: list[ProbeFinding] = []
    ignored: int | None = None
    dead = [y for y in reading.labels if y not in reading.live_labels]
    if dead and reading.live_labels:
        text = f"rows of class {', '.join(map(str, dead))} have no gradient"
        gradient = _beside(loss, reading, dead[0])
        # The row is looked at in a batch: alone, the gradient may be NaN, of a mean over nothing.
        if np.abs(gradient[1]).max() <= 1e-7 * np.nanmax(np.abs(gradient)):
            ignored, text = dead[0], f"{text}: ignored"
        findings.append(warning("class-without-gradient", text))
    if loss.style.one_hot:
        return ignored, findings
    for label in dict.fromkeys([*candidates, *dead]):
        try:
            finding = _trained_towards(loss, reading, label)
        except Exception:
            continue  # the label is refused, as one that is no class should be
        if finding is not None:
            findings.append(finding)
            continue
        ignored = label if ignored is None else ignored
        findings += _uncleanly(loss, reading, reduction, label)
    return ignored, findings


def _with_row_1(labels: Labels, label: int) -> Labels:
    return np.where(np.arange(len(labels)) == 1, label, labels)


def _beside(loss: Loss, reading: Reading, label: int, logits: Array | None = None) -> Array:
    """The gradient of a batch of four rows, of which row 1 has the label."""
    z, labels = reading.batch(4, seed=23)
    return loss.gradient(z if logits is None else logits, _with_row_1(labels, label))


def _trained_towards(loss: Loss, reading: Reading, label: int) -> ProbeFinding | None:
    """None if a row of the label is inert, else what the row is trained towards; raises what the loss raises."""
    z, labels = reading.batch(4, seed=23)
    gradient = _beside(loss, reading, label)
    close = 1e-7 * float(np.nanmax(np.abs(gradient[OTHERS])))
    if not np.isfinite(gradient[1]).all():
        return defect("label-gives-nan", f"a row of label {label} gets a gradient of NaN")
    if np.abs(gradient[1]).max() <= close:
        return None
    row = z[1:2]
    alone = loss.gradient(row, np.array([label]))
    if not np.isfinite(alone).all() or np.abs(alone).max() <= close:
        # A mean over no row is NaN: what such a row alone cannot tell, it tells among rows that count.
        among = _AmongOthers(**vars(loss), others=z, beside=labels)
        alone = among.gradient(row, np.array([label]))
        moved = replace(among, others=z[:, ::-1]).gradient(row, np.array([label]))
        if np.abs(moved - alone).max() > 1e-5 * np.abs(alone).max():
            return defect("label-gets-leak", f"a row of label {label} gets a gradient from the other rows: it leaks")
        loss = among
    like = [y for y in reading.labels if np.allclose(loss.gradient(row, np.array([y])), alone, rtol=1e-5, atol=1e-8)]
    if len(like) == 1 and label != like[0]:
        return defect("label-becomes-class", f"label {label} is not refused: it silently becomes class {like[0]}")
    if reading.extra is not None:
        text = f"a row of label {label} still gets a gradient: the extra term counts it"
        return warning("ignored-rows-in-extra-term", text)
    if reading.kind == "other":
        return defect("label-not-refused", f"label {label} is not refused")
    at = read(loss, reading.classes, (label,))
    if at.kind == "other" or abs(at.masses[0]) < 1e-6 * np.abs(at.targets[0]).max():
        return defect("label-without-target", f"label {label} is not refused, and trained towards no fixed target")
    q = at.optima[0]
    if np.ptp(q) < 1e-5:
        text = f"a row of label {label} is trained towards the uniform target, not ignored"
        return defect("ignored-rows-uniform", text)
    return defect("label-with-target", f"label {label} is not refused: it is trained towards {in_figures(q)}")


def _uncleanly(loss: Loss, reading: Reading, reduction: str, label: int) -> Iterator[ProbeFinding]:
    """What a row of an ignored label does to the other rows, where it holds NaN, and where every row is ignored."""
    z, labels = reading.batch(4, seed=23)
    alone = loss.gradient(z[OTHERS], labels[OTHERS])
    beside = _beside(loss, reading, label)[OTHERS]
    ratio = float((beside * alone).sum() / (alone**2).sum())
    close = 1e-5 * np.abs(alone).max()
    if np.abs(beside - ratio * alone).max() > close:
        if loss.seeded:  # a batch of three rows has another draw
            return
        # Where rows count by their place, three rows count otherwise than the same three of four.
        other = _beside(loss, reading, label, np.where(np.arange(4)[:, None] == 1, z[:, ::-1], z))[OTHERS]
        if reduction != "other" or np.abs(other - beside).max() > close:
            text = f"a row of label {label} changes the gradients of other rows: it leaks"
            yield defect("ignored-rows-leak", text)
    elif reduction == "mean" and abs(ratio - 0.75) < 1e-4:
        text = f"the mean counts ignored rows: with one of four rows of label {label}, the rest count 3/4"
        yield defect("ignored-rows-in-mean", text)
    elif reduction == "mean" and abs(ratio - 1) < 1e-4:
        yield note("ignored-label", f"label {label} is ignored; the mean is over the rows that count")
    elif abs(ratio - 1) > 1e-4:
        text = f"one of four rows of label {label} scales the other rows by {ratio:.4g}"
        yield warning("ignored-rows-scale", text)
    yield from _with_nan(loss, z, _with_row_1(labels, label))
    if not np.isfinite(loss.values(z, np.full(4, label))).all():
        text = "a batch containing only ignored rows gives NaN (same as PyTorch)"
        yield note("all-rows-ignored", text)


def _with_nan(loss: Loss, z: Array, labels: Labels) -> Iterator[ProbeFinding]:
    if loss.differences:
        return
    held = np.where(np.arange(4)[:, None] == 1, np.nan, z)
    values, gradient = loss.values(held, labels), loss.gradient(held, labels)
    kept = values if values.size == 1 else values.reshape(4, -1)[OTHERS]
    text = f"an ignored row (label {labels[1]}) that contains NaN"
    if not np.isfinite(kept).all() or not np.isfinite(gradient[OTHERS]).all():
        yield defect("ignored-nan-in-loss", f"{text} makes the loss NaN")
    elif not np.isfinite(gradient[1]).all():
        yield warning("ignored-nan-in-gradient", f"{text} gets a gradient of NaN, not 0")


@dataclass(frozen=True)
class _AmongOthers(Loss):
    """A loss that gets one row as row 1 of four, of which the other three stay."""

    others: Array = field(kw_only=True)
    beside: Labels = field(kw_only=True)

    def values(self, logits: Array, labels: Labels, dtype: torch.dtype | None = None) -> Array:
        return super().values(self._four(logits), _with_row_1(self.beside, labels[0]), dtype)

    def gradient(self, logits: Array, labels: Labels) -> Array:
        if self.differences:
            return self.by_differences(logits, labels)
        return super().gradient(self._four(logits), _with_row_1(self.beside, labels[0]))[1:2]

    def _four(self, row: Array) -> Array:
        return np.where(np.arange(4)[:, None] == 1, row, self.others)
