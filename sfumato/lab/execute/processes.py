"""Runs in worker processes of this machine, each of which trains one run after another on one torch thread."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import TYPE_CHECKING, cast

from sfumato.lab.data import Part
from sfumato.lab.errors import WorkerError
from sfumato.lab.execute import Progress, Rows, RunTask

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from sfumato.runs.schema import RunRecord


def run_all(tasks: Sequence[RunTask], rows: Rows, *, workers: int, progress: Progress) -> list[RunRecord]:
    """Every task in worker processes.

    Each worker has a pipe of its own and no lock is shared, so that one may be killed at any moment without leaving
    another, or this process, waiting for ever.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(enumerate(tasks))[::-1]
    records: dict[int, RunRecord] = {}
    crew: dict[Connection, tuple[BaseProcess, int]] = {}
    processes: list[BaseProcess] = []
    # It unblocks SIGINT when it starts; so it starts before the mask is set, not with the first worker.
    if os.name == "posix":  # Windows has none
        resource_tracker.ensure_running()
    try:
        with _interrupts_held():
            for _ in range(min(workers, len(tasks))):
                number, task = waiting.pop()
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs,), daemon=True)
                try:
                    with _without_main():
                        process.start()
                    processes.append(process)
                    ours.send((task, rows(task.fold)))
                except ConnectionError:
                    raise _died(task, process) from None
                theirs.close()  # the worker's end lives in the worker alone: when it dies, ours reads the end of file
                crew[ours] = process, number
        while crew:
            for connection in cast("list[Connection]", wait(list(crew))):
                process, number = crew[connection]
                try:
                    kind, content = connection.recv()
                except (EOFError, ConnectionError):
                    raise _died(tasks[number], process) from None
                if kind == "epoch":
                    progress(tasks[number].key, content)
                    continue
                if kind == "error":
                    raise content
                records[number] = content
                del crew[connection]
                last, (number, task) = number, waiting.pop() if waiting else (number, None)
                same = task is not None and task.fold == tasks[last].fold  # then the worker has the rows
                connection.send(None if task is None else (task, None if same else rows(task.fold)))
                if task is not None:
                    crew[connection] = process, number
        return [records[number] for number in range(len(tasks))]
    finally:
        for process in processes:
            if crew or waiting:  # something went wrong, and what still runs is of no use
                process.terminate()
            process.join()


def _died(task: RunTask, process: BaseProcess) -> WorkerError:
    if process.pid is not None:
        process.join()
    what = f"the process of {task.key.name} ended with code {process.exitcode}, perhaps for want of memory"
    return WorkerError(f"{what}; {_LESS}")


_LESS = "try --workers 1, or fewer rows"


def _serve(connection: Connection) -> None:
    """A worker: one task after another, each with the rows of its fold, until it is sent None or its parent is gone."""
    import torch

    from sfumato.lab.execute.training_run import run

    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):
        parts: dict[str, Part] = {}
        while (sent := connection.recv()) is not None:
            task, parts = sent[0], sent[1] or parts
            try:
                record = run(task, parts, lambda epoch: connection.send(("epoch", epoch)))
            except ConnectionError:
                raise
            except MemoryError:
                connection.send(("error", WorkerError(f"no memory is left to run {task.key.name}; {_LESS}")))
                return
            except Exception as error:
                error.add_note(traceback.format_exc())  # where it was, which pickling would lose
                connection.send(("error", _sendable(error)))
                return
            connection.send(("done", record))


def _sendable(error: Exception) -> Exception:
    """The error, or its words where another process could not rebuild it: its class is given the text alone there."""
    try:
        ForkingPickler.dumps(error)  # as the connection sends it
        copy.copy(error)  # as it is rebuilt
    except Exception:
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.__notes__ = list(error.__notes__)
        return plain
    return error


@contextlib.contextmanager
def _without_main() -> Generator[None]:
    """Hide the program that runs: a worker would run it to import names that it does not need, ``sf.compare`` too."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _interrupts_held() -> Generator[None]:
    """Hold back SIGINT while workers are made, so that none is left half-started, and raise it afterwards.

    The workers inherit the mask: this process hears the signal, and ends them. The mask alone would not do, for the
    system may give the signal to any thread. SIGTERM ends workers, so it is held back but not masked.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    heard: list[int] = []
    held = [signal.SIGINT] + ([signal.SIGTERM] if callable(signal.getsignal(signal.SIGTERM)) else [])
    handlers = {number: signal.signal(number, lambda number, frame: heard.append(number)) for number in held}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if heard:
        raise KeyboardInterrupt
