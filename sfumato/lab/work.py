"""One run of one arm and seed, and the processes that share the runs out.

A run depends on its task alone and trains on one torch thread, so the bits are the same for any number of workers.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.lab.arms import Arm
from sfumato.lab.runs import save, write_text

if TYPE_CHECKING:
    import numpy as np

    from sfumato.lab.train import Plan

    Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # row numbers, features, labels


class WorkerError(RuntimeError):
    """A worker process died."""


@dataclass(frozen=True)
class Task:
    """One run: an arm with a seed.

    Attributes:
        arm: the target.
        seed: of the initial weights and of the order of rows; the same in every arm.
        model: name of a built-in model.
        classes: K.
        plan: the budget.
        folder: of the run, for logits and weights.
    """

    arm: Arm
    seed: int
    model: str
    classes: int
    plan: Plan
    folder: Path

    @property
    def name(self) -> str:
        """As in file names: ``smoothed-seed0``."""
        return f"{self.arm.name}-seed{self.seed}"

    @property
    def record(self) -> Path:
        """Written last, so that it stands for a whole run."""
        return self.folder / "work" / f"{self.name}.json"


Progress = Callable[[str, int, dict[str, Any]], None]
"""Called with the arm's name, the seed, and the fields of an epoch."""


def run(task: Task, parts: dict[str, Part], on_epoch: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train, verify, save.

    Args:
        task: what to run.
        parts: row numbers, features and labels of ``"train"``, ``"validation"`` and ``"test"``.
        on_epoch: called after every epoch.

    Returns:
        The record: hashes, curves, training gap, the target that the loss implies.

    Raises:
        ArmError: the loss did not use the arm's target.
        TrainingError: the loss was not finite.
    """
    import numpy as np
    import torch
    from safetensors.torch import save as to_bytes

    from sfumato.lab.models import build, weights_hash
    from sfumato.lab.train import mean_gap, train

    started = time.perf_counter()
    tensors = {name: (torch.from_numpy(x), torch.from_numpy(y)) for name, (_, x, y) in parts.items()}
    model = build(task.model, tensors["train"][0].shape[1], task.classes, seed=task.seed)
    loss = task.arm.loss()
    initial = weights_hash(model)
    epochs: list[dict[str, Any]] = []

    def keep(epoch: Any) -> None:
        epochs.append(epoch.to_dict())
        on_epoch(epochs[-1])

    batches = train(
        model,
        loss,
        tensors["train"],
        tensors["validation"],
        task.plan,
        seed=task.seed,
        floor=task.arm.floor(task.classes),
        on_epoch=keep,
    )
    target = task.arm.verify(loss, task.classes)
    train_gap = 0.0
    model.eval()
    for name, (index, _, labels) in parts.items():
        with torch.no_grad():
            features = model.features(tensors[name][0])
            logits = model.head(features)
        if name == "train":
            train_gap = mean_gap(logits.double(), tensors[name][1])
        arrays: dict[str, Any] = {"index": index, "logits": logits.numpy(), "labels": labels}
        if task.seed == 0:  # features are for looking at: one seed of them, in half precision, is enough
            arrays["features"] = features.half().numpy()
        save(task.folder / "logits" / f"{task.name}-{name}.npz", lambda file, a=arrays: np.savez(file, **a))
    weights = to_bytes({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
    save(task.folder / "weights" / f"{task.name}.safetensors", lambda file: file.write(weights))
    record = {
        "arm": task.arm.name,
        "seed": task.seed,
        "weights": initial,
        "batches": batches,
        "target": target,
        "train_gap": train_gap,
        "parameters": sum(p.numel() for p in model.parameters()),
        "description": model.description,
        "epochs": epochs,
        "seconds": time.perf_counter() - started,
    }
    write_text(task.record, json.dumps(record))
    return record


def run_all(tasks: Sequence[Task], parts: dict[str, Part], *, workers: int, progress: Progress) -> list[dict[str, Any]]:
    """Every task in worker processes; progress comes back while they run.

    Raises:
        ArmError, TrainingError: from a run; the others are stopped.
        WorkerError: a worker process died.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)), mp_context=context, initializer=_start_worker, initargs=(parts, messages)
    )

    def drain() -> None:
        while not messages.empty():
            progress(*messages.get())

    futures: list[Future[dict[str, Any]]] = []
    try:
        futures = [pool.submit(_work, task) for task in tasks]
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=0.05, return_when=FIRST_EXCEPTION)
            drain()
            for future in done:
                future.result()
        drain()
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise WorkerError(
            "a worker process was killed, perhaps for want of memory; try --workers 1, or fewer rows or epochs"
        ) from None
    finally:
        for future in futures:
            future.cancel()
        if any(not future.done() for future in futures):
            for process in list((pool._processes or {}).values()):  # pyright: ignore[reportPrivateUsage] - 3.14 has a public name
                process.terminate()
        pool.shutdown(wait=True)
        messages.close()


_parts: dict[str, Part] = {}
_messages: Any = None


def _start_worker(parts: dict[str, Part], messages: Any) -> None:
    global _parts, _messages
    import torch

    torch.set_num_threads(1)
    _parts, _messages = parts, messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> dict[str, Any]:
    return run(task, _parts, lambda epoch: _messages.put((task.arm.name, task.seed, epoch)))
