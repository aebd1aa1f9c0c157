"""The line of code that gives the same loss in sfumato, and whether it has the numbers of the loss.

Both get the very same tensors, in the way in which the loss is called, so a line for other shapes is found out here.
"""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from sfumato.conventions.row_losses import own_class
from sfumato.loss import cross_entropy, loss_parts, penalty
from sfumato.probe.call import SEQUENCES, Array, Labels, Loss, Relabelling, Style, formed
from sfumato.probe.find_loss import in_words
from sfumato.probe.gradients import FOCAL, ExtraTerm, Reading
from sfumato.targets.labelled import smooth, smooth_prior
from sfumato.theory import Over

_SF = SimpleNamespace(
    cross_entropy=cross_entropy, loss_parts=loss_parts, penalty=penalty, smooth=smooth, smooth_prior=smooth_prior
)
"""What a line calls as ``sf``."""


@dataclass(frozen=True)
class Recipe:
    """A call of sfumato.

    >>> Recipe(0.2, "all", 3)(torch.zeros(1, 3), torch.tensor([0]))
    tensor(1.0986)
    """

    eps: float  # the strength
    over: Over  # what the strength is spread over
    classes: int  # K
    factor: float = 1.0  # what the loss is multiplied by
    reduction: str = "mean"  # "mean", "sum" or "none"
    ignore_index: int | None = None  # None for the default
    excess: bool = False  # whether the target's entropy is subtracted
    pad: int | None = None  # the class outside the support
    over_all_rows: bool = False  # whether the mean is over every row, whatever its label and weight
    temperature: float = 1.0  # what logits are divided by
    extra: ExtraTerm | None = None  # a term beside the cross entropy, and its coefficient
    weight: tuple[float, ...] | None = None  # one weight per class
    weight_on: str = "class"  # whether the weight is on the terms of a "class" or on the "sample", a row
    prior: tuple[float, ...] | None = None  # π of a smoothing over a prior
    over_sequences: bool = False  # whether the sum is divided by the number of sequences or images
    written: tuple[str, str] = ("logits", "labels")  # both as the line writes them, such as "labels.flatten()"
    relabelling: Relabelling | None = None  # which class each label is trained towards, where it is another
    shaped_as: str = ""  # whose shape the rows of reduction="none" get, such as "labels"; "" for the shape they have

    @property
    def code(self) -> str:
        """The line, for ``import sfumato as sf``."""
        logits, labels = self.written
        divided = " / len(labels)" if self.over_sequences else ""
        if self.over_all_rows and not divided:
            divided = f" / {labels.removesuffix('.flatten()')}.numel()"
        reduction = "sum" if divided else self.reduction
        reduced = "" if reduction == "mean" else f', reduction="{reduction}"'
        factor = "" if abs(self.factor - 1) < 1e-9 else f"{self.factor:.10g} * "
        shaped = f".view_as({self.shaped_as})" if self.shaped_as else ""
        term = "" if self.extra is None else self.extra.code(self.reduction, logits)
        scaled = (
            logits if self.extra is None or not self.extra.kind.before else self.extra.kind.before.format(logits=logits)
        )
        if self.temperature == -1:
            scaled = f"-{logits}"
        elif self.temperature != 1:
            times, over = f"{1 / self.temperature:.9g}", f"{self.temperature:.10g}"
            is_shorter = len(times) < len(f"{self.temperature:.9g}")
            scaled = f"{times} * {logits}" if is_shorter else f"{logits} / {over}"
        focal = f", gamma={self.extra.size:.9g}" if self.extra is not None and self.extra.kind is FOCAL else ""
        name = "loss_parts" if self.excess else "penalty.focal" if focal else "cross_entropy"
        called = f"sf.{name}({scaled}, {self._target}{reduced}{focal})"
        if self.excess:  # parts.excess is the same number, but has no gradient
            called = f"(parts := {called}).loss - parts.floor"
            called = f"({called})" if factor or shaped or divided else called
        return f"{factor}{called}{shaped}{divided}{term}"

    @property
    def _target(self) -> str:
        """The labels, or the target made of them, and the arguments that go with them."""
        labels = self.written[1] if self.relabelling is None else self.relabelling.code(self.written[1])
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
    """The logits and labels of a call in that style, as the line has to write them: classes on axis 1, or flat rows."""
    logits, labels = ("logits[:, :-1]", "labels[:, 1:]") if style.is_shifted else ("logits", "labels")
    if style.is_shifted or style.layout == "sequence":
        logits, labels = f"{logits}.flatten(0, -2)", f"{labels}.flatten({'0, -2' if style.one_hot else ''})"
    elif style.layout == "column":
        labels = "labels.flatten()"
    return logits, labels


def _tensor(numbers: tuple[float, ...]) -> str:
    return f"torch.tensor([{', '.join(f'{each:.10g}' for each in numbers)}], dtype=logits.dtype)"


class Apart(NamedTuple):
    """How far a line is from a loss in one call, relative to the largest number; NaN where the line cannot be run."""

    value: float
    gradient: float


@dataclass(frozen=True)
class LossCall:
    """One call of a loss, and what the loss returned."""

    logits: torch.Tensor  # what the loss got, before softmax or logarithm
    labels: torch.Tensor  # the labels that the loss got
    values: Array  # what the loss returned
    gradient: Array | None  # the gradient of the sum of the values by the rows, (N, K); None of a loss
    rows: torch.Tensor  # the rows themselves, from which logits are computed, (N, K)
    several: bool  # whether the rows are cut into several sequences or images
    ignored: bool  # whether some rows have the ignored label

    def apart(self, recipe: Recipe) -> Apart:
        """How far a line is from values and gradient, relative to the largest."""
        own = recipe(self.logits, self.labels)
        if own.numel() != self.values.size:
            return Apart(float("inf"), float("inf"))
        numbers = own.detach().double().numpy()
        value = _relative(numbers, self.values.reshape(numbers.shape))
        if self.gradient is None:
            return Apart(value, 0.0)
        (gradient,) = torch.autograd.grad(own.sum(), self.rows, retain_graph=True)
        return Apart(value, _relative(gradient.double().numpy(), self.gradient))


def _relative(own: Array, theirs: Array) -> float:
    """The largest difference, relative to the largest number."""
    return float(np.abs(theirs - own).max()) / (float(np.abs(own).max()) or 1.0)


def random_batch(reading: Reading, seed: int, rows: int, ignored: int | None = None) -> tuple[Array, Labels]:
    """Random logits, and random labels that have a gradient; every fourth row is ignored where a label is given."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(rows, reading.classes))
    labels = rng.choice(reading.live_labels, rows)
    if ignored is not None:
        labels[1::4] = ignored
    return z, labels


def batches(loss: Loss, reading: Reading, ignored: int | None = None) -> list[LossCall]:
    """Calls of a loss with several numbers of rows, and of sequences where the loss takes sequences."""
    sizes = ((8, 2), (6, 3), (5, 0)) if loss.style.layout in SEQUENCES else ((8, 0), (5, 0))
    return [
        one_batch(loss, reading, *random_batch(reading, 61 + i, rows, ignored), parts=parts, ignored=ignored)
        for i, (rows, parts) in enumerate(sizes)
    ]


def one_batch(
    loss: Loss, reading: Reading, z: Array, labels: Labels, *, parts: int = 0, ignored: int | None = None
) -> LossCall:
    """One call of a loss, with the rows cut into some sequences or images."""
    loss = replace(loss, style=replace(loss.style, batch=parts))
    rows = torch.tensor(z, dtype=loss.dtype, requires_grad=True)
    given = torch.tensor(loss.labels_of(labels))
    if loss.style.one_hot:
        given = (torch.tensor(own_class(given.numpy(), reading.classes)) if given.dim() == 1 else given).to(loss.dtype)
    with torch.enable_grad():
        inputs, given = loss.style.arrange(formed(rows * 1.0, loss.style.inputs), given)
        inputs = inputs["logits"] if isinstance(inputs, dict) else inputs
        inputs = inputs.log() if loss.style.inputs == "probabilities" else inputs
    gradient = None if loss.differences else loss.gradient(z, labels)
    return LossCall(inputs, given, loss.values(z, labels), gradient, rows, parts > 1, ignored is not None)


@dataclass(frozen=True)
class Compared:
    """A line beside a loss."""

    calls: list[LossCall]  # what both were called with
    apart: list[Apart]  # of each call
    error: str = ""  # what the line raised; "" if nothing

    def is_within(self, value: float, gradient: float) -> bool:
        """Whether no value and no gradient is further apart than that; never where one is NaN."""
        return all(each.value <= value and each.gradient <= gradient for each in self.apart)

    @property
    def badness(self) -> float:
        """A number that is small for a line that is nearly the loss."""
        return float(np.mean([min(max(np.nan_to_num(each, nan=1.0)), 1.0) for each in self.apart]))

    @property
    def description(self) -> str:
        """How near the two are, in words."""
        value, gradient = (max(*each, 1e-16) for each in zip(*self.apart, strict=True))
        beside = ", with ignored rows among them too" if any(each.ignored for each in self.calls) else ""
        sizes = [call.rows.shape[0] for call in self.calls if not call.ignored]
        shown = f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]} rows{beside}"
        text = f"the line was run on the loss's own arguments, batches of {shown}: the values agree within {value:.0e}"
        return text + ("" if self.calls[0].gradient is None else f", the gradients within {gradient:.0e}")

    def why_not(self, ignored: int | None, close: float = 1e-4) -> str:
        """Which part differs, and on which batches."""
        if self.error:
            return f"sfumato's nearest line cannot be run on the loss's own arguments ({self.error})"
        both = zip(self.calls, self.apart, strict=True)
        bad = [(call, apart) for call, apart in both if not (apart.value <= close and apart.gradient <= 10 * close)]
        value, gradient = np.max([list(apart) for _, apart in bad], axis=0)
        if np.isinf(value):
            what = "it returns another number of values than sfumato"
        elif np.isnan(value):
            what = "its value is NaN where that of sfumato's nearest line is not, or the other way round"
        elif value > close:
            what = f"its value differs from that of sfumato's nearest line by {value:.2g}"
        else:
            what = f"its gradient, but not its value, differs from that of sfumato's nearest line by {gradient:.2g}"
        if all(call.ignored for call, _ in bad):
            return f"{what} where rows of label {ignored} are among them"
        if all(call.several or call.ignored for call, _ in bad):
            return f"{what} where a batch has several sequences or images"
        return what


def compare(recipe: Recipe, calls: list[LossCall]) -> Compared:
    """A line beside a loss, over some calls."""
    apart: list[Apart] = []
    error = ""
    for call in calls:
        try:
            apart.append(call.apart(recipe))
        except Exception as raised:
            error = error or in_words(raised)
            apart.append(Apart(float("nan"), float("nan")))
    return Compared(calls, apart, error)
