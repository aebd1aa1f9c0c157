"""The line of sfumato for a distillation, found by running lines on what the loss itself is called with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from sfumato.loss import cross_entropy, distillation_loss
from sfumato.probe.distillation.read import DistillationRead
from sfumato.probe.distillation.teacher_loss import TeacherLoss
from sfumato.probe.read.gradients import FITS
from sfumato.probe.recipe import as_written
from sfumato.targets import from_probs

CLOSE = 1e-5
"""Relative difference up to which values are the same: weights and temperatures are read off gradients."""

IGNORED = -100
_SF = SimpleNamespace(cross_entropy=cross_entropy, distillation_loss=distillation_loss, from_probs=from_probs)


@dataclass(frozen=True)
class DistillationLine:
    """Calls of sfumato that give a distillation, with ``student_logits``, ``teacher_logits`` and ``labels``.

    Attributes:
        found: the terms of the loss.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, of both terms.
        written: the three arguments as the line writes them.
        has_labels: whether the loss takes labels.
        as_cross_entropy: whether the teacher's entropy is not subtracted: a cross entropy, not a divergence.
        teaches_ignored: whether the teacher's term counts rows of an ignored label too.
    """

    found: DistillationRead
    reduction: str
    written: tuple[str, str, str]
    has_labels: bool
    as_cross_entropy: bool = False
    teaches_ignored: bool = False

    @property
    def code(self) -> str:
        """The line, for ``import sfumato as sf``.

        >>> DistillationLine(DistillationRead(3, "forward", 4.0, 8.0, 0.5, 0.0), "mean", NAMES, True).code
        'sf.distillation_loss(student_logits, labels, teacher_logits, 0.5, 4)'
        """
        found, (student, teacher, labels) = self.found, self.written
        t = found.temperature
        reduced = "" if self.reduction == "mean" else f', reduction="{self.reduction}"'
        plain = found.divergence == "forward" and not self.as_cross_entropy and not self.teaches_ignored
        if plain and found.label_eps == 0:
            share = found.teacher_weight / t**2
            total = found.label_weight + share
            given = labels if self.has_labels else f"{teacher}.argmax(1)"
            called = f"sf.distillation_loss({student}, {given}, {teacher}, {share / total:.9g}, {t:.9g}{reduced})"
            return f"{_times(total)}{called}"
        terms: list[str] = []
        if found.label_weight:
            smoothed = f', label_smoothing={found.label_eps:.9g}, over="all"' if found.label_eps else ""
            terms.append(f"{_times(found.label_weight)}sf.cross_entropy({student}, {labels}{smoothed}{reduced})")
        return " + ".join([*terms, self._teachers_term(reduced)])

    def _teachers_term(self, reduced: str) -> str:
        """The teacher's term by itself."""
        found, (student, teacher, labels) = self.found, self.written
        t, weight = found.temperature, found.teacher_weight
        beside = labels if self.has_labels and not self.teaches_ignored else f"{teacher}.argmax(1)"
        if found.divergence == "hard":
            return f"{_times(weight)}sf.cross_entropy({student}, {teacher}.argmax(1){reduced})"
        if self.as_cross_entropy:
            cooled = [each if t == 1 else f"({each} / {t:.9g})" for each in (student, teacher)]
            target = f"sf.from_probs({cooled[1]}.softmax(1))"
            return (
                f"{_times(weight)}sf.cross_entropy({cooled[0].strip('()') if t != 1 else student}, {target}{reduced})"
            )
        return f"{_times(weight / t**2)}sf.distillation_loss({student}, {beside}, {teacher}, 1, {t:.9g}{reduced})"

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Run the line as it stands."""
        names = {"student_logits": student, "teacher_logits": teacher, "labels": labels}
        return eval(self.code, {"sf": _SF, "torch": torch, **names})


NAMES = ("student_logits", "teacher_logits", "labels")


def line_of(loss: TeacherLoss, found: DistillationRead) -> DistillationLine | str:
    """The line whose values and gradients are those of the loss, or why there is none."""
    if found.divergence not in ("forward", "hard"):
        kind = "KL(student ‖ teacher)" if found.divergence == "reverse" else "squared distance of logits"
        return f"there is no line: sfumato has no {kind}"
    if np.isnan(found.label_eps):
        return "there is no line: the labels' term is no cross entropy with label smoothing"
    try:
        calls = _calls(loss, found.classes)
    except Exception as error:
        return f"there is no line: the loss cannot be called with several rows ({error})"
    nearest = float("inf")
    for candidate in _candidates(loss, found):
        apart = _apart(candidate, calls)
        if apart <= 1:
            return candidate
        nearest = min(nearest, apart)
    return f"there is no line: its value or gradient differs from sfumato's nearest by {nearest * CLOSE:.2g}"


def line_without_ignored(loss: TeacherLoss, line: DistillationLine) -> DistillationLine | None:
    """One call that is the same loss on batches without ignored rows, where the line takes two calls for them."""
    short = replace(line, teaches_ignored=False)
    if not line.teaches_ignored or " + " in short.code:
        return None
    calls = [call for call in _calls(loss, line.found.classes) if IGNORED not in call[3]]
    return short if _apart(short, calls) <= 1 else None


def is_taught_by_ignored(loss: TeacherLoss, classes: int) -> bool | None:
    """Whether a row of label −100 still learns from the teacher; None where the loss refuses the label."""
    if loss.labels is None:
        return None
    z, t, _ = _rows(classes, 4, 71)
    labels = torch.tensor([1, IGNORED, 0, 1])
    try:
        first, second = (loss.gradient(z, teacher, labels)[1] for teacher in (t, t.flip(1)))
    except Exception:
        return None
    return bool((first - second).abs().max() > 1e-9)


def _candidates(loss: TeacherLoss, found: DistillationRead) -> Iterator[DistillationLine]:
    logits, labels = as_written(loss.style)
    written = (logits.replace("logits", "student_logits"), logits.replace("logits", "teacher_logits"), labels)
    for reduction in ("mean", "sum", "none"):
        plain = DistillationLine(found, reduction, written, loss.labels is not None)
        yield plain
        yield replace(plain, teaches_ignored=True)
        yield replace(plain, as_cross_entropy=True)


def _rows(classes: int, rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    z, t = (torch.tensor(1.5 * rng.normal(size=(rows, classes))) for _ in range(2))
    return z, t, torch.tensor(rng.integers(0, classes, rows))


def _calls(loss: TeacherLoss, classes: int) -> list[tuple[TeacherLoss, Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Calls of the loss of two sizes, with ignored rows among them if it takes such; its values and gradients."""
    flat = loss.style.layout == "rows"
    found: list[tuple[TeacherLoss, Tensor, Tensor, Tensor, Tensor, Tensor]] = []
    ignores = is_taught_by_ignored(loss, classes) is not None
    for rows, parts, ignored in ((8, 2, False), (6, 3, False), (8, 2, ignores), (6, 3, ignores)):
        cut = replace(loss, style=replace(loss.style, batch=0 if flat else parts))
        z, t, labels = _rows(classes, rows, 80 + rows)
        if ignored:
            labels[1::4] = IGNORED
        with torch.no_grad():
            value = cut(z, t, labels)
        gradient = cut.gradient(z, t, labels)
        if bool(torch.isfinite(value).all()):
            found.append((cut, z, t, labels, value, gradient))
    return found


def _apart(line: DistillationLine, calls: list[tuple[TeacherLoss, Tensor, Tensor, Tensor, Tensor, Tensor]]) -> float:
    """The largest difference over what is allowed; infinite where the line cannot be run."""
    worst: list[float] = []
    for loss, z, t, labels, value, gradient in calls:
        leaf = z.clone().requires_grad_()
        try:
            student, given = loss.style.arrange(leaf * 1.0, labels)
            own = line(student, loss.style.arrange(t, labels)[0], given)
            (slope,) = torch.autograd.grad(own.sum(), leaf)
        except Exception:
            return float("inf")
        if own.numel() != value.numel():
            return float("inf")
        size = max(float(value.abs().max()), 1e-12)
        worst.append(float((own.detach().double().ravel() - value.double().ravel()).abs().max()) / size / CLOSE)
        worst.append(float((slope - gradient).abs().max() / gradient.abs().max()) / FITS)
    return float(np.max(worst)) if worst else float("inf")


def _times(factor: float) -> str:
    return "" if abs(factor - 1) < 1e-6 else f"{factor:.9g} * "
