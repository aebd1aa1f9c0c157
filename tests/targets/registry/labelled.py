"""Targets of one label a position: one-hot, and smoothed in each way."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy import ndarray

from tests.targets.registry.case import (
    OVER,
    STRENGTHS,
    Example,
    Part,
    Row,
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


ROWS: dict[str, Row] = {
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
