"""The table of targets: every constructor with the distribution that it stands for, written out from its formula.

A row of :data:`TARGETS` says how random arguments are drawn, how the target is built from them, its formula in numpy,
the formula as the docs print it, and a few examples by name. The tests of the targets and of the loss, the benchmark
and the table in docs/design.md read the rows: a new constructor is one row more.

A :class:`Case` knows which of its arguments run over positions and which over classes, so that any case can be
permuted, cut and built again.
"""

from __future__ import annotations

import inspect
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
WITHOUT_LABEL = ("from_probs", "distil_sampled")


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
    printed: str  # the formula, in the letters of docs/design.md
    draw: Callable[..., Parts]  # (draw, labels, K) → parts
    build: Callable[[Case], sf.Target]
    formula: Callable[[Case], ndarray]
    examples: dict[str, Example]  # (labels, K, generator) → parts
    mixes: bool = True  # whether mix takes it


def to_torch(array: ndarray, *, class_axes: int = 1) -> torch.Tensor:
    """With the class axis moved to its place: 1, or 0 where there is one position."""
    if class_axes == 1 and array.ndim > 2:
        array = np.moveaxis(array, -1, 1)
    return torch.from_numpy(np.array(array))  # a copy of its own, also of what has no axes


def _arguments(case: Case) -> dict[str, Any]:
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


def _labelled(case: Case, name: str, *, count: bool = True) -> sf.Target:
    """A constructor that takes labels, and the number of classes unless another argument has it."""
    given = _arguments(case)
    ignored = given.pop("ignore_index", -100)
    labels = to_torch(np.where(case.labels >= 0, case.labels, ignored), class_axes=0)
    numbers = (case.num_classes,) if count else ()
    return getattr(sf, name)(labels, *numbers, **given, ignore_index=ignored)


def _distribution(draw: Callable[..., Any], shape: tuple[int, ...]) -> ndarray:
    """Rows that sum to 1, zeros among them."""
    whole = draw(drawn_arrays(shape, st.integers(0, 9)))
    whole[..., 0] += whole.sum(-1) == 0
    return whole / whole.sum(-1, keepdims=True)


def drawn_arrays(shape: tuple[int, ...], elements: Any) -> Any:
    count = int(np.prod(shape))
    return st.lists(elements, min_size=count, max_size=count).map(lambda x: np.array(x).reshape(shape))


def _strength(draw: Callable[..., Any], labels: ndarray, strengths: Any = STRENGTHS) -> Part:
    """One for all, or one for each of the first axes of the positions."""
    dims = draw(st.integers(0, labels.ndim))
    if dims == 0:
        return Part(draw(strengths))
    return Part(draw(drawn_arrays(labels.shape[:dims], strengths)), "n")


def _ignore_index(draw: Callable[..., Any], num_classes: int) -> Part:
    return Part(draw(st.sampled_from([-100, -1, num_classes, 255])))


def _support(draw: Callable[..., Any], labels: ndarray, num_classes: int, also: ndarray | None = None) -> Part:
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


def _spread(case: Case, share: ndarray) -> ndarray:
    """(1 − ε)·e_y + ε·share, (P…, K)."""
    eps = np.asarray(case.value("eps"))[..., None]
    return (1 - eps) * case.at_label + eps * share


def _over(case: Case, eps: Any, over: str, support: ndarray | None = None) -> ndarray:
    mask = np.ones(case.num_classes) if support is None else support.astype(float)
    if over == "others":
        mask = mask * (1 - case.at_label)
    eps = np.asarray(eps)[..., None]
    return (1 - eps) * case.at_label + eps * mask / mask.sum(-1, keepdims=True)


def _within(prior: ndarray, support: ndarray | None) -> ndarray:
    inside = prior if support is None else prior * support
    return inside / inside.sum(-1, keepdims=True)


def _draw_smooth(draw, labels, k):
    return {
        "eps": _strength(draw, labels),
        "over": Part(draw(st.sampled_from(OVER))),
        "support": _support(draw, labels, k),
        "ignore_index": _ignore_index(draw, k),
    }


def _draw_smooth_by_class(draw, labels, k):
    return {
        "eps_by_class": Part(draw(drawn_arrays((k,), STRENGTHS)), "k"),
        "over": Part(draw(st.sampled_from(OVER))),
        "ignore_index": _ignore_index(draw, k),
    }


def _draw_smooth_prior(draw, labels, k):
    prior = _distribution(draw, (k,))
    return {
        "prior": Part(prior, "k"),
        "eps": _strength(draw, labels),
        "support": _support(draw, labels, k, also=prior > 0),
        "ignore_index": _ignore_index(draw, k),
    }


def _draw_mix(draw, labels, k):
    """Two targets of the same positions, either of them with probabilities or with one label each.

    A position that is ignored is so in the first, in the second or in both.
    """
    parts = []
    where = draw(drawn_arrays(labels.shape, st.sampled_from(["both", "target_a", "target_b"])))
    for place in ("target_a", "target_b"):
        ignored = (labels < 0) & ((where == place) | (where == "both"))
        own = np.where(ignored, -1, (np.maximum(labels, 0) + draw(st.integers(0, k - 1))) % k)
        name = draw(st.sampled_from([name for name, row in TARGETS.items() if row.mixes]))
        parts.append(Case(name, k, own, TARGETS[name].draw(draw, own, k)))
    return {"target_a": parts[0], "target_b": parts[1], "lam": _strength(draw, labels, SHARES)}


def _mixed(case: Case) -> ndarray:
    lam = np.asarray(case.value("lam"))[..., None]
    return lam * case.parts["target_a"].q() + (1 - lam) * case.parts["target_b"].q()


def _draw_distil(draw, labels, k):
    teacher = _distribution(draw, (*labels.shape, k))
    return {
        "teacher_probs": Part(teacher, "nk"),
        "alpha": _strength(draw, labels),
        "masked": Part(draw(st.booleans())),  # ignored by a mask, or by the label
    }


def _build_distil(case: Case) -> sf.Target:
    given = _arguments(case)
    if not given.pop("masked", False):
        return sf.distil(to_torch(np.where(case.valid, case.labels, -100), class_axes=0), **given)
    return sf.distil(
        to_torch(np.maximum(case.labels, 0), class_axes=0), **given, mask=to_torch(case.valid, class_axes=0)
    )


def _distilled(case: Case) -> ndarray:
    alpha = np.asarray(case.value("alpha"))[..., None]
    return (1 - alpha) * case.at_label + alpha * case.value("teacher_probs")


def _draw_distil_sampled(draw, labels, k):
    shape = (*labels.shape, draw(st.integers(1, 4)))
    drawn: Parts = {"indices": Part(draw(drawn_arrays(shape, st.integers(0, k - 1))), "n", classes=True)}
    if draw(st.booleans()):
        weights = draw(drawn_arrays(shape, st.sampled_from([0.0, 0.5, 1.0, 3.0])))
        weights[..., 0] += weights.sum(-1) == 0
        drawn["weights"] = Part(weights, "n")
    return drawn | {"told": Part(draw(st.booleans()))}


def _draws(labels: ndarray, k: int, generator: np.random.Generator) -> Parts:
    return {"indices": Part(generator.integers(0, k, (*labels.shape, 6)), "n", classes=True)}


def _build_distil_sampled(case: Case) -> sf.Target:
    given = {name: to_torch(case.parts[name].value) for name in ("indices", "weights") if name in case.parts}
    mask = None if case.valid.all() else to_torch(case.valid, class_axes=0)
    return sf.distil_sampled(**given, num_classes=None if case.value("told") is False else case.num_classes, mask=mask)


def _sampled(case: Case) -> ndarray:
    drawn = np.eye(case.num_classes)[case.parts["indices"].value]
    weights = case.parts["weights"].value[..., None] if "weights" in case.parts else np.ones((*drawn.shape[:-1], 1))
    return (drawn * weights).sum(-2) / weights.sum(-2)


def _draw_distil_top(draw, labels, k):
    count = draw(st.integers(1, k - 1))
    order = draw(drawn_arrays((*labels.shape, k), st.floats(0, 1))).argsort(-1)[..., :count]
    probs = _distribution(draw, (*labels.shape, k))[..., :count]
    probs[..., 0] += probs.sum(-1) == 0  # something must be there to renormalise
    return {
        "indices": Part(order, "n", classes=True),
        "probs": Part(probs, "n"),
        "alpha": _strength(draw, labels),
        "rest": Part(draw(st.sampled_from(["uniform", "renormalise", "drop"]))),
        "told": Part(draw(st.booleans())),  # how many classes there are, or left to the logits
    }


def _build_distil_top(case: Case) -> sf.Target:
    given = {name: part.value for name, part in case.parts.items() if name != "told"}
    for name in ("indices", "probs"):
        given[name] = to_torch(given[name])
    given["alpha"] = to_torch(given["alpha"], class_axes=0) if isinstance(given["alpha"], ndarray) else given["alpha"]
    labels = to_torch(np.where(case.labels >= 0, case.labels, -100), class_axes=0)
    return sf.distil_top(labels, **given, num_classes=None if case.value("told") is False else case.num_classes)


def _top_distilled(case: Case) -> ndarray:
    indices, probs = case.parts["indices"].value, case.value("probs")
    teacher = np.zeros((*case.labels.shape, case.num_classes))
    np.put_along_axis(teacher, indices, probs, -1)
    if case.value("rest") == "uniform":
        stored = np.zeros(teacher.shape, dtype=bool)
        np.put_along_axis(stored, indices, True, -1)
        left = 1 - probs.sum(-1, keepdims=True)
        teacher += np.where(stored, 0.0, left / (case.num_classes - indices.shape[-1]))
    elif case.value("rest") == "renormalise":
        teacher /= probs.sum(-1, keepdims=True)
    alpha = np.asarray(case.value("alpha"))[..., None]
    return (1 - alpha) * case.at_label + alpha * teacher


def _build_from_probs(case: Case) -> sf.Target:
    mask = torch.from_numpy(np.array(case.labels >= 0))
    probs = case.parts["probs"].value.copy()
    probs[case.labels < 0] = np.nan  # what an ignored position holds is nobody's business
    return sf.from_probs(to_torch(probs), mask=mask)


def _some_distribution(generator: np.random.Generator, *shape: int) -> ndarray:
    return generator.dirichlet(np.ones(shape[-1]), shape[:-1])


def _strengths(labels: ndarray, least: float = 0.0, most: float = 1.0) -> Part:
    """One for each of the first axis of the positions; one for all where there is one position."""
    return Part(np.linspace(least, most, len(labels)), "n") if labels.ndim else Part(most)


def _smooth(eps: float, over: str) -> Example:
    return lambda labels, k, generator: {"eps": Part(eps), "over": Part(over)}


def _all_but_the_next(labels: ndarray, k: int) -> ndarray:
    """(P…, K): all classes but the one after the label."""
    return np.arange(k) != (np.maximum(labels, 0)[..., None] + 1) % k


def _pair(name: str, parts: Callable[[int, np.random.Generator], Parts]) -> Example:
    """A mixture of two targets of one constructor, each with arguments of its own."""

    def example(labels: ndarray, k: int, generator: np.random.Generator) -> Parts:
        other = np.where(labels >= 0, generator.integers(0, k, labels.shape), -1)
        halves = [Case(name, k, own, parts(k, generator)) for own in (labels, other)]
        return {"target_a": halves[0], "target_b": halves[1], "lam": _strengths(labels, 0.1, 0.9)}

    return example


def _top(rest: str) -> Example:
    def example(labels: ndarray, k: int, generator: np.random.Generator) -> Parts:
        teacher = _some_distribution(generator, *labels.shape, k)
        indices = np.argsort(-teacher, -1)[..., : max(1, min(10, k - 2))]
        probs = np.take_along_axis(teacher, indices, -1)
        return {
            "indices": Part(indices, "n", classes=True),
            "probs": Part(probs, "n"),
            "alpha": _strengths(labels, 0.2, 0.8),
            "rest": Part(rest),
        }

    return example


TARGETS: dict[str, Row] = {
    "one_hot": Row(
        "e_y",
        lambda draw, labels, k: {"ignore_index": _ignore_index(draw, k)},
        lambda case: _labelled(case, "one_hot"),
        lambda case: case.at_label,
        {"one-hot": lambda labels, k, generator: {}},
    ),
    "smooth": Row(
        "(1−ε)·e_y + ε·u, u even over the others, or over all",
        _draw_smooth,
        lambda case: _labelled(case, "smooth"),
        lambda case: _over(case, case.value("eps"), case.value("over"), case.value("support")),
        {
            "others": _smooth(0.2, "others"),
            "all": _smooth(0.2, "all"),
            "all of it": _smooth(1.0, "others"),
            "one strength a row": lambda labels, k, generator: {"eps": _strengths(labels), "over": Part("others")},
            "support": lambda labels, k, generator: {
                "eps": Part(0.3),
                "over": Part("others"),
                "support": Part(np.isin(np.arange(k), np.append(labels, [0, 1])), "k"),
            },
            "supports of their own": lambda labels, k, generator: {
                "eps": Part(0.3),
                "over": Part("all"),
                "support": Part(_all_but_the_next(labels, k), "nk"),
            },
        },
    ),
    "smooth_by_class": Row(
        "(1−ε_y)·e_y + ε_y·u, u even over the others, or over all",
        _draw_smooth_by_class,
        lambda case: _labelled(case, "smooth_by_class", count=False),
        lambda case: _over(case, case.value("eps_by_class")[np.maximum(case.labels, 0)], case.value("over")),
        {
            "by class": lambda labels, k, generator: {
                "eps_by_class": Part(np.linspace(0, 0.9, k), "k"),
                "over": Part("all"),
            }
        },
    ),
    "smooth_prior": Row(
        "(1−ε)·e_y + ε·π",
        _draw_smooth_prior,
        lambda case: _labelled(case, "smooth_prior", count=False),
        lambda case: _spread(case, _within(case.value("prior"), case.value("support"))),
        {
            "prior": lambda labels, k, generator: {
                "prior": Part(np.arange(k) / (k * (k - 1) / 2), "k"),  # with a class that it gives nothing
                "eps": Part(0.3),
            },
            "prior within supports": lambda labels, k, generator: {
                "prior": Part(_some_distribution(generator, k), "k"),
                "eps": Part(0.3),
                "support": Part(_all_but_the_next(labels, k), "nk"),
            },
        },
    ),
    "from_probs": Row(
        "any",
        lambda draw, labels, k: {"probs": Part(_distribution(draw, (*labels.shape, k)), "nk")},
        _build_from_probs,
        lambda case: case.value("probs"),
        {
            "probabilities": lambda labels, k, generator: {
                "probs": Part(_some_distribution(generator, *labels.shape, k), "nk")
            }
        },
    ),
    "smooth_rows": Row(
        "the row R_y of a table",
        lambda draw, labels, k: {"rows": Part(_distribution(draw, (k, k)), "kk")},
        lambda case: _labelled(case, "smooth_rows", count=False),
        lambda case: case.value("rows")[np.maximum(case.labels, 0)],
        {"rows of a table": lambda labels, k, generator: {"rows": Part(_some_distribution(generator, k, k), "kk")}},
    ),
    "mix": Row(
        "λ·q_a + (1−λ)·q_b",
        _draw_mix,
        lambda case: sf.mix(**_arguments(case)),
        _mixed,
        {
            "pair": _pair("one_hot", lambda k, generator: {}),
            "pair of others": _pair("smooth", lambda k, generator: {"eps": Part(0.2), "over": Part("others")}),
            "pair of priors": _pair(
                "smooth_prior",
                lambda k, generator: {"eps": Part(0.3), "prior": Part(_some_distribution(generator, k), "k")},
            ),
            "pair of tables": _pair(
                "smooth_rows", lambda k, generator: {"rows": Part(_some_distribution(generator, k, k), "kk")}
            ),
        },
        mixes=False,
    ),
    "distil": Row(
        "(1−α)·e_y + α·p, p a teacher's",
        _draw_distil,
        _build_distil,
        _distilled,
        {
            "teacher": lambda labels, k, generator: {
                "teacher_probs": Part(_some_distribution(generator, *labels.shape, k), "nk"),
                "alpha": _strengths(labels, 0.2, 0.8),
            }
        },
        mixes=False,
    ),
    "distil_sampled": Row(
        "the shares of classes that were drawn from a teacher",
        _draw_distil_sampled,
        _build_distil_sampled,
        _sampled,
        {
            "sampled": _draws,
            "sampled, weighted": lambda labels, k, generator: {
                **_draws(labels, k, generator),
                "weights": Part(generator.uniform(0.5, 2, (*labels.shape, 6)), "n"),
            },
        },
        mixes=False,
    ),
    "distil_top": Row(
        "(1−α)·e_y + α·t, t the stored largest of a teacher's, and what is left even, added to them, or dropped",
        _draw_distil_top,
        _build_distil_top,
        _top_distilled,
        {
            "stored, uniform": _top("uniform"),
            "stored, renormalised": _top("renormalise"),
            "stored, dropped": _top("drop"),
        },
        mixes=False,
    ),
}

EXAMPLES = {example: name for name, row in TARGETS.items() for example in row.examples}
ONE_OF_EACH = [next(iter(row.examples)) for row in TARGETS.values()]


def example(name: str, labels: ndarray | torch.Tensor, k: int, dtype: torch.dtype = torch.float64) -> Case:
    """An example of the table for these labels, −1 (or −100) where ignored; probabilities of rows in ``dtype``."""
    labels = np.maximum(np.asarray(labels), -1)
    row = TARGETS[EXAMPLES[name]]
    parts = row.examples[name](labels, k, np.random.default_rng(0))
    return _rounded(Case(EXAMPLES[name], k, labels, parts), "f4" if dtype == torch.float32 else "f8")


def _rounded(case: Case, kind: str) -> Case:
    def rounded(part: Any) -> Any:
        if isinstance(part, Case):
            return _rounded(part, kind)
        return (
            part._replace(value=part.value.astype(kind)) if part.axes == "nk" and part.value.dtype.kind == "f" else part
        )

    return replace(case, parts={name: rounded(part) for name, part in case.parts.items()})


# Those of the package, found by what they return: one without a row fails a test of its own.
PUBLIC = sorted(
    name
    for name in dir(sf)
    if inspect.isfunction(made := getattr(sf, name))
    and inspect.signature(made).return_annotation in ("Target", sf.Target)
)
