"""What is right and wrong about a run that was watched, as findings."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from sfumato.probe.read.rows import TWICE
from sfumato.probe.result import ProbeFinding, defect, note, warning
from sfumato.probe.watching.given import GivenStrength
from sfumato.probe.watching.normaliser import NormaliserRead, StepCount
from sfumato.probe.watching.steps import complete_steps
from sfumato.probe.watching.targets_seen import ReadPass, Record, TargetsSeen, own_factors, varies
from sfumato.text import plural


def of_reading(record: Record, targets: TargetsSeen | None) -> Iterator[ProbeFinding]:
    """What kept the run from being read, in part or whole."""
    if record.forwards == 0:
        yield defect(
            "model", "it was never called: the trainer trains another object. Give watch the model that it calls"
        )
    elif record.without_logits and targets is None:
        asked = "".join(f" Whether {each.where} = {each.value:g} has an effect is not known." for each in record.given)
        yield note(
            "logits",
            "the model returned none: a fused head computes its loss without them, so there is nothing to read. "
            f"Watch a few steps with the head that is not fused.{asked}",
        )
    elif record.training_forwards and targets is None and not record.problems:
        yield defect(
            "gradient",
            f"none reached the model's output in {plural(record.training_forwards, 'call')}: no backward pass was run, "
            "or the loss is computed from something else than this output",
        )
    for told, times in record.problems.items():
        yield warning("reading", told + (f" ({times} times)" if times > 1 else ""))
    if record.ranks_silent:
        silent = ", ".join(map(str, record.ranks_silent))
        yield note(
            "ranks", f"no word came from rank {silent}: watch on every rank, for what is divided by depends on all"
        )
    if targets is None:
        return
    if targets.flat:
        yield note("strength", "all logits of a row were equal, so that nothing can be read: watch one step more")
    if targets.form == "probabilities as logits":
        yield defect(
            "softmax", "it is taken twice: the model returns probabilities, and the loss takes them for logits"
        )
    elif targets.form == TWICE:
        yield defect("softmax", "it is taken twice: the loss takes probabilities, which it makes of logits, for logits")
    elif targets.form.startswith("logits that"):
        yield note("temperature", f"the model returns {targets.form}")
    elif targets.form != "logits":
        yield note("output", f"the model returns {targets.form}, and the loss takes them as such")
    if not targets.balanced:
        yield note("loss", "the gradients of a row do not sum to 0, so this is no cross entropy of one softmax")
    elif targets.beside:
        yield note("loss", "a term in proportion to p stands beside the cross entropy, as a z-loss does")
    elif targets.misfit > 1e-5 and not targets.coarse and targets.eps is not None:
        yield note("loss", "the gradients are not quite those of a cross entropy: a small term stands beside it")


def of_targets(record: Record, targets: TargetsSeen) -> Iterator[ProbeFinding]:
    """What is odd about what rows are trained towards."""
    if targets.soft > 0.5:
        if targets.balanced:
            many = "most rows have a target of many levels (soft labels, or a teacher)"
            yield note("targets", f"{many}, or another loss than a cross entropy of these logits: no ε is told")
    elif targets.pairs > 0.3:
        yield note("targets", "most rows have more than one label, as mixup and CutMix give them")
    elif targets.prior:
        yield note("targets", "the strength goes to the classes by a prior, and not to all alike")
    # Small logits that the loss divides look alike, and leave a misfit; half precision hides it.
    if targets.eps is not None and targets.eps < -1e-2 and targets.misfit < 1e-6 and not targets.coarse:
        yield defect("strength", f"ε = {targets.eps:.4g}: negative smoothing, which has no lower bound")
    if targets.spread is not None:
        low, high = targets.spread
        yield note("strength", f"it differs between rows, from {max(low, 0):.3g} to {high:.3g} over all classes")
    counts = _inputs(record)
    if targets.uniform:
        yield defect(
            "ignored rows",
            f"{plural(targets.uniform, 'row')} without a label of their own still get the smoothing's part: they are "
            "trained towards all classes alike. Leave ignored rows out of that term too",
        )
    elif counts["ignored"]:
        yield defect(
            "ignored rows",
            f"{counts['ignored']} of {counts['given']} rows with a gradient have the label -100, as ignored ones do",
        )
    if counts["padding"]:
        yield defect(
            "padding",
            f"{counts['padding']} of {counts['live']} rows with a gradient are trained to predict padding: set their "
            "labels to -100",
        )
    yield from _of_shift(counts)


def _inputs(record: Record) -> Counter[str]:
    """The counts of all passes, summed."""
    return sum((each.inputs for step in record.steps for each in step.passes), Counter[str]())


def _of_shift(counts: Counter[str]) -> Iterator[ProbeFinding]:
    """Where the label of a row stands among the tokens."""
    if counts["live"] < 4:
        return
    share = {name: counts[name] / max(counts[f"{name} of"], 1) for name in ("next", "same", "second")}
    best = max(share, key=lambda name: share[name])
    if share[best] < 0.9:
        return
    if best == "next":
        yield note("shift", "each position is trained to predict the next token")
    elif best == "second":
        yield defect("shift", "each position is trained to predict the token after the next: labels are shifted twice")
    elif counts["live"] > 0.5 * counts["same of"]:
        yield warning("shift", "each position is trained to repeat its own token: the labels are not shifted")


def of_given(record: Record, targets: TargetsSeen) -> Iterator[ProbeFinding]:
    """Whether the strengths that stand in the program are those that reached the logits."""
    if targets.eps is None or targets.eps_others is None:
        return
    for given in record.given:
        yield from _of_one(given, targets.eps, targets.eps_others, 1e-2 if targets.coarse else 1e-3)


def _of_one(given: GivenStrength, eps: float, others: float, close: float) -> Iterator[ProbeFinding]:
    arrived = f"ε = {eps:.4g} over all classes reached the logits"
    told = f"{given.where} is {given.value:g}"
    if abs((others if given.over == "others" else eps) - given.value) <= close:
        return
    if eps == 0:
        yield defect("argument", f"{told}, and has no effect: the model is trained on hard labels")
    elif given.over != "others" and abs(others - given.value) <= close:
        yield warning(
            "convention",
            f"{told}, and is spread over the other classes; as torch counts, over all classes, that is {eps:.4g}",
        )
    elif abs(eps - (1 - (1 - given.value) ** 2)) <= close:
        yield defect("argument", f"{told}, and {arrived}: labels are smoothed twice")
    else:
        yield warning("argument", f"{told}, and {arrived}")


def of_evaluation(record: Record, evaluation_eps: float | None, eps: float | None) -> Iterator[ProbeFinding]:
    """Whether the loss of evaluation is smoothed."""
    if evaluation_eps is not None and evaluation_eps > 1e-3:
        yield warning(
            "evaluation",
            f"its loss is smoothed too (ε = {evaluation_eps:.4g} over all classes): it is no log loss, and a model "
            "that is chosen by it is chosen by the smoothing",
        )
    elif record.evaluations and evaluation_eps is None and eps:
        yield note("evaluation", "the model was evaluated, and no loss of its logits could be read there")


def of_steps(record: Record, targets: TargetsSeen, *, apart: bool) -> Iterator[ProbeFinding]:
    """How gradients were gathered, beside what they were divided by."""
    steps = complete_steps(record)
    stale = [i for i, step in enumerate(steps) if step.began_with_gradients and i]
    if stale:
        yield defect(
            "steps",
            f"gradients of the step before were still there in {len(stale)} of {len(steps)} steps: clear them after "
            "each step",
        )
    if record.optimiser_steps == 0 and record.steps_of_others:
        yield defect("steps", "the optimiser holds none of this model's parameters, so that the model is not trained")
    elif record.optimiser_steps == 0:
        yield note("steps", "the optimiser took none while the model was watched")
    passes = [each for step in steps for each in step.passes]
    if passes and not any(each.training for each in passes):
        yield note("mode", "the model was trained in evaluation mode, so dropout was off")
    if apart:
        yield defect(
            "ranks", f"each of the {record.ranks} ranks uses its own gradients alone: they train different models"
        )
    yield from _of_weights(passes, targets)


def _of_weights(passes: list[ReadPass], targets: TargetsSeen) -> Iterator[ProbeFinding]:
    """Whether rows of one pass weigh differently, and by what."""
    if targets.eps is None or targets.soft > 0.5:
        return
    for each in passes:
        if not is_weighted(each, targets):
            continue
        if is_mean_of_sequences(each, targets.eps):
            yield warning(
                "normaliser",
                "each sequence is divided by its own rows: a row of a short sequence weighs more than others",
            )
        elif _by_label(each, targets.eps):
            yield note("weights", "rows weigh by their label, as class weights have it")
        else:
            yield note("weights", "rows of one pass weigh differently")
        return


def is_weighted(one: ReadPass, targets: TargetsSeen) -> bool:
    """Whether the rows of a pass weigh differently."""
    return targets.eps is not None and varies(own_factors(one.rows, targets.eps)[1], coarse=targets.coarse)


def is_mean_of_sequences(one: ReadPass, eps: float) -> bool:
    """Whether the factor of a row is one over the rows of its sequence."""
    rows = one.rows
    length = len(rows.live) // max(one.sequences, 1)
    if one.sequences < 2 or length < 2:
        return False
    each = np.repeat(rows.live.reshape(one.sequences, length).sum(1), length)
    products = (rows.factors(eps) * each)[rows.live]
    products = products[np.isfinite(products)]
    return len(products) > 1 and not varies(products, coarse=rows.coarse)


def _by_label(one: ReadPass, eps: float) -> bool:
    rows, factors = one.rows, one.rows.factors(eps)
    known = rows.live & np.isfinite(factors)
    labels = rows.label[known]
    if len(set(labels.tolist())) >= len(labels):
        return False
    return not any(varies(factors[known & (rows.label == label)], coarse=rows.coarse) for label in set(labels.tolist()))


def of_normaliser(
    found: NormaliserRead, steps: list[StepCount], *, coarse: bool, exact: bool
) -> Iterator[ProbeFinding]:
    """What gradients are divided by, in words; a mass beside 1 means something where factors are ``exact``."""
    first = max(steps, key=lambda step: sum(each.counted for each in step.passes))
    n, t = (sum(getattr(each, name) for each in first.passes) for name in ("counted", "rows"))
    if found.times:
        yield defect("normaliser", _once_too_often(found, first))
    elif found.size.startswith("usual"):
        yield warning("normaliser", "an incomplete step is divided by the passes of a complete one")
    elif "rows" in found.size:
        yield defect(
            "ignored rows",
            f"the mean counts them: it divides by {'all ' if t != n else ''}{t} rows, and only {n} have a gradient",
        )
    elif found.name == "micro-batches":
        yield warning("normaliser", _mean_of_means(found, first))
    elif found.name == "sum":
        of = "sequences" if found.size == "sequences" else "nothing"
        yield note(
            "normaliser", f"gradients are summed over rows and divided by {of}, so a larger batch takes a larger step"
        )
    if found.steps < found.of:
        yield warning(
            "normaliser", f"in {found.of - found.steps} of {found.of} steps the divisor was another{_incomplete(steps)}"
        )
    if abs(found.mass - 1) > (3e-2 if coarse else 1e-3) and exact:
        yield defect(
            "total mass",
            f"a row's gradient is {found.mass:.4g} times that of a mean: its target sums to {found.mass:.4g}, or the "
            "loss is multiplied",
        )
    measured = [step.after for step in steps if step.after is not None]
    left = float(np.median(measured)) / found.after if measured else 1.0
    scale = 1 / (found.after * steps[0].ranks)
    if scale >= 16 and abs(np.log2(scale) - round(np.log2(scale))) < 1e-3:
        yield note("gradients", f"the loss was scaled by {scale:.0f}, and that was taken back before the step")
    if abs(left - 1) > 1e-3:
        yield note("gradients", f"they were multiplied by {left:.3g} after the backward passes, as clipping does")


def _once_too_often(found: NormaliserRead, step: StepCount) -> str:
    a = len(step.passes) // max(step.ranks, 1)
    what = {
        "A": f"the {a} micro-batches of a step", "R": f"the {step.ranks} ranks",
        "A·R": f"the {a} micro-batches and the {step.ranks} ranks",
        "N": "the rows", "n": "the rows", "rows": "the rows",
    }  # fmt: skip
    power = found.times.removeprefix("1/").strip("()")
    if power in ("A", "R") and a == step.ranks:
        what[power] = f"{a}, the number of micro-batches and of ranks,"
    if found.times.startswith("1/"):
        return f"gradients are not divided by {what[power]}: they are too large by that number"
    return f"gradients are divided by {what[power]} once too often: they are too small by that number"


def _mean_of_means(found: NormaliserRead, step: StepCount) -> str:
    sizes = [each.counted for each in step.passes]
    whose = "batches" if len(sizes) == 1 else "micro-batches"
    if "of each rank" in found.size:
        of_rank = Counter[int]()
        for each in step.passes:
            of_rank[each.rank] += each.counted
        sizes, whose = list(of_rank.values()), "ranks"
    return (
        f"it is a mean of means: {whose} of {min(sizes)} to {max(sizes)} rows count alike, so a row of the smallest "
        f"weighs {max(sizes) / max(min(sizes), 1):.3g} times as much as one of the largest"
    )


def _incomplete(steps: list[StepCount]) -> str:
    last = len(steps[-1].passes)
    usual = Counter(len(step.passes) for step in steps).most_common(1)[0][0]
    passes = plural(last, "pass")
    return f": the last step has {passes}, and is divided as if it had {usual}" if last < usual else ""
