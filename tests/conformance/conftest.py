"""Every suite runs on each path of the function it is aimed at, and with each seed that is asked for."""

from __future__ import annotations

import pytest
import torch

from tests.conformance import aim


@pytest.fixture(autouse=True, params=aim.PATHS)
def path(request):
    with aim.path(request.param):
        yield request.param


@pytest.fixture(params=aim.SEEDS, ids=lambda seed: f"seed {seed}")
def seed(request) -> int:
    """Sets torch's generator; a failure names it."""
    torch.manual_seed(request.param)
    return request.param


@pytest.fixture
def cross_entropy() -> aim.Loss:
    return aim.target()
