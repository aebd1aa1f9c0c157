"""A strength at its ends and beyond, class weights in every place, and evaluation mode."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sfumato as sf
from sfumato.probe.arguments import (
    at_the_ends,
    by_default,
    class_weights,
    ignoring_survives,
    in_evaluation,
    is_strength,
)
from sfumato.probe.find_loss import of
from sfumato.probe.gradients import read
from sfumato.probe.understand import understand
from tests.probe.losses import codes

K = 5


def made(function):
    spec = of(function)
    return spec, understand(spec.made(K), K)


def at_ends(function):
    spec, loss = made(function)
    return list(at_the_ends(spec, "smoothing", loss, read(loss, K)))


def over_all(z, y, eps):
    losses = -z.log_softmax(1)
    return ((1 - eps) * losses.gather(1, y[:, None]).squeeze(1) + eps * losses.mean(1)).mean()


def refused(logits, labels, smoothing=0.1):
    return sf.cross_entropy(logits, labels, label_smoothing=smoothing)


def applied(logits, labels, smoothing=0.1):
    return over_all(logits, labels, smoothing)


def silently_0(logits, labels, smoothing=0.1):
    return over_all(logits, labels, min(smoothing, 1.0) if smoothing > 0 else 0.0)


def others(logits, labels, smoothing=0.1):
    return sf.cross_entropy(logits, labels, label_smoothing=smoothing, over="others")


def strange_ends(logits, labels, smoothing=0.1):
    return over_all(logits, labels, 0.1 + 0.9 * smoothing if smoothing < 1 else math.nan)


def moving_mass(logits, labels, smoothing=0.1):
    return over_all(logits, labels, smoothing) * (1 + smoothing)


ZERO, ONE = "note: strength-zero", "note: strength-one"
REFUSED = [
    ZERO,
    ONE,
    "note: strength-negative-refused",
    "note: strength-nan-refused",
    "note: strength-above-one-refused",
]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (refused, REFUSED),
        (others, REFUSED),
        (applied, [ZERO, ONE, "warning: strength-negative-applied", "note: strength-nan-gives-nan",
                   "warning: strength-above-one-accepted"]),
        (silently_0, [ZERO, ONE, "warning: strength-negative-means-zero", "warning: strength-nan-means-zero",
                      "warning: strength-above-one-accepted"]),
    ],
)  # fmt: skip
def test_a_strength_at_its_ends(loss, expected):
    assert codes(at_ends(loss)) == expected


@pytest.mark.parametrize(
    ("loss", "code", "numbers"),
    [
        (refused, "strength-one", ["uniform", "0.2 on the label, 0.2 on each"]),
        (others, "strength-one", ["ε = 1: 0 on the label, 0.25 on each"]),
        (applied, "strength-negative-applied", ["1.08 on the label, -0.02 on each", "no lower bound"]),
        (applied, "strength-above-one-accepted", ["-0.2 on the label, 0.3 on each"]),
        (strange_ends, "strength-zero-smooths", ["0.92 on the label, 0.02 on each"]),
        (strange_ends, "strength-one-gives-nan", []),
        (moving_mass, "mass-changes-with-strength", ["1 at 0, 1.1 here"]),
    ],
)
def test_the_shares_at_the_ends_are_shown(loss, code, numbers):
    (finding,) = [each for each in at_ends(loss) if each.code == code]
    assert [number for number in numbers if number not in finding.text] == []


@pytest.mark.parametrize(
    ("smoothed", "then"),
    [
        (lambda z, y, eps: F.cross_entropy(z, y, label_smoothing=eps, ignore_index=-1), None),
        (lambda z, y, eps: over_all(z, y.clamp(min=0), eps), "trained on"),
        (over_all, "an error"),
    ],
)
def test_whether_an_ignored_label_is_ignored_with_smoothing_too(smoothed, then):
    def loss(logits, labels, smoothing=0.1, ignore_index=-1):
        if smoothing == 0:
            return F.cross_entropy(logits, labels, ignore_index=ignore_index)
        return smoothed(logits, labels, smoothing)

    spec, called = made(loss)
    found = list(ignoring_survives(spec, "smoothing", called, read(called, K)))
    assert codes(found) == (["defect: smoothing-stops-ignoring"] if then else [])
    assert all(then in each.text for each in found)


def test_a_doubtful_name_is_a_strength_only_where_more_of_it_smooths_more():
    def more(logits, labels, alpha=0.1):
        return over_all(logits, labels, alpha)

    def inverse(logits, labels, alpha=0.9):
        return over_all(logits, labels, 1 - alpha)

    def unused(logits, labels, alpha=0.1):
        return over_all(logits, labels, 0.1)

    named = [is_strength(spec, "alpha", loss, K) for spec, loss in map(made, (more, inverse, unused))]
    assert named == [True, False, False]
    assert is_strength(*made(unused)[:1], "label_smoothing", made(unused)[1], K)


def test_what_the_strength_of_a_one_hot_loss_would_mean():
    def loss(logits, labels, smoothing=0.0):
        return sf.cross_entropy(logits, labels, label_smoothing=smoothing, over="others")

    spec, called = made(loss)
    (finding,) = by_default(spec, "smoothing", called, K)
    assert finding.code == "strength-would-mean"
    assert "others with ε = 0.1: 0.9 on the label, 0.025 on each" in finding.text


def weighted(kind, eps):
    def loss(logits, labels, weight=None):
        w = (torch.ones(K) if weight is None else torch.as_tensor(weight)).to(logits.dtype)
        losses = -logits.log_softmax(1)
        nll, every = losses.gather(1, labels[:, None]).squeeze(1), losses.mean(1)
        rows = (1 - eps) * nll + eps * every
        strange = 0 if weight is None else logits.square().sum() * logits.mean()
        return {
            "class": ((1 - eps) * w[labels] * nll + eps * (w * losses).mean(1)).mean(),
            "label": ((1 - eps) * w[labels] * nll + eps * every).mean(),
            "row": (w[labels] * rows).mean(),
            "sum": rows.mean() * w.sum() / len(w),
            "square": (w.square() * losses).mean(1).mean() * eps + (1 - eps) * nll.mean(),
            "nowhere": rows.mean(),
            "strange": rows.mean() + strange,
        }[kind]

    return loss


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (weighted("class", 0.1), ["warning: weights-on-classes"]),
        (weighted("label", 0.1), ["warning: weights-on-label-term"]),
        (weighted("row", 0.1), ["note: weights-on-rows"]),
        (weighted("row", 0.0), ["note: weights-on-rows"]),
        (weighted("sum", 0.1), ["defect: weights-multiply-loss"]),
        (weighted("nowhere", 0.1), ["defect: weights-ignored"]),
        (weighted("nowhere", 0.0), ["note: weights-without-effect"]),
        (weighted("square", 0.1), ["warning: weights-move-optimum"]),
        (weighted("strange", 0.1), ["note: weights-change-kind"]),
        (lambda logits, labels: F.cross_entropy(logits, labels), []),
        (lambda logits, labels, weight=(1.0,) * K: F.cross_entropy(logits, labels), []),
    ],
)
def test_where_class_weights_are(loss, expected):
    spec, called = made(loss)
    assert codes(class_weights(spec, called, read(called, K))) == expected


class OnlyInTraining(nn.Module):
    def __init__(self, training, evaluation):
        super().__init__()
        self.strengths = {True: training, False: evaluation}

    def forward(self, logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=self.strengths[self.training])


@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ((0.0, 0.0), []),
        ((0.1, 0.1), ["note: evaluation-smoothed"]),
        ((0.1, 0.0), ["note: evaluation-differs"]),
        ((0.0, 0.2), ["note: evaluation-differs"]),
    ],
)
def test_whether_a_module_smooths_in_evaluation_mode(strengths, expected, training_mode):
    module = OnlyInTraining(*strengths)
    loss = understand(module, K)
    reading = read(loss, K)
    module.train(training_mode)
    assert codes(in_evaluation(loss, reading)) == expected
    assert module.training == training_mode
