"""What a loss refuses, in which words, and what it takes as torch does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato import reference
from tests.loss.properties import path

__all__ = ["path"]  # a fixture: every claim is made of the compiled kernel and of the torch path


Z, Y, WEIGHT = torch.randn(3, 4), torch.tensor([0, 1, 3]), torch.randn(4, 4)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize(("logits", "probs"), list(itertools.product(DTYPES, DTYPES)), ids=str)
def test_mixed_dtypes_promote_as_torchs(logits, probs):
    z, q = torch.randn(4, 5).to(logits), torch.randn(4, 5).softmax(1).to(probs)
    assert sf.cross_entropy(z, q).dtype == F.cross_entropy(z, q).dtype


def test_bytes_are_labels_and_other_integers_are_refused():
    torch.testing.assert_close(sf.cross_entropy(Z, Y.to(torch.uint8)), F.cross_entropy(Z, Y))
    with pytest.raises(RuntimeError, match="expected scalar type Long but found int32: labels must be torch.int64"):
        sf.cross_entropy(Z, Y.to(torch.int32))


@pytest.mark.parametrize("function", [sf.cross_entropy, reference.cross_entropy, sf.loss_parts])
class TestBadArguments:
    @pytest.mark.parametrize("eps", [-0.1, 1.2, float("nan"), float("inf")])
    @pytest.mark.parametrize("kind", [ValueError, RuntimeError])
    def test_a_strength_outside_its_range(self, function, eps, kind):
        with pytest.raises(kind, match=rf"^label_smoothing must be in \[0, 1\], got {eps:g}$"):
            function(Z, torch.tensor([0, 1, 2, 3]), label_smoothing=eps)  # said before the shapes are

    @pytest.mark.parametrize("label", [4, -1, -101])
    def test_a_label_that_is_no_class(self, function, label):
        labels = torch.tensor([0, label, 3])
        with pytest.raises(
            IndexError, match=rf"^label {label} in row 1 is not a class: logits have 4 classes \(0 to 3\)$"
        ):
            function(Z, labels, label_smoothing=0.1)

    def test_a_label_that_is_no_class_in_a_picture(self, function):
        labels = torch.zeros(2, 3, 3, dtype=torch.long)
        labels[1, 0, 2] = 9
        with pytest.raises(IndexError, match=r"^label 9 in position \(1, 0, 2\) is not a class"):
            function(torch.randn(2, 4, 3, 3), labels)

    @pytest.mark.parametrize("index", [None, True, 1.5, "0"])
    def test_an_ignore_index_that_is_no_whole_number(self, function, index):
        with pytest.raises(TypeError, match=rf"^ignore_index must be an int, got {index!r}$"):
            function(Z, Y, ignore_index=index)

    @pytest.mark.parametrize(
        ("given", "how", "error", "message"),
        [
            ((Z, torch.arange(4)), {}, ValueError, r"batch_size \(3\) to match target batch_size \(4\)\."),
            ((torch.randn(3, 4, 2), torch.zeros(3, 5).long()), {}, ValueError, r"target size \[3, 2\], got \[3, 5\]"),
            ((Z, Y, torch.rand(3)), {}, RuntimeError, "either for all 4 classes or no classes"),
            ((Z, Y), {"sample_weight": torch.rand(4)}, ValueError, r"must be one number a row, \(3,\), got \(4,\)"),
            ((Z, sf.one_hot(Y, 5)), {}, ValueError, "the target has 5 classes, the logits have 4"),
            ((Z, sf.one_hot(Y[:2], 4)), {}, ValueError, r"the target has positions \(2,\), the logits \(3,\)"),
            ((Z, Y), {"over": "uniform"}, ValueError, "over must be \"others\" .* got 'uniform'"),
            ((Z, Y), {"weight_on": "row"}, ValueError, "weight_on must be \"class\" .* got 'row'"),
            ((Z, torch.ones(3, 4).long()), {}, RuntimeError, "Expected floating point type for target with class prob"),
            ((Z, torch.rand(3, 4)), {"ignore_index": 1}, RuntimeError, "ignore_index is not supported for floating"),
        ],
    )
    def test_what_does_not_fit(self, function, given, how, error, message):
        with pytest.raises(error, match=message):
            function(*given, **how)

    def test_smoothing_twice(self, function):
        target = sf.smooth(Y, 4, 0.1, over="all")
        with pytest.raises(ValueError, match="label_smoothing is 0.2 but the target is a Target already"):
            function(Z, target, label_smoothing=0.2)
        with pytest.raises(ValueError, match="ignore_index is 0, but a Target knows its ignored rows"):
            function(Z, target, ignore_index=0)
        with pytest.raises(TypeError, match="for a strength per row use sf.smooth"):
            function(Z, Y, label_smoothing=torch.tensor(0.1))


def test_numpys_whole_numbers_are_an_ignore_index():
    found = sf.cross_entropy(Z, Y, ignore_index=np.int64(1))  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(found, F.cross_entropy(Z, Y, ignore_index=1))


WITH_REDUCTION = {
    "cross_entropy": lambda **how: sf.cross_entropy(Z, Y, **how),
    "reference": lambda **how: reference.cross_entropy(Z, Y, **how),
    "loss_parts": lambda **how: sf.loss_parts(Z, Y, **how),
    "focal": lambda **how: sf.penalty.focal(Z, Y, gamma=1.0, **how),
    "distillation": lambda **how: sf.distillation_loss(Z, Y, Z, 1.0, 2.0, **how),
    "noisy": lambda **how: sf.noisy_cross_entropy(Z, Y, torch.eye(4), **how),
    "pairs": lambda **how: sf.pair_cross_entropy(Z, 0.1, **how),
    "online": lambda **how: sf.OnlineSmoothing(4, **how),
    "linear": lambda **how: sf.linear_cross_entropy(Z, WEIGHT, Y, **how),
}


@pytest.mark.parametrize("name", WITH_REDUCTION)
@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_an_unknown_reduction_is_refused_by_every_loss_in_the_same_words(name, kind):
    with pytest.raises(kind, match='^reduction must be "mean", "sum" or "none", got \'mena\'$'):
        WITH_REDUCTION[name](reduction="mena")


def test_no_class_at_all_and_an_integer_result_are_refused():
    with pytest.raises(ValueError, match="logits must have a class axis with a class on it"):
        sf.cross_entropy(torch.zeros(2, 0), torch.zeros(2, 0))
    with pytest.raises(ValueError, match="out_dtype must be floating, got torch.int64"):
        sf.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), out_dtype=torch.int64)
