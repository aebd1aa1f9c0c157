"""Call any loss in the same way: numpy logits and labels go in, values and the gradient of their sum come out.

A :class:`Style` names what one loss wants: torch, numpy or jax; logits or probabilities; rows, sequences or images.
"""

import contextlib
import copy
import functools
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.conventions.row_losses import own_class

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[Any]
Library: TypeAlias = Literal["torch", "numpy", "jax", "keras"]
Inputs: TypeAlias = Literal["logits", "log-probabilities", "probabilities"]
Layout: TypeAlias = Literal[
    "rows", "dictionary", "sequence", "column", "image", "classes second", "next token", "next token in a dictionary"
]

SEQUENCES = ("sequence", "image", "classes second", "next token", "next token in a dictionary")
"""Layouts with more than one axis of positions."""

USUALLY_IGNORED = (-100, -1, 255)

FOURTH = (2 / 3, -1 / 12)
EIGHTH = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""Weights of central differences, one for each number of steps away from the middle."""


@dataclass(frozen=True)
class Style:
    """How a loss is called."""

    library: Library = "torch"  # the library whose arrays the loss takes
    inputs: Inputs = "logits"  # what the loss takes for the scores of a row
    one_hot: bool = False  # whether labels are rows of zeros and a one
    labels_first: bool = False  # whether the loss is called as loss(labels, logits)
    layout: Layout = "rows"  # rows; rows of sequences; images; labels in a column; a dictionary with "logits"
    single: bool = False  # whether numbers are float32, because the loss refuses float64
    keywords: tuple[str, str] | None = None  # the names by which the two arguments are passed; None
    batch: int = 0  # into how many sequences or images the rows are cut; 0 for one sequence, or for images of one pixel

    @property
    def is_shifted(self) -> bool:
        """Whether the logits at one position meet the label at the next."""
        return self.layout.startswith("next token")

    def describe(self) -> str:
        """In words, as in ``"logits[N, K], labels[N]"``."""
        batch, pixel = ("[B, T" if self.is_shifted else "[1, N" if self.layout == "sequence" else "[N"), ""
        if self.layout == "image":
            pixel = ", 1, 1"
        elif self.layout == "classes second":
            batch, pixel = "[B", ", T"
        inputs = f"{self.inputs}{batch}, K{pixel}]"
        if self.layout.endswith("dictionary"):
            inputs = f'{{"logits": {inputs}}}'
        column = ", 1" if self.layout == "column" else pixel
        labels = f"one-hot labels{batch}, K{pixel}]" if self.one_hot else f"labels{batch}{column}]"
        both = [labels, inputs] if self.labels_first else [inputs, labels]
        if self.keywords is not None:
            both = [f"{name}={each}" for name, each in zip(self.keywords, both, strict=True)]
        return ", ".join(both) + (", each label one position after its logits" if self.is_shifted else "")

    def arrange(self, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """The inputs (N, K) and the labels (N,) or (N, K), each in the layout that the loss wants."""
        if self.layout == "column":
            return inputs, labels[:, None]
        if self.layout == "image" and not self.batch:
            return inputs[..., None, None], labels[..., None, None]
        if self.layout in SEQUENCES:
            inputs, labels = (each.reshape(self.batch or 1, -1, *each.shape[1:]) for each in (inputs, labels))
        if self.layout in ("image", "classes second"):
            inputs, labels = (each.swapaxes(1, 2) if each.ndim == 3 else each for each in (inputs, labels))
        if self.layout == "image":
            height = 2 - inputs.shape[-1] % 2
            inputs, labels = (each.reshape(*each.shape[:-1], height, -1) for each in (inputs, labels))
        if self.is_shifted:  # neither the last logits nor the first label belong to a pair
            inputs = torch.cat([inputs, torch.zeros_like(inputs[:, :1])], 1)
            labels = torch.cat([torch.zeros_like(labels[:, :1]), labels], 1)
        return ({"logits": inputs} if self.layout.endswith("dictionary") else inputs), labels

    def call(self, function: Any, inputs: Any, labels: Any) -> Any:
        """What a loss returns for rows in this style, by position or by name, in its order."""
        inputs, labels = self.arrange(inputs, labels)
        given = (labels, inputs) if self.labels_first else (inputs, labels)
        return function(*given) if self.keywords is None else function(**dict(zip(self.keywords, given, strict=True)))


@dataclass(frozen=True)
class Relabelling:
    """Which class each label is trained towards, where it is not the label itself."""

    classes: int  # K
    table: dict[int, int]  # the class of each label that was read
    shift: int | None  # the number that is added to every label, if one number explains all
    wraps: bool  # whether a shift is modulo K
    is_reversed: bool  # whether label y is class K − 1 − y
    missing: tuple[int, ...]  # the first and last label, where they are refused or have no gradient

    @classmethod
    def of(cls, classes: int, table: dict[int, int]) -> "Relabelling":
        """The simplest description of a table."""
        shifts = {(c - y) % classes for y, c in table.items()}
        shift = shifts.pop() if len(shifts) == 1 else None
        shift = shift if shift is None or 2 * shift <= classes else shift - classes
        wraps = shift is not None and any(y + shift != c for y, c in table.items())
        is_reversed = classes > 2 and all(y + c == classes - 1 for y, c in table.items())
        return cls(classes, table, shift, wraps, is_reversed, tuple(y for y in (0, classes - 1) if y not in table))

    @property
    def is_one_to_one(self) -> bool:
        """Whether no two labels share a class."""
        return len(set(self.table.values())) == len(self.table)

    def at(self, classes: int) -> "Relabelling":
        """The same for another K; raises ValueError where a table for one K is all that is known."""
        if classes != self.classes and self.shift is None and not self.is_reversed:
            raise ValueError(f"the classes of the labels are known for K = {self.classes} alone")
        return replace(self, classes=classes)

    def labels_of(self, classes: Labels) -> Labels:
        """The label by which each class is trained; what is no class is passed on as it is."""
        k = self.classes
        if self.is_reversed:
            moved = k - 1 - classes
        elif self.shift is not None:
            moved = (classes - self.shift) % k if self.wraps else classes - self.shift
        else:
            label_of = {c: y for y, c in self.table.items()}
            moved = np.array([label_of.get(int(c), int(c)) for c in classes.ravel()]).reshape(classes.shape)
        return np.where((classes >= 0) & (classes < k), moved, classes)

    def ignored_in_line(self, label: int) -> int:
        """The label that is ignored, or the usual one that the loss makes of it."""
        seen = self.classes - 1 - label if self.is_reversed else label + (self.shift or 0)
        return seen if seen in USUALLY_IGNORED and label not in USUALLY_IGNORED else label

    def code(self, labels: str) -> str:
        """The class of each label, as code."""
        if self.is_reversed:
            return f"{self.classes - 1} - {labels}"
        if self.shift is None:
            return f"torch.tensor([{', '.join(str(self.table.get(y, y)) for y in range(self.classes))}])[{labels}]"
        moved = f"{labels} {'-' if self.shift < 0 else '+'} {abs(self.shift)}"
        return f"({moved}) % {self.classes}" if self.wraps else moved

    @property
    def description(self) -> str:
        """In words."""
        if self.is_reversed:
            text = "the classes are reversed: label y is taken as class K − 1 − y"
        elif self.shift is None:
            shown = ", ".join(f"{y}→{c}" for y, c in list(self.table.items())[:8])
            how = "permuted" if self.is_one_to_one else "several labels share a class"
            text = f"{how}: {shown}{', …' if len(self.table) > 8 else ''}"
        else:
            wrapped = ", modulo K" if self.wraps else ""
            text = f"label y is taken as y {'−' if self.shift < 0 else '+'} {abs(self.shift)}{wrapped}"
        gone = f"; label {' and '.join(map(str, self.missing))} is refused or has no gradient" if self.missing else ""
        return f"it trains towards another class: {text}{gone}"


@dataclass(frozen=True)
class Loss:
    """A loss in canonical form."""

    function: Callable[..., Any]  # the loss itself
    style: Style  # how the loss is called
    differences: bool = False  # whether gradients are finite differences, because the loss has no others
    seeded: bool = False  # whether every call starts from the same state of the random generators
    fresh: bool = False  # whether every call is to a new copy, because a call changes what the next one returns
    relabelling: Relabelling | None = None  # which label each class needs, where the loss takes labels as other classes
    coarse: bool = False  # whether values have float32's digits, so that finite differences need longer steps

    @property
    def dtype(self) -> torch.dtype:
        """The type of the loss's numbers."""
        return torch.float32 if self.style.single else torch.float64

    def values(self, logits: Array, labels: Labels, dtype: torch.dtype | None = None) -> Array:
        """What the loss returns, a number or an array of numbers, as float64."""
        out = self.returned(logits, labels, dtype or self.dtype)
        if isinstance(out, torch.Tensor) and not out.is_complex():
            out = out.detach().double().cpu().numpy()
        numbers = np.asarray(out)
        if numbers.dtype.kind not in "fiu" and numbers.dtype.name != "bfloat16":
            raise TypeError(f"it returns {type(out).__name__}, not a number")
        return numbers.astype(np.float64)

    def returned(self, logits: Array, labels: Labels, dtype: torch.dtype = torch.float64) -> Any:
        """What the loss returns, in its own type: see :func:`first_of`."""
        inputs: Any = formed(torch.tensor(logits, dtype=dtype), self.style.inputs)
        if self.style.library not in ("torch", "keras"):
            inputs = inputs.numpy()
        return self._called(inputs, labels, logits.shape[1])

    def labels_of(self, classes: Labels) -> Labels:
        """The labels by which the loss trains some classes."""
        return classes if self.relabelling is None or classes.ndim > 1 else self.relabelling.labels_of(classes)

    def value(self, logits: Array, labels: Labels) -> float:
        """The sum of the values."""
        return float(self.values(logits, labels).sum())

    def in_a_batch(self, logits: Array, labels: Labels) -> tuple[Array, Array, Array]:
        """The gradient of each row in the batch, the same of each row alone, (N, K), and their ratio, (N,)."""
        together = self.gradient(logits, labels)
        alone = np.concatenate([self.gradient(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
        with np.errstate(all="ignore"):
            return together, alone, (together * alone).sum(axis=1) / (alone**2).sum(axis=1)

    def gradient(self, logits: Array, labels: Labels) -> Array:
        """The gradient of the sum of the values by the logits, (N, K)."""
        if self.differences:
            return self.by_differences(logits, labels)
        return (self._jax_gradient if self.style.library == "jax" else self._torch_gradient)(logits, labels)

    def by_differences(
        self, logits: Array, labels: Labels, step: float | None = None, classes: Labels | None = None
    ) -> Array:
        """The same gradient by central differences: of the fourth order, or of the eighth where values are coarse."""
        columns = np.arange(logits.shape[1]) if classes is None else classes
        weights = EIGHTH if self.coarse and step is None else FOURTH
        step = (0.25 if self.coarse else 2e-3) if step is None else step
        slopes = np.zeros((len(logits), len(columns)))
        for row, column in np.ndindex(*slopes.shape):
            for distance, weight in enumerate(weights, start=1):
                for way in (distance, -distance):
                    moved = logits.copy()
                    moved[row, columns[column]] += way * step
                    slopes[row, column] += np.sign(way) * weight * self.value(moved, labels)
        return slopes / step

    def _torch_gradient(self, logits: Array, labels: Labels) -> Array:
        with torch.enable_grad():
            leaf = torch.tensor(logits, dtype=self.dtype, requires_grad=True)
            out = self._called(formed(leaf * 1.0, self.style.inputs), labels, logits.shape[1])
            gradient = None
            if isinstance(out, torch.Tensor) and out.requires_grad:
                (gradient,) = torch.autograd.grad(out.sum(), leaf, allow_unused=True)
        if gradient is None:
            raise RuntimeError("the value does not depend on the logits through torch")
        return gradient.detach().double().numpy()

    def _jax_gradient(self, logits: Array, labels: Labels) -> Array:
        jax = sys.modules["jax"]
        with jax.enable_x64(True):
            given = self.labels_of(labels)
            given = 1.0 * own_class(given, logits.shape[1]) if self.style.one_hot and labels.ndim == 1 else given
            gradient = _jax_gradient_of(self.function, self.style)
            return np.asarray(gradient(jax.numpy.asarray(logits), given), dtype=np.float64)

    def _called(self, inputs: Any, labels: Labels, classes: int) -> Any:
        style = self.style
        given: Any = self.labels_of(labels).copy()  # a loss in numpy may write over what it is given
        if style.one_hot and labels.ndim == 1:
            given = 1.0 * own_class(given, classes)
        if style.library == "torch" or (style.library == "keras" and isinstance(inputs, torch.Tensor)):
            given = torch.tensor(given)
            given = given.float() if style.single and given.is_floating_point() else given
        function = copy.deepcopy(self.function) if self.fresh else self.function
        precise = sys.modules["jax"].enable_x64(True) if style.library == "jax" else contextlib.nullcontext()
        with warnings.catch_warnings(), np.errstate(all="ignore"), precise:
            warnings.simplefilter("ignore")
            if self.seeded:
                torch.manual_seed(0)
                np.random.seed(0)
            try:
                return first_of(style.call(function, inputs, given), len(labels))
            except SystemExit as stop:
                raise RuntimeError(f"it ends the program (exit code {stop.code})") from None


def first_of(out: Any, rows: int = 0) -> Any:
    """The loss in what a call returned: the entry "loss" of a dictionary, the first of several, or a list of rows."""
    if isinstance(out, dict):
        out = out["loss"] if "loss" in out else next(iter(out.values()))
    if isinstance(out, list) and len(out) == rows > 1 and all(np.ndim(each) == 0 for each in out):
        return torch.stack(out) if all(isinstance(each, torch.Tensor) for each in out) else np.asarray(out)
    while isinstance(out, (tuple, list)) and len(out) > 0:
        out = out[0]
    return getattr(out, "loss", out) if not hasattr(out, "shape") and hasattr(out, "loss") else out


@functools.lru_cache(maxsize=64)
def _jax_gradient_of(function: Callable[..., Any], style: Style) -> Callable[[Any, Any], Any]:
    """The gradient of the sum, compiled once a shape; not compiled where the loss looks at the values of its labels."""
    jax = sys.modules["jax"]

    def total(z: Any, labels: Any) -> Any:
        return first_of(style.call(function, formed(z, style.inputs, jax.nn), labels)).sum()

    slow = jax.grad(total)
    fast = jax.jit(slow)

    def gradient(z: Any, labels: Any) -> Any:
        try:
            return fast(z, labels)
        except Exception:
            return slow(z, labels)

    return gradient


def formed(logits: Any, inputs: Inputs, functions: Any = torch) -> Any:
    """The logits as the loss takes them; ``functions`` is torch or ``jax.nn``."""
    if inputs == "log-probabilities":
        return functions.log_softmax(logits, -1)
    return functions.softmax(logits, -1) if inputs == "probabilities" else logits
