"""Call any loss the same way: numpy logits and labels in; values, and the gradient of their sum, out.

Losses want torch tensors, numpy or jax arrays; labels as integers or one-hot, before or after the logits; logits, their
log-softmax or their softmax; rows, or rows of a sequence. A :class:`Style` says which, a :class:`Loss` calls so.
"""

from __future__ import annotations

import copy
import functools
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[Any]
Library: TypeAlias = Literal["torch", "numpy", "jax", "keras"]
Inputs: TypeAlias = Literal["logits", "log-probabilities", "probabilities"]

FOURTH = (2 / 3, -1 / 12)
EIGHTH = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""Weights of central differences, one for each number of steps away from the middle."""


@dataclass(frozen=True)
class Style:
    """How a loss is called.

    Attributes:
        library: whose arrays.
        inputs: what it takes for logits.
        one_hot: labels as rows of zeros and a one.
        labels_first: called as ``loss(labels, logits)``.
        layout: rows, rows of one sequence, images of one pixel, labels in a column, or a dictionary with ``"logits"``.
        single: float32, for what refuses float64.
    """

    library: Library = "torch"
    inputs: Inputs = "logits"
    one_hot: bool = False
    labels_first: bool = False
    layout: Literal["rows", "dictionary", "sequence", "column", "image"] = "rows"
    single: bool = False

    def describe(self) -> str:
        """In words, as in ``"logits[N, K], labels[N]"``."""
        batch = "[1, N" if self.layout == "sequence" else "[N"
        pixel = ", 1, 1" if self.layout == "image" else ""
        inputs = f"{self.inputs}{batch}, K{pixel}]"
        if self.layout == "dictionary":
            inputs = f'{{"logits": {inputs}}}'
        column = ", 1" if self.layout == "column" else pixel
        labels = f"one-hot labels{batch}, K{pixel}]" if self.one_hot else f"labels{batch}{column}]"
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
        seeded: whether chance is the same in every call.
        fresh: whether every call is to a copy, because a call changes what the next one returns.
        coarse: whether its values have float32's digits, so that differences need longer steps.
    """

    function: Callable[..., Any]
    style: Style
    differences: bool = False
    seeded: bool = False
    fresh: bool = False
    coarse: bool = False

    def values(self, logits: Array, labels: Labels, dtype: torch.dtype | None = None) -> Array:
        """What it returns, a number or an array of them, as float64."""
        if dtype is None:
            dtype = torch.float32 if self.style.single else torch.float64
        return _numbers(self._called(self._inputs(logits, dtype), labels, logits.shape[1]), len(logits))

    def value(self, logits: Array, labels: Labels) -> float:
        """Their sum."""
        return float(self.values(logits, labels).sum())

    def gradient(self, logits: Array, labels: Labels) -> Array:
        """Gradient of their sum by the logits, (N, K)."""
        if self.differences:
            return self.by_differences(logits, labels)
        if self.style.library == "jax":
            return self._jax_gradient(logits, labels)
        return self._torch_gradient(logits, labels)

    def by_differences(self, logits: Array, labels: Labels, step: float | None = None) -> Array:
        """The gradient of the values by central differences: of the fourth order, of coarse values of the eighth."""
        weights = EIGHTH if self.coarse and step is None else FOURTH
        step = (0.25 if self.coarse else 2e-3) if step is None else step
        found = np.zeros_like(logits)
        for index in np.ndindex(*logits.shape):
            for distance, weight in enumerate(weights, start=1):
                for way in (distance, -distance):
                    moved = logits.copy()
                    moved[index] += way * step
                    found[index] += np.sign(way) * weight * self.value(moved, labels)
        return found / step

    def _torch_gradient(self, logits: Array, labels: Labels) -> Array:
        with torch.enable_grad():
            leaf = torch.tensor(logits, dtype=torch.float32 if self.style.single else torch.float64, requires_grad=True)
            out = self._called(_formed(leaf * 1.0, self.style.inputs), labels, logits.shape[1])
            out = first_of(out, len(logits))
            if not isinstance(out, torch.Tensor) or not out.requires_grad:
                raise NoGradientError("the value does not depend on the logits through torch")
            (found,) = torch.autograd.grad(out.sum(), leaf, allow_unused=True)
        if found is None:  # pyright: ignore[reportUnnecessaryComparison]  allow_unused says it may be
            raise NoGradientError("the value does not depend on the logits through torch")
        return found.detach().double().numpy()

    def _jax_gradient(self, logits: Array, labels: Labels) -> Array:
        jax = sys.modules["jax"]
        with jax.enable_x64(True):
            total = _jax_total(self.function, self.style)
            given = np.eye(logits.shape[1])[labels] if self.style.one_hot and labels.ndim == 1 else labels
            return np.asarray(total(jax.numpy.asarray(logits), given), dtype=np.float64)

    def _inputs(self, logits: Array, dtype: torch.dtype) -> Any:
        if self.style.library in ("torch", "keras"):
            return _formed(torch.tensor(logits, dtype=dtype), self.style.inputs)
        formed = _formed(torch.tensor(logits), self.style.inputs).numpy()
        return formed if dtype == torch.float64 else formed.astype(str(dtype).removeprefix("torch."))

    def _called(self, inputs: Any, labels: Labels, classes: int) -> Any:
        style = self.style
        given: Any = labels.copy()  # a loss in numpy may write over what it is given
        if style.one_hot and labels.ndim == 1:
            given = np.eye(classes)[labels]
        if style.library == "torch" or (style.library == "keras" and isinstance(inputs, torch.Tensor)):
            given = torch.tensor(given)
        if style.library in ("torch", "keras") and style.single and given.is_floating_point():
            given = given.float()
        if style.layout == "sequence":
            inputs, given = inputs[None], given[None]
        elif style.layout == "column":
            given = given[:, None]
        elif style.layout == "image":
            inputs, given = inputs[..., None, None], given[..., None, None]
        elif style.layout == "dictionary":
            inputs = {"logits": inputs}
        order = (given, inputs) if style.labels_first else (inputs, given)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if self.seeded:
                torch.manual_seed(0)
                np.random.seed(0)
            if style.library == "jax" and "jax" in sys.modules:
                with sys.modules["jax"].enable_x64(True):
                    return self._run(*order)
            return self._run(*order)

    def _run(self, *order: Any) -> Any:
        function = copy.deepcopy(self.function) if self.fresh else self.function
        try:
            return function(*order)
        except SystemExit as stop:
            raise RuntimeError(f"it ends the program (exit code {stop.code})") from None


def first_of(out: Any, rows: int = 0) -> Any:
    """The loss in what a loss returns: itself, the first of several, the entry called "loss", or a list of rows."""
    if isinstance(out, dict):
        out = out["loss"] if "loss" in out else next(iter(out.values()))
    if isinstance(out, list) and len(out) == rows > 1 and all(np.ndim(each) == 0 for each in _detached(out)):
        return torch.stack(out) if all(isinstance(each, torch.Tensor) for each in out) else np.asarray(out)
    while isinstance(out, (tuple, list)) and len(out) > 0:
        out = out[0]
    return getattr(out, "loss", out) if not hasattr(out, "shape") and hasattr(out, "loss") else out


@functools.lru_cache(maxsize=64)
def _jax_total(function: Callable[..., Any], style: Style) -> Callable[[Any, Any], Any]:
    """The gradient of the sum, compiled once a shape; as it stands where the loss looks at its labels' values."""
    jax = sys.modules["jax"]

    def total(z: Any, labels: Any) -> Any:
        inputs = _jax_formed(z, style.inputs)
        if style.layout == "sequence":
            inputs, labels = inputs[None], labels[None]
        return first_of(function(*((labels, inputs) if style.labels_first else (inputs, labels)))).sum()

    slow = jax.grad(total)
    fast = jax.jit(slow)

    def gradient(z: Any, labels: Any) -> Any:
        try:
            return fast(z, labels)
        except Exception:
            return slow(z, labels)

    return gradient


def _formed(logits: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    if inputs == "log-probabilities":
        return logits.log_softmax(-1)
    return logits.softmax(-1) if inputs == "probabilities" else logits


def _jax_formed(logits: Any, inputs: Inputs) -> Any:
    nn = sys.modules["jax"].nn
    if inputs == "log-probabilities":
        return nn.log_softmax(logits)
    return nn.softmax(logits) if inputs == "probabilities" else logits


def _detached(out: list[Any]) -> list[Any]:
    return [each.detach() if isinstance(each, torch.Tensor) else each for each in out]


def _numbers(out: Any, rows: int) -> Array:
    out = first_of(out, rows)
    if isinstance(out, torch.Tensor) and not out.is_complex():
        out = out.detach().double().cpu().numpy()
    numbers = np.asarray(out)
    if numbers.dtype.kind not in "fiu" and numbers.dtype.name != "bfloat16":
        raise TypeError(f"it returns {type(out).__name__}, not a number")
    return numbers.astype(np.float64)
