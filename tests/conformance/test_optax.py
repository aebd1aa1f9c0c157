"""What optax asks of its softmax losses and of smooth_labels, re-expressed: its values, masks and axes.

From optax/losses/_classification_test.py and _smoothing_test.py. A class that optax masks away has a logit of −inf and
no mass here.
"""

from __future__ import annotations

import math

import pytest
import torch

LOGITS = torch.tensor([[10.0, 1.0, -2.0], [1.0, 4.0, 0.2]])
PROBS = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
LABELS = torch.tensor([1, 0])
VALUES = torch.tensor([9.00013, 3.0696733])

INF = math.inf
MASKED = torch.tensor([*LOGITS.tolist(), [-INF, 0, 0], [-INF, 0, 0], [-INF, 0, -INF]])
MASKED_PROBS = torch.tensor([*PROBS.tolist(), [0, 0.5, 0.5], [0.4, 0.3, 0.3], [0, 1, 0]])
MASKED_VALUES = torch.tensor([*VALUES.tolist(), math.log(2), INF, 0.0])


@pytest.mark.parametrize("target", [PROBS, LABELS], ids=["probabilities", "labels"])
def test_a_row_and_a_batch_have_their_values(target, cross_entropy):
    torch.testing.assert_close(cross_entropy(LOGITS, target, reduction="none"), VALUES, rtol=0, atol=1e-4)
    torch.testing.assert_close(cross_entropy(LOGITS[0], target[0], reduction="none"), VALUES[0], rtol=0, atol=1e-4)


def test_the_safe_loss_has_its_values_where_classes_are_impossible(cross_entropy):
    rows = cross_entropy(MASKED, MASKED_PROBS, reduction="none")
    torch.testing.assert_close(rows, MASKED_VALUES, rtol=0, atol=1e-4)


def test_the_safe_loss_has_finite_gradients_where_it_is_finite(cross_entropy):
    possible = [0, 1, 2, 4]
    z = MASKED[possible].clone().requires_grad_()
    cross_entropy(z, MASKED_PROBS[possible], reduction="sum").backward()
    expected = MASKED[possible].softmax(1) - MASKED_PROBS[possible]
    torch.testing.assert_close(z.grad, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_smoothed_labels_are_nine_tenths_and_a_share(eps, cross_entropy):
    smoothed = (1 - eps) * PROBS + eps / 3
    for target in (PROBS, LABELS):
        torch.testing.assert_close(
            cross_entropy(LOGITS, target, reduction="none", label_smoothing=eps),
            cross_entropy(LOGITS, smoothed, reduction="none"),
            rtol=0,
            atol=1e-4,
        )
        torch.testing.assert_close(
            cross_entropy(LOGITS[0], target[0], label_smoothing=eps), cross_entropy(LOGITS[0], smoothed[0])
        )


@pytest.mark.parametrize("size", [5, 10])
def test_a_masked_class_is_a_class_less(size, cross_entropy, seed):
    z = torch.randn(size)
    q = torch.rand(size).softmax(0)
    keep = torch.rand(size) < 0.5
    keep[0] = True
    masked = cross_entropy(z.masked_fill(~keep, -INF), q * keep)
    torch.testing.assert_close(masked, cross_entropy(z[keep], q[keep]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", ["probabilities", "labels"])
def test_the_class_axis_may_lie_anywhere_in_memory(axis, kind, cross_entropy, seed):
    z, q = torch.randn(4, 5, 6), torch.randn(4, 5, 6).softmax(axis)
    target = q.movedim(axis, 1) if kind == "probabilities" else q.argmax(axis)
    flat = z.movedim(axis, -1).reshape(-1, z.shape[axis])
    flat_target = q.movedim(axis, -1).reshape(-1, z.shape[axis]) if kind == "probabilities" else target.reshape(-1)
    rows = cross_entropy(z.movedim(axis, 1), target, reduction="none")
    torch.testing.assert_close(rows.reshape(-1), cross_entropy(flat, flat_target, reduction="none"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("axes", [(1, 3), (3, 2), (0, 1, 3), (0, 2)], ids=str)
def test_classes_of_several_axes_are_the_classes_of_one(axes, cross_entropy, seed):
    z = torch.randn(2, 3, 4, 5)
    rest = [i for i in range(4) if i not in axes]
    grouped = z.permute(*rest, *axes)
    positions, classes = grouped.shape[: len(rest)], math.prod(grouped.shape[len(rest) :])
    flat = grouped.reshape(-1, classes)
    labels = torch.randint(0, classes, (len(flat),))
    shaped = grouped.reshape(*positions, classes).movedim(-1, 1) if len(positions) > 1 else flat
    rows = cross_entropy(shaped, labels.reshape(positions), reduction="none")
    torch.testing.assert_close(rows.reshape(-1), cross_entropy(flat, labels, reduction="none"))


@pytest.mark.parametrize("kind", ["probabilities", "labels"])
def test_gradients_are_those_of_the_values(kind, cross_entropy):
    z = LOGITS.double().requires_grad_()
    leaves = [z] if kind == "labels" else [z, PROBS.double().requires_grad_()]
    assert torch.autograd.gradcheck(
        lambda z, q=LABELS: cross_entropy(z, q, reduction="none"), leaves, check_forward_ad=True
    )
