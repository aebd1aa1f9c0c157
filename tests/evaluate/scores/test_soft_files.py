"""Soft labels in files of every kind that is read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from sfumato.evaluate.scores.read_scores import FileError, read_labels, read_scores
from sfumato.messages import texts

Z = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
VOTES = np.random.default_rng(1).multinomial(8, [0.5, 0.3, 0.2], size=30)
Q = VOTES / 8


def columns(**more):
    return {**{f"logit_{k}": Z[:, k].tolist() for k in range(3)}, **more}


def one_a_class(name, values):
    return {f"{name}_{k}": values[:, k].tolist() for k in range(3)}


def write_csv(path, table):
    lines = [",".join(table), *(",".join(map(repr, row)) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", lambda p: np.savez(p, logits=Z, label_counts=VOTES)),
        ("b.npz", lambda p: np.savez(p, logits=Z, label_probs=Q, other=Z)),
        ("c.safetensors", lambda p: save_file({"logits": Z, "label_probs": Q.astype(np.float32)}, p)),
        ("d.safetensors", lambda p: save_file({"logits": Z, "label_counts": VOTES}, p)),
        ("e.pt", lambda p: torch.save({"logits": torch.tensor(Z), "label_counts": torch.tensor(VOTES)}, p)),
        ("f.csv", lambda p: write_csv(p, columns(**one_a_class("label_prob", Q)))),
        ("g.csv", lambda p: write_csv(p, columns(**one_a_class("label_counts", VOTES)))),
        ("h.csv", lambda p: write_csv(p, {**one_a_class("label_count", VOTES), **columns(id=list(range(30)))})),
        ("i.parquet", lambda p: pq.write_table(pa.table(columns(label_probs=Q.tolist())), p)),
        ("j.parquet", lambda p: pq.write_table(pa.table(columns(**one_a_class("label_count", VOTES))), p)),
    ],
)  # fmt: skip
def test_a_file_gives_its_scores_and_its_soft_labels(name, write, tmp_path):
    path = tmp_path / name
    write(path)
    found = read_scores(str(path))
    assert (found.kind, found.labels) == ("logits", None)
    scores = found.scores if not hasattr(found.scores, "read") else found.scores.read(0, 30)
    assert np.asarray(scores) == pytest.approx(Z, abs=1e-6)
    assert found.soft.block(slice(None)) == pytest.approx(Q, abs=1e-7)


def test_a_table_of_two_classes_may_have_one_column_of_scores(tmp_path):
    path = tmp_path / "two.csv"
    write_csv(path, {"y_prob": [0.25, 0.75], "label_count_0": [3, 1], "label_count_1": [1, 3]})
    found = read_scores(str(path))
    assert found.scores.read(0, 2).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert found.soft.block(slice(None)).tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_hard_labels_beside_soft_ones_are_told_to_be_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", logits=Z, labels=np.zeros(30, int), label_counts=VOTES)
    found = read_scores(str(tmp_path / "a.npz"))
    assert found.labels is None
    assert texts(found.notes) == ('The labels are those of "label_counts", and "labels" beside them is not read.',)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", lambda p: np.savez(p, label_counts=VOTES, other=Z)),
        ("b.csv", lambda p: write_csv(p, one_a_class("label_prob", Q))),
    ],
)
def test_a_file_of_labels_may_hold_soft_ones(name, write, tmp_path):
    write(tmp_path / name)
    assert read_labels(str(tmp_path / name)).block(slice(None)) == pytest.approx(Q, abs=1e-15)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label_counts": VOTES, "label_probs": Q}, "a.npz has label_probs and label_counts; keep one of them"),
        ({"label_counts": VOTES - 1.5}, "a.npz: label_counts in row 0 have .* counts are whole numbers"),
        ({"label_probs": VOTES}, "a.npz: label_probs in row 0 sum to 8, not to 1; for counts of annotators use"),
    ],
)
def test_soft_labels_that_cannot_be_used_are_refused_with_the_file(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", logits=Z, **arrays)
    with pytest.raises(FileError, match=message):
        read_scores(str(tmp_path / "a.npz"))


def test_columns_of_soft_labels_that_leave_out_a_class_are_refused(tmp_path):
    table = columns(**one_a_class("label_count", VOTES))
    del table["label_count_1"]
    write_csv(tmp_path / "a.csv", table)
    with pytest.raises(FileError, match="a.csv: the columns of label_counts leave out class 1"):
        read_scores(str(tmp_path / "a.csv"))


def test_a_matrix_in_a_file_of_labels_is_refused_with_the_names_that_say_what_it_is(tmp_path):
    np.save(tmp_path / "a.npy", VOTES)
    with pytest.raises(FileError, match=r"got shape \(30, 3\); save soft labels in an npz, as label_probs or"):
        read_labels(str(tmp_path / "a.npy"))
