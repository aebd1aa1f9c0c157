"""Files that are written whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sfumato.arrays.atomic import WriteError, write_arrays, write_lines, write_text


def test_a_file_is_whole_or_absent(tmp_path):
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "second \ud800")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_arrays_are_written_as_numpy_writes_them_and_objects_are_not(tmp_path):
    arrays = {"index": np.arange(7), "logits": np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)}
    write_arrays(tmp_path / "ours.npz", arrays)
    np.savez(tmp_path / "theirs.npz", **arrays)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_arrays(tmp_path / "objects.npz", {"x": np.array([{}], dtype=object)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.npz", "theirs.npz"]


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    with pytest.raises(WriteError, match=r"^cannot write .*/gone/a\.txt: No such file or directory$"):
        write_text(tmp_path / "gone" / "a.txt", "text")


def test_metrics_lines_are_json_without_nan(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_lines(path, [{"train_loss": float("nan")}])
    assert not path.exists()
    write_lines(path, [{"epoch": 1}, {"epoch": 2}])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"epoch": 1},
        {"epoch": 2},
    ]
