"""Put a loss through everything, and say what the loss is: the whole of ``sfumato probe``."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from sfumato.probe import arguments, labels, numerics
from sfumato.probe.call import Loss
from sfumato.probe.find_loss import PAD_NAMES, ProbeError, Spec, load, of
from sfumato.probe.find_recipe import corrected, recipe_of
from sfumato.probe.reduction import RowReduction, over_sequences, reduction_of
from sfumato.probe.result import Probe, ProbeFinding, defect, note, warning, worst_first
from sfumato.probe.target import TargetRead, read_target, target_findings
from sfumato.probe.understand import has_named_teacher, kept_state, make, remade, takes_logits_as_labels


def probe(loss: Callable[..., Any] | str, *, classes: int = 10) -> Probe:
    r"""Recover what a loss trains towards from its gradient, and look for what will surprise.

    .. math:: q = S\,p - \partial L/\partial z

    at several logits, labels and K; then batches with ignored rows, strengths at and beyond their range, half
    precision, infinite logits, evaluation mode.

    Args:
        loss: a loss of torch, numpy, jax or Keras, called as ``loss(logits[N, K], labels[N])``, with logits,
            log-probabilities or probabilities, and labels whole or one-hot, as rows, sequences or images, by position
            or by name; or the name of a loss as ``"module:callable"``, with literal arguments. A class or a function
            that makes a loss is called, and called again with other arguments for what these can tell.
        classes: K to report, at least 2.

    Returns:
        :class:`Probe`.

    Raises:
        ProbeError: the loss cannot be found, made, or called; the message says why.

    >>> import torch
    >>> result = probe(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    >>> result.convention, result.eps, result.reduction, result.ignore_index
    ('all', 0.1, 'mean', -100)
    >>> result.line
    'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="all")'

    Source: the note, eq. 1, solved for the target.
    """
    if classes < 2:
        raise ProbeError(f"classes must be at least 2, got {classes}")
    spec = load(loss) if isinstance(loss, str) else of(loss)
    findings = [note("keras-on-torch", text) for text in spec.notes]
    if has_named_teacher(spec, classes):
        return _teacher_result(spec, classes, findings, "student_logits[N, K], teacher_logits[N, K]")
    spec, called, more = make(spec, classes)
    findings += more
    if takes_logits_as_labels(called, classes):
        return _teacher_result(spec, classes, findings, called.style.describe())
    target = read_target(spec, called, classes)
    if target.relabelling is not None and target.relabelling.is_one_to_one:
        called = replace(called, relabelling=target.relabelling)
    if called.differences and called.style.library in ("torch", "jax"):
        text = "the loss returns no gradient (detached, or a plain number): read by finite differences"
        findings.append(defect("gradient-missing", text))
    elif called.differences:
        findings.append(note("finite-differences", "the gradient is read by finite differences: numpy has no others"))
    reduction = reduction_of(spec, called, target.reading)
    findings += [*target_findings(target), *reduction.findings]
    ignored: int | None = None
    if target.reading.alive.any() and (target.labels_matter or target.level is not None):
        # A strange loss may break any check: then the check has nothing to say.
        with contextlib.suppress(Exception):
            candidates = _may_be_ignored(spec, called)
            together = called  # where ignored pixels make the mean of an image NaN, one image has all
            if called.style.layout == "image":
                together = replace(called, style=replace(called.style, batch=1))
            ignored, more = labels.ignored_by(together, target.reading, reduction.name, candidates)
            findings += more
            reduction, more = over_sequences(called, target.reading, reduction, ignored)
            findings += more
        for check in _checks(spec, called, target, reduction, ignored):
            with contextlib.suppress(Exception):
                findings += list(check())
    recipe, more = recipe_of(target, called, reduction, ignored)
    findings += [*more, *kept_state(called, target.reading)]  # last, since the calls of kept_state are many
    defects = {each.code for each in findings if each.level == "defect"}
    better = corrected(recipe, target, called, reduction.name, ignored, defects) if defects else None
    level = target.level
    return Probe(
        name=spec.name,
        called=called.style.describe(),
        classes=classes,
        convention=target.identity.convention,
        eps=target.identity.eps,
        eps_all=target.strength_over("all"),
        eps_others=target.strength_over("others"),
        target=None if level is None else (level.true, level.other),
        mass=None if level is None else level.mass,
        ignore_index=ignored,
        reduction=reduction.name,
        why=target.identity.why,
        findings=worst_first(findings),
        recipe=recipe,
        corrected=None if better is None else better.code,
        moved_by=target.moved_by,
    )


def _teacher_result(spec: Spec, classes: int, findings: list[ProbeFinding], called: str) -> Probe:
    """The result for a loss that takes a teacher: its target is another for every row, and is not read."""
    why = "this loss takes a teacher, and probe reads losses of labels"
    text = f"{why}: probe the term of the labels by itself, or wrap the loss so that it takes logits and labels alone"
    found = worst_first([*findings, warning("takes-a-teacher", text)])
    recipe = "there is no line: the loss takes a teacher"
    return Probe(spec.name, called, classes, reduction="other", why=why, findings=found, recipe=recipe)


def _checks(
    spec: Spec, loss: Loss, target: TargetRead, reduction: RowReduction, ignored: int | None
) -> list[Callable[[], Iterable[ProbeFinding]]]:
    reading, classes = target.reading, target.reading.classes
    checks: list[Callable[[], Iterable[ProbeFinding]]] = [
        lambda: numerics.gradient_of_value(loss, reading),
        lambda: labels.side_effects(loss, reading, ignored),
        lambda: numerics.in_half(*_with_many_classes(spec, loss, classes)),
    ]
    if target.relabelling is not None and not target.relabelling.is_one_to_one:
        return checks  # no label is trained towards itself
    checks += [
        lambda: labels.odd_labels(loss, reading, reduction.factors),
        lambda: numerics.at_infinity(loss, reading),
        lambda: numerics.far_out(loss, reading),
        lambda: arguments.in_evaluation(loss, reading),
        lambda: arguments.class_weights(spec, loss, reading),
    ]
    name = spec.strength
    if name is not None and arguments.is_strength(spec, name, loss, classes):
        if target.identity.convention == "one-hot" and not spec.given(name):
            checks.append(lambda: arguments.by_default(spec, name, loss, classes))
        checks.append(lambda: arguments.at_the_ends(spec, name, loss, reading))
        checks.append(lambda: arguments.ignoring_survives(spec, name, loss, reading))
    return checks


def _may_be_ignored(spec: Spec, loss: Loss) -> list[int]:
    """The labels that an argument or an attribute says are ignored, and the usual ones."""
    made = loss.function
    named = [
        label for name in PAD_NAMES
        for label in (spec.given(name), getattr(made, name, None), getattr(made, f"_{name}", None))
        if isinstance(label, int) and not isinstance(label, bool)
    ]  # fmt: skip
    return [*named, -100, -1]


def _with_many_classes(spec: Spec, loss: Loss, classes: int) -> tuple[Loss, int]:
    """The loss for 1000 classes if it can be made for so many: there half precision gives out."""
    with contextlib.suppress(Exception):
        made = remade(spec, loss, 1000)
        if np.isfinite(made.values(np.zeros((2, 1000)), np.array([1, 999]))).all():
            return made, 1000
    return loss, classes
