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


def a_variable():
    os.environ["SFUMATO_LEFT"] = "1"
    return lambda: os.environ.pop("SFUMATO_LEFT")


def a_filter():
    before = warnings.filters[:]
    warnings.simplefilter("ignore")
    return lambda: warnings.filters.__setitem__(slice(None), before)


def a_dtype():
    torch.set_default_dtype(torch.float64)
    return lambda: torch.set_default_dtype(torch.float32)


def threads_of_torch():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    return lambda: torch.set_num_threads(before)


def a_folder():
    before = os.getcwd()
    os.chdir(os.sep)
    return lambda: os.chdir(before)


def a_handler():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return lambda: signal.signal(signal.SIGTERM, before)


def a_path():
    sys.path.append("left")
    return lambda: sys.path.remove("left")


LEAKS = {
    a_thread: "threads: left is left",
    a_file: "temporary files: left-",
    a_variable: "environment: SFUMATO_LEFT",
    a_filter: "warning filters: ",
    a_dtype: "default dtype of torch: torch.float32 became torch.float64",
    threads_of_torch: "threads of torch: ",
    a_folder: "current folder: ",
    a_handler: "signal handlers: SIGTERM",
    a_path: "path of imports: ",
}


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
def test_a_leak_is_seen(leak):
    before = snapshot()
    undo = leak()
    try:
        found = changes(before, snapshot())
    finally:
        undo()
    assert len(found) == 1
    assert found[0].startswith(LEAKS[leak])
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
