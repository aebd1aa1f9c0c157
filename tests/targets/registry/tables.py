"""Targets that a table has for each label."""

from __future__ import annotations

import numpy as np

from tests.targets.registry.case import (
    Part,
    Row,
    distribution,
    labelled_target,
    some_distribution,
)

ROWS: dict[str, Row] = {
    "smooth_rows": Row(
        "the row R_y of a table",
        lambda draw, labels, k: {"rows": Part(distribution(draw, (k, k)), "kk")},
        lambda case: labelled_target(case, "smooth_rows", count=False),
        lambda case: case.value("rows")[np.maximum(case.labels, 0)],
        {"rows of a table": lambda labels, k, generator: {"rows": Part(some_distribution(generator, k, k), "kk")}},
    ),
}
