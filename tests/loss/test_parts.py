"""The parts of a loss: they add up, and each keeps its digits."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from tests.loss.properties import path
from tests.targets.registry import EXAMPLES, WITHOUT_LABEL, example

__all__ = ["path"]  # a fixture: every claim is made of the compiled kernel and of the torch path


@pytest.mark.parametrize("name", EXAMPLES)
def test_parts_add_up_and_the_excess_is_zero_at_the_optimum(name):
    y = torch.tensor([0, 1, 2, 3, 4, 0, 2, 1, 3])
    target = example(name, y, 6).build()
    z = torch.randn(9, 6, dtype=torch.float64)
    for weight, weight_on in ((None, "class"), (torch.rand(6).double() + 0.1, "class"), (torch.rand(6), "sample")):
        parts = sf.loss_parts(z, target, weight, weight_on=weight_on)
        torch.testing.assert_close(parts.floor + parts.excess, parts.loss)
        torch.testing.assert_close(parts.loss, sf.cross_entropy(z, target, weight, weight_on=weight_on))
        q = target.to_dense(torch.float64)
        if weight is not None and weight_on == "class":
            q = q * weight
        at_optimum = sf.loss_parts((q / q.sum(1, keepdim=True)).log(), target, weight, weight_on=weight_on)
        assert abs(at_optimum.excess.item()) < 1e-14
        torch.testing.assert_close(at_optimum.loss, at_optimum.floor)
    unlabelled = EXAMPLES[name] in (*WITHOUT_LABEL, "mix")  # which do not have one label each
    assert (parts.nll is None) == unlabelled
    assert (parts.gap is None) == unlabelled
    if not unlabelled:
        plain = sf.loss_parts(z, target)
        torch.testing.assert_close(plain.nll, F.cross_entropy(z, y))
        others = z.scatter(1, y.unsqueeze(1), 0.0).sum(1) / 5
        torch.testing.assert_close(plain.gap, (z.gather(1, y.unsqueeze(1)).squeeze(1) - others).mean())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 2e-2)], ids=str)
@pytest.mark.parametrize(
    "name", [name for name in EXAMPLES if name not in ("one-hot", "all of it", "pair", "stored, dropped")]
)
def test_the_excess_keeps_its_digits_near_the_optimum_and_is_never_negative(name, dtype, tolerance):
    generator = torch.Generator().manual_seed(2)
    y = torch.tensor([0, 1, 2, 3, 4, 0, 2, 1, 3])
    target = example(name, y, 6).build()
    q = target.to_dense(torch.float64)
    away = (1e-6 if dtype == torch.float64 else 1e-3) * torch.randn(9, 6, generator=generator, dtype=torch.float64)
    z = (q.log() + away).to(dtype)
    excess = sf.loss_parts(z, target, reduction="none").excess.double()
    # KL(q‖p) is, to second order in the distance, half the variance of that distance under q; here times the mass Σq.
    mass = q.sum(1, keepdim=True)
    q = q / mass
    r = torch.where(q > 0, q.log() - z.double().log_softmax(1), 0.0)
    exact = (mass * torch.where(q > 0, q * (r + torch.expm1(-r)), z.double().softmax(1))).sum(1)
    torch.testing.assert_close(excess, exact, rtol=tolerance, atol=1e-16)
    assert bool((excess >= 0).all())


def test_negative_weights_have_no_floor():
    parts = sf.loss_parts(torch.randn(3, 4), torch.tensor([0, 1, 2]), torch.tensor([1.0, -1.0, 1.0, 1.0]))
    assert parts.floor.isnan()
    assert parts.excess.isnan()
    assert parts.loss.isfinite()


@pytest.mark.parametrize("loss", [sf.loss_parts, functools.partial(sf.penalty.confidence, beta=0.1)])
def test_an_option_that_there_is_not_is_named_with_what_was_meant(loss):
    told = (
        '^label_smooting is no option of this loss. Did you mean "label_smoothing"\\? It has ignore_index, reduction, '
    )
    with pytest.raises(TypeError, match=told):
        loss(torch.zeros(2, 3), torch.tensor([0, 1]), label_smooting=0.1)
