"""One run of one arm and seed, and the processes that share the runs out.

A run depends on its task alone and trains on one torch thread, so the bits are the same for any number of workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from sfumato.arrays.atomic import file_hash, read_sealed, write_arrays, write_bytes, write_sealed
from sfumato.lab.arms import Arm

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from torch import Tensor

    from sfumato.lab.data import Inputs, Part
    from sfumato.lab.execute.torchrun import Ranks
    from sfumato.lab.models import Classifier
    from sfumato.lab.train.loop import Plan, Trained


_WIDEST = 2048
"""Features beyond this many are inputs as a rule, such as all terms of a vocabulary, and are not kept."""


PARTS = ("train", "validation", "test")


class WorkerError(RuntimeError):
    """A worker process died, or ran out of memory."""


@dataclass(frozen=True)
class Task:
    """One run: an arm with a seed.

    Attributes:
        arm: the target.
        seed: of the initial weights and of the order of rows; the same in every arm.
        model: its name.
        classes: K.
        plan: the budget.
        folder: of the run, for logits and weights.
        inputs: what a row looks like; None for dense features.
        pretrained: file of weights to start from.
        device: where to train.
        parts: whose logits are saved; a run that has still to be chosen is given no test rows.
    """

    arm: Arm
    seed: int
    model: str
    classes: int
    plan: Plan
    folder: Path
    inputs: Inputs | None = None
    pretrained: str | None = None
    device: str = "cpu"
    parts: tuple[str, ...] = PARTS

    @property
    def name(self) -> str:
        """As in file names: ``smoothed-seed0``."""
        return f"{self.arm.name}-seed{self.seed}"

    @property
    def record(self) -> Path:
        """Written last, so that it stands for a whole run."""
        return self.folder / "work" / f"{self.name}.sealed"

    @property
    def files(self) -> dict[str, Path]:
        """What a run leaves, by what it is: the logits of each part, and the weights."""
        logits = {part: self.folder / "logits" / f"{self.name}-{part}.npz" for part in self.parts}
        return {**logits, "weights": self.folder / "weights" / f"{self.name}.safetensors"}


Progress = Callable[[str, int, dict[str, Any]], None]
"""Called with the arm's name, the seed, and the fields of an epoch."""


@overload
def run(task: Task, parts: dict[str, Part], on_epoch: Callable[[dict[str, Any]], None]) -> dict[str, Any]: ...


@overload
def run(
    task: Task, parts: dict[str, Part], on_epoch: Callable[[dict[str, Any]], None], *, ranks: Ranks
) -> dict[str, Any] | None: ...


def run(
    task: Task, parts: dict[str, Part], on_epoch: Callable[[dict[str, Any]], None], *, ranks: Ranks | None = None
) -> dict[str, Any] | None:
    """Train, verify, save.

    Args:
        task: what to run.
        parts: the rows of ``"train"``, ``"validation"`` and ``"test"``.
        on_epoch: called after every epoch.
        ranks: processes that train it together, all of which call this; None for one alone.

    Returns:
        The record: hashes, curves, training gap, the target that the loss implies. None on ranks but the first, which
        save nothing.

    Raises:
        ArmError: the loss did not use the arm's target.
        TrainingError: the loss was not finite.
        WriteError: a full disk.
    """
    made = Run(task, parts)

    from sfumato.lab.train.loop import train

    def keep(epoch: Any) -> None:
        made.epochs.append(epoch.to_dict())
        on_epoch(made.epochs[-1])

    trained = train(
        made.model,
        made.loss,
        made.tensors["train"],
        made.tensors["validation"],
        task.plan,
        seed=task.seed,
        floor=task.arm.floor(task.classes),
        on_epoch=keep,
        weight=made.weight,
        soft=made.soft,
        ranks=ranks,
    )
    if ranks is not None and ranks.rank != 0:
        return None
    return made.keep(trained)


class Run:
    """A run with all that its task says it has: rows where they are needed, a model with its initial weights, a loss.

    Args:
        task: what it is of.
        parts: its rows.
        beside: a run of the same comparison in this process, whose tensors it can use.

    Attributes:
        task: what it is of.
        parts: its rows, as given.
        tensors: features and labels of each part, on the device.
        weight: (n,) of the training rows, or None.
        soft: (n, K) soft labels of the training rows, or None.
        model: to be trained.
        loss: of the arm.
        epochs: what was told of each epoch so far.
    """

    def __init__(self, task: Task, parts: dict[str, Part], beside: Run | None = None) -> None:
        import torch

        from sfumato.lab.models import build, weights_hash

        self._started = time.perf_counter()
        self.task, self.parts = task, parts

        def there(array: Any) -> Any:
            return None if array is None else torch.from_numpy(array).to(task.device)

        if beside is None:
            self.tensors = {name: (there(part.features), there(part.labels)) for name, part in parts.items()}
            self.weight, self.soft = there(parts["train"].weight), there(parts["train"].soft)
        else:
            self.tensors, self.weight, self.soft = beside.tensors, beside.weight, beside.soft
        inputs = task.inputs or self.tensors["train"][0].shape[1]
        self.model = build(task.model, inputs, task.classes, seed=task.seed, pretrained=task.pretrained).to(task.device)
        torch.manual_seed(task.seed)  # for layers that draw numbers, such as dropout: a run depends on its task alone
        self.loss = task.arm.loss()
        self._initial = weights_hash(self.model)
        self.epochs: list[dict[str, Any]] = []

    def keep(self, trained: Trained, *, share: int = 1) -> dict[str, Any]:
        """Verify what was trained, and save it.

        Args:
            trained: what the training left.
            share: runs that took this time together.

        Returns:
            The record.
        """
        from safetensors.torch import save as to_bytes

        from sfumato.lab.train.loop import mean_gap

        task = self.task
        target = task.arm.verify(self.loss, task.classes)
        train_gap = 0.0
        for name in task.parts:
            logits = save_logits(task, name, self.model, self.parts[name], self.tensors[name][0])
            if name == "train":
                train_gap = mean_gap(logits.double(), self.tensors[name][1].cpu())
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        write_bytes(task.files["weights"], to_bytes(weights))
        record = {
            "arm": task.arm.name,
            "seed": task.seed,
            "weights": self._initial,
            "batches": list(trained.batches),
            "kept_epoch": trained.kept_epoch,
            "target": target,
            "train_gap": train_gap,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "description": self.model.description,
            "epochs": self.epochs,
            "seconds": (time.perf_counter() - self._started) / share,
            "files": {name: file_hash(path) for name, path in task.files.items()},
        }
        write_sealed(task.record, record)
        return record


def save_logits(task: Task, name: str, model: Classifier, part: Part, features: Tensor) -> Tensor:
    """Evaluate a trained model on one part and save what it says.

    Args:
        task: whose model it is.
        name: of the part.
        model: trained.
        part: its rows.
        features: of the rows, where the model is.

    Returns:
        The logits (n, K), on the CPU.

    Raises:
        TrainingError: they are not finite.
        WriteError: a full disk.
    """
    import torch

    from sfumato.lab.models import features_and_logits
    from sfumato.lab.train.loop import TrainingError

    pairs = [(f.cpu(), z.cpu()) for f, z in features_and_logits(model, features)]
    penultimate, logits = (torch.cat(each) for each in zip(*pairs, strict=True))
    if not bool(logits.isfinite().all()):
        raise TrainingError(
            f"the {task.arm.name} model of seed {task.seed} has logits that are not finite after training; "
            f"the learning rate ({task.plan.learning_rate:g}) is too large"
        )
    arrays: dict[str, Any] = {
        "index": part.index,
        "logits": logits.numpy(),
        "labels": part.labels,
        "group": part.index if part.group is None else part.group,
    }
    # Features are for looking at: one seed of them, in half precision, is enough.
    if task.seed == 0 and penultimate.shape[1] <= _WIDEST:
        arrays["features"] = penultimate.half().numpy()
    write_arrays(task.files[name], arrays)
    return logits


def trained(task: Task) -> Classifier:
    """The model of a finished run, with its weights read back."""
    from safetensors.torch import load_file

    from sfumato.lab.models import build

    assert task.inputs is not None, "a task of a comparison has them"
    model = build(task.model, task.inputs, task.classes, seed=task.seed, pretrained=task.pretrained)
    model.load_state_dict(load_file(task.files["weights"]))
    return model.to(task.device).eval()


def finished(task: Task) -> dict[str, Any] | None:
    """The record of a whole run: its files are there, and are those that it wrote. None if it must run again."""
    try:
        record = read_sealed(task.record)
        whole = all(file_hash(path) == record["files"][name] for name, path in task.files.items())
    except (OSError, ValueError):
        return None
    return record if whole else None


def run_all(tasks: Sequence[Task], parts: dict[str, Part], *, workers: int, progress: Progress) -> list[dict[str, Any]]:
    """Every task in worker processes; progress comes back while they run.

    Each worker has a pipe of its own and no lock is shared, so that one may be killed at any moment without leaving
    another, or this process, waiting for ever.

    Raises:
        ArmError, TrainingError, WriteError: from a run; the others are stopped.
        WorkerError: a worker process died, or ran out of memory.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(enumerate(tasks))[::-1]
    records: dict[int, dict[str, Any]] = {}
    crew: dict[Connection, tuple[BaseProcess, int]] = {}
    processes: list[BaseProcess] = []
    # It unblocks SIGINT when it starts; so it starts before the mask is set, not with the first worker.
    resource_tracker.ensure_running()
    try:
        with _interrupts_held():
            for _ in range(min(workers, len(tasks))):
                number, task = waiting.pop()
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, parts), daemon=True)
                try:
                    process.start()
                    processes.append(process)
                    ours.send(task)
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
                    progress(tasks[number].arm.name, tasks[number].seed, content)
                elif kind == "error":
                    raise content
                elif waiting:
                    records[number] = content
                    number, task = waiting.pop()
                    connection.send(task)
                    crew[connection] = process, number
                else:
                    records[number] = content
                    connection.send(None)
                    del crew[connection]
        return [records[number] for number in range(len(tasks))]
    finally:
        for process in processes:
            if crew or waiting:  # something went wrong, and what still runs is of no use
                process.terminate()
            process.join()


def _died(task: Task, process: BaseProcess) -> WorkerError:
    if process.pid is not None:
        process.join()
    return WorkerError(
        f"the process of {task.name} ended with code {process.exitcode}, perhaps for want of memory; "
        "try --workers 1, or fewer rows"
    )


def _serve(connection: Connection, parts: dict[str, Part]) -> None:
    """A worker: one task after another, until it is sent None or its parent is gone."""
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):
        while (task := connection.recv()) is not None:
            try:
                record = run(task, parts, lambda epoch: connection.send(("epoch", epoch)))
            except ConnectionError:
                raise
            except MemoryError:
                told = WorkerError(f"no memory is left to run {task.name}; try --workers 1, or fewer rows")
                connection.send(("error", told))
                return
            except Exception as error:
                error.add_note(traceback.format_exc())  # where it was, which pickling would lose
                connection.send(("error", error))
                return
            connection.send(("done", record))


@contextlib.contextmanager
def _interrupts_held() -> Generator[None]:
    """Hold back SIGINT while workers are made, so that none is left half-started, and raise it afterwards.

    The workers inherit the mask and never hear one: this process does, and ends them. The mask alone would not do here,
    for the system may give the signal to any thread, and Python then interrupts the main one. SIGTERM is held back too
    where it is handled, but not masked, for it is what ends a worker.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    heard: list[int] = []
    held = [signal.SIGINT] + ([signal.SIGTERM] if callable(signal.getsignal(signal.SIGTERM)) else [])
    handlers = {each: signal.signal(each, lambda number, frame: heard.append(number)) for each in held}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for each, handler in handlers.items():
            signal.signal(each, handler)
    if heard:
        raise KeyboardInterrupt
