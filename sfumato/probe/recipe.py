"""The line of code that gives the same loss in sfumato. The line itself is run to see that its numbers are the same."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from sfumato.loss import cross_entropy, loss_parts
from sfumato.probe.call.caller import Array, Labels, Loss
from sfumato.probe.read.extra_terms import ExtraTerm
from sfumato.probe.read.gradients import Reading
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

    @property
    def code(self) -> str:
        """The line, for ``import sfumato as sf``.

        >>> Recipe(0.1, "others", 10, reduction="sum").code
        'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="others", reduction="sum")'
        >>> Recipe(0.0, "all", 10, over_all_rows=True).code
        'sf.cross_entropy(logits, labels, reduction="sum") / labels.numel()'
        """
        name, more = ("loss_parts", ".excess") if self.excess else ("cross_entropy", "")
        reduction = "sum" if self.over_all_rows else self.reduction
        reduced = "" if reduction == "mean" else f', reduction="{reduction}"'
        factor = "" if abs(self.factor - 1) < 1e-9 else f"{self.factor:.10g} * "
        divided = " / labels.numel()" if self.over_all_rows else ""
        term = "" if self.extra is None else term_code(*self.extra, self.reduction)
        return f"{factor}sf.{name}({self._logits}, {self._target}{reduced}){more}{divided}{term}"

    @property
    def _logits(self) -> str:
        if self.temperature == 1:
            return "logits"
        times, over = f"{1 / self.temperature:.9g}", f"{self.temperature:.10g}"
        return f"{times} * logits" if len(times) < len(f"{self.temperature:.9g}") else f"logits / {over}"

    @property
    def _target(self) -> str:
        """The labels, or the target made of them, and the arguments that go with them."""
        ignore = "" if self.ignore_index in (None, -100) else f", ignore_index={self.ignore_index}"
        if self.pad is not None:
            support = f"torch.arange({self.classes}) != {self.pad}"
            return f'sf.smooth(labels, {self.classes}, {self.eps:.10g}, over="others", support={support}{ignore})'
        if self.prior is not None:
            return f"sf.smooth_prior(labels, {_tensor(self.prior)}, {self.eps:.10g}{ignore})"
        weight = "" if self.weight is None else f", {_tensor(self.weight)}"
        spread = f', label_smoothing={self.eps:.10g}, over="{self.over}"' if self.eps else ""
        on = "" if self.weight is None or self.weight_on == "class" else f', weight_on="{self.weight_on}"'
        return f"labels{weight}{spread}{ignore}{on}"

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Run the line as it stands."""
        return eval(self.code, {"sf": _SF, "torch": torch, "logits": logits, "labels": labels})

    def difference(self, loss: Loss, reading: Reading, ignored: int | None = None) -> float:
        """The largest difference to a loss on two batches, relative to the values; NaN where shapes do not fit.

        Every fourth row has the label ``ignored``, where one is given.
        """
        apart: list[float] = []
        for seed, rows in ((61, 8), (62, 5)):  # two sizes: a mean is not a sum with another factor
            z, labels = random_batch(reading, seed, rows, ignored)
            theirs = loss.values(z, labels)
            own = self(torch.tensor(z), torch.tensor(labels)).numpy()
            if theirs.size != own.size:
                return float("nan")
            apart.append(float(np.abs(theirs.reshape(own.shape) - own).max() / np.abs(own).max()))
        return float(np.max(apart))


def random_batch(reading: Reading, seed: int, rows: int, ignored: int | None = None) -> tuple[Array, Labels]:
    """Random logits, and random labels that have a gradient; every fourth row is ignored where a label is given."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(rows, reading.classes))
    labels = rng.choice(reading.live_labels, rows)
    if ignored is not None:
        labels[1::4] = ignored
    return z, labels


def term_code(name: str, size: float, reduction: str) -> str:
    """A penalty beside the cross entropy as code; "" for a penalty that has no short line."""
    reduced = {"mean": ".mean()", "sum": ".sum()"}.get(reduction, "")
    codes = {
        "z-loss": (size, "logits.logsumexp(1).square()"),
        "confidence": (-size, "torch.distributions.Categorical(logits=logits).entropy()"),
        "weight decay": (size / 2, "logits.square().sum(1)"),
        "max suppression": (size, "(logits.amax(1) - logits.mean(1))"),
    }
    for start, (coefficient, code) in codes.items():
        if name.startswith(start):
            return f" {'-' if coefficient < 0 else '+'} {abs(coefficient):.9g} * {code}{reduced}"
    return ""


def _tensor(numbers: tuple[float, ...]) -> str:
    return f"torch.tensor([{', '.join(f'{each:.10g}' for each in numbers)}], dtype=logits.dtype)"
