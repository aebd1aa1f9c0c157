"""Runs under torchrun: one after the other, each trained by all ranks; the first rank writes and tells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sfumato.lab.data import Part
from sfumato.lab.errors import OptionError
from sfumato.lab.execute.task import Progress, RunTask
from sfumato.lab.execute.torchrun_group import Ranks
from sfumato.lab.options import Options
from sfumato.lab.train.plan import Plan
from sfumato.runs.schema import RunRecord


def refuse(options: Options, plan: Plan, ranks: Ranks) -> None:
    """Refuse options that have no meaning under torchrun, and batches with fewer rows than there are ranks.

    Raises:
        OptionError: it says which option to leave out, or how large the batch is.
    """
    if options.on is not None or options.time_budget is not None:
        raise OptionError("under torchrun leave out --on and --time-budget: its ranks share out each run in turn")
    if plan.batch_size < ranks.world:
        raise OptionError(f"--batch-size {plan.batch_size} cannot be shared out between {ranks.world} ranks")


def note(ranks: Ranks) -> str:
    """What a reader should know of runs that ranks have shared."""
    return (
        f"Trained by {ranks.world} processes under torchrun that share every batch: last digits differ from those of "
        "one process."
    )


def run_all(tasks: Sequence[RunTask], parts: dict[str, Part], *, progress: Progress, ranks: Ranks) -> list[RunRecord]:
    """Every task in turn, by all ranks; see :func:`sfumato.lab.execute.executor.train_all`."""
    import torch

    from sfumato.lab.execute.training_run import TrainingRun

    torch.set_num_threads(1)
    records: list[RunRecord] = []
    for task in tasks:
        run = TrainingRun(task, parts)
        trained = run.train(partial(progress, task.arm.name, task.seed) if ranks.is_first else None, ranks=ranks)
        if ranks.is_first:
            records.append(run.save(trained))
    return records
