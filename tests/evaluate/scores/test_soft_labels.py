"""What soft labels are taken for, and what is refused."""

import numpy as np
import pytest
import torch

from sfumato.evaluate.scores.score_matrix import ScoreMatrix
from sfumato.evaluate.scores.soft_labels import SoftLabels, truth_of


def test_counts_of_a_row_are_divided_by_their_sum():
    soft = SoftLabels([[1, 3, 0], [2, 0, 0]], "label_counts")
    assert soft.block(slice(0, 2)).tolist() == [[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]


def test_probabilities_that_sum_to_1_but_for_rounding_are_divided_by_their_sum():
    soft = SoftLabels(np.array([[0.333, 0.333, 0.333]]), "label_probs")
    assert soft.block(slice(0, 1)).tolist() == [[1 / 3, 1 / 3, 1 / 3]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_tensors_of_every_type_are_taken(dtype):
    soft = SoftLabels(torch.tensor([[0, 1], [1, 0]]).to(dtype), "label_probs")
    assert soft.mode.tolist() == [1, 0]


def test_the_lowest_class_of_equal_ones_is_the_mode():
    assert SoftLabels([[0, 2, 2], [1, 0, 1]], "label_counts").mode.tolist() == [1, 0]


def test_rows_whose_counts_are_all_0_do_not_count():
    soft = SoftLabels([[0, 0], [1, 2], [0, 0], [4, 0]], "label_counts")
    assert (soft.counted.tolist(), soft.all_count) == ([1, 3], False)


def test_rows_are_taken_in_the_order_asked_for():
    soft = SoftLabels([[1, 0], [1, 2], [0, 3]], "label_counts").take(np.array([2, 0]))
    assert soft.block(slice(0, 2)).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_the_first_row_that_differs_is_found_and_rounding_is_no_difference():
    counts = np.array([[1, 2], [3, 0], [1, 1]])
    other = counts / counts.sum(axis=1, keepdims=True)
    same = SoftLabels(other.round(4), "label_probs")
    other[1] = [0.9, 0.1]
    soft = SoftLabels(counts, "label_counts")
    assert (soft.first_unlike(same), soft.first_unlike(SoftLabels(other, "label_probs"))) == (None, 1)


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("label_counts", [[1, 2], [-1, 2]], ValueError, "label_counts in row 1 have -1 for class 0: counts are whole"),
        ("label_counts", [[1, 2], [1, 0.5]], ValueError, "in row 1 have 0.5 for class 1: .*use label_probs"),
        ("label_counts", [[1, 2], [1, np.nan]], ValueError, "label_counts in row 1 have nan for class 1"),
        ("label_counts", [[1, np.inf], [1, 1]], ValueError, "label_counts in row 0 have inf for class 1"),
        ("label_counts", [[0, 0], [0, 0]], ValueError, "label_counts are 0 in every row, so no row counts"),
        ("label_probs", [[0.5, 0.5], [1.2, -0.2]], ValueError, "label_probs in row 1 have -0.2 for class 1"),
        ("label_probs", [[0.5, 0.5], [np.nan, 1]], ValueError, "label_probs in row 1 have nan for class 0"),
        ("label_probs", [[0.5, 0.5], [0.5, 0.4]], ValueError, "in row 1 sum to 0.9, not to 1; divide each row by"),
        ("label_probs", [[1, 0], [3, 1]], ValueError, "in row 1 sum to 4, not to 1; .* use label_counts"),
        ("label_probs", [0.5, 0.5], ValueError, r"label_probs must be \(N, K\), .*got shape \(2,\)"),
        ("label_probs", [["a", "b"]], TypeError, "label_probs must be numbers, got <U1"),
    ],
)
def test_what_is_no_distribution_and_no_count_is_named(name, values, error, message):
    with pytest.raises(error, match=message):
        SoftLabels(np.array(values), name)


def test_the_first_bad_row_is_named_beyond_the_first_chunk():
    counts = np.ones((200_000, 2), dtype=np.int64)
    counts[150_001, 1] = -3
    with pytest.raises(ValueError, match="label_counts in row 150001 have -3 for class 1"):
        SoftLabels(counts, "label_counts")


@pytest.mark.parametrize("given", [{}, {"labels": np.array([0]), "label_counts": [[1, 0]]}])
def test_none_and_several_labels_are_refused(given):
    with pytest.raises(TypeError, match="give exactly one of labels=, label_probs= and label_counts="):
        truth_of(ScoreMatrix(logits=np.zeros((1, 2))), **given)


def test_soft_labels_of_another_shape_than_the_scores_are_refused():
    with pytest.raises(ValueError, match=r"label_counts must be \(2, 3\), .* of logits, got shape \(1, 2\)"):
        truth_of(ScoreMatrix(logits=np.zeros((2, 3))), label_counts=[[1, 0]])
