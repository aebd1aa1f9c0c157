"""The line of code that gives the same loss in sfumato, and the check that it does: the line itself is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import torch

from sfumato.loss import cross_entropy, loss_parts
from sfumato.probe.call.caller import Array, Labels, Loss
from sfumato.probe.identify import Levels, strength_over
from sfumato.probe.read.class_weights import Weighted
from sfumato.probe.read.gradients import Reading
from sfumato.probe.read.prior import Prior
from sfumato.targets import smooth, smooth_prior
from sfumato.theory import Over

_SF = SimpleNamespace(cross_entropy=cross_entropy, loss_parts=loss_parts, smooth=smooth, smooth_prior=smooth_prior)
"""What a line calls as ``sf``."""

CLOSE = 1e-6
"""Relative difference up to which two losses are the same; of losses in float32 a hundred times that."""


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
        over_all_rows: whether the mean is over every row, whatever its label and weight.
        temperature: what logits are divided by.
        extra: a term beside the cross entropy, and its coefficient.
        weight: one weight a class.
        weight_on: what the weight is on.
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
    extra: tuple[str, float] | None = None
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
        ignore = "" if self.ignore_index in (None, -100) else f", ignore_index={self.ignore_index}"
        shorter = len(f"{1 / self.temperature:.9g}") < len(f"{self.temperature:.9g}")
        cooled = f"{1 / self.temperature:.9g} * logits" if shorter else f"logits / {self.temperature:.10g}"
        logits = "logits" if self.temperature == 1 else cooled
        if self.pad is not None:
            support = f"torch.arange({self.classes}) != {self.pad}"
            target = f'sf.smooth(labels, {self.classes}, {self.eps:.10g}, over="others", support={support}{ignore})'
            arguments = f"{logits}, {target}"
        elif self.prior is not None:
            arguments = f"{logits}, sf.smooth_prior(labels, {_tensor(self.prior)}, {self.eps:.10g}{ignore})"
        else:
            weight = "" if self.weight is None else f", {_tensor(self.weight)}"
            spread = f', label_smoothing={self.eps:.10g}, over="{self.over}"' if self.eps else ""
            arguments = f"{logits}, labels{weight}{spread}{ignore}"
            arguments += "" if self.weight is None or self.weight_on == "class" else f', weight_on="{self.weight_on}"'
        reduction = "sum" if self.over_all_rows else self.reduction
        reduced = "" if reduction == "mean" else f', reduction="{reduction}"'
        factor = "" if abs(self.factor - 1) < 1e-9 else f"{self.factor:.10g} * "
        line = f"{factor}sf.{name}({arguments}{reduced}){more}" + (" / labels.numel()" if self.over_all_rows else "")
        return line if self.extra is None else line + _term(*self.extra, self.reduction)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What the line computes: it is run as it stands."""
        return eval(self.code, {"sf": _SF, "torch": torch, "logits": logits, "labels": labels})

    def difference(self, loss: Loss, reading: Reading, ignored: int | None = None) -> float:
        """The largest difference to a loss on two batches, relative to the values; NaN where shapes do not fit.

        Args:
            loss: the loss.
            reading: its reading.
            ignored: the label that every fourth row then has.
        """
        apart: list[float] = []
        for seed, rows in ((61, 8), (62, 5)):  # two sizes: a mean is not a sum with another factor
            z, labels = _batch(reading, ignored, seed, rows)
            theirs = loss.values(z, labels)
            own = self(torch.tensor(z), torch.tensor(labels)).numpy()
            if theirs.size != own.size:
                return float("nan")
            apart.append(float(np.abs(theirs.reshape(own.shape) - own).max() / np.abs(own).max()))
        return float(np.max(apart))


def recipe_of(
    level: Levels | None,
    reading: Reading,
    loss: Loss,
    reduction: str,
    ignore_index: int | None,
    convention: str | None,
    *,
    weighted: Weighted | None = None,
    prior: Prior | None = None,
) -> Recipe | str:
    """The call that has the same loss, or why there is none.

    Args:
        level: the target's two levels.
        reading: the reading they are from.
        loss: the loss, for calls that only numbers tell apart.
        reduction: as found.
        ignore_index: as found.
        convention: as identified.
        weighted: class weights, if they were taken out of the reading.
        prior: the prior, if that is what the target is spread over.
    """
    if prior is not None:
        base = Recipe(prior.eps, "all", reading.classes, reading_factor(reading), prior=prior.distribution)
    elif level is None:
        return "there is no line: the target has not two levels"
    else:
        told = _of_level(level, reading, convention, weighted is not None)
        if isinstance(told, str):
            return told
        base = told
    if reduction == "other" and weighted is None:
        return "there is no line: its reduction is neither mean, sum nor none"
    base = replace(base, reduction=reduction, ignore_index=ignore_index)
    candidates = _candidates(base, reading, loss, weighted)
    close = CLOSE * (100 if loss.style.single or reading.coarse else 1)
    for candidate in candidates:
        if _apart(candidate, loss, reading, ignore_index) <= close:
            return candidate
    if weighted is not None:
        return "there is no line: no weights of classes or rows, with the reductions known, give its values"
    for candidate in candidates:
        if _apart(candidate, loss, reading, None) <= close:
            return candidate
    if reading.extra is not None:
        return f"there is no line: the loss has a term beside its cross entropy ({reading.extra[0]})"
    if prior is not None or np.isnan(reading.offset):
        return "there is no line: its value is not that of its gradient"
    return candidates[0]


def reading_factor(reading: Reading) -> float:
    """S, without the rounding of its fit."""
    mass = float(f"{reading.masses[reading.alive].mean():.10g}")
    return mass if abs(mass - 1) > 2e-5 else 1.0


def _of_level(level: Levels, reading: Reading, convention: str | None, weighted: bool) -> Recipe | str:
    if level.kind == "sigmoid":
        return "there is no line: these are K sigmoids, and sfumato's loss is of one softmax"
    if abs(level.mass - level.factor) > 1e-5 * abs(level.factor):
        return "there is no line: its gradient is that of no cross entropy"
    excess = False
    if reading.extra is None and not weighted:
        if np.isnan(reading.offset):
            return "there is no line: its value is not that of its gradient"
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
    return Recipe(eps, over, level.classes, factor, excess=excess, pad=level.pad)


def _candidates(base: Recipe, reading: Reading, loss: Loss, weighted: Weighted | None) -> list[Recipe]:
    """Calls with the same target: what they differ in does not show in one row's gradient."""
    found = [base]
    if reading.extra is not None:
        name, size = reading.extra
        size = float(f"{size:.9g}")
        if name.startswith("temperature"):
            found = [replace(base, temperature=size)]
        elif _term(name, size, base.reduction):
            found = [replace(base, extra=(name, size))]
        found += [replace(each, excess=True) for each in found]
    if weighted is not None:
        rows = np.abs(reading.masses)
        vectors = [(weighted.classes, "class"), (rows, "sample"), (rows * weighted.classes, "class")]
        vectors = [(vector, where) for vector, where in vectors if np.ptp(vector) > 1e-6]
        found = []
        for (vector, where), (reduction, everything) in product(vectors, _REDUCTIONS):
            changes = {"reduction": reduction, "over_all_rows": everything, "weight_on": where}
            found.append(_fitted(replace(base, weight=_short(vector), factor=1.0, **changes), loss, reading))
        return found
    if base.reduction == "mean":
        found += [replace(each, over_all_rows=True) for each in found]
        by_label = _weights_by_label(loss, reading)
        if by_label is not None:
            where = "sample" if base.eps else "class"  # one-hot has the label's term alone
            found += [replace(each, weight=by_label, weight_on=where) for each in found[:1]]
    return found


_REDUCTIONS = (("mean", False), ("mean", True), ("sum", False), ("none", False))


def _fitted(recipe: Recipe, loss: Loss, reading: Reading) -> Recipe:
    """With the factor that makes the sums of other rows equal: weights are known up to one."""
    z, labels = _batch(reading, None, 63, 8)
    own = float(recipe(torch.tensor(z), torch.tensor(labels)).sum())
    factor = float(f"{loss.value(z, labels) / own:.9g}") if own else 1.0
    if abs(factor - 1) < 1e-7 or recipe.weight is None or (recipe.reduction == "mean" and not recipe.over_all_rows):
        return replace(recipe, factor=1.0 if abs(factor - 1) < 1e-7 else factor)
    return replace(recipe, weight=_short(factor * np.array(recipe.weight)), factor=1.0)


def _weights_by_label(loss: Loss, reading: Reading) -> tuple[float, ...] | None:
    """How rows of each label count in a batch with one of each, if not alike; the mean of them is 1."""
    k = reading.classes
    if reading.labels != tuple(range(k)) or loss.style.one_hot or not reading.alive.all():
        return None
    z = np.random.default_rng(71).normal(size=(k, k))
    labels = np.arange(k)
    together = loss.gradient(z, labels)
    alone = np.concatenate([loss.gradient(z[i : i + 1], labels[i : i + 1]) for i in range(k)])
    counts = (together * alone).sum(axis=1) / (alone**2).sum(axis=1)
    return None if np.ptp(counts) < 1e-6 else _short(counts / counts.mean())


def _apart(recipe: Recipe, loss: Loss, reading: Reading, ignored: int | None) -> float:
    try:
        apart = recipe.difference(loss, reading)
        return apart if ignored is None else max(apart, recipe.difference(loss, reading, ignored))
    except Exception:
        return float("inf")


def _batch(reading: Reading, ignored: int | None, seed: int, rows: int) -> tuple[Array, Labels]:
    rng = np.random.default_rng(seed)
    alive = [y for y, lives in zip(reading.labels, reading.alive, strict=True) if lives]
    z = 2 * rng.normal(size=(rows, reading.classes))
    labels = rng.choice(alive, rows)
    if ignored is not None:
        labels[1::4] = ignored
    return z, labels


def _term(name: str, size: float, reduction: str) -> str:
    """A penalty beside the cross entropy as code; "" for one that has no short line."""
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


def _short(numbers: Array) -> tuple[float, ...]:
    return tuple(float(f"{each:.8g}") for each in numbers)


def _shorter(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return second is None
    return len(f"{first:.10g}") <= len(f"{second:.10g}")
