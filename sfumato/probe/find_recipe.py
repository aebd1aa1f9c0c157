"""Find the recipe of a loss: calls of sfumato with the target that was read, tried until one gives the same numbers."""

from dataclasses import replace
from itertools import product

import numpy as np
import torch

from sfumato.probe.call.caller import Array, Loss
from sfumato.probe.findings import ProbeFinding, note, warning
from sfumato.probe.identify import strength_over
from sfumato.probe.read.class_weights import Weighted
from sfumato.probe.read.gradients import Reading
from sfumato.probe.read.levels import Levels
from sfumato.probe.read.target import TargetRead
from sfumato.probe.recipe import Recipe, random_batch, term_code
from sfumato.theory import Over

CLOSE = 1e-6
"""Relative difference up to which two losses are the same; for losses in float32 a hundred times as much."""

REDUCTIONS = (("mean", False), ("mean", True), ("sum", False), ("none", False))
"""Each reduction, and whether its mean is over all rows."""


def recipe_of(target: TargetRead, loss: Loss, reduction: str, ignore_index: int | None) -> Recipe | str:
    """The call that has the same loss, or why there is none.

    Where the gradients of single rows leave several calls, the values of each are compared with those of the loss.
    """
    if loss.seeded or loss.fresh:
        return f"there is no line: the loss {'is random' if loss.seeded else 'changes with every call'}"
    base, reading = _base(target), target.reading
    if isinstance(base, str):
        return base
    if reduction == "other" and target.weighted is None:
        return "there is no line: its reduction is neither mean, sum nor none"
    base = replace(base, reduction=reduction, ignore_index=ignore_index)
    if target.weighted is None:
        candidates = _candidates(base, reading, loss)
    else:
        candidates = _weighted_candidates(base, reading, loss, target.weighted)
    close = CLOSE * (100 if loss.style.single or reading.coarse else 1)
    for ignored in dict.fromkeys((ignore_index, None)):
        for candidate in candidates:
            apart = [_difference(candidate, loss, reading, each) for each in dict.fromkeys((None, ignored))]
            if np.max(apart) <= close:  # never where one is NaN
                return candidate
        if target.weighted is not None:
            return "there is no line: no weights of classes or rows, with the reductions known, give its values"
    if reading.extra is not None:
        return f"there is no line: the loss has a term beside its cross entropy ({reading.extra[0]})"
    if target.prior is not None or np.isnan(reading.offset):
        return "there is no line: its value is not that of its gradient"
    return candidates[0]


def same_loss(recipe: Recipe | str, target: TargetRead, loss: Loss, ignored: int | None) -> list[ProbeFinding]:
    """Whether the line gives the same numbers; without that there is no claim."""
    if isinstance(recipe, str):
        return []
    reading, about = target.reading, "same loss"
    found: list[ProbeFinding] = []
    apart = _difference(recipe, loss, reading, None)
    told = f"checked on batches of 8 and 5 rows: within {max(apart, 1e-16):.0e} of sfumato's"
    if not apart <= 1e-4:
        told = f"sfumato's line differs by {apart:.2g} on batches of 8 and 5 rows: take it as the nearest"
        found.append(warning(about, told))
    elif ignored is None:
        found.append(note(about, told))
    elif (beside := _difference(recipe, loss, reading, ignored)) <= 1e-4:
        found.append(note(about, f"{told}, with ignored rows among them too"))
    else:
        told += f", but off by {beside:.2g} where rows of label {ignored} are among them"
        found.append(warning(about, told))
    if target.identity.convention is None and len(target.level_at) > 1:
        found.append(warning(about, f"at K = {reading.classes} alone: at another K the strength is another"))
    return found


def _base(target: TargetRead) -> Recipe | str:
    """The call with the same target, before its reduction is known; or why there is none."""
    reading, level = target.reading, target.level
    if target.prior is not None:
        mass = float(f"{reading.masses[reading.alive].mean():.10g}")
        return Recipe(target.prior.eps, "all", reading.classes, _factor(mass), prior=target.prior.distribution)
    if level is None:
        return "there is no line: the target has not two levels"
    if level.kind == "sigmoid":
        return "there is no line: these are K sigmoids, and sfumato's loss is of one softmax"
    if not level.is_balanced:
        return "there is no line: its gradient is that of no cross entropy"
    excess = False
    if reading.extra is None and target.weighted is None:
        if np.isnan(reading.offset):
            return "there is no line: its value is not that of its gradient"
        floor = float(reading.floors[reading.alive].mean())
        size = max(1.0, abs(floor))
        excess = abs(reading.offset + floor) < 1e-5 * size and abs(floor) > 1e-5
        if not excess and abs(reading.offset) > 1e-4 * size:
            return f"there is no line: its value is shifted by {reading.offset:.6g}, which trains alike"
    over = "others" if level.pad is not None else _spread(level, target.identity.convention)
    eps = strength_over("nopad" if level.pad is not None else over, level)
    if eps is None or not 0 <= eps <= 1:
        return "there is no line: no strength in [0, 1] has this target"
    return Recipe(eps, over, level.classes, _factor(level.mass), excess=excess, pad=level.pad)


def _spread(level: Levels, convention: str | None) -> Over:
    """What the strength is spread over: as identified, else whichever strength has fewer digits."""
    if convention == "all" or convention == "others":
        return convention
    every, others = strength_over("all", level), strength_over("others", level)
    if every is None or others is None:
        return "others" if every is None and others is not None else "all"
    return "others" if len(f"{others:.10g}") < len(f"{every:.10g}") else "all"


def _factor(mass: float) -> float:
    """What the loss is multiplied by: S, which is 1 up to the rounding of its fit."""
    return mass if abs(mass - 1) > 2e-5 else 1.0


def _candidates(base: Recipe, reading: Reading, loss: Loss) -> list[Recipe]:
    """Calls with the same target, which differ in what the gradient of one row does not show."""
    found = [base]
    if reading.extra is not None:
        name, size = reading.extra
        size = float(f"{size:.9g}")
        if name.startswith("temperature"):
            found = [replace(base, temperature=size)]
        elif term_code(name, size, base.reduction):
            found = [replace(base, extra=(name, size))]
        found += [replace(each, excess=True) for each in found]
    if base.reduction == "mean":
        found += [replace(each, over_all_rows=True) for each in found]
        by_label = _weights_by_label(loss, reading)
        if by_label is not None:
            where = "sample" if base.eps else "class"  # one-hot has the label's term alone
            found.append(replace(found[0], weight=by_label, weight_on=where))
    return found


def _weighted_candidates(base: Recipe, reading: Reading, loss: Loss, weighted: Weighted) -> list[Recipe]:
    """Calls with weights on classes, on rows or on both, and with every reduction."""
    rows = np.abs(reading.masses)
    vectors = [(weighted.classes, "class"), (rows, "sample"), (rows * weighted.classes, "class")]
    found: list[Recipe] = []
    for (vector, where), (reduction, everything) in product(vectors, REDUCTIONS):
        if np.ptp(vector) > 1e-6:
            changes = {"reduction": reduction, "over_all_rows": everything, "weight_on": where}
            found.append(_fitted(replace(base, weight=_short(vector), factor=1.0, **changes), loss, reading))
    return found


def _fitted(recipe: Recipe, loss: Loss, reading: Reading) -> Recipe:
    """The recipe times the factor that makes the sums over some rows equal, since weights are known up to a factor."""
    z, labels = random_batch(reading, 63, 8)
    own = float(recipe(torch.tensor(z), torch.tensor(labels)).sum())
    factor = float(f"{loss.value(z, labels) / own:.9g}") if own else 1.0
    if abs(factor - 1) < 1e-7:
        return recipe
    if recipe.weight is None or (recipe.reduction == "mean" and not recipe.over_all_rows):
        return replace(recipe, factor=factor)
    return replace(recipe, weight=_short(factor * np.array(recipe.weight)))


def _weights_by_label(loss: Loss, reading: Reading) -> tuple[float, ...] | None:
    """How much a row of each label counts in a batch with one row of each, if not alike; the mean of them is 1."""
    k = reading.classes
    if reading.labels != tuple(range(k)) or loss.style.one_hot or not reading.alive.all():
        return None
    _, _, counts = loss.in_a_batch(np.random.default_rng(71).normal(size=(k, k)), np.arange(k))
    return None if np.ptp(counts) < 1e-6 else _short(counts / counts.mean())


def _difference(recipe: Recipe, loss: Loss, reading: Reading, ignored: int | None) -> float:
    """As :meth:`Recipe.difference`; NaN where the line cannot be run too."""
    try:
        return recipe.difference(loss, reading, ignored)
    except Exception:
        return float("nan")


def _short(numbers: Array) -> tuple[float, ...]:
    return tuple(float(f"{each:.8g}") for each in numbers)
