"""Class weights on the class's term, the label's term, the row, the whole loss, or nowhere; and evaluation mode."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sfumato.probe.call.find import of
from sfumato.probe.call.understand import understand
from sfumato.probe.checks.arguments import class_weights, in_evaluation
from sfumato.probe.read.gradients import read

K = 5


def told(function):
    spec = of(function)
    loss = understand(spec.made(K), K)
    return [str(each) for each in class_weights(spec, loss, read(loss, K))]


def weighted(kind, eps):
    def loss(logits, labels, weight=None):
        w = torch.ones(K) if weight is None else torch.as_tensor(weight)
        w = w.to(logits.dtype)
        losses = -logits.log_softmax(1)
        nll, all_of_them = losses.gather(1, labels[:, None]).squeeze(1), losses.mean(1)
        if kind == "class":
            return ((1 - eps) * w[labels] * nll + eps * (w * losses).mean(1)).mean()
        if kind == "label":
            return ((1 - eps) * w[labels] * nll + eps * all_of_them).mean()
        rows = (1 - eps) * nll + eps * all_of_them
        if kind == "row":
            return (w[labels] * rows).mean()
        if kind == "sum":
            return rows.mean() * w.sum() / len(w)
        if kind == "square":
            return (w.square() * losses).mean(1).mean() * eps + (1 - eps) * nll.mean()
        return rows.mean() + (0 if kind == "nowhere" or weight is None else logits.square().sum() * logits.mean())

    return loss


@pytest.mark.parametrize(
    ("kind", "eps", "level", "said"),
    [
        ("class", 0.1, "warning", "multiplies every class's term: the optimum moves to p ∝ w·q"),
        ("label", 0.1, "warning", "is on the label's term alone: rare and common labels are smoothed unequally"),
        ("row", 0.1, "note", "weights rows by their label; the optimum stays"),
        ("row", 0.0, "note", "weights rows, and cannot move the optimum of one-hot"),
        ("sum", 0.1, "defect", "weights no class and no row: the whole loss is multiplied by 1.25"),
        ("nowhere", 0.1, "defect", "is taken and has no effect"),
        ("nowhere", 0.0, "note", "has no effect"),
        ("square", 0.1, "warning", "moves the optimum"),
        ("strange", 0.1, "note", "makes it another kind of loss"),
    ],
)
def test_where_class_weights_are(kind, eps, level, said):
    assert told(weighted(kind, eps)) == [f"{level}: class weights: weight=… {said}"]


def test_a_loss_with_weights_of_its_own_or_with_none_is_not_asked():
    assert told(lambda logits, labels: F.cross_entropy(logits, labels)) == []
    assert told(lambda logits, labels, weight=(1.0,) * K: F.cross_entropy(logits, labels)) == []


class OnlyInTraining(nn.Module):
    def __init__(self, training, evaluation):
        super().__init__()
        self.strengths = {True: training, False: evaluation}

    def forward(self, logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=self.strengths[self.training])


@pytest.mark.parametrize(
    ("strengths", "said"),
    [
        ((0.0, 0.0), []),
        ((0.1, 0.1), ["note: evaluation mode: smooths too: a validation loss is not the log loss"]),
        ((0.1, 0.0), ["note: evaluation mode: other than in training: one-hot"]),
        ((0.1, 0.2), ["note: evaluation mode: other than in training: 0.84 and 0.04"]),
        ((0.0, 0.2), ["note: evaluation mode: other than in training: 0.84 and 0.04"]),
    ],
)
def test_whether_a_module_smooths_in_evaluation_mode(strengths, said):
    loss = understand(OnlyInTraining(*strengths), K)
    assert [str(each) for each in in_evaluation(loss, read(loss, K))] == said


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_left_in_the_mode_that_it_was_in(training):
    module = OnlyInTraining(0.1, 0.1).train(training)
    loss = understand(module, K)
    list(in_evaluation(loss, read(loss, K)))
    assert module.training == training
