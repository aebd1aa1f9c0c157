"""The line of code that gives the same loss in sfumato, and the check that it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sfumato.loss import cross_entropy, loss_parts
from sfumato.probe.calling import Loss
from sfumato.probe.identify import Levels, strength_over
from sfumato.probe.reading import Reading
from sfumato.targets import smooth
from sfumato.theory import Over


@dataclass(frozen=True)
class Recipe:
    """A call of sfumato.

    Attributes:
        eps: strength.
        over: what it is spread over.
        classes: K.
        factor: what the loss is multiplied by.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        ignore_index: ignored label; None for the default.
        excess: whether the target's entropy is subtracted.
        pad: the class outside the support.

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

    @property
    def code(self) -> str:
        """The line, for ``import sfumato as sf``.

        >>> Recipe(0.1, "others", 10, reduction="sum").code
        'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="others", reduction="sum")'
        """
        name, more = ("loss_parts", ".excess") if self.excess else ("cross_entropy", "")
        ignore = "" if self.ignore_index in (None, -100) else f", ignore_index={self.ignore_index}"
        if self.pad is not None:
            support = f"torch.arange({self.classes}) != {self.pad}"
            target = f'sf.smooth(labels, {self.classes}, {self.eps:.10g}, over="others", support={support}{ignore})'
            arguments = f"logits, {target}"
        else:
            spread = f', label_smoothing={self.eps:.10g}, over="{self.over}"' if self.eps else ""
            arguments = f"logits, labels{spread}{ignore}"
        reduced = "" if self.reduction == "mean" else f', reduction="{self.reduction}"'
        factor = "" if abs(self.factor - 1) < 1e-9 else f"{self.factor:.10g} * "
        return f"{factor}sf.{name}({arguments}{reduced}){more}"

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What the line computes."""
        kept: dict[str, Any] = {} if self.ignore_index is None else {"ignore_index": self.ignore_index}
        target: Any = labels
        if self.pad is not None:
            target = smooth(
                labels, self.classes, self.eps, over="others", support=torch.arange(self.classes) != self.pad, **kept
            )
            kept = {}
        else:
            kept |= {"label_smoothing": self.eps, "over": self.over}
        if self.excess:
            out = loss_parts(logits, target, reduction=self.reduction, **kept).excess
        else:
            out = cross_entropy(logits, target, reduction=self.reduction, **kept)
        return self.factor * out

    def difference(self, loss: Loss, reading: Reading) -> float:
        """The largest difference to a loss on eight rows, relative to the values; NaN where shapes do not fit."""
        rng = np.random.default_rng(61)
        alive = [y for y, lives in zip(reading.labels, reading.alive, strict=True) if lives]
        z = 2 * rng.normal(size=(8, self.classes))
        labels = rng.choice(alive, 8)
        theirs = loss.values(z, labels)
        own = self(torch.tensor(z), torch.tensor(labels)).numpy()
        if theirs.size != own.size:
            return float("nan")
        return float(np.abs(theirs.reshape(own.shape) - own).max() / np.abs(own).max())


def recipe_of(
    level: Levels, reading: Reading, reduction: str, ignore_index: int | None, convention: str | None
) -> Recipe | str:
    """The call that has the same loss, or why there is none.

    Args:
        level: the target's two levels.
        reading: the reading they are from.
        reduction: as found.
        ignore_index: as found.
        convention: as identified.
    """
    if reading.extra is not None:
        return f"there is no line: the loss has a term beside its cross entropy ({reading.extra[0]})"
    if level.kind == "sigmoid":
        return "there is no line: these are K sigmoids, and sfumato's loss is of one softmax"
    if reduction == "other":
        return "there is no line: its reduction is neither mean, sum nor none"
    if np.isnan(reading.offset):
        return "there is no line: its value is not that of its gradient"
    if abs(level.mass - level.factor) > 1e-5 * abs(level.factor):
        return "there is no line: its gradient is that of no cross entropy"
    offset, floor = reading.offset, float(reading.floors[reading.alive].mean())
    size = max(1.0, abs(floor))
    excess = abs(offset + floor) < 1e-5 * size and abs(floor) > 1e-5
    if not excess and abs(offset) > 1e-4 * size:
        return f"there is no line: its value is shifted by {offset:.6g}, which trains alike"
    if level.pad is not None:
        eps = strength_over("nopad", level)
        over: Over = "others"
    else:
        all_, others = strength_over("all", level), strength_over("others", level)
        shorter = _shorter(all_, others) if convention not in ("all", "others") else convention == "all"
        eps, over = (all_, "all") if shorter else (others, "others")
    if eps is None or not 0 <= eps <= 1:
        return "there is no line: no strength in [0, 1] has this target"
    factor = level.mass if abs(level.mass - 1) > 2e-5 else 1.0
    return Recipe(eps, over, level.classes, factor, reduction, ignore_index, excess, level.pad)


def _shorter(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return second is None
    return len(f"{first:.10g}") <= len(f"{second:.10g}")
