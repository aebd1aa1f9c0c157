"""Make the named loss so that it can be probed: for K classes, called in its own way, and with chance held still."""

from dataclasses import replace
from typing import Any

import numpy as np

from sfumato.probe.call.call_style import TooManyClassesError, understand
from sfumato.probe.call.caller import Labels, Loss
from sfumato.probe.call.find import ProbeError, Spec, in_words
from sfumato.probe.call.parameters import required
from sfumato.probe.findings import ProbeFinding, defect, warning

OTHER_CLASSES = (4, 7, 25)
"""K that are tried beside the K asked for: at one K each convention has an ε that fits."""


def make(spec: Spec, classes: int) -> tuple[Spec, Loss, list[ProbeFinding]]:
    """The loss for K classes, and what had to be done so that its calls can be compared.

    Returns:
        The specification, with a strength where the loss cannot be called without one; the loss; and findings.

    Raises:
        ProbeError: the loss cannot be made or called, or returns another number in every call.
    """
    spec, loss, findings = _callable(spec, classes)
    loss, more = _at_rest(spec, loss, classes)
    return spec, loss, [*findings, *more]


def remade(spec: Spec, loss: Loss, classes: int, **changes: Any) -> Loss:
    """The same loss for another K or with other arguments, called in the same way."""
    return replace(loss, function=spec.made(classes, **changes))


def _callable(spec: Spec, classes: int) -> tuple[Spec, Loss, list[ProbeFinding]]:
    """The loss as it is by default; with a strength of 0.1 where it cannot be called without a strength."""
    function = spec.made(classes)
    try:
        return spec, understand(function, classes), []
    except ProbeError as error:
        name, failed = spec.strength, error
    try:
        if name is None or name in spec.arguments:
            raise failed
        changed = replace(spec, arguments={**spec.arguments, name: 0.1})
        told = f"as made by default it cannot be called ({failed}); probed with {name}=0.1"
        return changed, understand(changed.made(classes), classes), [defect("default", told)]
    except Exception:
        fewer = "" if isinstance(failed, TooManyClassesError) else _other_classes(spec, classes)
        raise ProbeError(f"{spec.name}: {failed}{fewer}") from None


def _other_classes(spec: Spec, classes: int) -> str:
    """A number of classes with which the loss can be called, if the one asked for is not among them."""
    for k in (2, 3, 5):  # few: each way of calling costs differences of every logit
        try:
            if k != classes and understand(spec.made(k), k):
                return f"; with {k} classes it can be: --classes {k}"
        except Exception:
            continue
    return ""


def _at_rest(spec: Spec, loss: Loss, classes: int) -> tuple[Loss, list[ProbeFinding]]:
    """The loss with chance held still, or copied for every call where a call changes the next."""
    try:
        if not _is_changing(loss, classes):
            return loss, []
        seeded = replace(loss, seeded=True)
        if not _is_changing(seeded, classes):
            return seeded, [warning("randomness", "two calls with the same rows differ: all else is of one draw")]
        fresh = replace(loss, fresh=True, function=loss.function if spec.kind == "loss" else spec.made(classes))
        if not _is_changing(fresh, classes):
            told = "a call changes what the next one returns: all else is of a new copy"
            return fresh, [warning("state", told)]
    except Exception as error:
        raise ProbeError(f"{spec.name} cannot be called with four rows: {in_words(error)}") from error
    raise ProbeError(f"{spec.name} returns another number in every call, with the same seed too: nothing can be told")


def _is_changing(loss: Loss, classes: int) -> bool:
    """Whether calls with the same logits and labels differ; of sixteen, for chance may spare the few rows of some."""
    z = np.random.default_rng(67).normal(size=(4, classes))
    labels: Labels = np.array([1, classes - 1, 1, classes - 1])
    first = loss.values(z, labels)
    return any(not np.array_equal(first, loss.values(z, labels), equal_nan=True) for _ in range(15))


def has_named_teacher(spec: Spec, classes: int) -> bool:
    """Whether an argument that must be given when the loss is called is named after a teacher."""
    try:
        return any("teacher" in each.name.lower() for each in required(spec.made(classes)))
    except ProbeError:
        return False


def takes_logits_as_labels(loss: Loss, classes: int) -> bool:
    """Whether the second argument is logits: a number added to all of them changes nothing, a factor does."""
    if not loss.style.one_hot or loss.style.library != "torch":
        return False
    z, t = np.random.default_rng(29).normal(size=(2, 2, classes))
    try:
        plain, shifted, doubled = (loss.gradient(z, each) for each in (t, t + 3, 2 * t))
    except Exception:
        return False
    close = {"rtol": 1e-6, "atol": 1e-9}
    return bool(np.allclose(plain, shifted, **close) and not np.allclose(plain, doubled, **close))
