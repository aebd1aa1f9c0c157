"""The search for a temperature, on misfits that are known, and on real rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.probe.read.rows import read_rows
from sfumato.probe.watching.temperature import temperature_of


@pytest.mark.parametrize("true", [0.05, 0.5, 2.0, 3.3333, 20.0])
def test_the_temperature_without_misfit_is_found(true):
    found = temperature_of(lambda t: abs(np.log(t / true)))
    assert found == pytest.approx(true, rel=1e-4)


@pytest.mark.parametrize(
    "misfit",
    [lambda t: 0.01 + abs(np.log(t / 2)), lambda t: abs(np.log(t)), lambda t: 1e-6, lambda t: np.nan],
)
def test_where_none_stands_out_or_where_it_is_1_there_is_none(misfit):
    assert temperature_of(misfit) is None


@pytest.mark.parametrize("t", [0.5, 5.0])
def test_strength_and_factor_are_those_of_the_loss_at_its_temperature(t):
    z = torch.randn(20, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    F.cross_entropy(z / t, torch.arange(20) % 9, label_smoothing=0.1).backward()
    found = read_rows(z.detach(), z.grad)
    assert found.form == f"logits that the loss divides by {t:g}"
    assert np.median(found.eps) == pytest.approx(0.1, abs=1e-3)
    assert np.median(found.factors(0.1)) == pytest.approx(1 / 20, rel=1e-3)
