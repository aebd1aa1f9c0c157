"""The runs of a comparison as Ray tasks: on a Ray of their own here, or on the one that ``RAY_ADDRESS`` names.

A run depends on its task alone, so the bits are those of the same run in a process here. A task writes into a folder of
its own and sends the files back: the machines need no common disk. Ray starts a task again whose process died.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.io.atomic import write_bytes, write_sealed
from sfumato.lab.errors import WorkerError, first_line
from sfumato.lab.execute import Progress, Rows, RunTask

if TYPE_CHECKING:
    from sfumato.lab.data import Part
    from sfumato.runs.schema import RunRecord

RETRIES = 3
"""How often a task whose process died is started again."""

_POLL = 0.2  # seconds between two looks at how far the tasks are


def run_all(tasks: Sequence[RunTask], rows: Rows, *, workers: int, progress: Progress) -> list[RunRecord]:
    """Every task on Ray, which is sent the rows once per machine."""
    ray: Any = importlib.import_module("ray")  # an optional dependency, whose type stubs are incomplete
    with _connected(ray, workers):
        queue = importlib.import_module("ray.util.queue").Queue(actor_options={"num_cpus": 0})
        stored = {fold: ray.put(rows(fold)) for fold in sorted({task.fold for task in tasks})}
        gpus: dict[str, Any] = {"num_gpus": 1} if tasks[0].device != "cpu" else {}
        remote = ray.remote(num_cpus=1, max_retries=RETRIES, **gpus)(_run)
        running = {remote.remote(number, task, stored[task.fold], queue): number for number, task in enumerate(tasks)}
        records: dict[int, RunRecord] = {}
        shown: set[tuple[int, int]] = set()
        try:
            while running:
                done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL)
                for number, epoch in queue.get_nowait_batch(queue.qsize()):
                    if (number, epoch["epoch"]) not in shown:  # what is tried again tells again
                        shown.add((number, epoch["epoch"]))
                        progress(tasks[number].key, epoch)
                for reference in done:
                    number = running.pop(reference)
                    records[number] = _kept(tasks[number], *ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise WorkerError(f"Ray gave up: {first_line(error)}") from error
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
    return [records[number] for number in range(len(tasks))]


def _kept(task: RunTask, record: RunRecord, files: dict[str, bytes]) -> RunRecord:
    """Write what a task sent where the run is; the record last, since it stands for the whole."""
    for name, path in task.files.items():
        write_bytes(path, files[name])
    write_sealed(task.record, record)
    return record


def _run(number: int, task: RunTask, parts: dict[str, Part], queue: Any) -> tuple[RunRecord, dict[str, bytes]]:
    """In a process of Ray's: one run in a folder of its own, and its files as bytes."""
    import torch

    from sfumato.lab.execute.training_run import run

    torch.set_num_threads(1)
    own = {name: _writable(part) for name, part in parts.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("logits", "weights", "work"):
            (Path(folder) / name).mkdir()
        here = replace(task, folder=Path(folder))
        record = run(here, own, lambda epoch: queue.put((number, epoch)))
        return record, {name: path.read_bytes() for name, path in here.files.items()}


def _writable(part: Part) -> Part:
    """Arrays that come from Ray's store cannot be written to, and torch warns of such."""
    arrays = {name: value.copy() for name, value in vars(part).items() if hasattr(value, "flags")}
    return replace(part, **arrays)


@contextlib.contextmanager
def _connected(ray: Any, workers: int) -> Generator[None]:
    """A Ray to work on: the one that ``RAY_ADDRESS`` names, or one of our own for as long as this takes."""
    ours = not ray.is_initialized()
    before = os.environ.get("RAY_USAGE_STATS_ENABLED")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # sfumato reports nothing to anyone, and nothing that it starts does
    # A task that is killed cannot remove its folder, so what tasks of a Ray of our own write goes with this one.
    scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    try:
        if ours:
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if not os.environ.get("RAY_ADDRESS"):
                paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
                variables = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TMPDIR": scratch.name}
                quiet |= {"num_cpus": workers, "include_dashboard": False, "runtime_env": {"env_vars": variables}}
            try:
                ray.init(**quiet)
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise WorkerError(f"no Ray to work on: {first_line(error)}") from error
        yield
    finally:
        if before is None:
            os.environ.pop("RAY_USAGE_STATS_ENABLED", None)
        else:
            os.environ["RAY_USAGE_STATS_ENABLED"] = before
        if ours:
            ray.shutdown()
        scratch.cleanup()
