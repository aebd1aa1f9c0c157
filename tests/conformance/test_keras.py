"""What Keras asks of CategoricalCrossentropy from logits (keras/src/losses/losses_test.py), re-expressed.

Its sample weights are rows of ``reduction="none"`` times a number; its values are those printed there.
"""

from __future__ import annotations

import pytest
import torch

ONE_HOT = torch.eye(3)
LOGITS = torch.tensor([[8.0, 1.0, 1.0], [0.0, 9.0, 1.0], [2.0, 3.0, 5.0]])


@pytest.mark.parametrize("target", [ONE_HOT, torch.arange(3)], ids=["probabilities", "labels"])
class TestValues:
    def test_all_correct(self, target, cross_entropy):
        logits = 10.0 * torch.eye(3)
        assert cross_entropy(logits, target).item() == pytest.approx(0.0, abs=1e-3)

    def test_unweighted(self, target, cross_entropy):
        assert cross_entropy(LOGITS, target).item() == pytest.approx(0.0573, abs=1e-4)

    def test_each_row(self, target, cross_entropy):
        rows = cross_entropy(LOGITS, target, reduction="none")
        torch.testing.assert_close(rows, torch.tensor([0.001822, 0.000459, 0.169846]), rtol=0, atol=1e-5)

    def test_weighted_by_a_number_a_row(self, target, cross_entropy):
        rows = cross_entropy(LOGITS, target, reduction="none")
        assert (rows * torch.tensor([1.2, 3.4, 5.6])).mean().item() == pytest.approx(0.31829, abs=1e-4)


@pytest.mark.parametrize("target", [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0])], ids=["probabilities", "label"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("scale", [10.0, 100.0, 1e4])
def test_a_share_of_a_gap_is_its_price(target, eps, scale, cross_entropy):
    # With the true class ahead by 2·scale the loss is 2·scale·ε·(K−1)/K, up to e^(−2·scale).
    logits = torch.tensor([[scale, -scale, -scale]])
    loss = cross_entropy(logits, target, label_smoothing=eps).item()
    assert loss == pytest.approx(4 * scale * eps / 3, rel=1e-6, abs=1e-7)


def test_the_class_axis_of_a_picture_is_its_second(cross_entropy):
    # Two pictures of two pixels; the first axis after the batch holds the classes.
    logits = torch.tensor([[[100.0, 100.0], [-100.0, -100.0], [-100.0, -100.0]]]).repeat(2, 1, 1)
    target = torch.tensor([[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]).repeat(2, 1, 1)
    for given in (target, torch.zeros(2, 2, dtype=torch.long)):
        rows = cross_entropy(logits, given, reduction="none", label_smoothing=0.1)
        torch.testing.assert_close(rows, torch.full((2, 2), 400 * 0.1 / 3), rtol=1e-5, atol=0)


def test_shapes_that_do_not_fit_are_refused(cross_entropy):
    with pytest.raises((ValueError, RuntimeError)):
        cross_entropy(torch.randn(3, 3), torch.rand(3, 4))
