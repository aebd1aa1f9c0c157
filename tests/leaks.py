"""What a test may not leave behind: threads, processes, files, variables, filters and settings of torch."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import threading
import warnings
from typing import Any

LASTING = re.compile("tqdm_monitor|asyncio_")  # how threads of libraries begin that start some for all that comes
# Variables that other libraries set for the process when they are first loaded.
OF_LIBRARIES = re.compile(
    "PYTEST_CURRENT_TEST$|TOKENIZERS_PARALLELISM$|KERAS_BACKEND$|PYTORCH_NVML_BASED_CUDA_CHECK$"
    "|TF_|XLA_|JAX_|TPU_|GRPC_|KMP_"
)
# Files that other libraries leave in the folder for temporary ones: caches, sockets of Ray, and those of wandb.
FILES_OF_LIBRARIES = re.compile(
    r"torchinductor_|ray$|tmp\w+wandb-|torch_|pymp-|pyright|node-|playwright|\.org\.chromium"
)
# To import them sets variables and filters of warnings.
LOUD = (
    *("accelerate.scheduler", "scipy.sparse", "scipy.special", "scipy.stats", "sklearn", "sympy", "torch._dynamo"),
    "tqdm.auto",
)


def snapshot() -> dict[str, Any]:
    """The state of the process that tests share, by what it is; cheap, and loads nothing."""
    state: dict[str, Any] = {
        "loud": {name for name in LOUD if name in sys.modules},
        "threads": {thread.name for thread in threading.enumerate()},
        "child processes": {process.name for process in multiprocessing.active_children()},
        "temporary files": set(os.listdir(tempfile.gettempdir())),
        "environment": os.environ.copy(),
        "current folder": os.getcwd(),
        "warning filters": warnings.filters[:],
        "signal handlers": {each.name: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)},
        "path of imports": sys.path[:],
    }
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        state["error handling of numpy"] = numpy.geterr()
    if torch is not None and hasattr(torch, "get_default_dtype"):
        state["default dtype of torch"] = torch.get_default_dtype()
        state["threads of torch"] = torch.get_num_threads()
        state["gradients of torch"] = torch.is_grad_enabled()
        state["deterministic algorithms of torch"] = torch.are_deterministic_algorithms_enabled()
    return state


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs, in words; what was not loaded before cannot be told."""
    found: list[str] = []
    loud = ("environment", "warning filters") if before["loud"] != after["loud"] else ()
    for name, old in before.items():
        new = after[name]
        if old == new or name == "loud" or name in loud:
            continue
        if isinstance(old, set):
            of_libraries = FILES_OF_LIBRARIES if name == "temporary files" else LASTING
            found += [f"{name}: {each} is left" for each in sorted(new - old) if not of_libraries.match(each)]
        elif isinstance(old, dict):
            keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
            keys = [key for key in keys if not OF_LIBRARIES.match(key)]
            found += [f"{name}: {', '.join(keys)}"] if keys else []
        else:
            found.append(f"{name}: {old} became {new}")
    return found


def random_states() -> dict[str, Any]:
    """Of the generators that everyone shares, where they are loaded."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    states: dict[str, Any] = {"random": random.getstate()}
    if numpy is not None:
        states["numpy"] = numpy.random.get_state()
    if torch is not None and hasattr(torch, "get_rng_state"):
        states["torch"] = torch.get_rng_state()
    return states


def put_back(states: dict[str, Any]) -> None:
    """Set the generators to states that :func:`random_states` gave."""
    random.setstate(states["random"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if "torch" in states:
        sys.modules["torch"].set_rng_state(states["torch"])
