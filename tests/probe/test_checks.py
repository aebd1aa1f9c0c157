"""What a loss does beside having a target: rows, labels, weights, side effects."""

from __future__ import annotations

import numpy as np
import torch

from sfumato.probe import probe
from tests.probe.losses import codes, smoothed, text_of


def test_a_loss_that_does_not_look_at_labels_is_told():
    found = probe(lambda logits, labels: -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean())
    assert "defect: labels-unused" in codes(found.findings)
    assert "defect: no-gradient" not in codes(found.findings)


def test_a_weight_that_multiplies_the_whole_loss_is_told():
    def loss(logits, labels, weight=None):
        return smoothed(logits, labels) * (1 if weight is None else torch.as_tensor(weight).mean())

    assert text_of(probe(loss).findings, "weights-multiply-loss").endswith("multiplied by 1.25")


def test_rows_that_show_the_mean_of_the_batch_are_told():
    def loss(logits, labels):
        return smoothed(logits, labels) + 0.2 * (logits.amax(1) - logits.mean(1))

    found = probe(loss)
    assert (found.reduction, found.line) == ("none", None)
    assert "defect: values-leak" in codes(found.findings)


def test_the_hardest_half_of_a_batch_hides_the_others():
    def loss(logits, labels):
        return smoothed(logits, labels, reduction="none").topk(max(1, len(labels) // 2)).values.mean()

    assert "2 of 4 have no gradient" in text_of(probe(loss).findings, "rows-hidden")


def test_labels_that_are_overwritten_where_they_are_no_class_are_told():
    def in_torch(logits, labels):
        return smoothed(logits, labels.clamp_(min=0))

    def in_numpy(logits, labels):
        labels[labels < 0] = 0
        z = logits - logits.max(1, keepdims=True)
        return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(len(labels)), labels].mean()

    for loss in (in_torch, in_numpy):
        found = probe(loss)
        assert {"defect: labels-overwritten", "defect: label-becomes-class"} <= set(codes(found.findings))


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
