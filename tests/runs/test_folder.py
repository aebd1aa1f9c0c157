"""The run folder: complete or absent, never overwritten, and left as it was where it cannot be begun."""

from __future__ import annotations

import os
import stat
import time

import pytest

from sfumato.arrays.atomic import read_sealed, write_sealed, write_text
from sfumato.runs.folder import RunError, RunFolder, find

START = {"command": "", "folder": "", "fingerprint": "", "versions": {}, "machine": {}}


def begin(out, data="digits"):
    """A run folder that is being worked on, and no longer locked."""
    folder = RunFolder.create(out, data, config='data = "digits"\n', start=START)
    folder.close()
    return folder


def test_a_run_folder_takes_its_name_in_one_step_and_is_never_overwritten(tmp_path):
    folder = begin(str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match=r"run\.partial exists already: a run is at work there, or was stopped; `"):
        begin(str(tmp_path / "run"))
    write_text(folder.path / "a.txt", "whole")
    assert folder.finish() == tmp_path / "run"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["a.txt", "config.toml", "logits", "weights"]
    with pytest.raises(RunError, match="run exists already and a run folder is never overwritten"):
        begin(str(tmp_path / "run"))


def test_run_names_count_up_and_are_safe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [begin(None, name) for name in ("digits", "digits", "../x y", "…")]
    names = [folder.final.name for folder in folders]
    day = time.strftime("%Y-%m-%d")
    assert names == [f"digits-{day}-1", f"digits-{day}-2", f"x-y-{day}-1", f"data-{day}-1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(RunError, match="cannot write to"):
        begin(str(tmp_path / "run"))


def test_a_name_under_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to .*file: "):
        begin(str(tmp_path / "file" / "run"))


def test_a_run_that_wants_nothing_but_its_name_gets_it(tmp_path):
    folder = begin(str(tmp_path / "run"))
    write_text(folder.path / "summary.json", "{}")
    (folder.path / "work" / "start.sealed").unlink()  # the first that goes when a run is finished
    write_text(folder.path / ".summary.json.123", "cut of")
    assert find(str(folder.path)) == (tmp_path / "run", True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.toml",
        "logits",
        "summary.json",
        "weights",
    ]


def test_what_a_kill_left_of_a_run_being_begun_is_removed_a_minute_later(tmp_path):
    left = [tmp_path / f".run.{16 * digit}" for digit in "ab"]
    for path in left:
        path.mkdir()
    os.utime(left[0], (time.time() - 100,) * 2)
    begin(str(tmp_path / "run"))
    assert [path.exists() for path in left] == [False, True]


@pytest.mark.parametrize("key", ["schema", "sittings", "fingerprint"])
def test_a_run_whose_start_lacks_something_cannot_go_on(tmp_path, key):
    path = begin(str(tmp_path / "run")).path / "work" / "start.sealed"
    start = read_sealed(path)
    del start[key]
    write_sealed(path, start)
    with pytest.raises(RunError, match="does not say how the run was begun, so it cannot go on; start it again"):
        RunFolder.reopen(tmp_path / "run")
