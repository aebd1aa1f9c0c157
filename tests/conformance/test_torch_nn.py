"""What torch's own test file asks of cross entropy (test/test_nn.py, the cases that run on a CPU), re-expressed.

Truth is the formula written out below, in float64.
"""

from __future__ import annotations

import itertools

import pytest
import torch

REDUCTIONS = ("mean", "sum", "none")
SHAPES = [(5, 4), (5, 4, 3), (5, 4, 2, 3), (5, 4, 3, 2, 2)]


def dense(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, num_classes).movedim(-1, 1).double()


def written_out(z, q, weight=None, *, reduction="mean", divisor=None):
    """Σ w·q·(−log p) over classes; a mean divides by the positions unless told otherwise."""
    if weight is not None:
        q = q * weight.reshape((1, -1) + (1,) * (z.dim() - 2))
    rows = (q * (z.logsumexp(1, keepdim=True) - z)).sum(1)
    if reduction == "none":
        return rows
    return rows.sum() if reduction == "sum" else rows.sum() / (rows.numel() if divisor is None else divisor)


def numbers(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and weights of the classes."""
    return (
        torch.randn(shape, dtype=torch.float64),
        torch.randint(0, shape[1], (shape[0], *shape[2:])),
        torch.randn(shape[1], dtype=torch.float64).abs(),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_probability_targets_that_are_no_distributions(shape, reduction, weighted, cross_entropy, seed):
    z, _, weight = numbers(shape)
    q = torch.randn(shape, dtype=torch.float64)
    weight = weight if weighted else None
    torch.testing.assert_close(
        cross_entropy(z, q, weight, reduction=reduction), written_out(z, q, weight, reduction=reduction)
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_weights_of_one_are_no_weights(shape, reduction, kind, cross_entropy, seed):
    z, labels, _ = numbers(shape)
    target = labels if kind == "labels" else torch.randn(shape, dtype=torch.float64).softmax(1)
    ones = torch.ones(shape[1], dtype=torch.float64)
    torch.testing.assert_close(
        cross_entropy(z, target, ones, reduction=reduction), cross_entropy(z, target, reduction=reduction)
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_one_position_is_a_batch_of_one_with_the_same_gradient(reduction, weighted, kind, cross_entropy, seed):
    z = torch.randn(3, dtype=torch.float64).log_softmax(0)
    target = torch.tensor(2) if kind == "labels" else torch.randn(3, dtype=torch.float64).softmax(0)
    weight = torch.rand(3, dtype=torch.float64) if weighted else None
    alone, batch = z.clone().requires_grad_(), z.unsqueeze(0).requires_grad_()
    of_one = cross_entropy(alone, target, weight, reduction=reduction)
    of_batch = cross_entropy(batch, target.unsqueeze(0), weight, reduction=reduction)
    torch.testing.assert_close(of_one, of_batch.squeeze())
    of_one.backward()
    of_batch.sum().backward()
    torch.testing.assert_close(alone.grad, batch.grad.squeeze(0))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_labels_and_one_hot_probabilities_are_one_target(shape, reduction, cross_entropy, seed):
    z, labels, _ = numbers(shape)
    torch.testing.assert_close(
        cross_entropy(z, labels, reduction=reduction), cross_entropy(z, dense(labels, shape[1]), reduction=reduction)
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("eps", [0.05, 0.15, 1.0])
def test_smoothed_labels_are_smoothed_probabilities(shape, reduction, eps, cross_entropy, seed):
    z, labels, weight = numbers(shape)
    q = dense(labels, shape[1])
    for w in (None, weight):
        # A mean over labels divides by their weights, one over probabilities by the positions.
        scale = 1.0 if w is None or reduction != "mean" else labels.numel() / w[labels].sum()
        by_label = cross_entropy(z, labels, w, reduction=reduction, label_smoothing=eps)
        by_probability = cross_entropy(z, q, w, reduction=reduction, label_smoothing=eps)
        torch.testing.assert_close(by_label, by_probability * scale)
        smoothed = (1 - eps) * q + eps / shape[1]
        torch.testing.assert_close(by_probability, written_out(z, smoothed, w, reduction=reduction))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("eps", [0.05, 0.15])
def test_smoothing_is_the_same_before_and_inside_the_loss(reduction, eps, cross_entropy, seed):
    z, _, _ = numbers((10, 4, 3))
    q = torch.randn(10, 4, 3, dtype=torch.float64).log_softmax(1)  # as there: no distribution
    before = q * (1 - eps) + eps / 4
    torch.testing.assert_close(
        cross_entropy(z, q, reduction=reduction, label_smoothing=eps), cross_entropy(z, before, reduction=reduction)
    )


@pytest.mark.parametrize("eps", [1.2, 1.0001])
def test_a_strength_beyond_one_is_said_before_the_shapes_are(eps, cross_entropy):
    with pytest.raises(RuntimeError, match="label_smoothing must be"):
        cross_entropy(torch.randn(3, 4), torch.arange(4), label_smoothing=eps)


@pytest.mark.parametrize("ignored", [-100, -2, 2])
@pytest.mark.parametrize("eps", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_an_ignored_row_holds_changes_nothing(ignored, eps, weighted, cross_entropy):
    weight = torch.tensor([0.3, 0.6]) if weighted else None
    options = {"weight": weight, "ignore_index": ignored, "label_smoothing": eps}
    first, second = torch.tensor([[0.3, 0.4], [1, 2]]), torch.tensor([[0.3, 0.6], [1, 2]])
    labels = torch.tensor([ignored, 1])
    alone = {**options, "ignore_index": -100}
    for reduction in ("mean", "sum"):
        values = [cross_entropy(z, labels, **options, reduction=reduction) for z in (first, second)]
        torch.testing.assert_close(*values)
        torch.testing.assert_close(values[0], cross_entropy(first[1:], labels[1:], **alone, reduction=reduction))
    rows = cross_entropy(first, labels, **options, reduction="none")
    assert rows[0] == 0
    torch.testing.assert_close(rows[1:], cross_entropy(first[1:], labels[1:], **alone, reduction="none"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("eps", [0.0, 0.15])
def test_ignored_rows_leave_the_sum_and_the_divisor(shape, reduction, eps, cross_entropy, seed):
    z, labels, weight = numbers(shape)
    counted = labels != 1
    q = torch.where(counted.unsqueeze(1), (1 - eps) * dense(labels, shape[1]) + eps / shape[1], 0.0)
    for w in (None, weight):
        divisor = counted.sum() if w is None else torch.where(counted, w[labels], 0.0).sum()
        torch.testing.assert_close(
            cross_entropy(z, labels, w, ignore_index=1, reduction=reduction, label_smoothing=eps),
            written_out(z, q, w, reduction=reduction, divisor=divisor),
        )


def test_a_batch_that_does_not_match_is_refused(cross_entropy):
    with pytest.raises(ValueError, match="Expected.*batch_size"):
        cross_entropy(torch.randn(10, 3), torch.randint(0, 3, (3,)))


def test_an_ignored_index_need_not_be_a_class(cross_entropy, seed):
    z, labels = torch.randn(2, 4), torch.tensor([255, 3])
    torch.testing.assert_close(cross_entropy(z, labels, ignore_index=255), cross_entropy(z[1:], labels[1:]))


@pytest.mark.parametrize("shape", [(10, 3), (10, 3, 10, 10)], ids=str)
def test_labels_of_another_shape_are_refused(shape, cross_entropy):
    with pytest.raises((ValueError, RuntimeError), match=r"[Ee]xpected target size|target tensor expected"):
        cross_entropy(torch.randn(shape), torch.zeros((*(shape[0], *shape[2:]), 2), dtype=torch.long))


@pytest.mark.parametrize("weight", [(1,), (4,), (3, 1)], ids=str)
def test_weights_of_another_shape_are_refused(weight, cross_entropy):
    with pytest.raises(RuntimeError, match="weight tensor should be defined either for all 3 classes or no classes"):
        cross_entropy(torch.randn(10, 3), torch.zeros(10, dtype=torch.long), torch.rand(weight))


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 5), (2, 3, 0), (2, 3, 5, 0)], ids=str)
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_over_no_position_the_mean_is_nan_and_the_sum_zero(shape, eps, cross_entropy):
    z, labels = torch.randn(shape, requires_grad=True), torch.zeros((shape[0], *shape[2:]), dtype=torch.long)
    values = [cross_entropy(z, labels, reduction=r, label_smoothing=eps) for r in REDUCTIONS]
    assert values[0].isnan()
    assert values[1] == 0
    assert values[2].shape == labels.shape
    for value in values:
        (grad,) = torch.autograd.grad(value.sum(), z)
        assert grad.shape == z.shape


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("how", ["no weight", "ignored"])
def test_over_nothing_that_counts_the_mean_is_nan_and_the_sum_zero(eps, how, cross_entropy):
    z = torch.randn(3, 4)
    labels = torch.full((3,), 2)
    options = {"weight": torch.zeros(4)} if how == "no weight" else {"ignore_index": 2}
    assert cross_entropy(z, labels, **options, label_smoothing=eps).isnan()
    assert cross_entropy(z, labels, **options, label_smoothing=eps, reduction="sum") == 0
    assert torch.equal(cross_entropy(z, labels, **options, label_smoothing=eps, reduction="none"), torch.zeros(3))


def test_labels_in_bytes_are_the_same_labels(cross_entropy, seed):
    z, labels, weight = numbers((10, 4))
    for w, eps in itertools.product((None, weight), (0.0, 0.1)):
        torch.testing.assert_close(
            cross_entropy(z, labels.to(torch.uint8), w, label_smoothing=eps),
            cross_entropy(z, labels, w, label_smoothing=eps),
        )


@pytest.mark.parametrize("label", [4, -1, 1000])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_label_that_is_no_class_is_an_index_error(label, reduction, cross_entropy):
    with pytest.raises(IndexError, match=str(label)):
        cross_entropy(torch.randn(3, 4), torch.tensor([0, label, 1]), reduction=reduction)
