"""Runs under torchrun: one after the other, each trained by all ranks; the first rank writes and tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sfumato.lab.data import Part
from sfumato.lab.errors import OptionError
from sfumato.lab.execute.task import Progress, RunTask
from sfumato.lab.execute.torchrun_group import Ranks
from sfumato.lab.options import Options
from sfumato.lab.train.plan import Plan


def refuse(options: Options) -> None:
    """Refuse options that have no meaning under torchrun.

    Raises:
        OptionError: it says which to leave out.
    """
    if options.on is not None or options.time_budget is not None:
        raise OptionError("under torchrun leave out --on and --time-budget: its ranks share out each run in turn")


def refuse_small_batches(plan: Plan, ranks: Ranks) -> None:
    """Refuse batches with fewer rows than there are ranks.

    Raises:
        OptionError: it names both.
    """
    if plan.batch_size < ranks.world:
        raise OptionError(f"--batch-size {plan.batch_size} cannot be shared out between {ranks.world} ranks")


def note(ranks: Ranks) -> str:
    """What a reader should know of runs that ranks have shared."""
    return (
        f"Trained by {ranks.world} processes under torchrun that share every batch: last digits differ from those of "
        "one process."
    )


def run_all(
    tasks: Sequence[RunTask], parts: dict[str, Part], *, workers: int, progress: Progress, ranks: Ranks
) -> list[dict[str, Any]]:
    """Every task in turn, by all ranks; see :class:`sfumato.lab.execute.executor.Executor`.

    Args:
        tasks: what to run.
        parts: the rows.
        workers: not looked at, since torchrun has started the processes.
        progress: called by the first rank after every epoch.
        ranks: this process among the others.

    Returns:
        The records on the first rank; on the others none.

    Raises:
        TrainingError: on every rank.
    """
    import torch

    from sfumato.lab.execute.training_run import TrainingRun

    torch.set_num_threads(1)
    records: list[dict[str, Any]] = []
    for task in tasks:

        def tell(epoch: dict[str, Any], task: RunTask = task) -> None:
            if ranks.is_first:
                progress(task.arm.name, task.seed, epoch)

        run = TrainingRun(task, parts)
        trained = run.train(tell, ranks=ranks)
        if ranks.is_first:
            records.append(run.save(trained))
    return records
