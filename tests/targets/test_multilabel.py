"""Several labels a position: their mass, and where the two kinds of loss have their optimum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf

PRESENT = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]])


def test_the_mass_of_each_position_is_kept():
    target = sf.smooth_multilabel(PRESENT.double(), 0.3, spread="count")
    torch.testing.assert_close(target.total(), torch.tensor([2.0, 1.0]).double(), rtol=1e-15, atol=0)


def test_one_label_a_position_is_smoothing_over_all():
    labels = torch.tensor([2, 0])
    target = sf.smooth_multilabel(F.one_hot(labels, 5).double(), 0.3, spread="count")
    torch.testing.assert_close(
        target.to_dense(torch.float64), sf.smooth(labels, 5, 0.3, over="all").to_dense(torch.float64)
    )


def test_the_gradient_of_a_softmax_is_the_mass_times_p_less_q():
    z = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = sf.smooth_multilabel(PRESENT.double(), 0.3, spread="count")
    (grad,) = torch.autograd.grad(sf.cross_entropy(z, target, reduction="sum"), z)
    expected = target.total().unsqueeze(1) * z.softmax(1) - target.probs()
    torch.testing.assert_close(grad, expected.detach(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("spread", ["count", "half"])
def test_a_binary_loss_is_smallest_where_each_sigmoid_is_q(spread):
    q = sf.smooth_multilabel(PRESENT.double(), 0.3, spread=spread).probs()
    z = q.logit().requires_grad_()
    (grad,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(z, q), z)
    assert grad.abs().max() < 1e-16


@pytest.mark.slow
def test_halves_are_what_keras_trains_towards():
    keras = pytest.importorskip("keras")
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.3)(PRESENT.float().numpy(), z.numpy())
    q = sf.smooth_multilabel(PRESENT.float(), 0.3, spread="half").probs()
    ours = F.binary_cross_entropy_with_logits(z, q)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
