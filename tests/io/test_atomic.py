"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat

import numpy as np
import pytest

from sfumato.io.atomic import (
    WriteError,
    file_hash,
    make_folder,
    read_sealed,
    replacing,
    sync,
    write_arrays,
    write_bytes,
    write_json,
    write_lines,
    write_sealed,
    write_text,
)


def test_a_file_is_whole_or_absent(tmp_path):
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "second \ud800")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_file_in_the_place_of_a_folder_is_named(below, tmp_path):
    write_text(tmp_path / "out.txt", "mine")
    with pytest.raises(NotADirectoryError, match=r"out\.txt is a file, not a folder$"):
        make_folder(tmp_path / "out.txt" / below)
    make_folder(tmp_path / "there" / below)
    assert (tmp_path / "there" / below).is_dir()
    assert (tmp_path / "out.txt").read_text() == "mine"


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


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (write_lines, [{"epoch": 1}, {"epoch": 2}], '{"epoch":1}\n{"epoch":2}\n'),
        (write_json, {"name": "é", "n": [1]}, '{\n "name": "é",\n "n": [\n  1\n ]\n}\n'),
        (write_sealed, {"a": 1}, hashlib.sha256(b'{"a": 1}').hexdigest() + '\n{"a": 1}\n'),
    ],
)
def test_json_is_written_without_nan_indented_in_lines_or_below_its_own_hash(tmp_path, write, value, text):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path / "a.json", [{"train_loss": float("nan")}])
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_text("utf-8") == text
    assert write is not write_sealed or read_sealed(tmp_path / "a.json") == value


@pytest.mark.parametrize("change", [lambda text: text.replace(b"1}", b"2}"), lambda text: text[:-3], lambda text: b""])
def test_a_changed_or_cut_sealed_file_is_not_read(change, tmp_path):
    path = tmp_path / "start.sealed"
    write_sealed(path, {"a": 1})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"start\.sealed is not what was written$"):
        read_sealed(path)


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
        (scratch,) = [each for each in tmp_path.iterdir() if each != path]
        assert scratch.name.startswith(".a.bin.")
    assert [each.name for each in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"new"
    assert file_hash(path) == hashlib.sha256(b"new").hexdigest()


@pytest.mark.parametrize(("number", "raised"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_flush_is_taken_and_a_disk_that_fails_is_not(tmp_path, monkeypatch, number, raised):
    def fsync(descriptor):
        raise OSError(number, "not flushed")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="not flushed") if raised else contextlib.nullcontext():
        sync(tmp_path)


def test_where_no_folder_can_be_opened_only_files_are_flushed(tmp_path, monkeypatch):
    """As on Windows, which flushes a file only for who may write to it."""
    (tmp_path / "a.bin").write_bytes(b"12345")
    flushed, really = [], os.fsync

    def fsync(descriptor):
        os.write(descriptor, b"")
        assert stat.S_ISREG(os.fstat(descriptor).st_mode)
        flushed.append(os.fstat(descriptor).st_size)
        really(descriptor)

    paths = tmp_path, tmp_path / "a.bin"
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "name", "nt")
    for path in paths:
        sync(path)
    monkeypatch.undo()
    assert flushed == [5]


def test_a_file_is_on_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    seen = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor):
        seen.append(("on disk", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def named(scratch, path):
        seen.append(("named", os.stat(scratch).st_size))
        replace(scratch, path)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", named)
    write_bytes(tmp_path / "a.bin", b"12345")
    assert seen == [("on disk", 5), ("named", 5)]
