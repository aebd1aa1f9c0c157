"""Who trains the runs of a comparison: processes here, Ray, or the ranks of torchrun."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from sfumato.lab.data import Part
from sfumato.lab.execute import processes, ray, torchrun
from sfumato.lab.execute.task import Progress, RunTask
from sfumato.lab.execute.torchrun_group import Ranks


class Executor(Protocol):
    """Trains runs; what a run leaves does not depend on who trains it."""

    def __call__(
        self, tasks: Sequence[RunTask], parts: dict[str, Part], *, workers: int, progress: Progress
    ) -> list[dict[str, Any]]:
        """Train every task, and give the records in the order of the tasks.

        Args:
            tasks: what to run.
            parts: the rows, by the name of their part.
            workers: how many runs are trained at once, where that is ours to say.
            progress: called after every epoch of every run.

        Raises:
            ArmError, TrainingError, WriteError: from a run; the others are stopped.
            WorkerError: a process died, or ran out of memory.
        """
        ...


def executor(on: str | None, ranks: Ranks | None) -> Executor:
    """The executor that was asked for.

    Args:
        on: ``"ray"``, or None.
        ranks: those of torchrun, or None for a process that is alone.
    """
    if ranks is not None:
        return partial(torchrun.run_all, ranks=ranks)
    return ray.run_all if on == "ray" else processes.run_all
