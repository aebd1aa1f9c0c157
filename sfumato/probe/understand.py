"""Find out how a loss wants to be called, by trying it on three rows, and hold chance still."""

import inspect
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from sfumato.probe.call import Array, Inputs, Labels, Layout, Library, Loss, Style
from sfumato.probe.find_loss import (
    ProbeError,
    Spec,
    attempt,
    in_words,
    keywords_of,
    parameters_of,
    refusing,
    required,
)
from sfumato.probe.gradients import Reading, read
from sfumato.probe.result import ProbeFinding, defect, warning

LOG_NAMES = ("lprob", "lprobs", "logp", "log_p", "log_prob", "log_probs", "logprobs", "log_probabilities")
PROB_NAMES = ("prob", "probs", "probabilities", "y_prob", "y_probs", "p")
LABEL_NAMES = ("y_true", "label", "labels", "target", "targets", "y", "true")
JAX_MODULES = ("optax", "jax", "flax", "chex", "rax")

LAYOUTS: tuple[Layout, ...] = (
    "rows", "dictionary", "sequence", "column", "image", "classes second", "next token", "next token in a dictionary",
)  # fmt: skip
"""Layouts in the order in which they are tried: the likeliest first, and of two that fit the simpler."""

OF_TORCH = ("dictionary", "next token", "next token in a dictionary")  # layouts that losses of torch alone have
OTHER_CLASSES = (4, 7, 25)  # K that are tried beside the K asked for: at one K each convention has an ε that fits

MAX_BY_DIFFERENCES = 2000
"""Of so many classes a gradient takes a minute or two by finite differences, and of twenty times as many an hour."""


MORE_CALLS = 2000
"""Further calls of a loss that keeps state, of which no more is made after two seconds."""


class TooManyClassesError(ProbeError):
    """The loss has no gradient, and differences of its value would take too long for so many classes."""


def understand(function: Callable[..., Any], classes: int) -> Loss:
    """The loss in the way in which it wants to be called with K classes; the ways are tried on three rows."""
    logits = np.random.default_rng(11).normal(size=(3, classes))
    labels = np.array([1, classes - 1, min(2, classes - 1)])
    best: tuple[int, Loss] | None = None
    trouble = ""
    for style in _styles(function):
        try:
            loss, gradient = _differentiable(Loss(function, style), logits, labels)
            score = _score(loss, gradient, logits, labels)
        except TooManyClassesError:
            raise  # the likeliest way that gives numbers; the labels' own gradient would fit another
        except Exception as error:
            trouble = trouble or in_words(error)
            continue
        if score < 0:
            trouble = trouble or "its value does not depend on the logits"
        elif best is None:
            if score == len(labels):
                return loss
            best = (score, loss)
        elif score == len(labels) or (best[0] == 0 and score > 0):
            # Plain rows that hide some of a batch, or pull another class, are meant as they are.
            if best[1].style.layout == "rows" and (_fits(best[1], classes) or _has_no_use_of_labels(best[1], logits)):
                return best[1]
            if _fits(loss, classes):
                best = (score, loss)
                if score == len(labels):
                    return loss
    if best is None:
        raise ProbeError(f"the loss cannot be called with logits[3, {classes}] and labels[3]: {trouble}")
    return best[1]


def _fits(loss: Loss, classes: int) -> bool:
    """Whether a way of calling makes sense: the loss of one row alone is a cross entropy towards what it is given."""
    at = attempt(lambda: read(loss, classes, (1, classes - 1)))
    if at is None or at.kind == "other" or not at.alive.all():
        return False
    return bool((np.ptp(at.targets, axis=1) > 1e-9).all()) or not np.abs(at.masses).max() > 1e-9


def _has_no_use_of_labels(loss: Loss, logits: Array) -> bool:
    """Whether the gradient is the same whatever the labels are."""
    plain, other = (attempt(lambda y=y: loss.gradient(logits, np.full(3, y))) for y in (0, 1))
    return plain is not None and other is not None and np.allclose(plain, other, 1e-7, 1e-12)


def _styles(function: Callable[..., Any]) -> Iterator[Style]:
    """Ways of calling the loss, the likeliest first."""
    first = next((each.name.lower() for each in parameters_of(function)), "")
    inner = function.func if isinstance(function, partial) else function
    owner = str(getattr(inner, "__module__", None) or type(inner).__module__).partition(".")[0]
    likeliest = "log-probabilities" if first in LOG_NAMES else "probabilities" if first in PROB_NAMES else "logits"
    inputs: list[Inputs] = ["logits", "log-probabilities", "probabilities"]
    inputs.sort(key=lambda kind: kind != likeliest)
    libraries: tuple[Library, ...] = ("torch", "jax", "numpy") if "jax" in sys.modules else ("torch", "numpy")
    labels_first = first in LABEL_NAMES
    if any(base.__module__.startswith("keras") for base in inspect.getmro(type(inner))) or owner == "keras":
        kwargs = getattr(function, "_fn_kwargs", {}) or getattr(function, "keywords", {})
        from_logits = kwargs.get("from_logits", getattr(function, "from_logits", None))
        libraries = ("keras",)
        labels_first = True
        inputs = ["logits"] if from_logits else ["probabilities", "logits"]
    elif owner in JAX_MODULES:
        libraries = ("jax",)
        labels_first = False
    keywords = keywords_of(function)
    # float32 is tried before one-hot labels: class weights in float32 refuse whole labels beside logits in float64.
    orders, both = (labels_first, not labels_first), (False, True)
    choices = itertools.product(inputs, libraries, LAYOUTS, both, both, orders)
    for kind, library, layout, one_hot, single, first_is_labels in choices:
        if (library == "torch" or not (single or layout in OF_TORCH)) and not (one_hot and layout == "column"):
            yield Style(library, kind, one_hot, first_is_labels, layout, single, keywords)


def _differentiable(loss: Loss, logits: Array, labels: Labels) -> tuple[Loss, Array]:
    values = loss.values(logits, labels)
    if values.size not in (1, len(labels), logits.size) or not np.isfinite(values).all():
        raise ValueError(f"it returns {values.shape} numbers, some of them not finite")
    library = loss.style.library
    if library != "numpy":
        try:
            return loss, loss.gradient(logits, labels)
        except Exception:
            if library == "jax" and not _is_of_jax(loss.returned(logits, labels)):
                raise
    if library in ("torch", "numpy"):  # perhaps it takes arrays, and may return one of jax
        arrays = replace(loss, style=replace(loss.style, library="numpy"))
        out = attempt(lambda: arrays.returned(logits, labels))
        if _is_of_jax(out):
            loss = replace(loss, style=replace(loss.style, library="jax"))
            return loss, loss.gradient(logits, labels)
        loss = loss if out is None or isinstance(out, torch.Tensor) else arrays
    other = (logits, 0.7 * logits, 0.4 * logits, logits[:, ::-1].copy())
    values = np.stack([loss.values(given, labels).ravel() for given in other])
    loss = replace(loss, differences=True, coarse=bool((values == values.astype(np.float32)).all()))
    if (values == values[0]).all():  # a constant: 120 further calls would say no more
        return loss, np.zeros_like(logits)
    if logits.shape[1] > MAX_BY_DIFFERENCES:
        text = "the loss gives no gradient, and finite differences take hundreds of calls per class, too many beyond "
        most = f"{MAX_BY_DIFFERENCES} classes: give --classes {MAX_BY_DIFFERENCES} or fewer"
        raise TooManyClassesError(f"{text}{most}, or return a value that is not detached")
    return loss, loss.gradient(logits, labels)


def _is_of_jax(out: Any) -> bool:
    return type(out).__module__.startswith(("jax", "jaxlib"))


def _score(loss: Loss, gradient: Array, logits: Array, labels: Labels) -> int:
    """How many rows pull their own label up the most; −1 where this way of calling cannot be meant."""
    if not np.isfinite(gradient).all() or not gradient.any():
        return -1
    other = loss.gradient(logits[::-1] * 1.7, labels)
    live = np.abs(gradient).max(axis=1) > 1e-12
    if np.allclose(other[live], gradient[live], rtol=1e-7, atol=1e-9):
        # Linear in its input, the loss takes log-probabilities, unless it does not look at its labels at all.
        return 0 if _has_no_use_of_labels(loss, logits) else -1
    both = (gradient, other)
    if loss.style.inputs == "logits" and logits.shape[1] > 2 and all((g != 0).sum(axis=1).max() <= 1 for g in both):
        return -1  # the label's entry alone has a gradient: the loss is −log of its input, and takes probabilities
    return int(((gradient.argmin(axis=1) == labels) & live).sum())


def make(spec: Spec, classes: int) -> tuple[Spec, Loss, list[ProbeFinding]]:
    """The loss for K classes, with a strength of 0.1 if it cannot be called without, and what had to be done to it."""
    name = spec.strength
    findings: list[ProbeFinding] = []
    function = spec.made(classes)
    try:
        loss = understand(function, classes)
    except ProbeError as failed:
        try:
            if name is None or name in spec.arguments:
                raise
            changed = replace(spec, arguments={**spec.arguments, name: 0.1})
            loss = understand(changed.made(classes), classes)
        except Exception:
            fewer = "" if isinstance(failed, TooManyClassesError) else _other_classes(spec, classes)
            raise ProbeError(f"{spec.name}: {failed}{fewer}") from None
        spec, text = changed, f"as made by default it cannot be called ({failed}); probed with {name}=0.1"
        findings.append(defect("default-not-callable", text))
    loss, more = _at_rest(spec, loss, classes)
    return spec, loss, [*findings, *more]


def remade(spec: Spec, loss: Loss, classes: int, **changes: Any) -> Loss:
    """The same loss for another K or with other arguments, called in the same way."""
    relabelling = None if loss.relabelling is None else loss.relabelling.at(classes)
    return replace(loss, function=spec.made(classes, **changes), relabelling=relabelling)


def _other_classes(spec: Spec, classes: int) -> str:
    """A number of classes with which the loss can be called, if the one asked for is not among them."""
    for k in (2, 3, 5):  # few: each way of calling costs differences of every logit
        if k != classes and attempt(lambda k=k: understand(spec.made(k), k)):
            return f"; with {k} classes it can be: --classes {k}"
    return ""


def _at_rest(spec: Spec, loss: Loss, classes: int) -> tuple[Loss, list[ProbeFinding]]:
    """The loss with chance held still, or copied for every call where a call changes the next."""
    with refusing(f"{spec.name} cannot be called with four rows"):
        if not _is_changing(loss, classes):
            return loss, []
        seeded = replace(loss, seeded=True)
        if not _is_changing(seeded, classes):
            text = "the loss is random: two calls with the same rows differ, and all else is of one draw"
            return seeded, [warning("random-loss", text)]
        fresh = replace(loss, fresh=True, function=loss.function if spec.kind == "loss" else spec.made(classes))
        if not _is_changing(fresh, classes):
            text = "a call changes what the next one returns: all else is of a new copy"
            return fresh, [warning("stateful-loss", text)]
    raise ProbeError(f"{spec.name} returns another number in every call, with the same seed too: nothing can be told")


def kept_state(loss: Loss, reading: Reading) -> Iterator[ProbeFinding]:
    """What a call changes in the loss itself, and whether the gradient is another after many more calls."""
    if loss.fresh or loss.seeded:
        return
    z, labels = reading.batch(4, seed=23)
    first = loss.gradient(z, labels)
    loss.values(z, labels)  # what is only kept, as a last value or a table, is the same after a second call
    before = state_of(loss.function)
    loss.values(z, labels)
    after = state_of(loss.function)
    changed = [name for name, value in after.items() if before.get(name, value) != value]
    if not changed:
        return
    name = changed[0]
    text = f"a call changes the state of the loss ({name}: {before.get(name)} before, {after[name]} after)"
    until = time.monotonic() + 2
    calls = 0
    while calls < MORE_CALLS and time.monotonic() < until:
        loss.values(z, labels)
        calls += 1
    if np.allclose(loss.gradient(z, labels), first, rtol=1e-6, atol=1e-9):
        text += f"; after {calls} further calls the gradient is the same, and what comes later cannot be seen"
        yield warning("loss-keeps-state", text)
    else:
        text += f"; after {calls} further calls its gradient is another, and all else is of the first calls"
        yield warning("stateful-loss", text)


def state_of(value: Any, name: str = "", depth: int = 5) -> dict[str, str]:
    """The numbers that a loss keeps, by name: in attributes, its closure, and the globals that its code names."""
    if isinstance(value, (bool, int, float, np.ndarray, torch.Tensor, itertools.count)):
        return {name: " ".join(repr(value).split())[:60]}
    if depth == 0 or isinstance(value, (type, str)) or inspect.ismodule(value):
        return {}
    if isinstance(value, (list, tuple, dict, set)):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        inside = [(str(key) if isinstance(value, dict) else name, each) for key, each in itertools.islice(inside, 50)]
        inside.append((f"len({name})", len(value)))
    else:
        code = getattr(value, "__code__", None)
        inside = [*getattr(value, "__dict__", {}).items(), ("", getattr(value, "func", None))]
        inside.append(("", getattr(value, "__self__", None)))
        if code is not None:
            cells = zip(code.co_freevars, value.__closure__ or (), strict=True)
            inside += [(key, attempt(lambda cell=cell: cell.cell_contents)) for key, cell in cells]
            inside += [(key, value.__globals__[key]) for key in code.co_names if key in value.__globals__]
        elif callable(value):
            inside.append(("", getattr(type(value), "forward", type(value).__call__)))
    return {own: shown for key, each in inside for own, shown in state_of(each, str(key) or name, depth - 1).items()}


def _is_changing(loss: Loss, classes: int) -> bool:
    """Whether calls with the same logits and labels differ; of sixteen, for chance may spare the few rows of some."""
    z = np.random.default_rng(67).normal(size=(4, classes))
    labels: Labels = np.array([1, classes - 1, 1, classes - 1])
    first = loss.values(z, labels)
    return any(not np.array_equal(first, loss.values(z, labels), equal_nan=True) for _ in range(15))


def has_named_teacher(spec: Spec, classes: int) -> bool:
    """Whether an argument that must be given when the loss is called is named after a teacher."""
    made = attempt(lambda: spec.made(classes))
    return made is not None and any("teacher" in each.name.lower() for each in required(made))


def takes_logits_as_labels(loss: Loss, classes: int) -> bool:
    """Whether the second argument is logits: a number added to all of them changes nothing, a factor does."""
    if not loss.style.one_hot or loss.style.library != "torch":
        return False
    z, t = np.random.default_rng(29).normal(size=(2, 2, classes))
    gradients = attempt(lambda: [loss.gradient(z, each) for each in (t, t + 3, 2 * t)])
    if gradients is None:
        return False
    plain, shifted, doubled = gradients
    return np.allclose(plain, shifted, 1e-6, 1e-9) and not np.allclose(plain, doubled, 1e-6, 1e-9)
