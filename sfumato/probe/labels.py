"""Which label is ignored and whether its rows are inert, labels that are no class, and calls that change labels."""

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sfumato.conventions.row_losses import own_class
from sfumato.probe.call import Array, Labels, Loss
from sfumato.probe.find_loss import attempt
from sfumato.probe.gradients import Reading, read
from sfumato.probe.levels import in_figures, least_share
from sfumato.probe.result import ProbeFinding, defect, note, warning

OTHERS = [0, 2, 3]  # the rows of a batch of four beside row 1, which gets the label that is looked at

ROW_1 = np.arange(4) == 1

FAR_LABELS = (999, 1000, 9999, 32767, 65535, 2**31 - 1, 2**32 - 1, -999, -9999, -32768, -(2**31))
"""Labels far from the classes that some projects ignore."""


@dataclass(frozen=True)
class _Placed(Loss):
    """A loss of one row, whose logits and labels are put into a batch before each call."""

    place: Callable[[Array, Labels], tuple[Array, Labels]] = field(kw_only=True)
    at: int = field(kw_only=True)  # where the row is in that batch

    def values(self, logits: Array, labels: Labels, dtype: torch.dtype | None = None) -> Array:
        return super().values(*self.place(logits, labels), dtype)

    def gradient(self, logits: Array, labels: Labels) -> Array:
        if self.differences:
            return self.by_differences(logits, labels)
        return super().gradient(*self.place(logits, labels))[self.at : self.at + 1]


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
    asked = list(dict.fromkeys([*candidates, *dead]))
    inert: list[int] = []
    for label in asked:
        try:
            finding = _trained_towards(loss, reading, label)
        except Exception:
            continue  # the label is refused, as one that is no class should be
        if finding is None:
            inert.append(label)
        else:
            findings.append(finding)
    if not inert:  # any number may be the ignored label; most are refused at once
        k = reading.classes
        every = [*range(-1, -257, -1), *range(k if k <= 1000 else 4), *range(k, k + 260), *FAR_LABELS]
        unknown = (label for label in every if label not in asked and label not in reading.live_labels)
        inert = list(itertools.islice((label for label in unknown if _is_inert(loss, reading, label)), 1))
    for label in inert:
        findings += _uncleanly(loss, reading, reduction, label)
    return ignored if ignored is not None or not inert else inert[0], findings


def _is_inert(loss: Loss, reading: Reading, label: int) -> bool:
    """Whether the logits of a row of a label do nothing to the loss, whose other rows count."""
    z, labels = reading.batch(4, seed=23)
    labels, other = np.where(ROW_1, label, labels), reading.batch(4, seed=24)[0]
    try:
        plain = loss.value(z, labels)
        if plain != loss.value(np.where(ROW_1[:, None], other, z), labels):
            return False
        return bool(np.isfinite(plain) and plain != loss.value(np.where(ROW_1[:, None], z, other), labels))
    except Exception:
        return False


def _beside(loss: Loss, reading: Reading, label: int, logits: Array | None = None) -> Array:
    """The gradient of a batch of four rows, of which row 1 has the label."""
    z, labels = reading.batch(4, seed=23)
    return loss.gradient(z if logits is None else logits, np.where(ROW_1, label, labels))


def _trained_towards(loss: Loss, reading: Reading, label: int) -> ProbeFinding | None:
    """None if a row of the label is inert, else what the row is trained towards; raises what the loss raises."""
    z, labels = reading.batch(4, seed=23)
    gradient = _beside(loss, reading, label)
    close = 1e-7 * float(np.nanmax(np.abs(gradient[OTHERS])))
    if not np.isfinite(gradient[1]).all():
        return defect("label-gives-nan", f"a row of label {label} gets a gradient of NaN")
    if np.abs(gradient[1]).max() <= close:
        return None
    row, asked = z[1:2], np.array([label])
    alone = loss.gradient(row, asked)
    if not np.isfinite(alone).all() or np.abs(alone).max() <= close:
        # A mean over no row is NaN: what such a row alone cannot tell, it tells among rows that count.
        def among(others: Array) -> Loss:
            def place(logits: Array, its: Labels) -> tuple[Array, Labels]:
                return np.where(ROW_1[:, None], logits, others), np.where(ROW_1, its[0], labels)

            return _Placed(**vars(loss), place=place, at=1)

        alone, moved = among(z).gradient(row, asked), among(z[:, ::-1]).gradient(row, asked)
        if np.abs(moved - alone).max() > 1e-5 * np.abs(alone).max():
            return defect("label-gets-leak", f"a row of label {label} gets a gradient from the other rows: it leaks")
        loss = among(z)
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
        other = _beside(loss, reading, label, np.where(ROW_1[:, None], z[:, ::-1], z))[OTHERS]
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
    if not loss.differences:
        held, own = np.where(ROW_1[:, None], np.nan, z), np.where(ROW_1, label, labels)
        values, gradient = loss.values(held, own), loss.gradient(held, own)
        kept = values if values.size == 1 else values.reshape(4, -1)[OTHERS]
        text = f"an ignored row (label {label}) that contains NaN"
        if not np.isfinite(kept).all() or not np.isfinite(gradient[OTHERS]).all():
            yield defect("ignored-nan-in-loss", f"{text} makes the loss NaN")
        elif not np.isfinite(gradient[1]).all():
            yield warning("ignored-nan-in-gradient", f"{text} gets a gradient of NaN, not 0")
    if not np.isfinite(loss.values(z, np.full(4, label))).all():
        text = "a batch containing only ignored rows gives NaN (same as PyTorch)"
        yield note("all-rows-ignored", text)


def odd_labels(loss: Loss, reading: Reading, factors: Array) -> Iterator[ProbeFinding]:
    """What the loss does with labels that are no class; ``factors`` say how much each row of a batch counts."""
    if loss.style.one_hot:
        return
    z, labels = reading.batch(4, seed=23)
    plain, k = loss.gradient(z, labels), reading.classes
    if reading.kind == "other" and np.allclose(plain, loss.gradient(z, np.roll(labels, 1))):
        yield defect("labels-unused", "labels are not looked at: the gradient is the same whatever they are")
        return
    outside = np.where(ROW_1, k, labels)
    values, gradient = attempt(lambda: loss.values(z, outside)), attempt(lambda: loss.gradient(z, outside))
    if values is not None and gradient is not None:
        moves = np.abs(gradient[1]).max() > 1e-9
        what = "trained on" if moves else "without a gradient"
        if moves and values.size >= 4 and abs(values.reshape(4, -1)[1].sum()) < 1e-9:
            what = "loss 0, and a gradient that is not 0"
        yield defect("label-out-of-range", f"label {k} of {k} classes is not refused ({what})")
    broken = attempt(lambda: loss.gradient(z, labels + 0.75))
    if broken is not None and np.allclose(broken, plain):
        yield defect("labels-cut", "labels that are not whole numbers are cut: 1.75 silently becomes class 1")
    # Weights hide what probabilities become, and so do labels that are other classes.
    if not np.ptp(factors) > 1e-4 and loss.relabelling is None:
        yield from _probabilities(loss, reading)


def _probabilities(loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """What becomes of probabilities in place of a label: taken as they are, softened, or misread."""
    given = np.zeros(reading.classes)
    given[1], given[0] = 0.7, 0.3
    placed = _Placed(**vars(loss), place=lambda z, _: (z, given[None]), at=0)
    at = attempt(lambda: read(placed, reading.classes, (1,)))
    if at is None or at.kind == "other":
        return
    whole = read(loss, reading.classes, (0, 1))
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


def side_effects(loss: Loss, reading: Reading, ignored: int | None = None) -> Iterator[ProbeFinding]:
    """Whether a call overwrites logits or labels; labels that are no class are tried too."""
    style = loss.style
    if style.library not in ("torch", "numpy") or style.layout != "rows" or style.inputs != "logits":
        return
    z, labels = reading.batch(4, seed=47)
    odd = [np.where(ROW_1, label, labels) for label in (-100, -1, ignored) if label is not None]
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
