"""Say of a loss that it is a distillation, and which: its terms, their weights, the temperature, and what is odd."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sfumato.probe.call.find import ProbeError, Spec
from sfumato.probe.call.make import OTHER_CLASSES
from sfumato.probe.call.parameters import parameters_of
from sfumato.probe.distillation.line import DistillationLine, is_taught_by_ignored, line_of, line_without_ignored
from sfumato.probe.distillation.read import DistillationRead, read_distillation
from sfumato.probe.distillation.teacher_loss import TeacherLoss, is_share, may_have_teacher, teacher_losses
from sfumato.probe.findings import ProbeFinding, note, warning


@dataclass(frozen=True)
class Distillation:
    """A distillation as the probe found it: a·CE(labels) + b·D(teacher, student), with D a divergence at temperature T.

    Attributes:
        divergence: ``"forward"``, KL(teacher ‖ student); ``"reverse"``, KL(student ‖ teacher); ``"hard"``, the cross
            entropy of the teacher's likeliest class; ``"squared"``, half the squared distance of the logits.
        temperature: T.
        label_weight: a; 0 where the loss takes no labels.
        teacher_weight: b.
        alpha: the teacher's share α of (1−α)·CE + α·T²·D, with or without T² and 1/K; None where the weights are of no
            such form.
        times_t_squared: whether b has the factor T²; None where that cannot be told.
        over_classes: K if b has the factor 1/K, the mean being over classes too, else 1.
        label_eps: strength over all classes of the smoothing of the labels' term.
        teacher_gets_gradients: whether the loss trains the teacher too.
    """

    divergence: str
    temperature: float
    label_weight: float
    teacher_weight: float
    alpha: float | None
    times_t_squared: bool | None
    over_classes: int
    label_eps: float | None
    teacher_gets_gradients: bool

    @property
    def formula(self) -> str:
        """The loss as a formula with its numbers.

        >>> Distillation("forward", 4.0, 0.5, 8.0, 0.5, True, 1, 0.0, False).formula
        '0.5·CE(labels) + 0.5·T²·KL(teacher_T ‖ student_T) with T = 4'
        """
        heated = self.divergence in ("forward", "reverse") and self.temperature != 1
        teacher, student = ("teacher_T", "student_T") if heated else ("teacher", "student")
        parts = {
            "forward": f"KL({teacher} ‖ {student})",
            "reverse": f"KL({student} ‖ {teacher})",
            "hard": "CE(the teacher's likeliest class)",
            "squared": "|student − teacher|²/2",
        }
        weight, squared = self.teacher_weight * self.over_classes, ""
        if self.times_t_squared:
            weight, squared = weight / self.temperature**2, "T²·"
        divided = "" if self.over_classes == 1 else "/K"
        terms = [f"{_times(self.label_weight)}CE(labels)"] if self.label_weight else []
        terms.append(f"{_times(weight)}{squared}{parts[self.divergence]}{divided}")
        return " + ".join(terms) + (f" with T = {self.temperature:g}" if heated else "")


@dataclass(frozen=True)
class RecognisedDistillation:
    """A distillation, how the loss is called, and what was found beside."""

    distillation: Distillation
    called: str
    reduction: str
    findings: tuple[ProbeFinding, ...]
    recipe: DistillationLine | str


def recognise(spec: Spec, classes: int) -> RecognisedDistillation | None:
    """The distillation that a loss is; None of any other loss.

    A loss of a student's and a teacher's logits changes with the second as a softmax or its likeliest class does. A
    loss of logits and soft targets, which are probabilities already, does not, and is none.
    """
    loss, found = _first_that_fits(spec.made(classes), classes)
    if loss is None or found is None:
        return None
    terms = _distillation(spec, loss, found)
    recipe = line_of(loss, found)
    reduction = recipe.reduction if isinstance(recipe, DistillationLine) else _reduction(loss, classes)
    findings = [note("distillation", f"the gradients are those of {terms.formula}"), *_odd(spec, loss, found, terms)]
    if isinstance(recipe, DistillationLine):
        told = "the line was run on the loss's own arguments, batches of 8 and 6 rows: values and gradients agree"
        findings.append(note("same loss", told))
        short = line_without_ignored(loss, recipe)
        if short is not None:
            findings.append(note("same loss", f"where no row is ignored, this is enough: {short.code}"))
        if recipe.as_cross_entropy:
            told = "the teacher's entropy is not subtracted: it is a cross entropy, which trains as the divergence does"
            findings.append(note("value", told))
    return RecognisedDistillation(terms, loss.describe(), reduction, tuple(findings), recipe)


def has_teacher(spec: Spec, classes: int) -> bool:
    """Whether a loss names one of its arguments after a teacher."""
    try:
        return may_have_teacher(spec.made(classes))
    except ProbeError:
        return False


def takes_probabilities(spec: Spec, classes: int) -> bool:
    """Whether the second of two tensors, whatever its name, is no logits: one number added to a row of them matters."""
    z, t, labels = _some_rows(classes)
    for loss in teacher_losses(spec.made(classes)):
        if loss.labels is not None:
            return False
        try:
            before, after = (loss.gradient(z, teacher, labels) for teacher in (t, t + 3))
        except (Exception, SystemExit):
            continue
        return not torch.allclose(before, after, rtol=1e-6, atol=1e-9)
    return False


def _first_that_fits(
    function: Callable[..., Any], classes: int
) -> tuple[TeacherLoss, DistillationRead] | tuple[None, None]:
    """The likeliest way of calling a loss in which its gradients are those of a distillation."""
    for loss in teacher_losses(function):
        try:
            found = read_distillation(loss, classes)
        except (Exception, SystemExit):
            continue
        if found is not None:
            return loss, found
    return None, None


def _distillation(spec: Spec, loss: TeacherLoss, found: DistillationRead) -> Distillation:
    """The weights as a person writes them: a share α, and T² or none."""
    over = found.classes if _is_over_classes(spec, found) else 1
    t, a, b = found.temperature, found.label_weight, found.teacher_weight * over
    heated = found.divergence in ("forward", "reverse") and abs(t - 1) > 1e-6
    shares = _given_shares(spec, loss)
    squared: bool | None = None
    for given in (shares, [1.0]) if heated else ():  # where no share that was given decides, a weight of 1 does
        fits = {with_t: _fits(a, b / t**2 if with_t else b, given) for with_t in (True, False)}
        if fits[True] != fits[False]:
            squared = fits[True]
            break
    share = b / t**2 if squared else b
    alpha = float(f"{share:.7g}") if abs(a + share - 1) < 1e-5 else None
    z, teacher, labels = _some_rows(found.classes)
    trains = bool(loss.teacher_gradient(z, teacher, labels).abs().max() > 1e-9)
    eps = None if np.isnan(found.label_eps) else found.label_eps
    return Distillation(found.divergence, t, a, found.teacher_weight, alpha, squared, over, eps, trains)


def _some_rows(classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(29)
    z, t = (torch.tensor(rng.normal(size=(2, classes))) for _ in range(2))
    return z, t, torch.tensor([0, 1])


def _fits(label: float, teacher: float, shares: list[float]) -> bool:
    """Whether two weights are shares of 1, or one that the loss was given."""
    if abs(label + teacher - 1) < 1e-5:
        return True
    return bool(label) and any(abs(teacher - each) < 1e-5 * max(abs(each), 1e-3) for each in shares)


def _given_shares(spec: Spec, loss: TeacherLoss) -> list[float]:
    """The numbers that the loss was given for a share, and their complements."""
    given = list(_shares(spec, loss).values())
    numbers = [float(each) for each in given if isinstance(each, (int, float)) and not isinstance(each, bool)]
    return [*numbers, *(1 - each for each in numbers)]


def _shares(spec: Spec, loss: TeacherLoss) -> dict[str, Any]:
    """The arguments with the name of a share, of the loss and of what makes it."""
    made = {name: spec.given(name) for name in spec.parameters if is_share(name)}
    called = {each.name: each.default for each in parameters_of(loss.function) if is_share(each.name)}
    return {**called, **made, **{name: value for name, value in loss.filled.items() if is_share(name)}}


def _odd(spec: Spec, loss: TeacherLoss, found: DistillationRead, terms: Distillation) -> Iterator[ProbeFinding]:
    """What surprises in a distillation."""
    about, t = "distillation", found.temperature
    if loss.filled:
        shown = ", ".join(f"{name}={value:g}" for name, value in loss.filled.items())
        yield note("arguments", f"the loss has no default for them: probed with {shown}")
    if terms.teacher_gets_gradients:
        told = "its logits get gradients from the loss, which would train it too: call it under torch.no_grad()"
        yield note("teacher", told)
    else:
        yield note("teacher", "its logits get no gradient from the loss")
    if terms.times_t_squared is False:
        told = f"T² is missing: at T = {t:g} the teacher's gradient is about {t**2:.4g} times smaller than at T = 1"
        yield warning(about, told)
    elif terms.times_t_squared is None and found.divergence in ("forward", "reverse") and abs(t - 1) > 1e-6:
        b = terms.teacher_weight * terms.over_classes
        if _fits(terms.label_weight, b / t, _given_shares(spec, loss)):
            yield warning(about, f"T stands where T² belongs: the teacher's weight is {b:.6g} = {b / t:.6g}·T")
        else:
            told = f"the teacher's weight is {b:.6g} = {b / t**2:.6g}·T²: whether T² is meant to be in it is not known"
            yield note(about, told)
    if found.divergence == "reverse":
        told = (
            "the divergence is KL(student ‖ teacher), not KL(teacher ‖ student) as in Hinton et al. 2015: the student "
        )
        yield warning(about, told + "may leave out classes that the teacher finds possible")
    if found.label_eps and not np.isnan(found.label_eps):
        yield note("labels", f"their term is smoothed with ε = {found.label_eps:g} over all classes")
    if terms.alpha is not None and found.label_weight:
        yield from _whose_share(spec, loss, terms.alpha)
    if terms.over_classes > 1 and found.divergence in ("forward", "reverse"):
        told = "the teacher's term is divided by the number of classes K, as a mean over rows and classes is "
        yield warning(about, told + '(kl_div with reduction="mean"); "batchmean" divides by rows alone')
    if is_taught_by_ignored(loss, found.classes):
        yield warning("ignored rows", "a row of label -100 still learns from the teacher")


def _reduction(loss: TeacherLoss, classes: int) -> str:
    """The reduction, from the gradient of a row among two and alone."""
    z, t, labels = _some_rows(classes)
    alone, among = loss.gradient(z[:1], t[:1], labels[:1])[0], loss.gradient(z, t, labels)[0]
    factor = float((alone * among).sum() / alone.square().sum())
    if loss(z, t, labels).numel() > 1:
        return "none"
    return {0.5: "mean", 1.0: "sum"}.get(round(factor, 6), "other")


def _whose_share(spec: Spec, loss: TeacherLoss, alpha: float) -> Iterator[ProbeFinding]:
    """Whether a share is the teacher's or the labels': papers and code have both."""
    for name, value in _shares(spec, loss).items():
        if not isinstance(value, (int, float)) or abs(value - 0.5) < 1e-9:
            continue
        if abs(value - alpha) < 1e-5:
            yield note("arguments", f"{name} is the teacher's share, and 1 − {name} that of the labels")
        elif abs(1 - value - alpha) < 1e-5:
            yield note("arguments", f"{name} is the labels' share, and 1 − {name} the teacher's")


def _is_over_classes(spec: Spec, found: DistillationRead) -> bool:
    """Whether the teacher's weight shrinks with the number of classes, as 1/K."""
    k = next(each for each in OTHER_CLASSES if each != found.classes)
    try:
        _, other = _first_that_fits(spec.made(k), k)
    except Exception:
        return False
    if other is None:
        return False
    return abs(other.teacher_weight * k / (found.teacher_weight * found.classes) - 1) < 1e-4


def _times(weight: float) -> str:
    return "" if abs(weight - 1) < 1e-9 else f"{weight:.6g}·"
