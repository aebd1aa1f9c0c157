"""The command line in a process of its own, at the price of a fork: a Python that has everything imported forks a child
for every command, and does to it what a test asks: kills it, interrupts it, stops it, at a moment that can be named.

A moment is the n-th time that a file or folder below the current one is opened for writing, made, renamed or removed
(by any process of the command, just before it happens), or so many seconds after the start.

Processes that the command starts are forks, too. What a Python that starts from nothing does is asked elsewhere: by the
run of ``digits`` that many tests look at, by Ray and torchrun, and by tests of what is imported when.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib
import json
import mmap
import multiprocessing
import os
import pkgutil
import select
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    *("jinja2", "matplotlib.backends.backend_svg", "matplotlib.figure", "pyarrow.compute", "pyarrow.csv"),
    *("safetensors.torch", "scipy.optimize", "scipy.stats", "sklearn.datasets", "torch._dynamo"),
)
PR_SET_CHILD_SUBREAPER = 36
LIMIT = 300  # seconds until a command that is still at work is killed and its test fails
FIGURES = ("gap", "ladder")  # of a page, unless a test asks for all: the others take most of a short comparison's time
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


@dataclass
class Command:
    """A command under way, or done."""

    warm: Warm
    pid: int
    folder: Path
    streams: Path
    done: bool = False

    def wait(self, kill_after: float | None = None, limit: float = LIMIT) -> int:
        """Its exit code, or less than 0 where a signal ended it; killed by then, where that is given.

        Raises:
            AssertionError: it is still at work after ``limit`` seconds, or a process of it is; all are killed.
        """
        self.done = True
        code, late = self.warm.ask({"wait": self.pid, "kill_after": kill_after, "limit": limit})
        assert not late, f"still at work after {limit:g} seconds, having written:\n{self.err}"
        return code

    def kill(self) -> None:
        """End all its processes, if it is not done."""
        if not self.done:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def resume(self) -> None:
        """Let it go on after a stop."""
        os.killpg(self.pid, signal.SIGCONT)

    def wait_for_stop(self, limit: float = LIMIT) -> None:
        """Return when it has stopped itself."""
        stopped, late = self.warm.ask({"stopped": self.pid, "limit": limit})
        self.done = not stopped
        assert not late, f"not stopped after {limit:g} seconds"
        assert stopped, "it ended and never stopped"

    @property
    def out(self) -> str:
        return self.streams.with_suffix(".out").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self.streams.with_suffix(".err").read_text(encoding="utf-8")


def environment() -> dict[str, str]:
    """The variables of this process, without options of sfumato, and without the window that a worker of xdist sets."""
    window = ("COLUMNS", "LINES")
    return {key: value for key, value in os.environ.items() if key not in window and not key.startswith("SFUMATO_")}


class Warm:
    """The process that forks."""

    def __init__(self) -> None:
        self.count = 0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**environment(), "OMP_NUM_THREADS": "1"},
        )

    def ask(self, order: dict[str, Any]) -> Any:
        """The answer to an order; a process that was not let finish one is replaced, for its answer may still come."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except BaseException:
            self.process.kill()
            self.close()
            self.process = self._start()
            raise

    def start(self, *words: str, folder: Path, streams: Path, **how: Any) -> Command:
        """Start ``sfumato …``.

        Args:
            words: after the program's name.
            folder: the current folder.
            streams: a folder for what it prints.
            how: ``at`` and ``name``: the number of the change, or a part of the path that is about to change, at which
                ``signal`` is sent ("kill" and "stop" to all its processes, another to the first); ``largest``: bytes
                that a file may have; ``env``: all its variables, by default those of the test without sfumato's;
                ``figures``: whether a page has all of them, or the two that are quick: they take most of the time.
        """
        self.count += 1
        prefix = streams / str(self.count)
        order = {"words": words, "folder": str(folder), "streams": str(prefix), "env": environment()}
        pid = self.ask(order | how)
        return Command(self, pid, folder, prefix)

    def run(self, *words: str, folder: Path, streams: Path, **how: Any) -> tuple[int, Command]:
        """Start and wait."""
        command = self.start(*words, folder=folder, streams=streams, **how)
        return command.wait(how.get("kill_after")), command

    def changes(self) -> int:
        """How many changes the latest command has made so far."""
        return self.ask({"changes": True})

    def close(self) -> None:
        self.process.communicate()


def serve(orders: IO[str], answers: IO[str]) -> None:
    """The loop of the process that forks."""
    import torch

    import sfumato
    from sfumato.extras import MissingExtraError

    modules = {each.name for each in pkgutil.walk_packages(sfumato.__path__, "sfumato.")}
    modules -= {"sfumato.__main__", "sfumato._kernel"}
    for name in (*LIBRARIES, *sorted(modules)):
        if not name.startswith("sfumato.adapters"):  # no command asks for the frameworks of all of them
            with contextlib.suppress(MissingExtraError):  # where an extra is not installed
                importlib.import_module(name)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    torch.set_num_threads(1)
    whole = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: whole("fork")  # type: ignore[assignment]
    # A Python that starts from nothing dies of SIGTERM, whatever its parent does at it. A fork that took its parent's
    # handler along would outlive the end of its crew, and its parent would wait for it for ever.
    os.register_at_fork(after_in_child=functools.partial(signal.signal, signal.SIGTERM, signal.SIG_DFL))
    counter = mmap.mmap(-1, 8)
    for line in orders:
        order = json.loads(line)
        if "wait" in order:
            answer: Any = _reap(order["wait"], order["kill_after"], order["limit"])
        elif "stopped" in order:
            with _killed_after(order["stopped"], order["limit"]) as late:
                _, status = os.waitpid(order["stopped"], os.WUNTRACED)
            answer = os.WIFSTOPPED(status), bool(late)
        elif "changes" in order:
            answer = struct.unpack("q", counter[:])[0]
        else:
            counter[:] = bytes(8)
            answer = os.fork()
            if answer == 0:
                _run(order, counter)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _reap(pid: int, kill_after: float | None, limit: float) -> tuple[int, bool]:
    """Exit code of a command when all its processes are gone, and whether they had to be killed at the limit."""
    if kill_after is not None:
        handle = os.pidfd_open(pid)
        select.select([handle], [], [], kill_after)
        os.close(handle)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    with _killed_after(pid, limit) as late:
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ChildProcessError):  # its own children are ours when it is gone: wait for them, too
            while True:
                os.waitpid(-pid, 0)
    return os.waitstatus_to_exitcode(status), bool(late)


@contextlib.contextmanager
def _killed_after(pid: int, seconds: float) -> Iterator[list[int]]:
    """Kill the processes of a command when so many seconds have passed; what is given is then no longer empty."""
    late: list[int] = []

    def kill(number: int, frame: object) -> None:
        late.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield late
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _run(order: dict[str, Any], counter: mmap.mmap) -> None:
    """The child: the command, as it would be in a shell of its own."""
    code = 1
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(order["folder"])
        for stream, ending in ((0, None), (1, ".out"), (2, ".err")):
            path = os.devnull if ending is None else order["streams"] + ending
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(handle, stream)
            os.close(handle)
        if "largest" in order:
            import resource  # not above: Windows has none, and imports this file

            resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], resource.RLIM_INFINITY))
        sys.addaudithook(_hook(order, counter))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from sfumato.cli import main
        from sfumato.report import compare_page

        if not order.get("figures"):
            compare_page.FIGURES = {name: compare_page.FIGURES[name] for name in FIGURES}
        code = main(order["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # as a Python that ends by itself does
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _hook(order: dict[str, Any], counter: mmap.mmap) -> Any:
    first, below, done = os.getpid(), os.getcwd() + os.sep, False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event not in CHANGES and not (event == "open" and arguments[2] and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = arguments[1 if event == "os.rename" else 0]
        if done or not isinstance(path, (str, Path)) or not os.path.abspath(path).startswith(below):
            return
        (number,) = struct.unpack("q", counter[:])
        counter[:] = struct.pack("q", number + 1)
        if number == order.get("at") or ("name" in order and order["name"] in str(path)):
            done = True
            kind = order.get("signal", "kill")
            if kind == "kill":
                os.killpg(0, signal.SIGKILL)
            elif kind == "stop":
                os.killpg(0, signal.SIGSTOP)
            else:
                os.kill(first, getattr(signal, kind))

    return hook


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers)
