"""What gradients say of a target, whether the loss is smallest there, and losses that have no fixed target."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.probe import as_text, probe
from tests.probe.losses import EPS, codes, smoothed, text_of

K = 10


def with_z_loss(logits, labels):
    return smoothed(logits, labels) + 0.01 * logits.logsumexp(1).square().mean()


def with_confidence_penalty(logits, labels):
    return smoothed(logits, labels) - 0.5 * torch.distributions.Categorical(logits=logits).entropy().mean()


def with_max_suppression(logits, labels):
    return smoothed(logits, labels) + 0.1 * (logits.amax(1) - logits.mean(1)).mean()


def with_decay_of_logits(logits, labels):
    return smoothed(logits, labels) + 0.05 * logits.square().sum(1).mean()


def with_class_weights(logits, labels):
    return smoothed(logits, labels, weight=torch.arange(1.0, K + 1, dtype=logits.dtype))


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


def test_a_drift_is_not_called_label_smoothing_nor_hard_labels_beside_a_penalty_unsmoothed():
    found = probe(with_a_detached_normaliser)
    assert (found.convention, found.eps) == (None, None)
    assert as_text(probe(penalised)).startswith("penalised has hard labels: all mass is on the label")


def in_float32(logits, labels):
    z = np.asarray(logits, dtype=np.float32)
    z = z - z.max(1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = np.full_like(z, EPS / z.shape[1])
    q[np.arange(len(labels)), labels] += 1 - EPS
    return float(-(q * logp).sum(1).mean())


def test_float32_without_a_gradient_is_read_with_longer_steps():
    found = probe(in_float32)
    assert (found.convention, found.eps, found.reduction) == ("all", EPS, "mean")
    assert "note: finite-differences" in codes(found.findings)


def one_sided(logits, labels, eps=EPS):
    return F.binary_cross_entropy_with_logits(logits, (1 - eps) * F.one_hot(labels, logits.size(1)).to(logits.dtype))


def test_sigmoids_whose_label_is_short_of_one_are_not_hard_and_a_turned_sign_is_a_defect():
    found = probe(one_sided)
    assert (found.convention, found.eps, found.target) == (None, None, pytest.approx((0.9, 0.0)))
    found = probe(turned)
    assert "Σq = -1:" in text_of(found.findings, "sign-turned")
    assert str(found.line).startswith("-1 * sf.cross_entropy(")


def test_a_sum_that_changes_with_the_strength_is_not_a_factor():
    def loss(logits, labels, eps=EPS):
        q = F.one_hot(labels, logits.size(1)) + eps / logits.size(1)
        return -(q * logits.log_softmax(1)).sum(1).mean()

    assert "1 at 0, 1.1 here" in text_of(probe(loss).findings, "mass-changes-with-strength")


def poly(logits, labels, epsilon=1.0):
    nll = F.cross_entropy(logits, labels, reduction="none")
    return (nll + epsilon * (1 - torch.exp(-nll))).mean()


def generalised(logits, labels):
    return ((1 - torch.exp(-F.cross_entropy(logits, labels, reduction="none")) ** 0.7) / 0.7).mean()


def symmetric(logits, labels, alpha=0.1):
    hot = F.one_hot(labels, logits.size(1)).to(logits.dtype).clamp(min=1e-4)
    return alpha * F.cross_entropy(logits, labels) - (logits.softmax(1) * hot.log()).sum(1).mean()


def focal_and_smoothed(logits, labels, eps=EPS):
    logp = logits.log_softmax(1)
    q = (1 - eps) * F.one_hot(labels, logits.size(1)) + eps / logits.size(1)
    return -(q * (1 - logp.exp()) ** 2 * logp).sum(1).mean()


def squared(logits, labels):
    return F.mse_loss(logits, F.one_hot(labels, logits.size(1)).to(logits.dtype))


def with_margin(logits, labels):
    return F.cross_entropy(logits - 0.35 * F.one_hot(labels, logits.size(1)), labels)


def normalised(logits, labels):
    return smoothed(30 * F.normalize(logits, dim=1), labels)


def relaxed(logits, labels, alpha=EPS):
    p, hot = logits.softmax(1), F.one_hot(labels, logits.size(1)).to(logits.dtype)
    rest = (1 - hot) * p.detach()
    q = alpha * rest / rest.sum(1, keepdim=True) + (1 - alpha) * hot
    far = F.kl_div(p.log(), q, reduction="none").sum(1)
    return torch.where((p * hot).sum(1) >= 1 - alpha, 0.0, far).mean()


NO_FIXED = [poly, generalised, symmetric, focal_and_smoothed, with_margin, normalised, relaxed, squared]


@pytest.mark.parametrize("loss", [*NO_FIXED, F.multi_margin_loss])
def test_what_is_no_fixed_target_is_not_guessed(loss):
    found = probe(loss)
    assert (found.convention, found.eps, found.target, found.line) == (None, None, None, None)
    assert "warning: no-fixed-target" in codes(found.findings)
    assert not any(claim in str(found.findings) for claim in ("no lower bound", "without mass", "no two levels"))


def test_a_guard_that_is_called_eps_is_no_strength():
    def guarded(logits, labels, eps=1e-6):
        p = logits.softmax(1)
        return F.cross_entropy(logits, labels) + (p * torch.log(p + eps)).sum(1).mean()

    for loss in (guarded, poly, symmetric):
        assert not any("strength" in code for code in codes(probe(loss).findings))


def test_half_precision_inside_is_guessed_at():
    found = probe(lambda logits, labels: smoothed(logits.half().float(), labels))
    assert "as half precision inside would" in text_of(found.findings, "no-fixed-target")


def test_clipped_gradients_are_not_said_to_leak():
    class Clip(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, upstream):
            return upstream.clamp(-0.01, 0.01)

    found = probe(lambda logits, labels: smoothed(Clip.apply(logits), labels))
    assert "defect: gradient-wrong" in codes(found.findings)
    assert not any("leak" in code for code in codes(found.findings))
