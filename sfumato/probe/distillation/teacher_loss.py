"""Call a loss with the logits of a student, the logits of a teacher, and labels where it takes them.

Which argument is which is told from the names of the parameters where they say so; the other orders are tried after.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sfumato.probe.call.caller import first_of
from sfumato.probe.call.find import CLASSES_NAMES
from sfumato.probe.call.parameters import BY_POSITION, parameters_of, required
from sfumato.probe.call.style import Layout, Style

TEMPERATURES = ("temperature", "temp", "tau", "kd_t", "kd_temperature", "distillation_temperature")
SHARES = ("alpha", "lambda_", "lam", "weight", "kd_weight", "distillation_weight", "soft_weight", "beta", "ratio")
FILLED = {"temperature": 2.0, "share": 0.25}
"""What a temperature and a share are probed with where the loss has no default for them."""

STUDENT_WORDS, TEACHER_WORDS = ("student", "stu", "s"), ("teacher", "tea", "t")
LABEL_WORDS = ("label", "target", "gold", "y", "true", "hard")
LAYOUTS: tuple[Layout, ...] = ("rows", "sequence", "next token", "classes second")


@dataclass(frozen=True)
class TeacherLoss:
    """A loss of a student's and a teacher's logits, in canonical form.

    Attributes:
        function: the loss itself.
        student: the parameter that takes the student's logits.
        teacher: the parameter that takes the teacher's.
        labels: the parameter that takes labels; None where there is none.
        style: the layout of rows.
        filled: arguments that the loss has no default for, and what they are here.
        by_name: whether the arguments are passed by name; the order is then nothing to think of.
        order: the parameters in the order of the loss.
    """

    function: Callable[..., Any]
    student: str
    teacher: str
    labels: str | None
    style: Style = field(default_factory=Style)
    filled: Mapping[str, float] = field(default_factory=dict[str, float])
    by_name: bool = True
    order: tuple[str, ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether the name of a parameter says that there is a teacher."""
        return "teacher" in self.teacher.lower()

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """What the loss returns for rows (N, K), (N, K) and (N,)."""
        student, given = self.style.arrange(student, labels)
        arguments: dict[str, Any] = {self.student: student, self.teacher: self.style.arrange(teacher, labels)[0]}
        if self.labels is not None:
            arguments[self.labels] = given
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.by_name:
                out = self.function(**arguments, **self.filled)
            else:
                out = self.function(*(arguments[name] for name in self.order), **self.filled)
        out = first_of(out)
        if not isinstance(out, Tensor) or out.is_complex():
            raise TypeError("the loss returns no tensor")
        return out

    def gradient(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The gradient of the sum of the values by the student's logits."""
        with torch.enable_grad():
            leaf = student.clone().requires_grad_()
            (found,) = torch.autograd.grad(self(leaf * 1.0, teacher.clone(), labels).sum(), leaf)
        return found

    def teacher_gradient(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The gradient of the sum of the values by the teacher's logits; zeros where there is none."""
        with torch.enable_grad():
            both = [each.clone().requires_grad_() for each in (student, teacher)]
            value = self(both[0] * 1.0, both[1] * 1.0, labels).sum()
            found: list[Tensor | None] = [*torch.autograd.grad(value, both[1], allow_unused=True)]
        return torch.zeros_like(teacher) if found[0] is None else found[0]

    def describe(self) -> str:
        """In words, as in ``"student_logits[N, K], teacher_logits[N, K], labels[N]"``."""
        logits, labels = self.style.describe().removesuffix(SHIFTED).split(", labels")
        shape = logits.removeprefix("logits")
        told = {self.student: f"student_logits{shape}", self.teacher: f"teacher_logits{shape}"}
        if self.labels is not None:
            told[self.labels] = f"labels{labels}"
        shown = [text if text.startswith(f"{name}[") else f"{name}={text}" for name, text in told.items()]
        filled = [f"{name}={value:g}" for name, value in self.filled.items()]
        return ", ".join([*shown, *filled]) + (SHIFTED if self.style.is_shifted else "")


SHIFTED = ", each label one position after its logits"


def may_have_teacher(function: Callable[..., Any]) -> bool:
    """Whether the name of a parameter speaks of a teacher, in a loss of two tensors or three."""
    tensors, _ = _tensors(function)
    return len(tensors) in (2, 3) and any("teacher" in each.lower() for each in tensors)


def teacher_losses(function: Callable[..., Any]) -> Iterator[TeacherLoss]:
    """Ways of calling a loss with a student and a teacher, the likeliest first; none for a loss of other arguments."""
    tensors, filled = _tensors(function)
    if len(tensors) not in (2, 3):
        return
    known = {each.name: each for each in parameters_of(function)}
    by_name = all(known[name].kind is not known[name].POSITIONAL_ONLY for name in tensors)
    orders = [order for order in itertools.permutations(tensors) if not _is_turned(*order[:2])]
    orders.sort(key=lambda order: -_likelihood(*order))
    for layout, (student, teacher, *labels) in itertools.product(LAYOUTS, orders):
        yield TeacherLoss(
            function,
            student,
            teacher,
            labels[0] if labels else None,
            Style(layout=layout),
            filled,
            by_name,
            tuple(tensors),
        )


def _tensors(function: Callable[..., Any]) -> tuple[list[str], dict[str, float]]:
    """The parameters that take tensors, and numbers for those that have the name of a temperature or a share."""
    tensors: list[str] = []
    filled: dict[str, float] = {}
    for each in required(function):
        name = each.name.lower()
        if name in TEMPERATURES or each.name == "T":
            filled[each.name] = FILLED["temperature"]
        elif is_share(name):
            filled[each.name] = FILLED["share"]
        elif each.name not in CLASSES_NAMES:
            tensors.append(each.name)
    for each in parameters_of(function):
        optional = each.default is None and each.kind in (*BY_POSITION, each.KEYWORD_ONLY)
        if optional and len(tensors) == 2 and _speaks_of(each.name, ("label",)):
            tensors.append(each.name)
    return tensors, filled


def is_share(name: str) -> bool:
    """Whether a parameter has the name of a weight of one of the terms, as ``alpha`` and ``alpha_ce`` have."""
    return name.lower() in SHARES or name.lower().startswith(("alpha", "lambda", "beta_", "w_"))


def _likelihood(student: str, teacher: str, labels: str = "") -> int:
    """How many of the names fit the part that they are given."""
    parts = ((student, STUDENT_WORDS), (teacher, TEACHER_WORDS), (labels, LABEL_WORDS))
    return sum(_speaks_of(name, words) for name, words in parts)


def _is_turned(student: str, teacher: str) -> bool:
    """Whether the names say outright that the student's part is the teacher's, and the teacher's the student's."""
    return _speaks_of(student, TEACHER_WORDS) and _speaks_of(teacher, STUDENT_WORDS)


def _speaks_of(name: str, words: tuple[str, ...]) -> bool:
    """Whether a word is the name or a part of it; short words, which lie in others by chance, are parts between "_"."""
    name = name.lower()
    return any(word == name or word in name.split("_") or (len(word) >= 5 and word in name) for word in words)
