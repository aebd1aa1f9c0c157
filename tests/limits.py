"""How long a test may take and how many examples it draws: what never answers fails one test and hangs no run."""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

SECONDS = 600  # of one test, or of what it sets up; the slowest takes a tenth of this on a busy machine
NIGHTLY = 7200
EXAMPLES = {"quick": 15, "every change": 25, "nightly": 1000}  # that a test draws which names no number


def examples(number: int) -> settings:
    """So many examples for every change, and under another profile as many more or fewer as it draws of others."""
    return settings(max_examples=max(1, number * settings.default.max_examples // EXAMPLES["every change"]))


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Fail what runs within, wherever it waits in Python, when so many seconds have passed.

    What catches the failure, as Hypothesis does to look for a smaller example, meets it again ten seconds later.
    A wait in C that signals do not interrupt is ended by :class:`Watch`.
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


class Watch:
    """Ends this process, and says where it waits, where it is not called for long: for what no signal interrupts.

    pytest's own ``faulthandler_timeout`` starts and joins a thread for each test, which takes longer than most of them.
    This one is set anew after a minute at the earliest.
    """

    def __init__(self) -> None:
        self._stream = os.dup(sys.__stderr__.fileno())  # made before pytest takes the stream from the tests
        self._since = -math.inf

    def __call__(self, seconds: float) -> None:
        """Wait no longer than so many seconds from now, or from up to a minute ago."""
        if time.monotonic() - self._since > 60:
            self._since = time.monotonic()
            faulthandler.dump_traceback_later(seconds, exit=True, file=self._stream)
