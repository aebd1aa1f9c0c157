"""Find the recipe of a loss: calls of sfumato with the target that was read, tried until one gives the same numbers."""

from dataclasses import replace
from itertools import product

import numpy as np

from sfumato.probe.call.find import in_words
from sfumato.probe.call.loss import SEQUENCES, Array, Loss, Style
from sfumato.probe.read.extra_terms import TEMPERATURE, ExtraTerm
from sfumato.probe.read.gradients import FITS, Reading
from sfumato.probe.read.levels import Levels, Weighted
from sfumato.probe.read.target import TargetRead, strength_over
from sfumato.probe.recipe import (
    Compared,
    LossCall,
    Recipe,
    as_written,
    batches,
    compare,
    one_batch,
    random_batch,
    soft_batch,
)
from sfumato.probe.result import ProbeFinding, note, warning
from sfumato.theory import Over

CLOSE = 1e-6
"""Relative difference up to which two losses are the same; for losses in float32 a hundred times as much."""

NEAR = (1e-4, 1e-3)
"""The same for values and gradients of a loss with a guard such as log(p + 1e-7), which sfumato needs none of."""

REDUCTIONS = (("mean", False), ("mean", True), ("sum", False), ("none", False))
"""Each reduction, and whether its mean is over all rows."""


def recipe_of(
    target: TargetRead, loss: Loss, reduction: str, ignore_index: int | None
) -> tuple[Recipe | str, list[ProbeFinding]]:
    """The call that has the same loss, or why there is none; and how near its numbers are."""
    if loss.seeded or loss.fresh:
        return f"there is no line: the loss {'is random' if loss.seeded else 'changes with every call'}", []
    base, reading = _base(target), target.reading
    if isinstance(base, str):
        return base, []
    if reduction == "other" and target.weighted is None:
        return "there is no line: its reduction is neither mean, sum nor none", []
    try:
        calls = batches(loss, reading)
        calls += [] if ignore_index is None else batches(loss, reading, ignore_index)
    except Exception as error:
        return f"there is no line: the loss cannot be called with other numbers of rows ({in_words(error)})", []
    base = replace(base, reduction=reduction, ignore_index=ignore_index, written=as_written(loss.style))
    if target.weighted is None:
        candidates = _candidates(base, reading, loss)
    else:
        candidates = _weighted_candidates(base, reading, loss, target.weighted)
    candidates = _in_every_writing(candidates, loss.style, calls)
    compared = [compare(each, calls) for each in candidates]
    close = CLOSE * (100 if loss.style.single or reading.coarse else 1)
    within = [i for i, each in enumerate(compared) if each.is_within(close, FITS)]
    softly = _agrees_on_soft_labels(candidates, loss, reading)
    best = next((i for i in within if softly[i]), within[0] if within else None)
    if best is None:
        if target.weighted is not None:
            return "there is no line: no weights of classes or rows, with the reductions known, give its values", []
        if reading.extra is not None:
            return f"there is no line: the loss has a term beside its cross entropy ({reading.extra.kind.formula})", []
        if target.prior is not None or np.isnan(reading.offset):
            return "there is no line: its value is not that of its gradient", []
        best = next((i for i, each in enumerate(compared) if each.is_within(*NEAR)), None)
    if best is None:
        why = min(compared, key=lambda each: each.badness).why_not(ignore_index)
        text = f"sfumato has no line with the same numbers: {why}"
        return f"there is no line: {why}", [warning("no-line", text)]
    findings = _line_findings(candidates[best], compared[best], target)
    if loss.style.one_hot and softly[best]:
        text = "the loss takes probabilities as targets, and the line agrees there too"
        findings.append(note("line-takes-probabilities", text))
    elif loss.style.one_hot:
        text = "the line is for one-hot labels alone: on other probabilities it has other numbers"
        findings.append(warning("line-for-one-hot", text))
    return candidates[best], findings + _sequence_findings(loss, reading)


def _agrees_on_soft_labels(candidates: list[Recipe], loss: Loss, reading: Reading) -> list[bool]:
    """Which lines have the numbers of the loss where probabilities stand in place of one-hot labels."""
    try:
        calls = [soft_batch(loss, reading)] if loss.style.one_hot else []
    except Exception:
        calls = []
    return [bool(calls) and compare(each, calls).is_within(*NEAR) for each in candidates]


def _sequence_findings(loss: Loss, reading: Reading) -> list[ProbeFinding]:
    """Whether a loss of rows takes sequences with the classes last too, where sfumato has the classes on axis 1."""
    if loss.style.layout != "rows" or loss.style.library != "torch" or loss.style.one_hot:
        return []
    z, labels = random_batch(reading, 66, 6)
    try:
        flat = loss.values(z, labels).ravel()
        cut = replace(loss, style=replace(loss.style, layout="sequence", batch=2)).values(z, labels).ravel()
    except Exception:
        return []
    if flat.size != cut.size or not np.allclose(flat, cut, rtol=1e-6):
        return []
    text = "the loss takes sequences too, as logits[B, T, K] and labels[B, T]: the line needs logits.flatten(0, -2) "
    return [note("sequences-too", text + "and labels.flatten(), since sfumato has the classes on axis 1")]


def _line_findings(recipe: Recipe, compared: Compared, target: TargetRead) -> list[ProbeFinding]:
    """How near the line is, on what it was tried, and where it stops to be the same loss."""
    findings = [note("same-loss", compared.description)]
    if recipe.over_sequences:
        text = "the sum over the positions of each sequence, and the mean over the sequences"
        findings.append(note("mean-over-sequences", text))
    if target.identity.convention is None and len(target.level_at) > 1:
        text = f"the line is for K = {target.reading.classes} alone: at another K the strength is another"
        findings.append(warning("line-for-one-k", text))
    return findings


def _in_every_writing(candidates: list[Recipe], style: Style, calls: list[LossCall]) -> list[Recipe]:
    """The candidates, in the shapes that the loss takes and returns."""
    flattened = style.layout == "sequence" or style.is_shifted
    if flattened and calls[0].values.ndim == 2:
        shape = as_written(style)[1].partition(".flatten")[0]
        candidates = [replace(each, shaped_as=shape) if each.reduction == "none" else each for each in candidates]
    if not style.one_hot:
        return candidates
    logits, labels = as_written(style)
    axis = 1 if style.layout in ("rows", "image", "classes second", "dictionary") else -1
    return candidates + [replace(each, written=(logits, f"{labels}.argmax({axis})")) for each in candidates]


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
    calls = [base]
    if reading.extra is not None:
        term = ExtraTerm(reading.extra.kind, float(f"{reading.extra.size:.9g}"))
        if term.kind is TEMPERATURE:
            calls = [replace(base, temperature=term.size)]
        elif term.kind.code:
            calls = [replace(base, extra=term)]
        calls += [replace(each, excess=True) for each in calls]
    if loss.style.layout in SEQUENCES and base.reduction in ("mean", "sum"):
        calls += [replace(each, over_sequences=True) for each in calls]
    if base.reduction == "mean":
        calls += [replace(each, over_all_rows=True) for each in calls if not each.over_sequences]
        by_label = _weights_by_label(loss, reading)
        if by_label is not None:
            where = "sample" if base.eps else "class"  # one-hot has the label's term alone
            calls.append(replace(calls[0], weight=by_label, weight_on=where))
    return calls


def _weighted_candidates(base: Recipe, reading: Reading, loss: Loss, weighted: Weighted) -> list[Recipe]:
    """Calls with weights on classes, on rows or on both, and with every reduction."""
    rows = np.abs(reading.masses)
    vectors = [(weighted.classes, "class"), (rows, "sample"), (rows * weighted.classes, "class")]
    calls: list[Recipe] = []
    for (vector, where), (reduction, everything) in product(vectors, REDUCTIONS):
        if np.ptp(vector) > 1e-6:
            changes = {"reduction": reduction, "over_all_rows": everything, "weight_on": where}
            calls.append(_fitted(replace(base, weight=_short(vector), factor=1.0, **changes), loss, reading))
    return calls


def _fitted(recipe: Recipe, loss: Loss, reading: Reading) -> Recipe:
    """The recipe times the factor that makes the sums over some rows equal, since weights are known up to a factor."""
    call = one_batch(loss, reading, *random_batch(reading, 63, 8))
    own = float(recipe(call.logits, call.labels).detach().sum())
    factor = float(f"{call.values.sum() / own:.9g}") if own else 1.0
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


def _short(numbers: Array) -> tuple[float, ...]:
    return tuple(float(f"{each:.8g}") for each in numbers)
