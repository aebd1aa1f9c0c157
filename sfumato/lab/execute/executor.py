"""Who trains the runs of a comparison: processes here, Ray, or the ranks of torchrun."""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.lab.data import Part
from sfumato.lab.execute import processes, ray, torchrun
from sfumato.lab.execute.task import Progress, RunTask
from sfumato.lab.execute.torchrun_group import Ranks
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
        workers: how many runs are trained at once; torchrun and a Ray that was there before have their own number.
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
        return torchrun.run_all(tasks, parts, progress=progress, ranks=ranks)
    return (ray if on == "ray" else processes).run_all(tasks, parts, workers=workers, progress=progress)
