"""Call any loss the same way: numpy logits and labels in; values, and the gradient of their sum, out.

Losses want torch tensors, numpy or jax arrays; labels as integers or one-hot, before or after the logits; logits, their
log-softmax or their softmax; rows, or rows of a sequence. :func:`understand` tries these and keeps the first with which
every row pulls its own label up.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.probe.spec import ProbeError

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[Any]
Inputs: TypeAlias = Literal["logits", "log-probabilities", "probabilities"]

LOG_NAMES = ("lprob", "lprobs", "logp", "log_p", "log_prob", "log_probs", "logprobs", "log_probabilities")
PROB_NAMES = ("prob", "probs", "probabilities", "y_prob", "y_probs", "p")
LABEL_NAMES = ("y_true", "label", "labels", "target", "targets", "y", "true")
JAX_MODULES = ("optax", "jax", "flax", "chex", "rax")


@dataclass(frozen=True)
class Style:
    """How a loss is called.

    Attributes:
        library: whose arrays.
        inputs: what it takes for logits.
        one_hot: labels as rows of zeros and a one.
        labels_first: called as ``loss(labels, logits)``.
        layout: rows, rows of one sequence, or a dictionary with ``"logits"``.
    """

    library: Literal["torch", "numpy", "jax", "keras"] = "torch"
    inputs: Inputs = "logits"
    one_hot: bool = False
    labels_first: bool = False
    layout: Literal["rows", "sequence", "dictionary"] = "rows"

    def describe(self) -> str:
        """In words, as in ``"logits[N, K], labels[N]"``."""
        batch = "[1, N" if self.layout == "sequence" else "[N"
        inputs = f"{self.inputs}{batch}, K]"
        if self.layout == "dictionary":
            inputs = f'{{"logits": {inputs}}}'
        labels = f"one-hot labels{batch}, K]" if self.one_hot else f"labels{batch}]"
        return f"{labels}, {inputs}" if self.labels_first else f"{inputs}, {labels}"


class NoGradientError(RuntimeError):
    """The loss does not depend on its logits through its library."""


@dataclass(frozen=True)
class Loss:
    """A loss in canonical form.

    Attributes:
        function: the loss itself.
        style: how it is called.
        differences: whether gradients are finite differences, because there are no others.
    """

    function: Callable[..., Any]
    style: Style
    differences: bool = False

    def values(self, logits: Array, labels: Labels, dtype: torch.dtype = torch.float64) -> Array:
        """What it returns, a number or an array of them, as float64."""
        return _numbers(self._called(self._inputs(logits, dtype), labels, logits.shape[1]))

    def value(self, logits: Array, labels: Labels, dtype: torch.dtype = torch.float64) -> float:
        """Their sum."""
        return float(self.values(logits, labels, dtype).sum())

    def gradient(self, logits: Array, labels: Labels) -> Array:
        """Gradient of their sum by the logits, (N, K)."""
        if self.differences:
            return self.by_differences(logits, labels)
        if self.style.library == "jax":
            return self._jax_gradient(logits, labels)
        return self._torch_gradient(logits, labels)

    def by_differences(self, logits: Array, labels: Labels, step: float = 2e-3) -> Array:
        """The gradient of the values by central differences of the fourth order."""
        found = np.zeros_like(logits)
        for index in np.ndindex(*logits.shape):
            ends: list[float] = []
            for distance in (-2, -1, 1, 2):
                moved = logits.copy()
                moved[index] += distance * step
                ends.append(self.value(moved, labels))
            found[index] = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
        return found

    def _torch_gradient(self, logits: Array, labels: Labels) -> Array:
        with torch.enable_grad():
            leaf = torch.tensor(logits, requires_grad=True)
            out = self._called(_formed(leaf * 1.0, self.style.inputs), labels, logits.shape[1])
            out = first_of(out)
            if not isinstance(out, torch.Tensor) or not out.requires_grad:
                raise NoGradientError("the value does not depend on the logits through torch")
            (found,) = torch.autograd.grad(out.sum(), leaf, allow_unused=True)
        if found is None:
            raise NoGradientError("the value does not depend on the logits through torch")
        return found.detach().double().numpy()

    def _jax_gradient(self, logits: Array, labels: Labels) -> Array:
        jax = sys.modules["jax"]
        with jax.enable_x64(True):

            def total(z: Any) -> Any:
                return first_of(self._called(_jax_formed(z, self.style.inputs), labels, logits.shape[1])).sum()

            return np.asarray(jax.grad(total)(jax.numpy.asarray(logits)), dtype=np.float64)

    def _inputs(self, logits: Array, dtype: torch.dtype) -> Any:
        if self.style.library in ("torch", "keras"):
            return _formed(torch.tensor(logits, dtype=dtype), self.style.inputs)
        formed = _formed(torch.tensor(logits), self.style.inputs).numpy()
        return formed if dtype == torch.float64 else formed.astype(str(dtype).removeprefix("torch."))

    def _called(self, inputs: Any, labels: Labels, classes: int) -> Any:
        style = self.style
        given: Any = labels
        if style.one_hot and labels.ndim == 1:
            given = np.eye(classes)[labels]
        if style.library == "torch" or (style.library == "keras" and isinstance(inputs, torch.Tensor)):
            given = torch.tensor(given)
        if style.layout == "sequence":
            inputs, given = inputs[None], given[None]
        elif style.layout == "dictionary":
            inputs = {"logits": inputs}
        order = (given, inputs) if style.labels_first else (inputs, given)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if style.library == "jax" and "jax" in sys.modules:
                with sys.modules["jax"].enable_x64(True):
                    return self.function(*order)
            return self.function(*order)


def understand(function: Callable[..., Any], classes: int) -> Loss:
    """How a loss wants to be called, tried out on three rows.

    Args:
        function: the loss.
        classes: K, at least 2.

    Raises:
        ProbeError: no way of calling it gives a number; the message has the errors of the likeliest way.

    >>> understand(torch.nn.functional.cross_entropy, 5).style.describe()
    'logits[N, K], labels[N]'

    Source: a row's label must have the most negative gradient of its classes.
    """
    rng = np.random.default_rng(11)
    logits = rng.normal(size=(3, classes))
    labels = np.array([1, classes - 1, min(2, classes - 1)])
    best: tuple[int, Loss] | None = None
    first_error: str | None = None
    for style in _styles(function):
        loss = Loss(function, style)
        try:
            loss, gradient = _differentiable(loss, logits, labels)
            score = _score(loss, gradient, logits, labels)
        except Exception as error:
            if first_error is None:
                first_error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            continue
        if score == len(labels):
            return loss
        if score >= 0 and (best is None or (best[0] == 0 and score > 0)):
            best = (score, loss)
    if best is None:
        shapes = f"logits[3, {classes}] and labels[3]"
        raise ProbeError(f"the loss cannot be called with {shapes}: {first_error or 'it returns no number'}")
    return best[1]


def first_of(out: Any) -> Any:
    """The loss in what a loss returns: itself, the first of several, or the entry called "loss"."""
    if isinstance(out, dict):
        out = out["loss"] if "loss" in out else next(iter(out.values()))
    while isinstance(out, (tuple, list)) and len(out) > 0:
        out = out[0]
    return getattr(out, "loss", out) if not hasattr(out, "shape") and hasattr(out, "loss") else out


def _styles(function: Callable[..., Any]) -> Iterator[Style]:
    """Ways of calling, the likeliest first; each changes few things."""
    names = _first_names(function)
    owner = _owner(function)
    first = names[0] if names else ""
    inputs: list[Inputs] = ["logits", "log-probabilities", "probabilities"]
    if first in LOG_NAMES:
        inputs = ["log-probabilities", "logits", "probabilities"]
    elif first in PROB_NAMES:
        inputs = ["probabilities", "logits", "log-probabilities"]
    base = Style()
    if owner == "keras":
        from_logits = getattr(function, "from_logits", None)
        kwargs = getattr(function, "_fn_kwargs", {}) or getattr(function, "arguments", {})
        from_logits = kwargs.get("from_logits", from_logits)
        base = Style(library="keras", labels_first=True)
        inputs = ["logits"] if from_logits else ["probabilities", "logits"]
    elif owner in JAX_MODULES:
        base = Style(library="jax")
    elif first in LABEL_NAMES:
        base = Style(labels_first=True)
    libraries = (
        [base.library] if base.library != "torch" else ["torch", "jax" if "jax" in sys.modules else "numpy", "numpy"]
    )
    for kind in inputs:
        for library in dict.fromkeys(libraries):
            for layout in ("rows", "dictionary", "sequence"):
                if layout == "dictionary" and library != "torch":
                    continue
                for one_hot in (False, True):
                    for labels_first in (base.labels_first, not base.labels_first):
                        yield replace(
                            base,
                            library=library,
                            inputs=kind,
                            layout=layout,
                            one_hot=one_hot,
                            labels_first=labels_first,
                        )


def _differentiable(loss: Loss, logits: Array, labels: Labels) -> tuple[Loss, Array]:
    values = loss.values(logits, labels)
    if values.size not in (1, len(labels), logits.size) or not np.isfinite(values).all():
        raise ValueError(f"it returns {values.shape} numbers, some of them not finite")
    if loss.style.library in ("torch", "jax", "keras"):
        try:
            return loss, loss.gradient(logits, labels)
        except Exception:
            if loss.style.library == "jax" and not _is_jax(loss, logits, labels):
                raise
    loss = replace(loss, differences=True)
    return loss, loss.gradient(logits, labels)


def _is_jax(loss: Loss, logits: Array, labels: Labels) -> bool:
    out = first_of(loss._called(logits, labels, logits.shape[1]))  # pyright: ignore[reportPrivateUsage]
    return type(out).__module__.startswith(("jax", "jaxlib"))


def _score(loss: Loss, gradient: Array, logits: Array, labels: Labels) -> int:
    """Rows that pull their own label up the most; −1 for what cannot be meant: no gradient, or a constant one."""
    if not np.isfinite(gradient).all() or not gradient.any():
        return -1
    other = loss.gradient(logits[::-1] * 1.7, labels)
    live = np.abs(gradient).max(axis=1) > 1e-12
    if np.allclose(other[live], gradient[live], rtol=1e-7, atol=1e-9):
        return -1  # linear in what it was given: it takes log-probabilities
    if loss.style.inputs == "logits" and _clipped_probabilities(gradient, other):
        return -1
    lowest = gradient.argmin(axis=1) == labels
    return int((lowest & live).sum())


def _clipped_probabilities(*gradients: Array) -> bool:
    """Whether the gradient on other classes is exactly 0 everywhere: of −log of a number, not of a softmax."""
    return all(bool(((g != 0).sum(axis=1) <= 1).all()) for g in gradients) and gradients[0].shape[1] > 2


def _first_names(function: Callable[..., Any]) -> list[str]:
    inner = getattr(function, "forward", None) or getattr(function, "call", None) or function
    try:
        parameters = inspect.signature(inner).parameters
    except (TypeError, ValueError):
        return []
    return [name.lower() for name in parameters if name != "self"][:2]


def _owner(function: Callable[..., Any]) -> str:
    inner = getattr(function, "__wrapped__", function)
    module = getattr(inner, "__module__", None) or type(inner).__module__
    for base in type(inner).__mro__:
        if base.__module__.startswith("keras"):
            return "keras"
    return str(module).partition(".")[0]


def _formed(logits: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    if inputs == "log-probabilities":
        return logits.log_softmax(-1)
    return logits.softmax(-1) if inputs == "probabilities" else logits


def _jax_formed(logits: Any, inputs: Inputs) -> Any:
    nn = sys.modules["jax"].nn
    if inputs == "log-probabilities":
        return nn.log_softmax(logits)
    return nn.softmax(logits) if inputs == "probabilities" else logits


def _numbers(out: Any) -> Array:
    out = first_of(out)
    if isinstance(out, torch.Tensor):
        out = out.detach().double().cpu().numpy()
    numbers = np.asarray(out)
    if numbers.dtype.kind not in "fiu" and numbers.dtype.name != "bfloat16":
        raise TypeError(f"it returns {type(out).__name__}, not a number")
    return numbers.astype(np.float64)
