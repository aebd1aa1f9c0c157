"""Who trains the runs of a comparison: processes here, Ray, or the ranks of torchrun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sfumato.lab.data import Part
from sfumato.lab.execute import processes, ray
from sfumato.lab.execute.task import Progress, RunTask
from sfumato.lab.execute.torchrun import Ranks
from sfumato.runs.schema import RunRecord


def train_all(
    tasks: Sequence[RunTask],
    parts: dict[str, Part],
    *,
    workers: int,
    progress: Progress,
    on: str | None = None,
    ranks: Ranks | None = None,
) -> list[RunRecord]:
    """Train every task; what a run leaves does not depend on who trains it.

    Args:
        tasks: what to run.
        parts: the rows, by the name of their part.
        workers: how many runs are trained at once; torchrun and a Ray cluster have their own number.
        progress: called after every epoch of every run.
        on: ``"ray"``, or None.
        ranks: those of torchrun, or None for a process that is alone.

    Returns:
        The records in the order of the tasks; none on ranks but the first.

    Raises:
        ArmError, TrainingError, WriteError: from a run; the others are stopped.
        WorkerError: a process died, or ran out of memory.
    """
    if ranks is not None:
        return list(_by_all_ranks(tasks, parts, progress, ranks))
    return (ray if on == "ray" else processes).run_all(tasks, parts, workers=workers, progress=progress)


def _by_all_ranks(
    tasks: Sequence[RunTask], parts: dict[str, Part], progress: Progress, ranks: Ranks
) -> Iterator[RunRecord]:
    """Each run in turn, trained by all ranks; the first rank writes and tells."""
    import torch

    from sfumato.lab.execute.training_run import TrainingRun

    torch.set_num_threads(1)
    for task in tasks:
        run = TrainingRun(task, parts)
        trained = run.train(partial(progress, task.arm.name, task.seed) if ranks.is_first else None, ranks=ranks)
        if ranks.is_first:
            yield run.save(trained)
