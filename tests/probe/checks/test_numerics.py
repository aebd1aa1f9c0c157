"""Where arithmetic gives out, on losses that give out in one known place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sfumato.probe.call.understand import understand
from sfumato.probe.checks.numerics import at_infinity, far_out, gradient_of_value, in_half
from sfumato.probe.read.gradients import read

K = 5


def told(check, function, *args):
    loss = understand(function, K)
    return [str(each) for each in check(loss, read(loss, K), *args)]


def masked_times_zero(logits, labels):  # 0·(−∞) is NaN
    hot = F.one_hot(labels, K)
    return -(hot * logits.log_softmax(1)).sum(1).mean()


def clipped(logits, labels):
    q = 0.9 * F.one_hot(labels, K) + 0.1 / K
    return -(q * logits.log_softmax(1).clamp(min=-50.0)).sum(1).mean()


def infinite_where_masked(logits, labels):
    return F.cross_entropy(logits, labels) + torch.where(torch.isinf(logits), float("inf"), 0.0).sum()


def nan_gradient_where_masked(logits, labels):  # exp(z) is 0 there, and its square root has no derivative
    return F.cross_entropy(logits, labels) + 0 * logits.exp().sqrt().sum()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (F.cross_entropy, []),
        (masked_times_zero, ["defect: −∞ logits: a class at −∞ that is not the label makes the loss NaN"]),
        (lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
         ["note: −∞ logits: a class at −∞ has mass: the loss is +inf, as the formula says, with a finite gradient"]),
        (lambda z, y: 1e-6 * F.cross_entropy(z, y, label_smoothing=0.1),  # a mean over a million tokens
         ["note: −∞ logits: a class at −∞ has mass: the loss is +inf, as the formula says, with a finite gradient"]),
        (infinite_where_masked, ["defect: −∞ logits: a class at −∞ without mass makes the loss infinite"]),
        (nan_gradient_where_masked, ["defect: −∞ logits: a class at −∞ without mass makes the gradient NaN"]),
    ],
)  # fmt: skip
def test_a_class_at_minus_infinity(loss, said):
    assert told(at_infinity, loss) == said


def test_a_clipped_class_at_minus_infinity_is_not_infinite():
    (found,) = told(at_infinity, clipped)
    assert found.startswith("note: −∞ logits: a class at −∞ has mass, and the loss is ")
    assert found.endswith(": it is clipped or left out")


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2), []),
        (lambda z, y: (z.exp().sum(1).log() - z.gather(1, y[:, None]).squeeze(1)).mean(),
         ["defect: large logits: a logit of 800 makes the loss inf: an exponential overflows, or a logarithm meets 0"]),
        (lambda z, y: F.nll_loss((z.softmax(1) + 1e-9).log(), y),
         ["warning: large logits: at a gap of −60 the loss is 20.72 where the formula has 60: about 1e-09 is the least "
          "probability it knows"]),
    ],
)  # fmt: skip
def test_large_logits(loss, said):
    assert told(far_out, loss) == said


class TooSteep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        return 1.01 * upstream


def test_a_gradient_one_percent_off_that_of_the_value_is_told_and_a_right_one_is_not():
    assert told(gradient_of_value, F.cross_entropy) == []
    (found,) = told(gradient_of_value, lambda z, y: F.cross_entropy(TooSteep.apply(z), y))
    assert found.startswith("defect: gradient: it is not that of the value: ")


def halves(function, k=K):
    return [str(each) for each in in_half(understand(function, k), k)]


def test_half_precision_that_is_rounded_once_is_not_told():
    assert halves(lambda z, y: F.cross_entropy(z.float(), y).to(z.dtype)) == []


def test_a_sum_that_overflows_in_float16_is_told_with_the_value_that_it_should_have():
    loss = lambda z, y: (1000 * F.cross_entropy(z.float(), y, reduction="sum")).to(z.dtype)  # noqa: E731
    (found,) = halves(loss)
    assert found.startswith("defect: half precision: float16: inf at N = 32, K = 5, where it is 1")


def test_half_precision_that_is_rounded_often_is_told_in_units():
    def loss(z, y):
        return (F.cross_entropy(z, y) + 100) - 100  # what was rounded at 100 stays lost

    found = halves(loss)
    assert any(each.startswith("warning: half precision: bfloat16: off by ") for each in found)


def test_half_precision_that_is_refused_is_a_note():
    def loss(z, y):
        assert z.dtype != torch.float16
        return F.cross_entropy(z.float(), y).to(z.dtype)

    assert halves(loss) == ["note: half precision: float16 is refused: AssertionError"]
