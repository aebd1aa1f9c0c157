"""Find the recipe of a loss: calls of sfumato with the target that was read, tried until one gives the same numbers."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from sfumato.probe.call import SEQUENCES, USUALLY_IGNORED, Array, Loss
from sfumato.probe.find_loss import attempt, in_words
from sfumato.probe.gradients import FITS, SQUASHED, TEMPERATURE, ExtraTerm, Reading, read
from sfumato.probe.levels import Levels, Weighted, as_typed
from sfumato.probe.recipe import LossCall, Recipe, as_written, batches, compare, one_batch, random_batch
from sfumato.probe.reduction import RowReduction
from sfumato.probe.result import ProbeFinding, note, warning
from sfumato.probe.target import TargetRead, strength_over
from sfumato.theory import Over

CLOSE = 1e-6  # relative difference up to which two losses are the same; for losses in float32 a hundred times as much

NEAR = (1e-4, 1e-3)
"""The same for values and gradients of a loss with a guard such as log(p + 1e-7), which sfumato needs none of."""

REDUCTIONS = (("mean", False), ("mean", True), ("sum", False), ("none", False))
"""Each reduction, and whether its mean is over all rows."""

NO_LINE = "there is no line: "


def recipe_of(
    target: TargetRead, loss: Loss, rows: RowReduction, ignore_index: int | None
) -> tuple[Recipe | str, list[ProbeFinding]]:
    """The call that has the same loss, or why there is none; and how near its numbers are."""
    if loss.seeded or loss.fresh:
        return f"{NO_LINE}the loss {'is random' if loss.seeded else 'changes with every call'}", []
    reading, weighted, base = target.reading, target.weighted, _base(target)
    if isinstance(base, str):
        return NO_LINE + base, []
    if rows.name == "other" and weighted is None:
        return f"{NO_LINE}{rows.why_no_line}", []
    try:
        calls = batches(loss, reading)
        calls += [] if ignore_index is None else batches(loss, reading, ignore_index)
    except Exception as error:
        return f"{NO_LINE}the loss cannot be called with other numbers of rows ({in_words(error)})", []
    base = replace(base, reduction=rows.name, ignore_index=_in_line(ignore_index, loss), written=as_written(loss.style))
    candidates = _candidates(base, reading, loss, weighted)
    candidates = _in_every_writing(candidates, loss, calls)
    compared = [compare(each, calls) for each in candidates]
    close = CLOSE * (100 if loss.style.single or reading.coarse else 1)
    within = [i for i, each in enumerate(compared) if each.is_within(close, FITS)]
    softly = _agree_on_soft_labels(candidates, loss, reading)
    best = next((i for i in within if softly[i]), within[0] if within else None)
    if best is None:
        if weighted is not None:
            return f"{NO_LINE}no weights of classes or rows, with the reductions known, give its values", []
        if reading.extra is not None:
            return f"{NO_LINE}the loss has a term beside its cross entropy ({reading.extra.kind.formula})", []
        if target.prior is not None or np.isnan(reading.offset):
            return f"{NO_LINE}its value is not that of its gradient", []
        best = next((i for i, each in enumerate(compared) if each.is_within(*NEAR)), None)
    if best is None:
        why = min(compared, key=lambda each: each.badness).why_not(ignore_index)
        return NO_LINE + why, [warning("no-line", f"sfumato has no line with the same numbers: {why}")]
    recipe, findings = candidates[best], [note("same-loss", compared[best].description)]
    if recipe.over_sequences:
        text = "the sum over the positions of each sequence, and the mean over the sequences"
        findings.append(note("mean-over-sequences", text))
    if target.identity.convention is None and len(target.level_at) > 1:
        text = f"the line is for K = {reading.classes} alone: at another K the strength is another"
        findings.append(warning("line-for-one-k", text))
    if loss.style.one_hot and softly[best]:
        text = "the loss takes probabilities as targets, and the line agrees there too"
        findings.append(note("line-takes-probabilities", text))
    elif loss.style.one_hot:
        text = "the line is for one-hot labels alone: on other probabilities it has other numbers"
        findings.append(warning("line-for-one-hot", text))
    return recipe, findings + _sequence_findings(loss, reading)


def corrected(
    recipe: Recipe | str, target: TargetRead, loss: Loss, reduction: str, ignore_index: int | None, codes: set[str]
) -> Recipe | None:
    """The line that trains towards the same target without the defects of the loss, if it does so when it is run."""
    level, extra = target.level, target.reading.extra
    if isinstance(recipe, str):
        is_plain = extra is None or extra.kind.moves == SQUASHED
        known = level is not None and level.kind != "sigmoid" and level.pad is None and level.mass > 0 and is_plain
        if level is None or not known or target.weighted is not None or loss.seeded or loss.fresh:
            return None
        over = _spread(level, target.identity.convention)
        eps = strength_over(over, replace(level, kind="softmax"))
        if eps is None or not 0 <= eps <= 1:
            return None
        reduction = "mean" if reduction == "other" else reduction
        recipe = Recipe(eps, over, level.classes, reduction=reduction, ignore_index=_in_line(ignore_index, loss))
        recipe = replace(recipe, written=as_written(loss.style))
    if target.relabelling is not None and ignore_index not in (None, *USUALLY_IGNORED):
        recipe = replace(recipe, ignore_index=_in_line(ignore_index, loss))
        recipe = recipe if recipe.ignore_index in USUALLY_IGNORED else replace(recipe, ignore_index=None)
    if target.identity.convention == "deficit" and target.identity.eps is not None:
        recipe = replace(recipe, eps=target.identity.eps, over="others", factor=1.0)
    elif codes & {"mass-changes-with-classes", "mass-changes-with-strength"}:
        recipe = replace(recipe, factor=1.0)
    is_bent = recipe.extra is not None and recipe.extra.kind.moves == SQUASHED
    recipe = replace(
        recipe, factor=abs(recipe.factor), relabelling=None, temperature=abs(recipe.temperature),
        extra=None if is_bent else recipe.extra, over_all_rows=recipe.over_all_rows and ignore_index is None,
    )  # fmt: skip
    style = replace(loss.style, library="torch", inputs="logits", labels_first=False, keywords=None)

    def line(logits: Any, labels: Any) -> Any:
        return recipe(logits["logits"] if isinstance(logits, dict) else logits, labels)

    at = attempt(lambda: read(Loss(line, style), recipe.classes, (1, recipe.classes - 1)))
    if at is None or at.kind != "softmax" or not at.alive.all() or at.masses.min() <= 0:
        return None
    points_at_label = recipe.weight is not None or at.optima.argmax(axis=1).tolist() == list(at.labels)
    return recipe if points_at_label else None


def _agree_on_soft_labels(candidates: list[Recipe], loss: Loss, reading: Reading) -> list[bool]:
    """Which lines have the numbers of the loss where probabilities stand in place of one-hot labels."""
    z, _ = random_batch(reading, 64, 6)
    probabilities = np.random.default_rng(65).dirichlet(np.ones(reading.classes), 6)
    call = attempt(lambda: one_batch(loss, reading, z, probabilities)) if loss.style.one_hot else None
    return [call is not None and compare(each, [call]).is_within(*NEAR) for each in candidates]


def _sequence_findings(loss: Loss, reading: Reading) -> list[ProbeFinding]:
    """Whether a loss of rows takes sequences with the classes last too, where sfumato has the classes on axis 1."""
    if loss.style.layout != "rows" or loss.style.library != "torch" or loss.style.one_hot:
        return []
    z, labels = random_batch(reading, 66, 6)
    sequences = replace(loss, style=replace(loss.style, layout="sequence", batch=2))
    flat, cut = (attempt(lambda loss=loss: loss.values(z, labels).ravel()) for loss in (loss, sequences))
    if flat is None or cut is None or flat.size != cut.size or not np.allclose(flat, cut, rtol=1e-6):
        return []
    text = "the loss takes sequences too, as logits[B, T, K] and labels[B, T]: the line needs logits.flatten(0, -2) "
    return [note("sequences-too", text + "and labels.flatten(), since sfumato has the classes on axis 1")]


def _in_every_writing(candidates: list[Recipe], loss: Loss, calls: list[LossCall]) -> list[Recipe]:
    """The candidates, in the shapes that the loss takes and returns."""
    style, (logits, labels) = loss.style, as_written(loss.style)
    if (style.layout == "sequence" or style.is_shifted) and calls[0].values.ndim == 2:
        shape = labels.partition(".flatten")[0]
        candidates = [replace(each, shaped_as=shape) if each.reduction == "none" else each for each in candidates]
    if style.one_hot:
        axis = 1 if style.layout in ("rows", "image", "classes second", "dictionary") else -1
        candidates = candidates + [replace(each, written=(logits, f"{labels}.argmax({axis})")) for each in candidates]
    if loss.relabelling is None:
        return candidates
    return [replace(each, relabelling=loss.relabelling) for each in candidates]


def _in_line(ignore_index: int | None, loss: Loss) -> int | None:
    """The ignored label of a line, which sees the classes that the loss makes of its labels."""
    if ignore_index is None or loss.relabelling is None:
        return ignore_index
    return loss.relabelling.ignored_in_line(ignore_index)


def _base(target: TargetRead) -> Recipe | str:
    """The call with the same target, before its reduction is known; or why there is none."""
    reading, level = target.reading, target.level
    if target.prior is not None:
        mass = float(f"{reading.masses[reading.alive].mean():.10g}")
        return Recipe(target.prior.eps, "all", reading.classes, _factor(mass), prior=target.prior.distribution)
    if level is None:
        return "the target has not two levels"
    if level.kind == "sigmoid":
        return "these are K sigmoids, and sfumato's loss is of one softmax"
    if level.drifts:
        return "its gradient is that of no cross entropy"
    excess = False
    if reading.extra is None and target.weighted is None:
        if np.isnan(reading.offset):
            return "its value is not that of its gradient"
        floor = float(reading.floors[reading.alive].mean())
        size = max(1.0, abs(floor))
        excess = abs(reading.offset + floor) < 1e-5 * size and abs(floor) > 1e-5
        if not excess and abs(reading.offset) > 1e-4 * size:
            return f"its value is shifted by {reading.offset:.6g}, which trains alike"
    over = "others" if level.pad is not None else _spread(level, target.identity.convention)
    eps = strength_over("nopad" if level.pad is not None else over, level)
    if eps is None or not 0 <= eps <= 1:
        return "no strength in [0, 1] has this target"
    return Recipe(eps, over, level.classes, _factor(level.mass), excess=excess, pad=level.pad)


def _spread(level: Levels, convention: str | None) -> Over:
    """What the strength is spread over: as identified, else whichever strength has fewer digits."""
    if convention == "all" or convention == "others":
        return convention
    every, others = strength_over("all", level), strength_over("others", level)
    if others is None or (every is not None and len(f"{others:.10g}") >= len(f"{every:.10g}")):
        return "all"
    return "others"


def _factor(mass: float) -> float:
    """What the loss is multiplied by: S, which is 1 up to the rounding of its fit."""
    return mass if abs(mass - 1) > 2e-5 else 1.0


def _candidates(base: Recipe, reading: Reading, loss: Loss, weighted: Weighted | None) -> list[Recipe]:
    """Calls with the same target, which differ in what the gradient of one row does not show."""
    if weighted is not None:  # weights on classes, on rows or on both, with every reduction
        rows = np.abs(reading.masses)
        vectors = [(weighted.classes, "class"), (rows, "sample"), (rows * weighted.classes, "class")]
        return [
            _fitted(replace(base, weight=_short(vector), factor=1.0, reduction=reduction, over_all_rows=everything,
                            weight_on=where), loss, reading)
            for (vector, where), (reduction, everything) in product(vectors, REDUCTIONS) if np.ptp(vector) > 1e-6
        ]  # fmt: skip
    calls = [base]
    if reading.extra is not None:
        term = ExtraTerm(reading.extra.kind, as_typed(float(f"{reading.extra.size:.9g}"), coarse=reading.coarse))
        cooled = term.kind is TEMPERATURE
        calls = [replace(base, temperature=term.size) if cooled else replace(base, extra=term)]
        calls += [replace(each, excess=True) for each in calls]
    if loss.style.layout in SEQUENCES and base.reduction in ("mean", "sum"):
        calls += [replace(each, over_sequences=True) for each in calls]
    if base.reduction == "mean":
        calls += [replace(each, over_all_rows=True) for each in calls if not each.over_sequences]
        k = reading.classes
        if reading.labels == tuple(range(k)) and not loss.style.one_hot and reading.alive.all():
            # How much a row of each label counts in a batch with one row of each.
            _, _, counts = loss.in_a_batch(np.random.default_rng(71).normal(size=(k, k)), np.arange(k))
            if not np.ptp(counts) < 1e-6:
                where = "sample" if base.eps else "class"  # one-hot has the label's term alone
                calls.append(replace(calls[0], weight=_short(counts / counts.mean()), weight_on=where))
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


def _short(numbers: Array) -> tuple[float, ...]:
    return tuple(float(f"{each:.8g}") for each in numbers)
