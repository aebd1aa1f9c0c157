"""Worker processes: none outlives its parent, and an interrupt ends all of them with a sentence."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest

from sfumato.lab.execute import processes
from tests.warm import environment


def children_of(pid: int) -> list[str]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 30.0) -> bool:
    """Poll a condition that another process fulfils; False if it never does."""
    event = multiprocessing.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return True
        event.wait(0.05)
    return False


def test_a_system_without_a_resource_tracker_is_not_asked_for_one(monkeypatch):
    """Windows has none, and Python's way of starting one fails there."""
    monkeypatch.setattr(processes, "os", SimpleNamespace(name="nt"))
    monkeypatch.setattr(processes, "resource_tracker", None)
    assert processes.run_all([], lambda fold: {}, workers=2, progress=lambda done: None) == []


class OddError(Exception):
    """An error of a stranger's model that another process cannot rebuild, for its class takes more than the text."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{what} in {where}")


class HoldingError(Exception):
    """An error that cannot be sent to another process, for it holds a function without a name."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.held = lambda: text


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (ValueError("no layer"), ValueError, "no layer"),
        (OddError("a", "b"), RuntimeError, "OddError: b in a"),
        (HoldingError("no"), RuntimeError, "HoldingError: no"),
    ],
)
def test_an_error_in_a_worker_reaches_its_parent_with_the_place_where_it_was(raised, kind, words, monkeypatch):
    def run(task, parts, progress):
        raise raised

    monkeypatch.setattr("sfumato.lab.execute.training_run.run", run)
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)  # here the worker is this process
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        ours.send(("a task", {}))
        processes._serve(theirs)
        what, error = ours.recv()
    assert (what, type(error), str(error)) == ("error", kind, words)
    assert "raise raised" in error.__notes__[0]


def test_a_worker_has_one_thread_and_the_rows_of_the_fold_that_it_was_sent_last(monkeypatch):
    ran, threads = [], []
    monkeypatch.setattr("sfumato.lab.execute.training_run.run", lambda task, parts, progress: ran.append((task, parts)))
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        for sent in (("first", {"train": 1}), ("second", None), ("third", {"train": 2}), None):
            ours.send(sent)
        processes._serve(theirs)
        assert [ours.recv() for _ in ran] == [("done", None)] * 3
    assert threads == [1]
    assert ran == [("first", {"train": 1}), ("second", {"train": 1}), ("third", {"train": 2})]


@pytest.mark.nightly
@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(begin, tmp_path):
    code = "from sfumato.__main__ import main; raise SystemExit(main())"
    words = ("-c", code, "compare", "digits", "--epochs", "100000", "--out", "run")
    parent = begin(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    while "seed 0  epoch" not in (line := parent.stderr.readline()):
        assert parent.poll() is None, line
    children = [int(pid) for pid in children_of(parent.pid)]
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    parent.stderr.close()
    assert wait_until(lambda: not any(alive(pid) for pid in children))
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "run.partial").is_dir()


@pytest.mark.slow
def test_an_interrupt_from_the_terminal_reaches_only_the_parent(begin):
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))  # whose width is not that of whoever runs the tests: readline tells it
    words = ("-m", "sfumato", "compare", "digits", "--epochs", "100000", "--out", "run")
    started = {"env": environment() | {"TERM": "xterm"}, "start_new_session": True}
    parent = begin(*words, stdin=theirs, stdout=theirs, stderr=theirs, **started)
    os.close(theirs)
    shown = b""
    while b"seed, epoch" not in shown or shown.count(b"log loss") < 5:
        shown += os.read(ours, 4096)
    os.killpg(parent.pid, signal.SIGINT)  # what a terminal does: every process of the group gets it
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the last process has closed its end
        pass
    os.close(ours)
    assert parent.wait() == 130
    assert b"Traceback" not in shown
    assert b"sfumato: stopped" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("plan ", id="while workers start", marks=pytest.mark.nightly),
        pytest.param("seed 0  epoch", id="while they train"),
    ],
)
def test_an_interrupt_ends_the_run_with_a_sentence(moment, begin, tmp_path):
    words = ("-m", "sfumato", "compare", "digits", "--epochs", "100000", "--out", "run")
    parent = begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    while not (line := parent.stderr.readline()).startswith(moment):
        assert parent.poll() is None, line
    children = [int(pid) for pid in children_of(parent.pid)]
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "sfumato: stopped; `sfumato compare --resume run` goes on from here"
    assert wait_until(lambda: not any(alive(pid) for pid in children))
    assert not (tmp_path / "run").exists()
