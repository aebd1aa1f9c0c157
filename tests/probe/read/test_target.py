"""The target that was read, and whether the loss is smallest there."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.probe import as_text, probe

K, EPS = 10, 0.1


def smoothed(logits, labels, weight: Tensor | None = None):
    return F.cross_entropy(logits, labels, weight, label_smoothing=EPS)


def with_z_loss(logits, labels):
    return smoothed(logits, labels) + 0.01 * logits.logsumexp(1).square().mean()


def with_confidence_penalty(logits, labels):
    return smoothed(logits, labels) - 0.5 * torch.distributions.Categorical(logits=logits).entropy().mean()


def with_max_suppression(logits, labels):
    return smoothed(logits, labels) + 0.1 * (logits.amax(1) - logits.mean(1)).mean()


def with_decay_of_logits(logits, labels):
    return smoothed(logits, labels) + 0.05 * logits.square().sum(1).mean()


def with_class_weights(logits, labels):
    return smoothed(logits, labels, torch.arange(1.0, K + 1, dtype=logits.dtype))


def with_a_detached_normaliser(logits, labels):
    rest = logits.logsumexp(1).detach() - logits.mean(1)
    return (1 - EPS) * F.cross_entropy(logits, labels) + EPS * rest.mean()


LOSSES = [
    smoothed, with_z_loss, with_confidence_penalty, with_max_suppression, with_decay_of_logits, with_class_weights,
    with_a_detached_normaliser,
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_strengths_of_the_optimum_are_told_where_the_gradient_is_0_at_the_target(loss):
    target = torch.full((1, K), EPS / K, dtype=torch.float64)
    target[0, 1] += 1 - EPS
    logits = target.log().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([1])), logits)
    found = probe(loss)
    assert found.target == pytest.approx((1 - EPS + EPS / K, EPS / K))
    expected = (EPS, 0.09) if gradient.abs().max() < 1e-9 else (None, None)
    assert (found.eps_all, found.eps_others) == expected


def penalised(logits, labels):
    return F.cross_entropy(logits, labels) + 0.05 * logits.square().sum(1).mean()


def turned(logits, labels):
    return -smoothed(logits, labels)


def negative(logits, labels):
    return F.cross_entropy(logits, F.one_hot(labels, logits.shape[1]) * 1.1 - 0.1 / logits.shape[1])


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (with_class_weights, "class weights move the optimum"),
        (penalised, "the term beside the cross entropy moves the optimum"),
        (with_a_detached_normaliser, "its gradient is nowhere 0, and the logits drift"),
        (turned, "the sign is turned, and the loss has no lower bound"),
        (negative, "a share of this target is negative, and the loss has no lower bound"),
    ],
)
def test_a_target_that_is_no_optimum_is_not_called_what_a_model_is_trained_to_give(loss, why):
    text = as_text(probe(loss), math.inf).splitlines()[1]
    assert text == f"It does not train a model to give the probabilities of this target: {why}."


def test_a_loss_with_a_drift_is_not_called_label_smoothing():
    found = probe(with_a_detached_normaliser)
    assert (found.convention, found.eps) == (None, None)


def test_hard_labels_beside_a_penalty_are_not_called_unsmoothed():
    assert as_text(probe(penalised)).startswith("penalised has hard labels: all mass is on the label")
