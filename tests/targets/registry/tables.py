"""Targets that a table has for each label: any table, and those of :mod:`sfumato.class_tables`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from numpy import ndarray

import sfumato as sf
from tests.targets.registry.case import (
    OVER,
    Case,
    Part,
    Row,
    arguments,
    distribution,
    drawn_arrays,
    labelled_target,
    some_distribution,
    to_torch,
)

SCALES = st.sampled_from([0.25, 0.7, 1.0, 3.0])


def _of_rows(case: Case, rows: torch.Tensor) -> sf.Target:
    return sf.smooth_rows(to_torch(np.where(case.labels >= 0, case.labels, -100), class_axes=0), rows)


def _row_of_label(case: Case, table: ndarray) -> ndarray:
    return table[np.maximum(case.labels, 0)]


def _falling(distances: ndarray) -> ndarray:
    mass = np.exp(-distances)
    return mass / mass.sum(1, keepdims=True)


def _ordinal(case: Case) -> ndarray:
    r = case.value("values")
    return _row_of_label(case, _falling(np.abs(r - r[:, None]) ** case.value("power") / case.value("tau")))


def _draw_similarity(draw, labels, k):
    s = draw(drawn_arrays((k, k), st.floats(-1, 1)))
    np.fill_diagonal(s, 1.0)
    return {"similarities": Part(s, "kk"), "tau": Part(draw(SCALES))}


def _cosines(generator: np.random.Generator, k: int) -> ndarray:
    v = generator.normal(size=(k, 6))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    cosines = v @ v.T
    np.fill_diagonal(cosines, 1.0)
    return cosines


# A tree of as many leaves as there are classes: their names are split in two until a few are left.
def _tree(names: list[str], cut: Callable[[int], int]) -> Any:
    if len(names) <= 2:
        return names
    at = cut(len(names))
    return {f"{len(part)} from {part[0]}": _tree(part, cut) for part in (names[:at], names[at:])}


def _draw_hierarchy(draw, labels, k):
    names = [f"class {i}" for i in range(k)]
    tree = _tree(draw(st.permutations(names)), lambda count: draw(st.integers(1, count - 1)))
    return {"tree": Part(tree), "beta": Part(draw(SCALES)), "classes": Part(np.array(names), "k")}


def _some_tree(labels: ndarray, k: int, generator: np.random.Generator) -> dict[str, Part]:
    names = [f"class {i}" for i in range(k)]
    tree = _tree(names, lambda count: int(generator.integers(1, count)))
    return {"tree": Part(tree), "beta": Part(4.0), "classes": Part(np.array(names), "k")}


def _build_hierarchy(case: Case) -> sf.Target:
    rows = sf.class_tables.hierarchy(
        case.value("tree"), case.value("beta"), classes=case.value("classes").tolist(), dtype=torch.float64
    )
    return _of_rows(case, rows)


def _paths(tree: Any, above: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """The nodes above each leaf, from the root on."""
    if isinstance(tree, list):
        return dict.fromkeys(tree, above)
    return {leaf: path for name, inside in tree.items() for leaf, path in _paths(inside, (*above, name)).items()}


def _hierarchy(case: Case) -> ndarray:
    """Nodes are known by the names above them, so the lowest shared node is the longest common beginning."""
    paths = {leaf: ("root", *path) for leaf, path in _paths(case.value("tree")).items()}
    height: dict[tuple[str, ...], int] = {}
    for path in paths.values():
        for depth in range(1, len(path) + 1):
            height[path[:depth]] = max(height.get(path[:depth], 0), len(path) - depth + 1)
    classes = case.value("classes").tolist()
    d = np.zeros((len(classes), len(classes)))
    for i, a in enumerate(classes):
        for j, b in enumerate(classes):
            shared = [x for x, y in zip(paths[a], paths[b], strict=False) if x == y]
            d[i, j] = 0 if a == b else height[tuple(shared)]
    return _row_of_label(case, _falling(case.value("beta") * d / d.max()))


def _draw_confusion(draw, labels, k):
    return {
        "counts": Part(draw(drawn_arrays((k, k), st.integers(0, 20))).astype(float), "kk"),
        "eps": Part(draw(st.sampled_from([0.0, 0.1, 0.7, 1.0]))),
        "over": Part(draw(st.sampled_from(OVER))),
        "shrinkage": Part(draw(st.sampled_from([0.5, 3.0, 100.0]))),
    }


def _some_confusions(over: str) -> Callable[[ndarray, int, np.random.Generator], dict[str, Part]]:
    return lambda labels, k, generator: {
        "counts": Part(generator.integers(0, 9, (k, k)) + 50.0 * np.eye(k), "kk"),
        "eps": Part(0.3),
        "over": Part(over),
        "shrinkage": Part(5.0),
    }


def _confusion(case: Case) -> ndarray:
    counts, k = case.value("counts"), case.num_classes
    table = np.zeros((k, k))
    for y in range(k):
        among = [j for j in range(k) if j != y or case.value("over") == "all"]
        total = sum(counts[y, j] for j in among) + case.value("shrinkage")
        for j in among:
            table[y, j] = case.value("eps") * (counts[y, j] + case.value("shrinkage") / len(among)) / total
        table[y, y] += 1 - case.value("eps")
    return _row_of_label(case, table)


ROWS: dict[str, Row] = {
    "smooth_rows": Row(
        "the row R_y of a table",
        lambda draw, labels, k: {"rows": Part(distribution(draw, (k, k)), "kk")},
        lambda case: labelled_target(case, "smooth_rows", count=False),
        lambda case: _row_of_label(case, case.value("rows")),
        {"rows of a table": lambda labels, k, generator: {"rows": Part(some_distribution(generator, k, k), "kk")}},
    ),
    "class_tables.ordinal": Row(
        "the row R_y, R_yk ∝ exp(−abs(r_k − r_y)^a/τ)",
        lambda draw, labels, k: {
            "values": Part(draw(drawn_arrays((k,), st.floats(-3, 3))), "k"),
            "tau": Part(draw(SCALES)),
            "power": Part(draw(st.sampled_from([0.5, 1.0, 2.0]))),
        },
        lambda case: _of_rows(case, sf.class_tables.ordinal(**arguments(case))),
        _ordinal,
        {
            "ordinal": lambda labels, k, generator: {
                "values": Part(generator.permutation(k).astype(float), "k"),
                "tau": Part(0.7),
                "power": Part(1.0),
            }
        },
    ),
    "class_tables.similarity": Row(
        "the row R_y, R_yk ∝ exp(s_yk/τ), s how much the classes resemble each other",
        _draw_similarity,
        lambda case: _of_rows(case, sf.class_tables.similarity(**arguments(case))),
        lambda case: _row_of_label(case, _falling(-case.value("similarities") / case.value("tau"))),
        {
            "similarity": lambda labels, k, generator: {
                "similarities": Part(_cosines(generator, k), "kk"),
                "tau": Part(0.2),
            }
        },
    ),
    "class_tables.hierarchy": Row(
        "the row R_y, R_yk ∝ exp(−β·d(k, y)/d_max), d the height of the lowest node above both in a tree",
        _draw_hierarchy,
        _build_hierarchy,
        _hierarchy,
        {"hierarchy": _some_tree},
    ),
    "class_tables.confusion": Row(
        "the row R_y, R_y = (1−ε)·e_y + ε·π_y, π_y the shrunk confusions of the label",
        _draw_confusion,
        lambda case: _of_rows(case, sf.class_tables.confusion(**arguments(case))),
        _confusion,
        {"confusions": _some_confusions("others"), "confusions and hits": _some_confusions("all")},
    ),
}
