"""Who is told how a comparison goes, and what they are told before it trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfumato.lab.arms import Arm
from sfumato.lab.data import Data
from sfumato.lab.execute.task import Progress
from sfumato.lab.train.plan import Plan
from sfumato.runs.schema import RunRecord


@dataclass(frozen=True)
class Setup:
    """What is about to run, for those who show it: ``tasks`` runs in all, shared by ``workers`` processes.

    Attributes:
        plan: the budget of every run.
        finished: records of the runs that an earlier sitting finished.
    """

    data: Data
    arms: tuple[Arm, ...]
    plan: Plan
    tasks: int
    workers: int
    finished: tuple[RunRecord, ...] = ()


@dataclass(frozen=True)
class Watcher:
    """Who is told how it goes.

    Attributes:
        setup: called once, when the data are read and before training starts.
        progress: called after every epoch of every run.
        render: called with the folder when all but the report is in it; the command line passes the report here.
        choose: says, of that folder, which rows of the data are worth showing on the page.
    """

    setup: Callable[[Setup], object]
    progress: Progress
    render: Callable[[Path], object] | None = None
    choose: Callable[[Path], Sequence[int]] | None = None


NULL_WATCHER = Watcher(lambda setup: None, lambda arm, seed, epoch: None)
"""For a comparison that tells nobody."""
