"""The run folder: complete or absent, never overwritten, and left as it was where it cannot be begun."""

from __future__ import annotations

import os
import time
from datetime import datetime

import pytest

from sfumato.io.atomic import WriteError, read_sealed, write_sealed, write_text
from sfumato.runs.folder import RunError, RunFolder, TakenError, find

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
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
            "a.txt", "config.toml", "logits", "weights", "work",
        ]  # fmt: skip
    with pytest.raises(RunError, match="run exists already and a run folder is never overwritten"):
        begin(str(tmp_path / "run"))


def test_run_names_count_up_and_are_safe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [begin(None, name) for name in ("digits", "digits", "../x y", "…")]
    names = [folder.final.name for folder in folders]
    day = time.strftime("%Y-%m-%d")
    assert names == [f"digits-{day}-1", f"digits-{day}-2", f"x-y-{day}-1", f"data-{day}-1"]


def test_a_name_under_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to .*file: .*file is a file, not a folder$"):
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
        "work",
    ]


def test_what_a_kill_left_of_a_run_being_begun_is_removed_a_minute_later(tmp_path):
    left = [tmp_path / f".run.{16 * digit}" for digit in "ab"]
    for path in left:
        path.mkdir()
    os.utime(left[0], (time.time() - 100,) * 2)
    begin(str(tmp_path / "run"))
    assert [path.exists() for path in left] == [False, True]


def without(key):
    def spoil(path):
        start = read_sealed(path / "work" / "start.sealed")
        del start[key]
        write_sealed(path / "work" / "start.sealed", start)

    return spoil


def seconds_ago(text):
    return time.time() - datetime.fromisoformat(text).timestamp()


def test_a_run_says_how_it_was_begun_under_a_seal(tmp_path):
    folder = begin(str(tmp_path / "deep" / "run"))
    assert folder.path == tmp_path / "deep" / "run.partial"
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.toml", "logits", "weights", "work"]
    assert (folder.path / "config.toml").read_text() == 'data = "digits"\n'
    start = read_sealed(folder.path / "work" / "start.sealed")
    assert start == folder.start
    assert {key: start[key] for key in START} == START
    (session,) = start["sessions"]
    assert session["seconds"] is None
    assert 0 <= seconds_ago(session["started"]) < 60
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [".run.lock", "run.partial"]


def test_a_run_that_was_stopped_is_gone_on_with(tmp_path):
    folder = begin(str(tmp_path / "run"))
    write_text(folder.path / "logits" / "whole.npz", "whole")
    write_text(folder.path / "logits" / ".half.npz.12", "half")
    write_text(folder.path / "weights" / "half.npz.partial", "half")
    sealed = folder.path / "work" / "start.sealed"
    begun = datetime.fromisoformat(folder.start["sessions"][0]["started"]).timestamp()
    for path in folder.path.rglob("*"):
        os.utime(path, (begun, begun))
    os.utime(folder.path / "logits" / "whole.npz", (begun + 90, begun + 90))
    assert find(str(tmp_path / "run")) == find(str(folder.path)) == (tmp_path / "run", False)
    again = RunFolder.reopen(tmp_path / "run")
    first, second = again.start["sessions"]
    assert first["seconds"] == pytest.approx(90, abs=0.02)  # from the beginning to the newest file
    assert second["seconds"] is None
    assert 0 <= seconds_ago(second["started"]) < 60
    assert read_sealed(sealed) == again.start
    assert [path.name for path in (again.path / "logits").iterdir()] == ["whole.npz"]
    assert list((again.path / "weights").iterdir()) == []
    again.close()


def test_a_run_that_is_worked_on_is_left_alone(tmp_path):
    folder = RunFolder.create(str(tmp_path / "run"), "digits", config="", start=START)
    with pytest.raises(
        TakenError, match=r"another process is at work in .*run\.partial; wait for it, or stop it first"
    ):
        RunFolder.reopen(tmp_path / "run")
    write_text(folder.path / "summary.json", "{}")
    (folder.path / "work" / "start.sealed").unlink()
    with pytest.raises(TakenError, match=r"another process is at work in .*run\.partial"):
        find(str(tmp_path / "run"))
    folder.close()
    assert find(str(tmp_path / "run")) == (tmp_path / "run", True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: (path / "config.toml").unlink(),
            r"config\.toml cannot be read \(No such file or directory\), so",
        ),
        (
            lambda path: (path / "work" / "start.sealed").unlink(),
            r"start\.sealed does not say how the run was begun, so",
        ),
        (lambda path: write_text(path / "work" / "start.sealed", "{}"), "does not say how the run was begun"),
        *((without(key), "does not say how the run was begun") for key in ("schema", "sessions", "fingerprint")),
        (lambda path: write_sealed(path / "work" / "start.sealed", {"schema": "sfumato.work/0"}), "does not say how"),
        (
            lambda path: write_text(path / "config.toml", "eps = 0.2"),
            r"was changed since the run was begun, so .*compare -c",
        ),
    ],
)
def test_a_run_that_cannot_go_on_says_why_and_is_let_go(spoil, message, tmp_path):
    folder = begin(str(tmp_path / "run"))
    spoil(folder.path)
    for _ in range(2):  # the second time as the first: nothing is locked or changed
        with pytest.raises(RunError, match=message):
            RunFolder.reopen(tmp_path / "run")


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("runz", r'; did you mean ".*/run"\?$'),
        ("elsewhere/run", "to go on with$"),
        ("xyz", "go on with$"),
        (r".partial", ""),
    ],
)
def test_a_run_that_is_not_there_is_named_with_the_nearest(asked, hint, tmp_path):
    begin(str(tmp_path / "run"))
    with pytest.raises(RunError, match=rf"^no run .*{asked}, and no .*{asked}\.partial.*{hint}"):
        find(str(tmp_path / asked))


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"is not a run folder: it has no summary\.json"):
        find(str(tmp_path))


def test_a_name_that_was_taken_meanwhile_leaves_the_work_where_it_is(tmp_path):
    folder = RunFolder.create(str(tmp_path / "run"), "digits", config="", start=START)
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match=r"run was made meanwhile; this run is whole in .*run\.partial$"):
        folder.finish()
    assert (folder.path / "work" / "start.sealed").exists()
    folder.close()


def test_a_run_of_which_nothing_could_be_begun_leaves_no_folders(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(RunError, match=r"^cannot write to .*deep: No space left on device$"):
        begin(str(tmp_path / "new" / "deep" / "run"))
    assert list(tmp_path.iterdir()) == []


def test_all_of_a_run_is_on_disk_before_it_takes_its_name_and_the_name_after(tmp_path, monkeypatch):
    folder = begin(str(tmp_path / "run"))
    write_text(folder.path / "a.txt", "whole")
    flushed, renamed, rename = [], [], os.rename

    def noted(*paths):
        renamed.append(len(flushed))
        rename(*paths)

    monkeypatch.setattr("sfumato.runs.folder.sync", flushed.append)
    monkeypatch.setattr(os, "rename", noted)
    folder.finish()
    (before,) = renamed
    names = {path.relative_to(tmp_path).as_posix() for path in flushed[:before]}
    assert {"run.partial", "run.partial/a.txt", "run.partial/config.toml", "run.partial/logits"} <= names
    assert flushed[before:] == [tmp_path]


def test_a_folder_that_cannot_be_renamed_is_named_and_stays(tmp_path, monkeypatch):
    folder = RunFolder.create(str(tmp_path / "run"), "digits", config="", start=START)

    def refused(*_):
        raise OSError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        with pytest.raises(WriteError, match=r"^cannot rename .*run\.partial to .*run: Permission denied$"):
            folder.finish()
    assert folder.finish() == tmp_path / "run"
