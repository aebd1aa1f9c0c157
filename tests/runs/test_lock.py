"""One process works on a run, until it lets go or ends, however it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sfumato.runs import folder as folders
from sfumato.runs.folder import RunFolder, TakenError

START = {"command": "", "folder": "", "fingerprint": "", "versions": {}, "machine": {}}
CONFIG = 'data = "digits"\n'
WORK = """
from sfumato.runs.folder import RunFolder
from tests.runs.test_lock import CONFIG, START
folder = RunFolder.create("run", "digits", config=CONFIG, start=START)
print("begun", flush=True)
if input() == "finish":
    folder.finish()
print("left", flush=True)
input()
"""
Begin = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def begin(request, tmp_path, monkeypatch) -> Iterator[Begin]:
    """Begin the run in a second process, which works on it until it is told."""
    monkeypatch.chdir(tmp_path)
    others: list[subprocess.Popen[str]] = []

    def second() -> subprocess.Popen[str]:
        code = f"import sys; sys.path.insert(0, {str(request.config.rootpath)!r})\n{WORK}"
        pipe = subprocess.PIPE
        others.append(subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True))
        assert others[-1].stdout.readline() == "begun\n"
        return others[-1]

    yield second
    for other in others:
        other.kill()
        other.communicate()


def told(other, word: str) -> str:
    other.stdin.write(f"{word}\n")
    other.stdin.flush()
    return other.stdout.readline()


def test_a_run_at_work_in_another_process_cannot_be_gone_on_with(begin, tmp_path):
    begin()
    with pytest.raises(
        TakenError, match=r"^another process is at work in run\.partial; wait for it, or stop it first$"
    ):
        RunFolder.reopen(Path("run"))


def test_a_run_whose_process_was_killed_can_be_gone_on_with(begin, tmp_path):
    other = begin()
    other.kill()
    other.wait()
    folder = RunFolder.reopen(tmp_path / "run")
    assert len(folder.start["sessions"]) == 2
    folder.close()


def test_a_locked_run_takes_its_name_and_lets_go_of_it(begin, tmp_path):
    assert told(begin(), "finish") == "left\n"
    assert not (tmp_path / "run.partial").exists()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.toml", "logits", "weights", "work"]
    assert not (tmp_path / ".run.lock").exists()


def test_of_two_runs_begun_at_once_the_second_leaves_nothing(begin, tmp_path, monkeypatch):
    """The first look at the name can come too early: the second then meets the lock, or the folder."""
    begin()
    looks = iter([lambda final: None])
    really = folders.refuse_taken
    monkeypatch.setattr(folders, "refuse_taken", lambda final: next(looks, really)(final))
    with pytest.raises(TakenError, match=r"run\.partial"):
        RunFolder.create(str(tmp_path / "run"), "digits", config=CONFIG, start=START)
    left = {path.name for path in tmp_path.iterdir()} - {".run.lock"}
    assert left == {"run.partial"}


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which files are open")
def test_no_file_in_the_folder_of_a_run_is_open(tmp_path):
    """Windows renames no folder in which a file is open."""
    folder = RunFolder.create(str(tmp_path / "run"), "digits", config=CONFIG, start=START)
    try:
        opened = [path.resolve() for path in Path("/proc/self/fd").iterdir() if path.exists()]
        assert [path for path in opened if (tmp_path / "run.partial") in path.parents] == []
    finally:
        folder.close()
