"""What happens to gradients after the backward passes, read off small parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sfumato.probe.watching.steps import SmallParameters, multiplier


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def backward(model):
    model(torch.randn(5, 3)).square().sum().backward()


@pytest.mark.parametrize("factor", [1.0, 0.5, 1 / 65536])
def test_the_multiplier_of_accumulated_gradients_is_read(model, factor):
    small = SmallParameters(model.parameters())
    backward(model)
    backward(model)
    for parameter in model.parameters():
        parameter.grad *= factor
    assert multiplier(*small.entries()) == pytest.approx(factor, rel=1e-5)
    small.remove()


def test_gradients_that_point_elsewhere_have_no_multiplier(model):
    small = SmallParameters(model.parameters())
    backward(model)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert multiplier(*small.entries()) is None
    small.remove()


def test_gradients_that_were_cleared_are_known_only_where_some_had_arrived(model):
    small = SmallParameters(model.parameters())
    assert not small.cleared()
    backward(model)
    assert not small.cleared()
    model.zero_grad()
    assert small.cleared()
    small.remove()


def test_parameters_that_moved_are_seen(model):
    small = SmallParameters(model.parameters())
    small.remember()
    assert not small.moved()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    assert small.moved()
    small.remove()


def test_a_model_of_large_or_frozen_parameters_alone_is_borne():
    frozen = nn.Linear(2, 2).requires_grad_(False)
    small = SmallParameters(frozen.parameters())
    assert (small.entries(), small.cleared(), small.has_gradients()) == (([], []), False, False)
    large = SmallParameters([nn.Parameter(torch.zeros(100_000))])
    assert large.entries() == ([], [])
    large.remove()
