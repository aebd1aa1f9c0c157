"""Labels that are no class, and probabilities in their place."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn.functional as F

from sfumato.probe.call.understand import understand
from sfumato.probe.checks.labels import odd_labels
from sfumato.probe.read.gradients import read

K = 5


def told(function, classes=K):
    loss = understand(function, classes)
    return [str(each) for each in odd_labels(loss, read(loss, classes), np.full(4, 0.25))]


def dense(z, q):
    return -(q * z.log_softmax(1)).sum(1).mean()


def hot(y, z):
    return F.one_hot(y, K).to(z.dtype) if y.dim() == 1 else y


def only_whole(z, y):  # 1.0 is class 1, and 1.75 is refused
    assert (y == y.round()).all()
    return F.cross_entropy(z, y.long())


AS_THEY_ARE = "note: probabilities: taken as they are in place of labels"
SOFTENED = "note: probabilities: taken in place of labels, and softened: (0.3, 0.7, 0, …) becomes (0.28, 0.6, 0.04, …)"
MISREAD = "defect: probabilities: (0.3, 0.7, 0, …) is not refused in place of labels, and becomes (0, 1, 0, …)"
CUT = "defect: labels: labels that are not whole are cut: 1.75 is taken for class 1 without a word"
OUTSIDE = "defect: labels: label 5 of 5 classes is not refused"


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda z, y: dense(z, 0.8 * hot(y, z) + 0.2 / K), [SOFTENED]),
        (lambda z, y: dense(z, hot(y, z)), [AS_THEY_ARE]),
        (lambda z, y: F.cross_entropy(z, y if y.dim() == 1 else y.argmax(1)), [MISREAD]),
        (lambda z, y: F.cross_entropy(z, y.clamp(max=K - 1)), [f"{OUTSIDE} (trained on)", AS_THEY_ARE]),
        (lambda z, y: F.cross_entropy(z, y, ignore_index=K), [f"{OUTSIDE} (without a gradient)"]),
        (lambda z, y: F.cross_entropy(z, y.long()), [CUT]),
        (only_whole, []),
    ],
)
def test_what_becomes_of_odd_labels(loss, said):
    assert told(loss) == said


def test_softened_probabilities_of_two_classes_are_no_defect():
    assert told(lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1), classes=2) == [
        "note: probabilities: taken in place of labels, and softened: (0.3, 0.7) becomes (0.32, 0.68)"
    ]


@pytest.mark.parametrize("classes", [2, K])
def test_labels_that_are_not_looked_at_are_told_from_those_that_are(classes):
    assert told(lambda z, y: z.square().sum(), classes) == [
        "defect: labels: they are not looked at: the gradient is the same whatever they are"
    ]
    assert told(F.multi_margin_loss, classes) == []
