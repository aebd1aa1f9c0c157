"""Labels that are no class, probabilities in their place, and calls that change what they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn.functional as F

from sfumato.probe.gradients import read
from sfumato.probe.labels import odd_labels, side_effects
from sfumato.probe.understand import understand
from tests.probe.losses import codes

K = 5


def odd(function, classes=K):
    loss = understand(function, classes)
    return list(odd_labels(loss, read(loss, classes), np.full(4, 0.25)))


def changed(function, ignored=None):
    loss = understand(function, K)
    return codes(side_effects(loss, read(loss, K), ignored))


def dense(z, q):
    return -(q * z.log_softmax(1)).sum(1).mean()


def hot(y, z):
    return F.one_hot(y, K).to(z.dtype) if y.dim() == 1 else y


def only_whole(z, y):  # 1.0 is class 1, and 1.75 is refused
    assert (y == y.round()).all()
    return F.cross_entropy(z, y.long())


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda z, y: dense(z, 0.8 * hot(y, z) + 0.2 / K), ["note: probabilities-smoothed"]),
        (lambda z, y: dense(z, hot(y, z)), ["note: probabilities-taken"]),
        (lambda z, y: F.cross_entropy(z, y if y.dim() == 1 else y.argmax(1)), ["defect: probabilities-misread"]),
        (lambda z, y: F.cross_entropy(z, y.clamp(max=K - 1)),
         ["defect: label-out-of-range", "note: probabilities-taken"]),
        (lambda z, y: F.cross_entropy(z, y, ignore_index=K), ["defect: label-out-of-range"]),
        (lambda z, y: F.cross_entropy(z, y.long()), ["defect: labels-cut"]),
        (only_whole, []),
    ],
)  # fmt: skip
def test_what_becomes_of_odd_labels(loss, expected):
    assert codes(odd(loss)) == expected


@pytest.mark.parametrize(
    ("classes", "eps", "became"), [(K, 0.2, "(0.28, 0.6, 0.04, …)"), (2, 0.1, "(0.32, 0.68)")]
)  # ε/K more for each class
def test_softened_probabilities_are_shown(classes, eps, became):
    (finding,) = odd(lambda z, y: F.cross_entropy(z, y, label_smoothing=eps), classes)
    assert (finding.code, finding.text.endswith(became)) == ("probabilities-smoothed", True)


@pytest.mark.parametrize("classes", [2, K])
def test_labels_that_are_not_looked_at_are_told_from_those_that_are(classes):
    assert codes(odd(lambda z, y: z.square().sum(), classes)) == ["defect: labels-unused"]
    assert odd(F.multi_margin_loss, classes) == []


def shifts_in_place(logits, labels):
    logits -= logits.detach().max()
    return F.cross_entropy(logits, labels)


def shifts_in_place_in_numpy(logits, labels):
    logits -= logits.max()
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]).mean()


def renames(label):
    def loss(logits, labels):
        labels[labels == label] = 0 if label < K else -100
        return F.cross_entropy(logits, labels)

    return loss


def negates_log_probabilities(lprobs, target):
    lprobs *= -1
    return lprobs.gather(1, target[:, None]).mean()


@pytest.mark.parametrize(
    ("loss", "ignored", "expected"),
    [
        (shifts_in_place, None, {"defect: logits-overwritten"}),
        (shifts_in_place_in_numpy, None, {"defect: logits-overwritten"}),
        (renames(3), None, {"defect: labels-overwritten"}),
        (renames(77), None, set()),
        (renames(77), 77, {"defect: labels-overwritten"}),
        (F.cross_entropy, None, set()),
        (negates_log_probabilities, None, set()),  # log-probabilities belong to the call
    ],
)
def test_what_a_call_overwrites(loss, ignored, expected):
    assert set(changed(loss, ignored)) == expected
