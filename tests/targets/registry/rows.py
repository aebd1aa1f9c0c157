"""Targets of one label a position, of probabilities for every class, of two targets, and of a teacher."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import strategies as st
from numpy import ndarray

import sfumato as sf
from tests.targets.registry.case import (
    OVER,
    SHARES,
    STRENGTHS,
    TARGETS,
    Case,
    Example,
    Part,
    Parts,
    Row,
    arguments,
    distribution,
    drawn_arrays,
    ignore_index_part,
    labelled_target,
    over_others_or_all,
    some_distribution,
    spread,
    strength,
    strengths,
    support_part,
    to_torch,
    within,
)


def _draw_smooth(draw, labels, k):
    return {
        "eps": strength(draw, labels),
        "over": Part(draw(st.sampled_from(OVER))),
        "support": support_part(draw, labels, k),
        "ignore_index": ignore_index_part(draw, k),
    }


def _draw_smooth_by_class(draw, labels, k):
    return {
        "eps_by_class": Part(draw(drawn_arrays((k,), STRENGTHS)), "k"),
        "over": Part(draw(st.sampled_from(OVER))),
        "ignore_index": ignore_index_part(draw, k),
    }


def _draw_smooth_prior(draw, labels, k):
    prior = distribution(draw, (k,))
    return {
        "prior": Part(prior, "k"),
        "eps": strength(draw, labels),
        "support": support_part(draw, labels, k, also=prior > 0),
        "ignore_index": ignore_index_part(draw, k),
    }


def _smooth(eps: float, over: str) -> Example:
    return lambda labels, k, generator: {"eps": Part(eps), "over": Part(over)}


def _all_but_the_next(labels: ndarray, k: int) -> ndarray:
    """(P…, K): all classes but the one after the label."""
    return np.arange(k) != (np.maximum(labels, 0)[..., None] + 1) % k


LABELLED: dict[str, Row] = {
    "one_hot": Row(
        "e_y",
        lambda draw, labels, k: {"ignore_index": ignore_index_part(draw, k)},
        lambda case: labelled_target(case, "one_hot"),
        lambda case: case.at_label,
        {"one-hot": lambda labels, k, generator: {}},
    ),
    "smooth": Row(
        "(1−ε)·e_y + ε·u, u even over the others, or over all",
        _draw_smooth,
        lambda case: labelled_target(case, "smooth"),
        lambda case: over_others_or_all(case, case.value("eps"), case.value("over"), case.value("support")),
        {
            "others": _smooth(0.2, "others"),
            "all": _smooth(0.2, "all"),
            "all of it": _smooth(1.0, "others"),
            "one strength a row": lambda labels, k, generator: {"eps": strengths(labels), "over": Part("others")},
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
        lambda case: labelled_target(case, "smooth_by_class", count=False),
        lambda case: over_others_or_all(
            case, case.value("eps_by_class")[np.maximum(case.labels, 0)], case.value("over")
        ),
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
        lambda case: labelled_target(case, "smooth_prior", count=False),
        lambda case: spread(case, within(case.value("prior"), case.value("support"))),
        {
            "prior": lambda labels, k, generator: {
                "prior": Part(np.arange(k) / (k * (k - 1) / 2), "k"),  # with a class that it gives nothing
                "eps": Part(0.3),
            },
            "prior within supports": lambda labels, k, generator: {
                "prior": Part(some_distribution(generator, k), "k"),
                "eps": Part(0.3),
                "support": Part(_all_but_the_next(labels, k), "nk"),
            },
        },
    ),
}


def _build_from_probs(case: Case) -> sf.Target:
    mask = torch.from_numpy(np.array(case.labels >= 0))
    probs = case.parts["probs"].value.copy()
    probs[case.labels < 0] = np.nan  # what an ignored position holds is nobody's business
    return sf.from_probs(to_torch(probs), mask=mask)


def _draw_from_counts(draw, labels, k):
    drawn = {
        "counts": Part(draw(drawn_arrays((*labels.shape, k), st.integers(0, 9))).astype(float), "nk"),
        "concentration": Part(draw(st.sampled_from([0.3, 1.0, 12.0, np.inf]))),
    }
    return drawn | ({"prior": Part(distribution(draw, (k,)), "k")} if draw(st.booleans()) else {})


def _build_from_counts(case: Case) -> sf.Target:
    return sf.from_counts(**arguments(case), mask=to_torch(case.valid, class_axes=0))


def _stored(case: Case, name: str, q: ndarray) -> ndarray:
    """Rounded to the type of an argument, in which the constructor keeps what it computed."""
    return q.astype(case.parts[name].value.dtype).astype(np.float64)


def _shrunk(case: Case) -> ndarray:
    n, kappa = case.value("counts"), case.value("concentration")
    prior = np.full(case.num_classes, 1 / case.num_classes) if case.value("prior") is None else case.value("prior")
    if np.isinf(kappa):
        return _stored(case, "counts", np.broadcast_to(prior, n.shape))
    return _stored(case, "counts", (n + kappa * prior) / (n.sum(-1, keepdims=True) + kappa))


def _own(labels: ndarray, k: int) -> ndarray:
    return np.arange(k) == labels[..., None]


def _several(spread: str) -> Example:
    return lambda labels, k, generator: {
        "present": Part(((generator.random((*labels.shape, k)) < 0.4) | _own(labels, k)).astype(float), "nk"),
        "eps": Part(0.2),
        "spread": Part(spread),
    }


def _several_smoothed(case: Case) -> ndarray:
    y, eps = case.value("present"), case.value("eps")
    added = eps / 2 if case.value("spread") == "half" else eps * y.sum(-1, keepdims=True) / case.num_classes
    return _stored(case, "present", (1 - eps) * y + added)


DENSE: dict[str, Row] = {
    "from_probs": Row(
        "any",
        lambda draw, labels, k: {"probs": Part(distribution(draw, (*labels.shape, k)), "nk")},
        _build_from_probs,
        lambda case: case.value("probs"),
        {
            "probabilities": lambda labels, k, generator: {
                "probs": Part(some_distribution(generator, *labels.shape, k), "nk")
            }
        },
    ),
    "from_counts": Row(
        "(n + κ·π)/(Σn + κ), n how many annotators named each class",
        _draw_from_counts,
        _build_from_counts,
        _shrunk,
        {
            "counts": lambda labels, k, generator: {
                "counts": Part(generator.integers(0, 5, (*labels.shape, k)).astype(float), "nk"),
                "concentration": Part(2.0),
                "prior": Part(some_distribution(generator, k), "k"),
            }
        },
    ),
    "smooth_multilabel": Row(
        "(1−ε)·y + ε·Σy/K, or (1−ε)·y + ε/2, y any number of labels",
        lambda draw, labels, k: {
            "present": Part(draw(drawn_arrays((*labels.shape, k), st.sampled_from([0.0, 1.0, 0.25]))), "nk"),
            "eps": Part(draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))),
            "spread": Part(draw(st.sampled_from(["count", "half"]))),
        },
        lambda case: sf.smooth_multilabel(**arguments(case), mask=to_torch(case.valid, class_axes=0)),
        _several_smoothed,
        {"several labels": _several("count"), "several labels, halves": _several("half")},
        mixes=False,
    ),
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
    return {"target_a": parts[0], "target_b": parts[1], "lam": strength(draw, labels, SHARES)}


def _mixed(case: Case) -> ndarray:
    lam = np.asarray(case.value("lam"))[..., None]
    return lam * case.parts["target_a"].q() + (1 - lam) * case.parts["target_b"].q()


def _pair(name: str, parts: Callable[[int, np.random.Generator], Parts]) -> Example:
    """A mixture of two targets of one constructor, each with arguments of its own."""

    def example(labels: ndarray, k: int, generator: np.random.Generator) -> Parts:
        other = np.where(labels >= 0, generator.integers(0, k, labels.shape), -1)
        halves = [Case(name, k, own, parts(k, generator)) for own in (labels, other)]
        return {"target_a": halves[0], "target_b": halves[1], "lam": strengths(labels, 0.1, 0.9)}

    return example


MIXED: dict[str, Row] = {
    "mix": Row(
        "λ·q_a + (1−λ)·q_b",
        _draw_mix,
        lambda case: sf.mix(**arguments(case)),
        _mixed,
        {
            "pair": _pair("one_hot", lambda k, generator: {}),
            "pair of others": _pair("smooth", lambda k, generator: {"eps": Part(0.2), "over": Part("others")}),
            "pair of priors": _pair(
                "smooth_prior",
                lambda k, generator: {"eps": Part(0.3), "prior": Part(some_distribution(generator, k), "k")},
            ),
            "pair of tables": _pair(
                "smooth_rows", lambda k, generator: {"rows": Part(some_distribution(generator, k, k), "kk")}
            ),
        },
        mixes=False,
    )
}


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


TEACHERS: dict[str, Row] = {
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
