"""A test that would wait for ever fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tests.limits import limit
from tests.meta.changed import ROOT


def a_lock():
    threading.Event().wait()


def a_pipe():
    ours, theirs = os.pipe()
    try:
        os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(theirs)


def a_lock_after_a_limit_of_its_own():
    with limit(60):
        pass
    a_lock()


@pytest.mark.parametrize("wait", [a_lock, a_pipe, a_lock_after_a_limit_of_its_own], ids=lambda wait: wait.__name__)
def test_what_never_answers_fails_the_test(wait):
    with pytest.raises(pytest.fail.Exception, match=r"^not done after 0\.2 seconds; the last lines"), limit(0.2):
        wait()


def test_a_process_that_no_signal_reaches_ends_and_says_where_it_hangs():
    hangs = (
        "import signal, time\n"
        "from tests.limits import Watch\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "watch = Watch()\n"
        "watch(1)\n"
        "watch(600)  # it has been set within the last minute\n"
        "def at_this_place():\n"
        "    time.sleep(60)\n"
        "at_this_place()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hangs], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in at_this_place" in done.stderr
