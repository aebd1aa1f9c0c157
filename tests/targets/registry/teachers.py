"""Targets that a teacher has a part in."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy import ndarray

import sfumato as sf
from tests.targets.registry.case import (
    Case,
    Example,
    Part,
    Parts,
    Row,
    arguments,
    distribution,
    drawn_arrays,
    some_distribution,
    strength,
    strengths,
    to_torch,
)


def _draw_distil(draw, labels, k):
    teacher = distribution(draw, (*labels.shape, k))
    return {
        "teacher_probs": Part(teacher, "nk"),
        "alpha": strength(draw, labels),
        "masked": Part(draw(st.booleans())),  # ignored by a mask, or by the label
    }


def _build_distil(case: Case) -> sf.Target:
    given = arguments(case)
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
    probs = distribution(draw, (*labels.shape, k))[..., :count]
    probs[..., 0] += probs.sum(-1) == 0  # something must be there to renormalise
    return {
        "indices": Part(order, "n", classes=True),
        "probs": Part(probs, "n"),
        "alpha": strength(draw, labels),
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


def _top(rest: str) -> Example:
    def example(labels: ndarray, k: int, generator: np.random.Generator) -> Parts:
        teacher = some_distribution(generator, *labels.shape, k)
        indices = np.argsort(-teacher, -1)[..., : max(1, min(10, k - 2))]
        probs = np.take_along_axis(teacher, indices, -1)
        return {
            "indices": Part(indices, "n", classes=True),
            "probs": Part(probs, "n"),
            "alpha": strengths(labels, 0.2, 0.8),
            "rest": Part(rest),
        }

    return example


ROWS: dict[str, Row] = {
    "distil": Row(
        "(1−α)·e_y + α·p, p a teacher's",
        _draw_distil,
        _build_distil,
        _distilled,
        {
            "teacher": lambda labels, k, generator: {
                "teacher_probs": Part(some_distribution(generator, *labels.shape, k), "nk"),
                "alpha": strengths(labels, 0.2, 0.8),
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
