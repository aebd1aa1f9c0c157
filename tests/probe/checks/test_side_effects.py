"""Calls that change what they are given, and calls that change only what was made for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn.functional as F

from sfumato.probe.call.understand import understand
from sfumato.probe.checks.labels import side_effects
from sfumato.probe.read.gradients import read

K = 5


def told(function, ignored=None):
    loss = understand(function, K)
    return [str(each) for each in side_effects(loss, read(loss, K), ignored)]


def shifts_in_place(logits, labels):
    logits -= logits.detach().max()
    return F.cross_entropy(logits, labels)


def shifts_in_place_in_numpy(logits, labels):
    logits -= logits.max()
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]).mean()


def renames_3(logits, labels):
    labels[labels == 3] = 0
    return F.cross_entropy(logits, labels)


LOGITS = "defect: side effects: the logits are overwritten: what else uses them gets other numbers"
LABELS = "defect: side effects: the labels are overwritten: what else uses them gets other numbers"


@pytest.mark.parametrize("loss", [shifts_in_place, shifts_in_place_in_numpy])
def test_logits_that_are_overwritten_are_told(loss):
    assert set(told(loss)) == {LOGITS}


def test_labels_that_are_overwritten_are_told():
    assert LABELS in told(renames_3)


def test_an_ignored_label_that_is_overwritten_is_told():
    def loss(logits, labels):
        labels[labels == 77] = -100
        return F.cross_entropy(logits, labels)

    assert told(loss) == []
    assert told(loss, ignored=77) == [LABELS]


def test_a_loss_that_changes_nothing_is_told_nothing():
    assert told(F.cross_entropy) == []


def test_log_probabilities_belong_to_the_call_and_may_be_overwritten():
    def loss(lprobs, target):
        lprobs *= -1
        return lprobs.gather(1, target[:, None]).mean()

    assert told(loss) == []
