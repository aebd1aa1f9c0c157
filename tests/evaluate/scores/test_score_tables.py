"""Scores as people write them into tables: rounded, in per cent, or one column for two classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from sfumato.evaluate.scores.read_scores import FileError, read_scores
from sfumato.evaluate.scores.score_matrix import ScoreMatrix

RNG = np.random.default_rng(4)
LABELS = RNG.integers(0, 3, 60)
PROBS = softmax(RNG.normal(size=(60, 3)) + 2 * np.eye(3)[LABELS], axis=1)


def write(path, head, *columns):
    lines = [",".join(head), *(",".join(cells) for cells in zip(*columns, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def texts(values, digits):
    return [f"{value:.{digits}f}" for value in values]


def codes(source):
    return [note["code"] for note in source.notes]


def read(source):
    return ScoreMatrix(probs=source.scores).block(0, len(source.scores))


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_rounded_probabilities_are_divided_by_their_sum_and_that_is_said(digits, tmp_path):
    path = write(
        tmp_path / "p.csv", ["prob_0", "prob_1", "prob_2", "label"], *(texts(PROBS[:, k], digits) for k in range(3)),
        LABELS.astype(str),
    )  # fmt: skip
    found = read_scores(path)
    rounded = np.round(PROBS, digits)
    np.testing.assert_allclose(read(found), rounded / rounded.sum(axis=1, keepdims=True), atol=1e-12)
    assert found.kind == "probs"
    assert codes(found) == ["divided-by-sum"]


def test_probabilities_that_sum_to_something_else_are_left_to_the_audit_to_refuse(tmp_path):
    path = write(tmp_path / "p.csv", ["prob_0", "prob_1", "label"], ["0.5", "0.62"], ["0.31", "0.38"], ["0", "1"])
    found = read_scores(path)
    with pytest.raises(ValueError, match="row 0"):
        list(ScoreMatrix(probs=found.scores))


def test_percentages_are_read_where_they_are_said_to_be_such_and_offered_where_not(tmp_path):
    columns = [texts(100 * PROBS[:, k], 1) for k in range(3)]
    path = write(tmp_path / "p.csv", ["prob_0", "prob_1", "prob_2", "label"], *columns, LABELS.astype(str))
    with pytest.raises(FileError, match=r"p.csv: the scores of each row sum to about 100, so they are"):
        read_scores(path)
    found = read_scores(path, kind="percent")
    rounded = np.round(100 * PROBS, 1)
    np.testing.assert_allclose(read(found), rounded / rounded.sum(axis=1, keepdims=True), atol=1e-12)
    assert found.kind == "probs"
    assert codes(found) == ["divided-by-sum"]
    plain = write(tmp_path / "q.csv", ["prob_0", "prob_1", "label"], ["0.7", "0.2"], ["0.3", "0.8"], ["0", "1"])
    with pytest.raises(FileError, match="q.csv: the scores of row 0 sum to 1, and percentages sum to 100"):
        read_scores(plain, kind="percent")


def test_one_column_of_probabilities_is_that_of_class_1(tmp_path):
    one = PROBS[:, 1]
    path = write(tmp_path / "p.csv", ["y_true", "y_prob"], (LABELS == 1).astype(int).astype(str), texts(one, 8))
    found = read_scores(path)
    np.testing.assert_allclose(read(found), np.stack([1 - one, one], axis=1), atol=1e-8)
    assert found.labels.tolist() == (LABELS == 1).astype(int).tolist()
    assert codes(found) == ["column-taken-for"]


def test_one_column_of_logits_is_that_of_class_1_against_class_0(tmp_path):
    z = np.log(PROBS[:, 1] / (1 - PROBS[:, 1]))
    path = write(tmp_path / "p.csv", ["score", "label"], texts(z, 8), (LABELS == 1).astype(int).astype(str))
    found = read_scores(path)
    assert found.kind == "logits"
    block = ScoreMatrix(logits=found.scores).block(0, 60)
    np.testing.assert_allclose(softmax(block, axis=1)[:, 1], PROBS[:, 1], atol=1e-7)
    assert codes(found) == ["column-taken-for"]


CLASSES = ("setosa", "versicolor", "virginica")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (np.arange(1000, 1060), 'column "extra" looks like a row index, not a class; leave the column out'),
        (LABELS, 'column "extra" repeats the label and is not a class; leave the column out'),
    ],
)
def test_columns_that_are_plainly_no_classes_are_refused(extra, said, tmp_path):
    columns = [texts(np.log(PROBS[:, k]), 6) for k in range(3)]
    path = write(tmp_path / "p.csv", ["extra", *CLASSES, "label"], extra.astype(str), *columns, LABELS.astype(str))
    with pytest.raises(FileError) as caught:
        read_scores(path)
    assert said in str(caught.value)


def test_labels_that_are_names_of_columns_are_numbered_as_the_columns_are(tmp_path):
    columns = [texts(np.log(PROBS[:, k]), 6) for k in range(3)]
    path = write(tmp_path / "p.csv", [*CLASSES, "label"], *columns, np.array(CLASSES)[LABELS])
    found = read_scores(path)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert codes(found) == ["class-columns", "labels-by-name"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "c"], 'column "label": "c" is not a number; labels are column numbers from 0, or all of them are'),
        (["a", "1"], 'column "label": "1" is a number, where others are words; labels are column numbers from 0'),
        (["1", "a"], 'column "label": "a" is not a number; labels are column numbers from 0$'),
    ],
)
def test_a_label_that_is_no_name_of_a_column_is_said_with_the_way_out(labels, said, tmp_path):
    path = write(tmp_path / "p.csv", ["a", "b", "label"], ["0.1", "0.3"], ["0.2", "0.1"], labels)
    with pytest.raises(FileError, match=f"p.csv, line 3, {said}"):
        read_scores(path)


@pytest.mark.parametrize(("value", "told"), [(0.5, "0.7"), (np.nan, "nan")])
def test_a_row_far_down_that_is_no_distribution_is_named_and_not_divided(value, told, tmp_path):
    probs = np.tile([0.33, 0.66], (200_000, 1)).round(2)
    probs[150_000] = [0.2, value]
    np.savez(tmp_path / "p.npz", probs=probs, labels=np.zeros(len(probs), np.int64))
    with pytest.raises(FileError) as caught:
        read_scores(str(tmp_path / "p.npz"))
    assert str(caught.value) == f"p.npz: the scores of row 150000 sum to {told}, and probabilities sum to 1"
