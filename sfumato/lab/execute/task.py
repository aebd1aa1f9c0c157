"""One run of a comparison, an arm with a seed, as it is handed to whoever trains it; and whether that is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.io.atomic import file_hash, read_sealed
from sfumato.lab.arms import Arm
from sfumato.lab.data import Inputs
from sfumato.lab.data.table import PARTS
from sfumato.lab.train.plan import Plan
from sfumato.runs.schema import RunRecord, check

Progress = Callable[[str, int, dict[str, Any]], None]
"""Called with the arm's name, the seed, and the fields of an epoch."""


@dataclass(frozen=True)
class RunTask:
    """One run: an arm with a seed."""

    arm: Arm
    seed: int  # of the initial weights and of the order of rows; the same in every arm
    model: str
    classes: int
    plan: Plan
    folder: Path  # of the comparison, for logits and weights
    inputs: Inputs  # what a row looks like
    pretrained: str | None = None  # a file of weights to start from
    device: str = "cpu"
    parts: tuple[str, ...] = PARTS  # whose logits are saved; a run that may not be chosen is given no test rows

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


def finished(task: RunTask) -> RunRecord | None:
    """The record of a whole run: its files are there, and are those that it wrote. None if it must run again."""
    try:
        record = check(read_sealed(task.record), RunRecord, task.record)
        whole = all(file_hash(path) == record["files"][name] for name, path in task.files.items())
    except (OSError, ValueError):
        return None
    return record if whole else None
