"""What the rows of the table of targets are made of: a case with its arguments, how arguments are drawn and built.

A :class:`Case` knows which of its arguments run over positions and which over classes, so that any case can be
permuted, cut and built again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from hypothesis import strategies as st
from numpy import ndarray

import sfumato as sf
from sfumato.theory import Over

# The words that the code's own checks take.
OVER = get_args(Over)
# None so small that a share of it is nothing at all.
STRENGTHS = st.one_of(st.sampled_from([0.0, 1.0, 1e-300, 1e-8, 0.1, 0.5, 1 - 2**-53]), st.floats(1e-300, 1))
# A share of a target that has a strength: float64 holds their product.
SHARES = st.one_of(st.sampled_from([0.0, 1.0, 1e-8, 0.1, 0.5, 1 - 2**-53]), st.floats(1e-8, 1))


# Constructors whose positions have no label; those of mix have two.
WITHOUT_LABEL = ("from_probs", "from_counts", "smooth_multilabel", "distil_sampled")


class Part(NamedTuple):
    """An argument; ``axes`` has "n" where it runs over the positions or their first axes, a "k" for each class axis."""

    value: Any
    axes: str = ""
    classes: bool = False  # its values are classes


@dataclass(frozen=True)
class Case:
    """The arguments of one target, classes last; a label of −1 marks an ignored position."""

    name: str
    num_classes: int
    labels: ndarray  # (P…)
    parts: dict[str, Any]  # Part, or Case for a target within a target

    @property
    def valid(self) -> ndarray:
        inner = [part.valid for part in self.parts.values() if isinstance(part, Case)]
        return np.logical_and.reduce([self.labels >= 0, *inner])

    def build(self) -> sf.Target:
        """The target, by the public constructor."""
        return TARGETS[self.name].build(self)

    def q(self) -> ndarray:
        """(P…, K): the distribution, zeros where ignored."""
        with np.errstate(all="ignore"):
            q = TARGETS[self.name].formula(self)
        return np.where(self.valid[..., None], q, 0.0)

    def rows(self, index: Any) -> Case:
        """The case of some of the positions, by an index of their first axis."""

        def pick(part: Any) -> Any:
            if isinstance(part, Case):
                return part.rows(index)
            return part._replace(value=part.value[index]) if part.axes.startswith("n") else part

        return replace(self, labels=self.labels[index], parts={name: pick(part) for name, part in self.parts.items()})

    def permuted(self, order: ndarray) -> Case:
        """The case in which class ``order[j]`` is called j."""
        place = np.argsort(order)

        def rename(values: ndarray) -> ndarray:
            return np.where(values >= 0, place[values], values)

        def move(part: Any) -> Any:
            if isinstance(part, Case):
                return part.permuted(order)
            if part.classes:
                return part._replace(value=rename(part.value))
            value = part.value
            for axis in range(part.axes.count("k")):
                value = np.take(value, order, axis=-1 - axis)
            return part._replace(value=value)

        return replace(self, labels=rename(self.labels), parts={name: move(part) for name, part in self.parts.items()})

    def value(self, name: str) -> Any:
        """An argument, one that runs over first axes of the positions shaped to multiply (P…); None if it is not given.

        Numbers are float64: the formula does not round, in whatever type the target is made from them.
        """
        part = self.parts.get(name, Part(None))
        if isinstance(part.value, ndarray) and part.value.dtype.kind == "f":
            part = part._replace(value=part.value.astype(np.float64))
        if part.axes == "n" and not part.classes:
            return part.value.reshape(part.value.shape + (1,) * (self.labels.ndim - part.value.ndim))
        return part.value

    @property
    def at_label(self) -> ndarray:
        """(P…, K): e_y, with class 0 where ignored."""
        return np.eye(self.num_classes)[np.maximum(self.labels, 0)]

    def label_weight(self, weight: ndarray) -> ndarray | None:
        """(P…): the class weight of each position's label; None where it has no label."""
        if self.name in WITHOUT_LABEL:
            return None  # a mean over probabilities is one over their rows
        if self.name == "mix":
            first, second = (self.parts[name].label_weight(weight) for name in ("target_a", "target_b"))
            if first is None or second is None:
                return None
            return self.value("lam") * first + (1 - self.value("lam")) * second
        return weight[np.maximum(self.labels, 0)]


Parts = dict[str, Any]
Example = Callable[[ndarray, int, np.random.Generator], Parts]


class Row(NamedTuple):
    printed: str  # the formula, as docs/methods.md prints it
    draw: Callable[..., Parts]  # (draw, labels, K) → parts
    build: Callable[[Case], sf.Target]
    formula: Callable[[Case], ndarray]
    examples: dict[str, Example]  # (labels, K, generator) → parts
    mixes: bool = True  # whether mix takes it


TARGETS: dict[str, Row] = {}
"""Filled by the package: a case finds its own row here."""


def to_torch(array: ndarray, *, class_axes: int = 1) -> torch.Tensor:
    """With the class axis moved to its place: 1, or 0 where there is one position."""
    if class_axes == 1 and array.ndim > 2:
        array = np.moveaxis(array, -1, 1)
    return torch.from_numpy(np.array(array))  # a copy of its own, also of what has no axes


def arguments(case: Case) -> dict[str, Any]:
    """The parts by name, as the constructors take them."""
    given: dict[str, Any] = {}
    for name, part in case.parts.items():
        if isinstance(part, Case):
            given[name] = part.build()
        elif isinstance(part.value, ndarray):
            runs_over_both = part.axes.startswith("nk")
            given[name] = to_torch(part.value, class_axes=1 if runs_over_both else 0)
        else:
            given[name] = part.value
    return given


def labelled_target(case: Case, name: str, *, count: bool = True) -> sf.Target:
    """A constructor that takes labels, and the number of classes unless another argument has it."""
    given = arguments(case)
    ignored = given.pop("ignore_index", -100)
    labels = to_torch(np.where(case.labels >= 0, case.labels, ignored), class_axes=0)
    numbers = (case.num_classes,) if count else ()
    return getattr(sf, name)(labels, *numbers, **given, ignore_index=ignored)


def distribution(draw: Callable[..., Any], shape: tuple[int, ...]) -> ndarray:
    """Rows that sum to 1, zeros among them."""
    whole = draw(drawn_arrays(shape, st.integers(0, 9)))
    whole[..., 0] += whole.sum(-1) == 0
    return whole / whole.sum(-1, keepdims=True)


def drawn_arrays(shape: tuple[int, ...], elements: Any) -> Any:
    count = int(np.prod(shape))
    return st.lists(elements, min_size=count, max_size=count).map(lambda x: np.array(x).reshape(shape))


def strength(draw: Callable[..., Any], labels: ndarray, strengths: Any = STRENGTHS) -> Part:
    """One for all, or one for each of the first axes of the positions."""
    dims = draw(st.integers(0, labels.ndim))
    if dims == 0:
        return Part(draw(strengths))
    return Part(draw(drawn_arrays(labels.shape[:dims], strengths)), "n")


def ignore_index_part(draw: Callable[..., Any], num_classes: int) -> Part:
    return Part(draw(st.sampled_from([-100, -1, num_classes, 255])))


def support_part(draw: Callable[..., Any], labels: ndarray, num_classes: int, also: ndarray | None = None) -> Part:
    """None, or classes that hold every label and one more: for all, or for each position."""
    kind = draw(st.sampled_from(["none", "classes", "positions"]))
    if kind == "none":
        return Part(None)
    shape = labels.shape if kind == "positions" else ()
    mask = draw(drawn_arrays((*shape, num_classes), st.booleans()))
    known = np.maximum(labels, 0)
    if kind == "positions":
        np.put_along_axis(mask, known[..., None], True, -1)
        np.put_along_axis(mask, (known[..., None] + 1) % num_classes, True, -1)
    else:
        mask[known] = True
        mask[(known + 1) % num_classes] = True
    if also is not None:
        mask = mask | also
    return Part(mask, "nk" if kind == "positions" else "k")


def spread(case: Case, share: ndarray) -> ndarray:
    """(1 − ε)·e_y + ε·share, (P…, K)."""
    eps = np.asarray(case.value("eps"))[..., None]
    return (1 - eps) * case.at_label + eps * share


def over_others_or_all(case: Case, eps: Any, over: str, support: ndarray | None = None) -> ndarray:
    mask = np.ones(case.num_classes) if support is None else support.astype(float)
    if over == "others":
        mask = mask * (1 - case.at_label)
    eps = np.asarray(eps)[..., None]
    return (1 - eps) * case.at_label + eps * mask / mask.sum(-1, keepdims=True)


def within(prior: ndarray, support: ndarray | None) -> ndarray:
    inside = prior if support is None else prior * support
    return inside / inside.sum(-1, keepdims=True)


def some_distribution(generator: np.random.Generator, *shape: int) -> ndarray:
    return generator.dirichlet(np.ones(shape[-1]), shape[:-1])


def strengths(labels: ndarray, least: float = 0.0, most: float = 1.0) -> Part:
    """One for each of the first axis of the positions; one for all where there is one position."""
    return Part(np.linspace(least, most, len(labels)), "n") if labels.ndim else Part(most)
