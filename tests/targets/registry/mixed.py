"""Weighted pairs of targets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy import ndarray

import sfumato as sf
from tests.targets.registry.case import (
    SHARES,
    TARGETS,
    Case,
    Example,
    Part,
    Parts,
    Row,
    arguments,
    drawn_arrays,
    some_distribution,
    strength,
    strengths,
)


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


ROWS: dict[str, Row] = {
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
