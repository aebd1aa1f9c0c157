"""What is right and wrong about a run that was watched, as findings."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from sfumato.probe.result import ProbeFinding, defect, note, warning
from sfumato.probe.rows import Form
from sfumato.probe.watching.normaliser import MISSING, OF_ALL_ROWS, USUAL, Excess, NormaliserRead, Size, StepCount
from sfumato.probe.watching.targets_seen import ReadPass, Record, TargetsSeen, own_factors, varies
from sfumato.text import plural


def reading_findings(record: Record, targets: TargetsSeen | None) -> Iterator[ProbeFinding]:
    """What kept the run from being read, in part or whole."""
    if record.forwards == 0:
        text = "the model was never called: the trainer trains another object. Give watch the model that it calls"
        yield defect("model-not-called", text)
    elif record.without_logits and targets is None:
        asked = "".join(f" Whether {each.where} = {each.value:g} has an effect is not known." for each in record.given)
        text = "the model returned no logits: a fused head computes its loss without them, so there is nothing to read."
        yield note("no-logits", f"{text} Watch a few steps with the head that is not fused.{asked}")
    elif record.training_forwards and targets is None and not record.problems:
        calls = plural(record.training_forwards, "call")
        text = f"no gradient reached the model's output in {calls}: no backward pass was run, or the loss is computed "
        yield defect("no-gradient", f"{text}from something else than this output")
    for (code, text), times in record.problems.items():
        level = note if code == "one-number-per-row" else warning
        yield level(code, text + (f" ({times} times)" if times > 1 else ""))
    if record.ranks_silent:
        silent = ", ".join(map(str, record.ranks_silent))
        text = f"rank {silent} reported nothing: watch on every rank, for what is divided by depends on all"
        yield note("ranks-silent", text)
    if targets is None:
        return
    if record.unreached:
        text = (
            "no gradient reached a parameter of the model: gradients were taken by the inputs, or by parameters of a "
        )
        yield note("no-parameter-reached", f"{text}copy, and what was done with them is not known")
    if targets.flat:
        text = "all logits of a row were equal, so that no strength can be read: watch one step more"
        yield note("logits-equal", text)
    if targets.form is Form.SOFTMAX_OF_PROBABILITIES:
        text = (
            "softmax (or sigmoid) is taken twice: the model returns probabilities, and the loss takes them for logits"
        )
        yield defect("softmax-twice", text)
    elif targets.form is Form.TWO_SOFTMAXES:
        text = "softmax is taken twice: the loss takes probabilities, which it makes of logits, for logits"
        yield defect("softmax-twice-in-loss", text)
    elif targets.divisor != 1:
        yield note("temperature", f"the model returns logits that the loss divides by {targets.divisor:.4g}")
    elif targets.form is not Form.LOGITS:
        yield note("output-form", f"the model returns {targets.form.value}, and the loss takes them as such")
    if not targets.balanced:
        text = "the gradients of a row do not sum to 0, so the loss is not a cross entropy of one softmax"
        yield note("not-a-cross-entropy", text)
    elif targets.beside:
        yield note("term-of-p", "a term in proportion to p is beside the cross entropy, as a z-loss is")
    elif targets.misfit > 1e-5 and not targets.coarse and targets.eps is not None:
        text = "the gradients are not quite those of a cross entropy: a small term is beside it"
        yield note("small-term", text)


def target_findings(record: Record, targets: TargetsSeen) -> Iterator[ProbeFinding]:
    """What is odd about what rows are trained towards."""
    if targets.soft > 0.5:
        if targets.balanced:
            text = "most rows have a target of many levels (soft labels, or a teacher), or the loss is not a cross "
            yield note("targets-of-many-levels", f"{text}entropy of these logits: there is no one ε")
    elif targets.pairs > 0.3:
        yield note("targets-of-pairs", "most rows have more than one label, as mixup and CutMix give them")
    elif targets.prior:
        yield note("targets-by-prior", "the strength goes to the classes by a prior, and not to all alike")
    # Small logits that the loss divides look alike, and leave a misfit; half precision hides it.
    if targets.eps is not None and targets.eps < -1e-2 and targets.misfit < 1e-6 and not targets.coarse:
        yield defect("negative-smoothing", f"ε = {targets.eps:.4g}: negative smoothing, which has no lower bound")
    if targets.spread is not None:
        low, high = targets.spread
        text = f"the strength differs between rows, from {max(low, 0):.3g} to {high:.3g} over all classes"
        yield note("strength-varies", text)
    counts = sum((each.inputs for step in record.steps for each in step.passes), Counter[str]())
    if targets.uniform:
        text = (
            f"{plural(targets.uniform, 'row')} without a label of their own still get the smoothing's part: they are "
        )
        text += "trained towards all classes alike. Leave ignored rows out of that term too"
        yield defect("ignored-rows-smoothed", text)
    elif counts["ignored"]:
        text = f"{counts['ignored']} of {counts['given']} rows with a gradient have the label -100, as ignored ones do"
        yield defect("ignored-rows-trained", text)
    if counts["padding"]:
        text = (
            f"{counts['padding']} of {counts['live']} rows with a gradient are trained to predict padding: set their "
        )
        yield defect("padding-trained", f"{text}labels to -100")
    # Where the label of a row stands among the tokens.
    share = {name: counts[name] / max(counts[f"{name} of"], 1) for name in ("next", "same", "second")}
    best = max(share, key=lambda name: share[name])
    if counts["live"] < 4 or share[best] < 0.9:
        return
    if best == "next":
        yield note("labels-shifted", "each position is trained to predict the next token")
    elif best == "second":
        text = "each position is trained to predict the token after the next: labels are shifted twice"
        yield defect("labels-shifted-twice", text)
    elif counts["live"] > 0.5 * counts["same of"]:
        text = "each position is trained to repeat its own token: the labels are not shifted"
        yield warning("labels-not-shifted", text)


def strength_findings(record: Record, targets: TargetsSeen) -> Iterator[ProbeFinding]:
    """Whether the strengths that stand in the program are those that reached the logits."""
    eps, others, close = targets.eps, targets.eps_others, 1e-2 if targets.coarse else 1e-3
    for where, value, over in record.given if eps is not None and others is not None else ():
        argument, arrived = f"{where} is {value:g}", f"ε = {eps:.4g} over all classes reached the logits"
        if abs((others if over == "others" else eps) - value) <= close:
            continue
        if eps == 0:
            text = f"{argument}, and has no effect: the model is trained on hard labels"
            yield defect("argument-without-effect", text)
        elif over != "others" and abs(others - value) <= close:
            text = f"{argument}, and is spread over the other classes; as torch counts, over all classes, that is "
            yield warning("other-convention", f"{text}{eps:.4g}")
        elif abs(eps - (1 - (1 - value) ** 2)) <= close:
            yield defect("smoothed-twice", f"{argument}, and {arrived}: labels are smoothed twice")
        else:
            yield warning("other-strength", f"{argument}, and {arrived}")


def evaluation_findings(record: Record, evaluation_eps: float | None, eps: float | None) -> Iterator[ProbeFinding]:
    """Whether the loss of evaluation is smoothed."""
    if evaluation_eps is not None and evaluation_eps > 1e-3:
        text = f"the loss of evaluation is smoothed too (ε = {evaluation_eps:.4g} over all classes): it is not the log "
        yield warning("evaluation-smoothed", f"{text}loss, and a model that is chosen by it is chosen by the smoothing")
    elif record.evaluations and evaluation_eps is None and eps:
        text = "the model was evaluated, and no loss of its logits could be read there"
        yield note("evaluation-unread", text)
    if record.noisy_losses:
        text = (
            f"{plural(record.noisy_losses, 'loss', 'losses')} of evaluation came from a model in training mode, where "
        )
        text += "dropout or batch norm changes its outputs: call model.eval() before, and model.train() after"
        yield warning("evaluation-in-training-mode", text)
    elif record.noisy_calls:
        text = f"the model was called {record.noisy_calls} times without gradients in training mode, where dropout or "
        text += "batch norm changes its outputs: right for pseudo-labels, and wrong for evaluation"
        yield note("called-in-training-mode", text)


def step_findings(record: Record, targets: TargetsSeen, *, apart: bool) -> Iterator[ProbeFinding]:
    """How gradients were gathered, beside what they were divided by."""
    steps = record.complete_steps()
    stale = [i for i, step in enumerate(steps) if step.has_older_gradients and i]
    if record.optimiser_steps == 0 and record.steps_of_others:
        text = "the optimiser holds none of this model's parameters, so that the model is not trained"
        yield defect("optimiser-of-other-parameters", text)
    elif record.optimiser_steps == 0:
        yield note("no-optimiser-step", "the optimiser took no step while the model was watched")
    elif stale:
        text = f"gradients of the step before were still there in {len(stale)} of {len(steps)} steps: clear them after "
        yield defect("gradients-not-cleared", f"{text}each step")
    if record.left_out:
        names, rest = ", ".join(record.left_out[:4]), len(record.left_out) - 4
        text = f"{names}{f' and {rest} more' if rest > 0 else ''} get gradients and are in no optimiser, so they stay "
        level = warning if record.last_layer_left_out else note  # a head alone may be trained on purpose
        yield level("parameters-not-held", f"{text}as they are. Give them to it, or call requires_grad_(False)")
    if record.rates and max(record.rates) == 0:
        text = f"the learning rate is 0 in {plural(len(record.rates), 'step')}, so that the optimiser changes nothing"
        yield (warning if len(record.rates) > 1 else note)("learning-rate-zero", text)
    if steps and sum(step.ascends for step in steps) > len(steps) / 2:
        text = "the loss is made to grow: gradients have the wrong sign, so that the model is trained away from its "
        yield defect("gradient-ascent", f"{text}labels")
    passes = [each for step in steps for each in step.passes]
    if passes and not any(each.training for each in passes):
        yield note("evaluation-mode", "the model was trained in evaluation mode, so dropout was off")
    if apart:
        text = f"each of the {record.ranks} ranks uses its own gradients alone: they train different models"
        yield defect("ranks-apart", text)
    weighted = next((each for each in passes if is_weighted(each, targets)), None)
    if targets.eps is None or targets.soft > 0.5 or weighted is None:
        return
    if is_mean_of_sequences(weighted, targets.eps):
        text = "each sequence is divided by its own rows: a row of a short sequence weighs more than others"
        yield warning("mean-of-sequences", text)
        return
    rows, factors = weighted.rows, weighted.rows.factors(targets.eps)
    known = rows.live & np.isfinite(factors)
    labels = set(rows.label[known].tolist())
    alike = (not varies(factors[known & (rows.label == label)], coarse=rows.coarse) for label in labels)
    if len(labels) < known.sum() and all(alike):
        yield note("weights-by-label", "rows weigh by their label, as class weights have it")
    else:
        yield note("weights-differ", "rows of one pass weigh differently")


def is_weighted(one: ReadPass, targets: TargetsSeen) -> bool:
    """Whether the rows of a pass weigh differently."""
    return targets.eps is not None and varies(own_factors(one.rows, targets.eps)[1], coarse=targets.coarse)


def is_mean_of_sequences(one: ReadPass, eps: float, *, uneven: bool = False) -> bool:
    """Whether the factor of a row is one over the rows of its sequence; of sequences that are ``uneven``, if asked."""
    rows, sequences = one.rows, one.sequences
    if sequences < 2 or len(rows.live) < 2 * sequences:
        return False
    counts = rows.live.reshape(sequences, -1).sum(1)
    products = (rows.factors(eps) * np.repeat(counts, len(rows.live) // sequences))[rows.live]
    products = products[np.isfinite(products)]
    alike = len(products) > 1 and not varies(products, coarse=rows.coarse)
    return alike and not (uneven and len(set(counts[counts > 0])) < 2)


def normaliser_findings(
    read: NormaliserRead, steps: list[StepCount], *, coarse: bool, exact: bool
) -> Iterator[ProbeFinding]:
    """What gradients are divided by, in words; a mass beside 1 means something where factors are ``exact``."""
    first = max(steps, key=lambda step: sum(each.counted for each in step.passes))
    n, t = sum(each.counted for each in first.passes), sum(each.rows for each in first.passes)
    if read.excess is not Excess.NONE:
        a, count = len(first.passes) // max(first.ranks, 1), MISSING.get(read.excess, read.excess)
        what = {
            Excess.PASSES: f"the {a} micro-batches of a step",
            Excess.RANKS: f"the {first.ranks} ranks",
            Excess.PASSES_AND_RANKS: f"the {a} micro-batches and the {first.ranks} ranks",
        }.get(count, "the rows")
        if count in (Excess.PASSES, Excess.RANKS) and a == first.ranks:
            what = f"{a}, the number of micro-batches and of ranks,"
        if read.excess in MISSING:
            yield defect("not-divided", f"gradients are not divided by {what}: they are too large by that number")
        else:
            text = f"gradients are divided by {what} once too often: they are too small by that number"
            yield defect("divided-twice", text)
    elif read.size in USUAL:
        text = "an incomplete step is divided by the passes of a complete one"
        yield warning("incomplete-step", text)
    elif read.size in OF_ALL_ROWS:
        text = f"the mean counts ignored rows: it divides by {'all ' if t != n else ''}{t} rows, and only {n} have a "
        yield defect("ignored-rows-in-mean", f"{text}gradient")
    elif read.name == "micro-batches":
        sizes, whose = [each.counted for each in first.passes], "batches" if len(first.passes) == 1 else "micro-batches"
        if read.size is Size.COUNTED_OF_RANK:
            ranks = {each.rank for each in first.passes}
            sizes, whose = [sum(each.counted for each in first.passes if each.rank == rank) for rank in ranks], "ranks"
        text = (
            f"the mean is a mean of means: {whose} of {min(sizes)} to {max(sizes)} rows count alike, so a row of the "
        )
        more = f"smallest weighs {max(sizes) / max(min(sizes), 1):.3g} times as much as one of the largest"
        yield warning("mean-of-means", text + more)
    elif read.name == "sum":
        divisor = "sequences" if read.size is Size.SEQUENCES else "nothing"
        text = f"gradients are summed over rows and divided by {divisor}, so a larger batch takes a larger step"
        yield note("sum-of-rows", text)
    if read.steps < read.of:
        last = len(steps[-1].passes)
        usual = Counter(len(step.passes) for step in steps).most_common(1)[0][0]
        text = f"in {read.of - read.steps} of {read.of} steps the divisor was another"
        more = f": the last step has {plural(last, 'pass')}, and is divided as if it had {usual}"
        yield warning("divisor-changes", text + (more if last < usual else ""))
    if abs(read.mass - 1) > (3e-2 if coarse else 1e-3) and exact:
        text = f"a row's gradient is {read.mass:.4g} times that of a mean: its target sums to {read.mass:.4g}, or the "
        yield defect("total-mass", f"{text}loss is multiplied")
    left = [step.after / read.after for step in steps if step.after is not None]
    scale = 1 / (read.after * steps[0].ranks)
    if scale >= 16 and abs(np.log2(scale) - round(np.log2(scale))) < 1e-3:
        text = f"the loss was scaled by {scale:.0f}, and that was taken back before the step"
        yield note("loss-scaled", text)
    middle = float(np.median(left)) if left else 1.0
    if len(left) > 2 and max(left) < 0.5 and np.ptp(left) > 1e-3 * middle:
        text = f"clipping shortens the gradients of all {len(left)} steps, {1 / middle:.3g} times in the median: it "
        yield warning("clipping-always", f"{text}sets the length of every step")
    elif abs(middle - 1) > 1e-3:
        text = f"gradients were multiplied by {middle:.3g} after the backward passes, as clipping does"
        yield note("gradients-multiplied", text)
