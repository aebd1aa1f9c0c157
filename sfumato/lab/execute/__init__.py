"""Where the runs of a comparison are trained: processes here, ranks of torchrun, or tasks on Ray.

Here is one run as it is handed to whoever trains it. Which run it is, :class:`RunKey` alone says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sfumato.lab.arms import Arm
from sfumato.lab.data import Inputs, Part
from sfumato.lab.data.table import PARTS
from sfumato.lab.train import Plan


class RunKey(NamedTuple):
    """Which run of a comparison: its fields stand in its record and its lines of metrics, and name its files."""

    arm: str
    seed: int  # of the initial weights and of the order of rows; the same in every arm

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RunKey:
        """The run of a record, or of a line of metrics."""
        return cls(**{name: record[name] for name in cls._fields})

    @property
    def pair(self) -> tuple[Any, ...]:
        """What the runs that are compared with one another share: all but the arm."""
        return self[1:]

    @property
    def name(self) -> str:
        """As in file names: ``smoothed-seed0``."""
        return f"{self.arm}-seed{self.seed}"


Progress = Callable[[RunKey, dict[str, Any]], object]
"""Called with the run and the fields of an epoch."""

Rows = Callable[[int], dict[str, Part]]
"""The rows of a fold, by the name of their part."""


@dataclass(frozen=True)
class RunTask:
    """One run: an arm with a seed, which is tested on the rows of a fold."""

    arm: Arm
    seed: int
    model: str
    classes: int
    plan: Plan
    folder: Path  # of the comparison, for logits and weights
    inputs: Inputs  # what a row looks like
    pretrained: str | None = None  # a file of weights to start from
    device: str = "cpu"
    parts: tuple[str, ...] = PARTS  # whose logits are saved; a run that may not be chosen is given no test rows
    fold: int = 0

    @property
    def key(self) -> RunKey:
        """Which run it is."""
        return RunKey(self.arm.name, self.seed)

    @property
    def record(self) -> Path:
        """Written last, so that it stands for a whole run."""
        return self.folder / "work" / f"{self.key.name}.sealed"

    @property
    def files(self) -> dict[str, Path]:
        """What a run leaves, by what it is: the logits of each part, and the weights."""
        logits = {part: self.folder / "logits" / f"{self.key.name}-{part}.npz" for part in self.parts}
        return {**logits, "weights": self.folder / "weights" / f"{self.key.name}.safetensors"}
