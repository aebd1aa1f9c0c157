r"""Read the terms of a distillation off gradients.

The gradient of a·CE(q, z) + b·KL(softmax(t/T) ‖ softmax(z/T)) is a·(p − q) + (b/T)·(p_T(z) − p_T(t)). What changes with
the teacher's logits t alone is the last term: that tells the kind of divergence, T, and b. What is left when the whole
divergence is taken away is the gradient of a cross entropy, which tells a and q.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch

from sfumato.conventions.batch import own_class
from sfumato.probe.call.caller import Array
from sfumato.probe.distillation.teacher_loss import TeacherLoss
from sfumato.probe.read.extra_terms import fit, minimise, softmax
from sfumato.probe.read.gradients import FITS
from sfumato.probe.read.levels import as_typed

Divergence: TypeAlias = Literal["forward", "reverse", "hard", "squared"]
TEMPERATURES = np.geomspace(0.02, 100.0, 120)


@dataclass(frozen=True)
class DistillationRead:
    """The terms of a distillation at one K, for a batch of one row.

    Attributes:
        classes: K.
        divergence: what holds the student to the teacher: ``"forward"``, KL(teacher ‖ student); ``"reverse"``,
            KL(student ‖ teacher); ``"hard"``, the cross entropy of the teacher's likeliest class; ``"squared"``, half
            the squared distance of the logits.
        temperature: T of the teacher, and of the student; 1 where there is none.
        teacher_weight: b, the number that the divergence is multiplied by.
        label_weight: a, the number that the cross entropy is multiplied by.
        label_eps: strength over all classes of the labels' smoothing; NaN where the target is of another form.
    """

    classes: int
    divergence: Divergence
    temperature: float
    teacher_weight: float
    label_weight: float
    label_eps: float


class _Points(NamedTuple):
    """Gradients at every student's logits (I, K), teacher's logits (J, K) and label, (I, J, L, K)."""

    students: Array
    teachers: Array
    labels: tuple[int, ...]
    gradients: Array


def read_distillation(loss: TeacherLoss, classes: int) -> DistillationRead | None:
    """The terms; None where the gradients are not those of a divergence from a teacher beside a cross entropy.

    Raises:
        Exception: whatever the loss raises when it is called in this way.
    """
    points = _points(loss, classes)
    scale = float(np.abs(points.gradients).max())
    if not np.isfinite(scale) or scale < 1e-9:
        return None
    # What changes with the teacher: everything else in the gradient is the same for every teacher.
    response = points.gradients[:, :1] - points.gradients[:, 1:]
    if float(np.abs(response).max()) < 1e-6 * scale:
        return None
    if np.ptp(response, axis=2).max() > FITS * scale:
        return None  # the teacher's part depends on the label
    for divergence in _kinds(loss):
        found = _fitted(divergence, points, response.mean(axis=2), scale)
        if found is None:
            continue
        temperature, weight = found
        rest = points.gradients - (weight * _shape(divergence, temperature, points))[:, :, None]
        if np.ptp(rest, axis=1).max() > 2 * FITS * scale:
            continue
        label = fit(softmax(points.students), rest.mean(axis=1).swapaxes(0, 1), scale)
        if label.residual < FITS:
            return _as_read(loss, classes, divergence, temperature, weight, label.masses, label.targets, points.labels)
    return None


def _kinds(loss: TeacherLoss) -> tuple[Divergence, ...]:
    """The divergences that may be meant: squares and classes of a second tensor alone make no teacher of it."""
    alike = loss.labels is not None or loss.is_named
    return ("forward", "reverse", "hard", "squared") if alike else ("forward", "reverse")


def _points(loss: TeacherLoss, classes: int) -> _Points:
    rng = np.random.default_rng(17)
    students, teachers = 1.5 * rng.normal(size=(4, classes)), 1.5 * rng.normal(size=(5, classes))
    labels = (1, classes - 1) if loss.labels is not None else (1,)
    gradients = np.stack(
        [[[_gradient(loss, z, t, label) for label in labels] for t in teachers] for z in students],
    )
    return _Points(students, teachers, labels, gradients)


def _gradient(loss: TeacherLoss, student: Array, teacher: Array, label: int) -> Array:
    row = torch.tensor(student)[None], torch.tensor(teacher)[None], torch.tensor([label])
    return loss.gradient(*row)[0].double().numpy()


def _shape(divergence: Divergence, temperature: float, points: _Points) -> Array:
    """The gradient of a divergence of weight 1 by the student's logits, (I, J, K)."""
    z, t = points.students[:, None], points.teachers[None]
    if divergence == "squared":
        return z - t
    if divergence == "hard":
        return softmax(points.students)[:, None] - own_class(points.teachers.argmax(axis=1), z.shape[-1])[None]
    p, q = softmax(points.students / temperature)[:, None], softmax(points.teachers / temperature)[None]
    if divergence == "forward":
        return (p - q) / temperature
    apart = np.log(p) - np.log(q)
    return p * (apart - (p * apart).sum(axis=-1, keepdims=True)) / temperature


def _fitted(divergence: Divergence, points: _Points, response: Array, scale: float) -> tuple[float, float] | None:
    """The temperature and the weight with which a divergence changes with the teacher as the loss does."""

    def at(temperature: float) -> tuple[float, float]:
        shape = _shape(divergence, temperature, points)
        change = shape[:, :1] - shape[:, 1:]
        weight = float((change * response).sum() / max(float((change**2).sum()), 1e-300))
        return weight, float(np.abs(response - weight * change).max() / scale)

    heated = divergence in ("forward", "reverse")
    temperature = minimise(lambda each: at(each)[1], TEMPERATURES) if heated else 1.0
    weight, residual = at(temperature)
    return (temperature, weight) if residual < FITS else None


def _as_read(
    loss: TeacherLoss,
    classes: int,
    divergence: Divergence,
    temperature: float,
    weight: float,
    masses: Array,
    targets: Array,
    labels: tuple[int, ...],
) -> DistillationRead | None:
    a = float(masses.mean())
    a = 0.0 if abs(a) < 1e-6 * max(1.0, abs(weight)) else as_typed(a, coarse=True)
    eps = 0.0
    if a == 0.0:
        if np.abs(targets).max() > 1e-4 * max(1.0, abs(weight)):
            return None
    elif loss.labels is None:
        return None
    else:
        own = own_class(labels, classes)
        other = targets[~own] / a
        eps = as_typed(float(other.mean()) * classes, coarse=True) if abs(other.mean()) > 1e-7 else 0.0
        eps = eps if np.ptp(other) < 1e-5 else float("nan")
    return DistillationRead(
        classes, divergence, as_typed(temperature, coarse=True), as_typed(weight, coarse=True), a, eps
    )
