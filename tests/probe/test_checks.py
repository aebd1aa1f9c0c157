"""What a loss does beside having a target: rows, labels, weights, side effects."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.probe import Probe, probe

EPS = 0.1


def said(found: Probe, level: str = "") -> str:
    return "\n".join(str(each) for each in found.findings if each.level.startswith(level))


def smoothed(logits, labels, **options):
    return F.cross_entropy(logits, labels, label_smoothing=EPS, **options)


def test_a_loss_that_does_not_look_at_labels_is_told():
    found = probe(lambda logits, labels: -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean())
    assert "labels: they are not looked at" in said(found, "defect")
    assert "it is 0 for every label" not in said(found)


def test_a_weight_that_multiplies_the_whole_loss_is_told():
    def loss(logits, labels, weight=None):
        return smoothed(logits, labels) * (1 if weight is None else torch.as_tensor(weight).mean())

    told = "class weights: weight=… weights no class and no row: the whole loss is multiplied by 1.25"
    assert told in said(probe(loss), "defect")


def test_rows_that_show_the_mean_of_the_batch_are_told():
    def loss(logits, labels):
        return smoothed(logits, labels) + 0.2 * (logits.amax(1) - logits.mean(1))

    found = probe(loss)
    assert (found.reduction, found.line) == ("none", None)
    assert "rows: the value of a row depends on the other rows" in said(found, "defect")


def test_the_hardest_half_of_a_batch_hides_the_others():
    def loss(logits, labels):
        return smoothed(logits, labels, reduction="none").topk(max(1, len(labels) // 2)).values.mean()

    assert "hides rows: 2 of 4 have no gradient" in said(probe(loss), "defect")


def test_labels_that_are_overwritten_where_they_are_no_class_are_told():
    def in_torch(logits, labels):
        return smoothed(logits, labels.clamp_(min=0))

    def in_numpy(logits, labels):
        labels[labels < 0] = 0
        z = logits - logits.max(1, keepdims=True)
        return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(len(labels)), labels].mean()

    for loss in (in_torch, in_numpy):
        found = probe(loss)
        assert "side effects: the labels are overwritten" in said(found, "defect")
        assert "label -1 is not refused: it silently becomes class 0" in said(found, "defect")


def test_clipped_gradients_are_not_said_to_leak():
    class Clip(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, upstream):
            return upstream.clamp(-0.01, 0.01)

    found = probe(lambda logits, labels: smoothed(Clip.apply(logits), labels))
    assert "gradient: it is not that of the value" in said(found, "defect")
    assert "leak" not in said(found)
