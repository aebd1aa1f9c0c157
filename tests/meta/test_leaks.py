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

from tests.leaks import changes, snapshot


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


def a_seed_of_python():
    state = random.getstate()
    random.random()
    return lambda: random.setstate(state)


def a_seed_of_numpy():
    state = np.random.get_state()
    np.random.seed(1)
    return lambda: np.random.set_state(state)


def a_seed_of_torch():
    state = torch.get_rng_state()
    torch.rand(1)
    return lambda: torch.set_rng_state(state)


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
    a_seed_of_python: "random state of Python has moved",
    a_seed_of_numpy: "random state of numpy has moved",
    a_seed_of_torch: "random state of torch has moved",
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
