"""The table of targets: every constructor with the distribution that it stands for, written out from its formula.

A row of :data:`TARGETS` says how random arguments are drawn, how the target is built from them, its formula in numpy,
the formula as the docs print it, and a few examples by name. A new constructor is one row more: tests, the benchmark
and the table in docs/methods.md read the rows.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy import ndarray

import sfumato as sf
from sfumato.extras import MissingExtraError
from tests.targets.registry import rows, tables
from tests.targets.registry.case import OVER as OVER
from tests.targets.registry.case import TARGETS as TARGETS
from tests.targets.registry.case import WITHOUT_LABEL as WITHOUT_LABEL
from tests.targets.registry.case import Case as Case
from tests.targets.registry.case import Part as Part
from tests.targets.registry.case import drawn_arrays as drawn_arrays
from tests.targets.registry.case import to_torch as to_torch

for _kind in (rows.LABELLED, rows.DENSE, tables.ROWS, rows.MIXED, rows.TEACHERS):
    TARGETS.update(_kind)

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


def _public(name: str) -> Any:
    """What the package has by that name; None where it needs the extra ``lab``, which makes no target."""
    try:
        return getattr(sf, name)
    except MissingExtraError:
        return None


# Those of the package, found by what they return: one without a row fails a test of its own.
PUBLIC = sorted(
    [
        name
        for name in dir(sf)
        if inspect.isfunction(made := _public(name))
        and inspect.signature(made).return_annotation in ("Target", sf.Target)
    ]
    + [
        f"class_tables.{name}"
        for name, made in vars(sf.class_tables).items()
        if inspect.isfunction(made) and name != "tree_distances"  # which makes no whole targets
    ]
)
