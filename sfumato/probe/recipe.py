"""The line of code that gives the same loss in sfumato. The line itself is run to see that its numbers are the same."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from sfumato.loss import cross_entropy, loss_parts
from sfumato.probe.call.style import Style
from sfumato.probe.read.extra_terms import ExtraTerm
from sfumato.targets import smooth, smooth_prior
from sfumato.theory import Over

_SF = SimpleNamespace(cross_entropy=cross_entropy, loss_parts=loss_parts, smooth=smooth, smooth_prior=smooth_prior)
"""What a line calls as ``sf``."""


@dataclass(frozen=True)
class Recipe:
    """A call of sfumato.

    Attributes:
        eps: strength.
        over: what the strength is spread over.
        classes: K.
        factor: what the loss is multiplied by.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        ignore_index: ignored label; None for the default.
        excess: whether the target's entropy is subtracted.
        pad: the class outside the support.
        over_all_rows: whether the mean is over every row, whatever its label and weight.
        temperature: what logits are divided by.
        extra: a term beside the cross entropy, and its coefficient.
        weight: one weight a class.
        weight_on: whether the weight is on the terms of a ``"class"`` or on the ``"sample"``, a row.
        prior: π of a smoothing over a prior.
        over_sequences: whether the sum is divided by the number of sequences or images.
        written: the logits and the labels as the line writes them, such as ``("logits", "labels.flatten()")``.
        shaped_as: whose shape the rows of ``reduction="none"`` get, such as ``"labels"``; "" for the shape they have.

    >>> Recipe(0.2, "all", 3)(torch.zeros(1, 3), torch.tensor([0]))
    tensor(1.0986)
    """

    eps: float
    over: Over
    classes: int
    factor: float = 1.0
    reduction: str = "mean"
    ignore_index: int | None = None
    excess: bool = False
    pad: int | None = None
    over_all_rows: bool = False
    temperature: float = 1.0
    extra: ExtraTerm | None = None
    weight: tuple[float, ...] | None = None
    weight_on: str = "class"
    prior: tuple[float, ...] | None = None
    over_sequences: bool = False
    written: tuple[str, str] = ("logits", "labels")
    shaped_as: str = ""

    @property
    def code(self) -> str:
        """The line, for ``import sfumato as sf``.

        >>> Recipe(0.1, "others", 10, reduction="sum").code
        'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="others", reduction="sum")'
        >>> Recipe(0.1, "all", 10, excess=True).code
        '(parts := sf.loss_parts(logits, labels, label_smoothing=0.1, over="all")).loss - parts.floor'
        >>> Recipe(0.0, "all", 10, over_all_rows=True).code
        'sf.cross_entropy(logits, labels, reduction="sum") / labels.numel()'
        """
        name = "loss_parts" if self.excess else "cross_entropy"
        reduction = "sum" if self.over_all_rows or self.over_sequences else self.reduction
        reduced = "" if reduction == "mean" else f', reduction="{reduction}"'
        factor = "" if abs(self.factor - 1) < 1e-9 else f"{self.factor:.10g} * "
        shaped = f".view_as({self.shaped_as})" if self.shaped_as else ""
        term = "" if self.extra is None else term_code(*self.extra, self.reduction, self.written[0])
        called = f"sf.{name}({self._logits}, {self._target}{reduced})"
        if self.excess:  # parts.excess is the same number, but has no gradient
            called = f"(parts := {called}).loss - parts.floor"
            called = f"({called})" if factor or shaped or self._divided else called
        return f"{factor}{called}{shaped}{self._divided}{term}"

    @property
    def _divided(self) -> str:
        if self.over_sequences:
            return " / len(labels)"
        if not self.over_all_rows:
            return ""
        return f" / {self.written[1].removesuffix('.flatten()')}.numel()"

    @property
    def _logits(self) -> str:
        logits = self.written[0]
        if self.temperature == 1:
            return logits
        times, over = f"{1 / self.temperature:.9g}", f"{self.temperature:.10g}"
        return f"{times} * {logits}" if len(times) < len(f"{self.temperature:.9g}") else f"{logits} / {over}"

    @property
    def _target(self) -> str:
        """The labels, or the target made of them, and the arguments that go with them."""
        labels = self.written[1]
        ignore = "" if self.ignore_index in (None, -100) else f", ignore_index={self.ignore_index}"
        if self.pad is not None:
            support = f"torch.arange({self.classes}) != {self.pad}"
            return f'sf.smooth({labels}, {self.classes}, {self.eps:.10g}, over="others", support={support}{ignore})'
        if self.prior is not None:
            return f"sf.smooth_prior({labels}, {_tensor(self.prior)}, {self.eps:.10g}{ignore})"
        weight = "" if self.weight is None else f", {_tensor(self.weight)}"
        spread = f', label_smoothing={self.eps:.10g}, over="{self.over}"' if self.eps else ""
        on = "" if self.weight is None or self.weight_on == "class" else f', weight_on="{self.weight_on}"'
        return f"{labels}{weight}{spread}{ignore}{on}"

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Run the line as it stands."""
        return eval(self.code, {"sf": _SF, "torch": torch, "logits": logits, "labels": labels})


def as_written(style: Style) -> tuple[str, str]:
    """The logits and labels of a call in that style, as the line has to write them: classes on axis 1, or flat rows.

    >>> as_written(Style(layout="next token"))
    ('logits[:, :-1].flatten(0, -2)', 'labels[:, 1:].flatten()')
    """
    logits, labels = ("logits[:, :-1]", "labels[:, 1:]") if style.is_shifted else ("logits", "labels")
    if style.is_shifted or style.layout == "sequence":
        logits, labels = f"{logits}.flatten(0, -2)", f"{labels}.flatten({'0, -2' if style.one_hot else ''})"
    elif style.layout == "column":
        labels = "labels.flatten()"
    return logits, labels


def term_code(name: str, size: float, reduction: str, logits: str = "logits") -> str:
    """A penalty beside the cross entropy as code; "" for a penalty that has no short line."""
    reduced = {"mean": ".mean()", "sum": ".sum()"}.get(reduction, "")
    codes = {
        "z-loss": (size, f"{logits}.logsumexp(1).square()"),
        "confidence": (-size, f"torch.distributions.Categorical(logits={logits}).entropy()"),
        "weight decay": (size / 2, f"{logits}.square().sum(1)"),
        "max suppression": (size, f"({logits}.amax(1) - {logits}.mean(1))"),
    }
    for start, (coefficient, code) in codes.items():
        if name.startswith(start):
            return f" {'-' if coefficient < 0 else '+'} {abs(coefficient):.9g} * {code}{reduced}"
    return ""


def _tensor(numbers: tuple[float, ...]) -> str:
    return f"torch.tensor([{', '.join(f'{each:.10g}' for each in numbers)}], dtype=logits.dtype)"
