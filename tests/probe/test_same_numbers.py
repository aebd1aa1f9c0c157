"""Lines are run on the arguments of the loss itself: sequences, images, shifted labels, dictionaries, soft labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe import probe
from tests.probe.losses import EPS, codes, smoothed, text_of


def next_token(logits, labels):
    return smoothed(logits[..., :-1, :].flatten(0, 1), labels[..., 1:].flatten())


def next_token_of_hugging_face(logits, labels, vocab_size):
    loss_utils = pytest.importorskip("transformers.loss.loss_utils")
    return loss_utils.ForCausalLMLoss(logits, labels, vocab_size)


def trainer_of_hugging_face(outputs, labels):
    trainer = pytest.importorskip("transformers.trainer_pt_utils")
    return trainer.LabelSmoother(EPS)(outputs, labels, shift_labels=True)


def classes_second(logits, labels):
    assert logits.dim() == 3
    assert labels.shape == (len(logits), logits.size(2))
    return smoothed(logits, labels)


def classes_last(logits, labels):
    batch, positions, classes = logits.shape
    return smoothed(logits.view(batch * positions, classes), labels.view(-1), ignore_index=0)


def a_sum_a_sequence(logits, labels):
    return smoothed(logits.transpose(1, 2), labels, reduction="none").sum(1).mean()


def a_number_a_position(logits, labels):
    return smoothed(logits.transpose(1, 2), labels, reduction="none")


def padded_sum_over_all(log_probs, target):
    return F.nll_loss(log_probs.transpose(1, 2), target, ignore_index=0, reduction="sum") / target.numel()


def image(logits, masks):
    assert logits.dim() == 4
    return smoothed(logits, masks, ignore_index=255)


def sum_an_image(logits, masks):
    assert logits.dim() == 4
    return smoothed(logits, masks, reduction="sum") / len(logits)


def column(logits, labels):
    assert labels.shape == (len(logits), 1)
    return smoothed(logits, labels.squeeze(1))


def divergence(log_probs, target):
    q = torch.full_like(log_probs, EPS / log_probs.size(-1))
    q = q + (1 - EPS) * F.one_hot(target, log_probs.size(-1))
    return F.kl_div(log_probs, q, reduction="batchmean")


def rows(count: int, classes: int = 10):
    generator = torch.Generator().manual_seed(count)
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(1, classes, (count,), generator=generator)


def sequences(batch: int, positions: int, ignored: int | None = None, *, second: bool = False):
    logits, labels = rows(batch * positions)
    logits, labels = logits.detach().reshape(batch, positions, -1), labels.reshape(batch, positions)
    if ignored is not None:
        labels[0, 1] = ignored
    return (logits.transpose(1, 2) if second else logits).contiguous().requires_grad_(), labels


def images(ignored: int):
    logits, labels = sequences(2, 6, ignored, second=True)
    return logits.detach().reshape(2, 10, 2, 3).requires_grad_(), labels.reshape(2, 2, 3)


CALLS = [
    (next_token, lambda: sequences(3, 5, -100), "logits[:, :-1].flatten(0, -2), labels[:, 1:].flatten(), label_sm"),
    (next_token_of_hugging_face, lambda: sequences(3, 5, -100), "logits[:, :-1].flatten(0, -2), labels[:, 1:]"),
    (trainer_of_hugging_face, lambda: sequences(3, 5, -100), "logits[:, :-1].flatten(0, -2), labels[:, 1:]"),
    (classes_second, lambda: sequences(3, 5, -100, second=True), "sf.cross_entropy(logits, labels, label_smoothing"),
    (classes_last, lambda: sequences(3, 5, 0), "sf.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_"),
    (a_sum_a_sequence, lambda: sequences(3, 5, -100), 'reduction="sum") / len(labels)'),
    (a_number_a_position, lambda: sequences(3, 5, -100), 'reduction="none").view_as(labels)'),
    (padded_sum_over_all, lambda: sequences(3, 5, 0), 'ignore_index=0, reduction="sum") / labels.numel()'),
    (image, lambda: images(255), "sf.cross_entropy(logits, labels, label_smoothing"),
    (sum_an_image, lambda: images(-100), 'reduction="sum") / len(labels)'),
    (column, lambda: (rows(7)[0], rows(7)[1][:, None]), "sf.cross_entropy(logits, labels.flatten(), label_"),
    (divergence, lambda: rows(7), "(parts := sf.loss_parts(logits, labels, label_smoothing="),
]  # fmt: skip


def of_loss(loss, logits, labels):
    inputs = logits.log_softmax(-1) if loss in (padded_sum_over_all, divergence) else logits
    if loss is trainer_of_hugging_face:
        return loss({"logits": inputs}, labels)
    return loss(inputs, labels, 10) if loss is next_token_of_hugging_face else loss(inputs, labels)


@pytest.mark.parametrize(("loss", "arguments", "part"), CALLS, ids=[loss.__name__ for loss, *_ in CALLS])
def test_the_line_has_value_and_gradient_of_the_loss_on_the_arguments_of_the_loss(loss, arguments, part):
    found = probe(loss)
    assert part in str(found.line)
    logits, labels = arguments()
    own = eval(str(found.line), {"sf": sf, "torch": torch, "logits": logits, "labels": labels})
    theirs = of_loss(loss, logits, labels)
    torch.testing.assert_close(own, theirs.double(), rtol=1e-6, atol=1e-9)
    gradients = [torch.autograd.grad(each.sum(), logits)[0] for each in (own, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


class OtherGradient(torch.autograd.Function):
    """The smoothed loss for its value, and one and a half times its gradient in a batch of eight rows or more."""

    @staticmethod
    def forward(ctx, logits, labels):
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            value = smoothed(leaf, labels, reduction="none")
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        ctx.save_for_backward(gradient * (1.5 if len(logits) >= 8 else 1.0))
        return value.detach()

    @staticmethod
    def backward(ctx, upstream):
        return upstream[:, None] * ctx.saved_tensors[0], None


def mean_of_means(logits, labels):
    counts = (labels != -100).to(logits.dtype)
    losses = smoothed(logits.transpose(1, 2), labels, reduction="none")
    return (losses.sum(1) / counts.sum(1)).mean()


def largest_sequence(logits, labels):
    return smoothed(logits.transpose(1, 2), labels, reduction="none").mean(1).max()


@pytest.mark.parametrize(
    ("loss", "part"),
    [
        (OtherGradient.apply, "its gradient, but not its value, differs from that of sfumato's nearest line by 0.5"),
        (mean_of_means, "where rows of label -100 are among them"),
        (largest_sequence, "where a batch has several sequences or images"),
    ],
    ids=["gradient", "ignored rows", "sequences"],
)
def test_without_a_line_the_part_that_differs_is_named(loss, part):
    found = probe(loss)
    assert found.line is None
    assert part in str(found.recipe)
    assert text_of(found.findings, "no-line").endswith(str(found.recipe)[18:])


def test_a_loss_of_one_hot_labels_is_tried_with_probabilities_too():
    def soft(logits, targets):
        return -((targets * (1 - EPS) + EPS / logits.size(1)) * logits.log_softmax(1)).sum(1).mean()

    found = probe(soft)
    assert "note: line-takes-probabilities" in codes(found.findings)
    logits, _ = rows(6)
    targets = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(10), 6))
    own = eval(str(found.line), {"sf": sf, "torch": torch, "logits": logits, "labels": targets})
    torch.testing.assert_close(own, soft(logits, targets))


def test_a_line_for_one_hot_labels_alone_says_so():
    def hard(logits, targets):
        assert targets.shape == logits.shape
        return smoothed(logits, targets.argmax(1))

    found = probe(hard)
    assert found.line == 'sf.cross_entropy(logits, labels.argmax(1), label_smoothing=0.1, over="all")'
    assert "note: line-takes-probabilities" in codes(found.findings)


def test_a_line_that_is_off_on_probabilities_says_so():
    def sharpened(logits, targets):
        return -(targets**2 * logits.log_softmax(1)).sum(1).mean()

    assert "warning: line-for-one-hot" in codes(probe(sharpened).findings)


@pytest.mark.parametrize(
    ("loss", "where"),
    [
        (lambda probs, labels: -probs.gather(1, labels[:, None]).log().mean(), "logits are probabilities.log(), or"),
        (lambda lprobs, labels: F.nll_loss(lprobs, labels), "logits are the log-probabilities that the loss takes"),
        (lambda out, labels: F.cross_entropy(out["logits"], labels), 'logits are outputs["logits"]'),
        (lambda logits, labels: F.cross_entropy(logits, labels), "None"),
    ],
)
def test_what_logits_are_in_the_line_is_said_where_the_loss_takes_something_else(loss, where):
    assert str(probe(loss).where).startswith(where)


def test_a_loss_of_rows_that_takes_sequences_too_says_what_the_line_needs_then():
    def loss(logits, labels):
        return smoothed(logits.reshape(-1, logits.size(-1)), labels.reshape(-1))

    found = probe(loss)
    assert found.line == 'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="all")'
    assert "note: sequences-too" in codes(found.findings)
    assert "note: sequences-too" not in codes(probe(smoothed).findings)
