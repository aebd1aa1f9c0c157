"""The fixture that fails a test which leaves something behind: each kind of leak is seen."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import warnings

import numpy as np
import pytest
import torch

from tests.leaks import changes, put_back, random_states, snapshot


def a_thread():
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="left")
    thread.start()
    return lambda: (gate.set(), thread.join())


def a_file():
    handle, path = tempfile.mkstemp(prefix="left-")
    os.close(handle)
    return lambda: os.remove(path)


def setting(get, put, value):
    """What puts a value in place of another, and gives what undoes that."""

    def leak():
        before = get()
        put(value)
        return lambda: put(before)

    return leak


def filters(value):
    warnings.filters[:] = value


def handler(value):
    signal.signal(signal.SIGTERM, value)


def variable(value):
    os.environ.update(SFUMATO_LEFT=value) if value else os.environ.pop("SFUMATO_LEFT", None)


def path(value):
    sys.path[:] = value


LEAKS = {
    "threads: left is left": a_thread,
    "temporary files: left-": a_file,
    "environment: SFUMATO_LEFT": setting(lambda: None, variable, "1"),
    "warning filters: ": setting(lambda: warnings.filters[:], filters, []),
    "default dtype of torch: torch.float32 became torch.float64": setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64
    ),
    "threads of torch: ": setting(torch.get_num_threads, torch.set_num_threads, 3),
    "current folder: ": setting(os.getcwd, os.chdir, os.sep),
    "signal handlers: SIGTERM": setting(lambda: signal.getsignal(signal.SIGTERM), handler, signal.SIG_IGN),
    "path of imports: ": setting(lambda: sys.path[:], path, ["left"]),
}


@pytest.mark.parametrize("seen", LEAKS)
def test_a_leak_is_seen(seen):
    before = snapshot()
    undo = LEAKS[seen]()
    try:
        found = changes(before, snapshot())
    finally:
        undo()
    assert len(found) == 1
    assert found[0].startswith(seen)
    assert changes(before, snapshot()) == []


def test_what_was_drawn_is_put_back():
    def draws():
        return random.random(), np.random.random(), torch.rand(1).item()

    states = random_states()
    first = draws()
    put_back(states)
    again = draws()
    put_back(states)
    assert first == again
