"""Levels of single classes: class weights beside a strength, and priors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe.read.levels import ClassSpread, class_levels

Y = torch.arange(60) % 6
PRIOR = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.07, 0.03], dtype=torch.float64)


def read(loss, labels=Y):
    z = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    loss(z).backward()
    return class_levels(z.detach().softmax(1), z.grad, labels)


@pytest.mark.parametrize("eps", [0.05, 0.3])
@pytest.mark.parametrize("labels", [Y, Y % 4])
def test_a_strength_under_class_weights_is_read_with_the_weight_of_each_row(eps, labels):
    weight = torch.linspace(0.5, 3, 6, dtype=torch.float64)
    found = read(lambda z: F.cross_entropy(z, labels, weight=weight, label_smoothing=eps), labels)
    assert (found.spread, found.eps) == (ClassSpread.WEIGHTS, pytest.approx(eps, abs=1e-6))
    assert found.factor[labels].numpy() == pytest.approx((weight[labels] / weight[labels].sum()).numpy())


@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_a_strength_towards_a_prior_is_read(eps):
    found = read(lambda z: sf.cross_entropy(z, sf.smooth_prior(Y, PRIOR, eps)))
    assert (found.spread, found.eps) == (ClassSpread.PRIOR, pytest.approx(eps, abs=1e-6))


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: F.cross_entropy(z, z.detach().flip(0).softmax(1)),
        lambda z: F.cross_entropy(z / 2, Y, label_smoothing=0.1),
        lambda z: z.square().sum(),
    ],
)
def test_other_targets_have_no_such_levels(loss):
    assert read(loss) is None


def test_few_rows_or_two_classes_are_left_alone():
    z = torch.zeros(8, 6, dtype=torch.float64)
    assert class_levels(z.softmax(1), z, Y[:8]) is None
    assert class_levels(z[:, :2].softmax(1), z[:, :2], Y[:8] % 2) is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_gradients_that_no_levels_explain_have_none_at_any_scale(scale, noise):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(60, 6, generator=generator, dtype=torch.float64).requires_grad_()
    sf.cross_entropy(z, sf.smooth_prior(Y, PRIOR, 0.3)).backward()
    off = 1 + noise * torch.randn(60, 6, generator=generator, dtype=torch.float64)
    found = class_levels(z.detach().softmax(1), scale * off * z.grad, Y)
    assert (found is None) == (noise > 0)
