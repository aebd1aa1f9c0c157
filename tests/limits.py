"""How long a test may take: a process, lock or queue that never answers fails one test and does not hang the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECONDS = 600  # of one test, or of what it sets up; the slowest takes a tenth of this on a busy machine
NIGHTLY = 7200


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Fail what runs within, wherever it waits in Python, when so many seconds have passed.

    What catches the failure, as Hypothesis does to look for a smaller example, meets it again ten seconds later.
    A wait in C that signals do not interrupt is ended by ``faulthandler_timeout`` in pyproject.toml.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def fail(number: int, frame: object) -> None:
        pytest.fail(f"not done after {seconds:g} seconds; the last lines of the traceback say what it waits for")

    before = signal.signal(signal.SIGALRM, fail)
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds, 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, again)
        signal.signal(signal.SIGALRM, before)
