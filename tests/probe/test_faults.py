"""Faults that a loss may have, each named beside losses that look like it and have none."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sfumato.probe import probe
from sfumato.probe.call import Relabelling
from tests.probe.losses import EPS, codes, smoothed, text_of

CE = F.cross_entropy
PERMUTED = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
SMOOTH = 'sf.cross_entropy(logits, {}, label_smoothing=0.1, over="all")'


def count(z):
    return z.shape[1]


def flipped_one_hot(logits, q):
    return -(q.flip(1) * logits.log_softmax(1)).sum(1).mean()


def focal(z, y, gamma=2.0):
    nll = CE(z, y, reduction="none")
    return ((1 - torch.exp(-nll)) ** gamma * nll).mean()


def swapped(a, b):
    return CE(b, a)


@pytest.mark.parametrize(
    ("loss", "part", "line", "corrected"),
    [
        (lambda z, y: smoothed(z, (y + 1) % count(z)), "y + 1, modulo K", SMOOTH.format("(labels + 1) % 10"),
         SMOOTH.format("labels")),
        (lambda z, y: CE(z, count(z) - 1 - y, reduction="sum"), "reversed",
         'sf.cross_entropy(logits, 9 - labels, reduction="sum")', 'sf.cross_entropy(logits, labels, reduction="sum")'),
        (lambda z, y: CE(z, y - 1), "y − 1; label 0 is refused", "sf.cross_entropy(logits, labels - 1)",
         "sf.cross_entropy(logits, labels)"),
        (lambda z, y: smoothed(z, PERMUTED[y]), "permuted: 0→3, 1→1, 2→4",
         SMOOTH.format("torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])[labels]"), SMOOTH.format("labels")),
        (lambda z, y: CE(z, y // 2), "several labels share a class: 0→0, 1→0", None,
         "sf.cross_entropy(logits, labels)"),
        (lambda z, y: smoothed(z.roll(1, 1), y), "y − 1, modulo K", None, SMOOTH.format("labels")),
        (flipped_one_hot, "reversed", "sf.cross_entropy(logits, 9 - labels.argmax(1))",
         "sf.cross_entropy(logits, labels.argmax(1))"),
        (lambda z, y: focal(z, (y + 1) % count(z)), "y + 1", "sf.penalty.focal(logits, (labels + 1) % 10, gamma=2)",
         "sf.penalty.focal(logits, labels, gamma=2)"),
        (lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot((y + 2) % count(z), count(z)).to(z.dtype)),
         "y + 2", None, None),
    ],
)  # fmt: skip
def test_training_towards_another_class_is_named_with_the_line_that_corrects_it(loss, part, line, corrected):
    found = probe(loss)
    assert part in text_of(found.findings, "label-becomes-another")
    assert (found.line, found.corrected) == (line, corrected)


@pytest.mark.parametrize(
    ("loss", "called"),
    [
        (lambda y_true, y_pred: CE(y_pred, y_true), "labels[N], logits[N, K]"),
        (swapped, "labels[N], logits[N, K]"),
        (lambda z, y: CE(z, y, label_smoothing=0.95), "logits[N, K], labels[N]"),
        (lambda z, y: CE(z, y, torch.logspace(0, 2, count(z), dtype=z.dtype)), "logits[N, K], labels[N]"),
        (lambda z, y: -CE(z, y), "logits[N, K], labels[N]"),
    ],
)
def test_no_other_class_is_named_for_a_loss_that_trains_towards_its_label(loss, called):
    found = probe(loss)
    assert found.called == called
    assert "defect: label-becomes-another" not in codes(found.findings)


def test_a_relabelling_is_known_at_another_number_of_classes_if_it_has_a_rule():
    shift = Relabelling.of(5, {0: 1, 1: 2, 4: 0})
    assert (shift.shift, shift.wraps, shift.at(9).labels_of(torch.tensor([0, 3, -1]).numpy()).tolist()) == (
        1, True, [8, 2, -1])  # fmt: skip
    with pytest.raises(ValueError, match="known for K = 3 alone"):
        Relabelling.of(3, {0: 1, 1: 0, 2: 2}).at(4)


@pytest.mark.parametrize(
    ("loss", "code", "eps", "corrected"),
    [
        (lambda z, y: smoothed(-z, y), "logits-negated", EPS, SMOOTH.format("labels")),
        (lambda z, y: CE(-z / 2, y), "logits-negated", 0.0, "sf.cross_entropy(logits / 2, labels)"),
        (lambda z, y: smoothed(z.softmax(1), y), "squashed-before-loss", EPS, SMOOTH.format("labels")),
        (lambda z, y: CE(z.sigmoid(), y), "squashed-before-loss", 0.0, "sf.cross_entropy(logits, labels)"),
        (lambda z, y: CE(z.tanh(), y), "squashed-before-loss", 0.0, "sf.cross_entropy(logits, labels)"),
        (lambda z, y: F.binary_cross_entropy_with_logits(z.sigmoid(), F.one_hot(y, count(z)).to(z.dtype)),
         "squashed-before-loss", 0.0, None),
        (lambda z, y: -smoothed(z, y), "sign-turned", EPS, SMOOTH.format("labels")),
        (lambda z, y: smoothed(z, y, reduction="none").mean(), "ignored-rows-in-mean", EPS, SMOOTH.format("labels")),
        (lambda z, y: z.mean(), "labels-unused", None, None),
        (lambda z, y: z.logsumexp(1).mean(), "labels-unused", None, None),
    ],
)  # fmt: skip
def test_a_fault_is_named_and_corrected(loss, code, eps, corrected):
    found = probe(loss)
    assert f"defect: {code}" in codes(found.findings)
    assert (found.eps, found.corrected) == (eps, corrected)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: CE(z.log_softmax(1), y),
        lambda z, y: ((z.softmax(1) - F.one_hot(y, count(z))) ** 2).sum(1).mean(),
        lambda z, y: CE(5 * z, y),
        nn.CrossEntropyLoss(label_smoothing=1.0),
    ],
)
def test_what_looks_like_such_a_fault_is_none(loss):
    names = ("logits-negated", "squashed-before-loss", "sign-turned", "labels-unused")
    assert not any(f"defect: {name}" in codes(probe(loss).findings) for name in names)


@pytest.mark.parametrize("label", [255, -7, 10, 3, 65535, 0, -1])
def test_any_ignored_label_is_found_and_is_in_the_line(label):
    found = probe(lambda z, y: CE(z, y, ignore_index=label))
    assert (found.ignore_index, found.line) == (label, f"sf.cross_entropy(logits, labels, ignore_index={label})")


def mean_of_images(z, y):
    assert z.dim() == 4
    counts = y != 255
    return ((CE(z, y, reduction="none", ignore_index=255) * counts).sum((1, 2)) / counts.sum((1, 2))).mean()


def mean_of_labels(z, y):
    each = CE(z, y, reduction="none")
    return torch.stack([each[y == label].mean() for label in y.unique()]).mean()


def of_images(z, y):
    assert z.dim() == 4
    return CE(z, y, ignore_index=255)


@pytest.mark.parametrize(
    ("loss", "reduction", "code"),
    [
        (mean_of_images, "other", "warning: mean-of-sequence-means"),
        (mean_of_labels, "other", "warning: reduction-unknown"),
        (of_images, "mean", "note: ignored-label"),
    ],
)
def test_a_mean_of_means_is_no_mean_over_rows(loss, reduction, code):
    found = probe(loss)
    assert found.reduction == reduction
    assert code in codes(found.findings)


class Late(nn.Module):
    def __init__(self, first=1000):
        super().__init__()
        self.calls, self.first = 0, first
        self.last = 0.0

    def forward(self, z, y):
        self.calls += 1
        return CE(z, y, label_smoothing=EPS if self.calls > self.first else 0.0)


def late_closure():
    calls = [0]

    def loss(z, y):
        calls[0] += 1
        return CE(z, y, label_smoothing=EPS if calls[0] > 1000 else 0.0)

    return loss


class Cached(Late):
    def forward(self, z, y):
        self.last = CE(z, y)
        return self.last


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Late(), "warning: stateful-loss"),
        (late_closure(), "warning: stateful-loss"),
        (Late(10**9), "warning: loss-keeps-state"),
        (Cached(), None),
    ],
)
def test_state_that_counts_calls_is_told_and_what_is_only_kept_is_not(loss, expected):
    found = codes(probe(loss).findings)
    assert [each for each in found if "state" in each] == ([] if expected is None else [expected])


def test_what_is_not_clipped_is_not_said_to_be_and_no_warning_of_numpy_leaks():
    def growing(z, y):
        far = (z.amax(1) - z.gather(1, y[:, None])[:, 0] > 40).to(z.dtype)
        return (CE(z, y, reduction="none") * (1 - 0.1 * far)).mean()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = codes(probe(growing).findings)
    assert "warning: large-gap-differs" in found
    assert "warning: probability-clipped" not in found
