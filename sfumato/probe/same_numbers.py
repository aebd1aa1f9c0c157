"""Whether a line of code has the numbers of a loss: both get the very same tensors, in the way the loss is called.

The loss takes rows, sequences, images or a dictionary, probabilities or logits; the line is run on the same thing. So a
line that would mistake positions for classes, or mean another reduction over several sequences, is found out here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from sfumato.conventions.batch import own_class
from sfumato.probe.call.caller import Array, Labels, Loss, formed
from sfumato.probe.call.find import in_words
from sfumato.probe.call.style import SEQUENCES
from sfumato.probe.read.gradients import Reading

Run: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A line of code, as a function of the logits and the labels in the layout of the loss."""


@dataclass(frozen=True)
class LossCall:
    """One call of a loss, and what the loss returned.

    Attributes:
        logits: what the loss got, before softmax or logarithm.
        labels: the labels that the loss got.
        values: what the loss returned.
        gradient: the gradient of the sum of the values by the rows, (N, K); None of a loss that has no gradient.
        rows: the rows themselves, from which ``logits`` are computed, (N, K).
        several: whether the rows are cut into several sequences or images.
        ignored: whether some rows have the ignored label.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    values: Array
    gradient: Array | None
    rows: torch.Tensor
    several: bool
    ignored: bool

    def apart(self, run: Run) -> tuple[float, float]:
        """How far a line is from values and gradient, relative to the largest.

        Both are infinite where the line returns another number of values.

        Raises:
            Exception: whatever the line raises on this call.
        """
        own = run(self.logits, self.labels)
        if own.numel() != self.values.size:
            return float("inf"), float("inf")
        numbers = own.detach().double().numpy()
        value = _relative(numbers, self.values.reshape(numbers.shape))
        if self.gradient is None:
            return value, 0.0
        (gradient,) = torch.autograd.grad(own.sum(), self.rows, retain_graph=True)
        return value, _relative(gradient.double().numpy(), self.gradient)


def random_batch(reading: Reading, seed: int, rows: int, ignored: int | None = None) -> tuple[Array, Labels]:
    """Random logits, and random labels that have a gradient; every fourth row is ignored where a label is given."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(rows, reading.classes))
    labels = rng.choice(reading.live_labels, rows)
    if ignored is not None:
        labels[1::4] = ignored
    return z, labels


def batches(loss: Loss, reading: Reading, ignored: int | None = None) -> list[LossCall]:
    """Calls of a loss with several numbers of rows, and of sequences where the loss takes sequences.

    A mean and a sum with another factor agree on one size, but not on two.
    """
    sizes = ((8, 2), (6, 3), (5, 0)) if loss.style.layout in SEQUENCES else ((8, 0), (5, 0))
    return [
        one_batch(loss, reading, *random_batch(reading, 61 + i, rows, ignored), parts=parts, ignored=ignored)
        for i, (rows, parts) in enumerate(sizes)
    ]


def soft_batch(loss: Loss, reading: Reading) -> LossCall:
    """A call of a loss that takes one-hot labels, with probabilities in their place."""
    z, _ = random_batch(reading, 64, 6)
    return one_batch(loss, reading, z, np.random.default_rng(65).dirichlet(np.ones(reading.classes), 6))


def one_batch(
    loss: Loss, reading: Reading, z: Array, labels: Labels, *, parts: int = 0, ignored: int | None = None
) -> LossCall:
    """One call of a loss, with the rows cut into some sequences or images."""
    loss = replace(loss, style=replace(loss.style, batch=parts))
    dtype = torch.float32 if loss.style.single else torch.float64
    rows = torch.tensor(z, dtype=dtype, requires_grad=True)
    given = torch.tensor(labels)
    if loss.style.one_hot:
        given = (torch.tensor(own_class(labels, reading.classes)) if given.dim() == 1 else given).to(dtype)
    with torch.enable_grad():
        inputs, given = loss.style.arrange(formed(rows * 1.0, loss.style.inputs), given)
        inputs = inputs["logits"] if isinstance(inputs, dict) else inputs
        inputs = inputs.log() if loss.style.inputs == "probabilities" else inputs
    gradient = None if loss.differences else loss.gradient(z, labels)
    return LossCall(inputs, given, loss.values(z, labels), gradient, rows, parts > 1, ignored is not None)


@dataclass(frozen=True)
class Compared:
    """A line beside a loss.

    Attributes:
        calls: what both were called with.
        apart: how far the values and the gradients are apart in each call; NaN where the line cannot be run.
        error: what the line raised; "" if nothing.
    """

    calls: tuple[LossCall, ...]
    apart: tuple[tuple[float, float], ...]
    error: str = ""

    def is_within(self, value: float, gradient: float) -> bool:
        """Whether no value and no gradient is further apart than that."""
        return all(v <= value and g <= gradient for v, g in self.apart)  # never where one is NaN

    @property
    def badness(self) -> float:
        """A number that is small for a line that is nearly the loss."""
        return float(np.mean([min(max(np.nan_to_num(each, nan=1.0)), 1.0) for each in self.apart]))

    @property
    def told(self) -> str:
        """How near the two are, in words."""
        value, gradient = (max(*each, 1e-16) for each in zip(*self.apart, strict=True))
        beside = ", with ignored rows among them too" if any(each.ignored for each in self.calls) else ""
        sizes = [call.rows.shape[0] for call in self.calls if not call.ignored]
        shown = f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]} rows{beside}"
        told = f"the line was run on the loss's own arguments, batches of {shown}: the values agree within {value:.0e}"
        return told + ("" if self.calls[0].gradient is None else f", the gradients within {gradient:.0e}")

    def why_not(self, ignored: int | None, close: float = 1e-4) -> str:
        """Which part differs, and on which batches."""
        if self.error:
            return f"sfumato's nearest line cannot be run on the loss's own arguments ({self.error})"
        bad = [i for i, each in enumerate(self.apart) if not (each[0] <= close and each[1] <= 10 * close)]
        value, gradient = (float(np.max([self.apart[i][part] for i in bad])) for part in (0, 1))
        if np.isinf(value):
            what = "it returns another number of values than sfumato"
        elif np.isnan(value):
            what = "its value is NaN where that of sfumato's nearest line is not, or the other way round"
        elif any(not self.apart[i][0] <= close for i in bad):
            what = f"its value differs from that of sfumato's nearest line by {value:.2g}"
        else:
            what = f"its gradient, but not its value, differs from that of sfumato's nearest line by {gradient:.2g}"
        if all(self.calls[i].ignored for i in bad):
            return f"{what} where rows of label {ignored} are among them"
        if all(self.calls[i].several or self.calls[i].ignored for i in bad):
            return f"{what} where a batch has several sequences or images"
        return what


def compare(run: Run, calls: list[LossCall]) -> Compared:
    """A line beside a loss, over some calls."""
    apart: list[tuple[float, float]] = []
    error = ""
    for call in calls:
        try:
            apart.append(call.apart(run))
        except Exception as raised:
            error = error or in_words(raised)
            apart.append((float("nan"), float("nan")))
    return Compared(tuple(calls), tuple(apart), error)


def _relative(own: Array, theirs: Array) -> float:
    """The largest difference, relative to the largest number."""
    largest = float(np.abs(own).max())
    return float(np.abs(theirs - own).max()) / (largest or 1.0)
