"""Targets with a probability for every class."""

from __future__ import annotations

import numpy as np
import torch

import sfumato as sf
from tests.targets.registry.case import (
    Case,
    Part,
    Row,
    distribution,
    some_distribution,
    to_torch,
)


def _build_from_probs(case: Case) -> sf.Target:
    mask = torch.from_numpy(np.array(case.labels >= 0))
    probs = case.parts["probs"].value.copy()
    probs[case.labels < 0] = np.nan  # what an ignored position holds is nobody's business
    return sf.from_probs(to_torch(probs), mask=mask)


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
}
