"""Where arithmetic gives out, on losses that give out in one known place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sfumato.probe.gradients import read
from sfumato.probe.numerics import at_infinity, far_out, gradient_of_value, in_half
from sfumato.probe.understand import understand
from tests.probe.losses import codes

K = 5


def checked(check, function):
    loss = understand(function, K)
    return list(check(loss, K) if check is in_half else check(loss, read(loss, K)))


def masked_times_zero(logits, labels):  # 0·(−∞) is NaN
    return -(F.one_hot(labels, K) * logits.log_softmax(1)).sum(1).mean()


def clipped(logits, labels):
    q = 0.9 * F.one_hot(labels, K) + 0.1 / K
    return -(q * logits.log_softmax(1).clamp(min=-50.0)).sum(1).mean()


def infinite_where_masked(logits, labels):
    return F.cross_entropy(logits, labels) + torch.where(torch.isinf(logits), float("inf"), 0.0).sum()


def nan_gradient_where_masked(logits, labels):  # exp(z) is 0 there, and its square root has no derivative
    return F.cross_entropy(logits, labels) + 0 * logits.exp().sqrt().sum()


class TooSteep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        return 1.01 * upstream


def refuses_float16(z, y):
    assert z.dtype != torch.float16
    return F.cross_entropy(z.float(), y).to(z.dtype)


@pytest.mark.parametrize(
    ("check", "loss", "expected"),
    [
        (at_infinity, F.cross_entropy, []),
        (at_infinity, masked_times_zero, ["defect: masked-class-nan"]),
        (at_infinity, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1), ["note: masked-class-with-mass"]),
        (at_infinity, lambda z, y: 1e-6 * F.cross_entropy(z, y, label_smoothing=0.1),  # a mean over a million tokens
         ["note: masked-class-with-mass"]),
        (at_infinity, infinite_where_masked, ["defect: masked-class-infinite"]),
        (at_infinity, nan_gradient_where_masked, ["defect: masked-class-nan-gradient"]),
        (at_infinity, clipped, ["note: masked-class-clipped"]),
        (far_out, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2), []),
        (far_out, lambda z, y: (z.exp().sum(1).log() - z.gather(1, y[:, None]).squeeze(1)).mean(),
         ["defect: large-logit-overflow"]),
        (far_out, lambda z, y: F.nll_loss((z.softmax(1) + 1e-9).log(), y), ["warning: probability-clipped"]),
        (gradient_of_value, F.cross_entropy, []),
        (gradient_of_value, lambda z, y: F.cross_entropy(TooSteep.apply(z), y), ["defect: gradient-wrong"]),
        (in_half, lambda z, y: F.cross_entropy(z.float(), y).to(z.dtype), []),
        (in_half, refuses_float16, ["note: half-precision-refused"]),
    ],
)  # fmt: skip
def test_where_arithmetic_gives_out(check, loss, expected):
    assert codes(checked(check, loss)) == expected


def test_the_least_probability_of_a_guard_is_told():
    (finding,) = checked(far_out, lambda z, y: F.nll_loss((z.softmax(1) + 1e-9).log(), y))
    assert "about 1e-09 is the smallest" in finding.text


def test_a_sum_that_overflows_in_float16_is_told():
    found = checked(in_half, lambda z, y: (1000 * F.cross_entropy(z.float(), y, reduction="sum")).to(z.dtype))
    assert codes(found) == ["defect: half-precision-overflow"]


def test_half_precision_that_is_rounded_often_is_told():
    found = checked(in_half, lambda z, y: (F.cross_entropy(z, y) + 100) - 100)  # what was rounded at 100 stays lost
    assert "warning: half-precision-rounding" in codes(found)
