"""Targets with a probability for every class."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from numpy import ndarray

import sfumato as sf
from tests.targets.registry.case import (
    Case,
    Example,
    Part,
    Row,
    arguments,
    distribution,
    drawn_arrays,
    some_distribution,
    to_torch,
)


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


ROWS: dict[str, Row] = {
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
