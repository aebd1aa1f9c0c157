"""Training one model: the plan, the loop, the early stop, and the losses that need more than logits and labels.

Here is the plan: how long and how fast each run trains. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from sfumato.lab.errors import OptionError

Precision = Literal["float32", "bf16"]
Weights = Literal["best", "last"]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; an unknown precision is a ValueError."""

    epochs: int  # passes over the training rows
    batch_size: int  # rows a step
    learning_rate: float  # Adam's, at the start; a cosine takes it to 0 at the last step
    weight_decay: float = 0.0  # λ of AdamW, whose steps first multiply every parameter by 1 − learning rate · λ
    accumulate: int = 1  # parts into which a batch is split, to save memory; the step is that of the whole batch
    precision: Precision = "float32"  # or "bf16" for a forward pass under autocast; weights and loss stay float32
    early_stop: int | None = None  # stop after so many epochs without a better one, and keep the best
    weights: Weights = "last"  # or "best", those of the epoch with the least validation log loss after temperature
    augment: tuple[str, ...] = ()  # how training pictures are changed at random: "flip", "crop"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f'precision must be "float32" or "bf16", got "{self.precision}"')

    @property
    def keeps_best(self) -> bool:
        """Whether a run ends with the weights of its best epoch."""
        return self.weights == "best" or self.early_stop is not None

    def steps(self, rows: int) -> int:
        """Gradient steps of the whole training."""
        return self.epochs * math.ceil(rows / self.batch_size)


def default_plan(
    rows: int, *, epochs: int | None, batch_size: int | None, learning_rate: float, least_epochs: int
) -> Plan:
    """A full budget: at least ``least_epochs`` and 1,000 steps for small data, at most 20,000 steps for large."""
    if batch_size is None:
        batch_size = min(64 if rows <= 20_000 else 256, max(8, rows // 8))
    if epochs is None:
        a_pass = math.ceil(rows / batch_size)
        epochs = max(least_epochs, min(300, math.ceil(1000 / a_pass)))
        epochs = max(5, min(epochs, 20_000 // a_pass))
    return Plan(epochs, batch_size, learning_rate)


def padding_of(sides: Sequence[int]) -> int:
    """How far a crop may shift a picture in each direction, in pixels: an eighth of the shorter side."""
    return max(1, round(min(sides) / 8))


def refuse_small_parts(plan: Plan) -> None:
    """Refuse to split a batch into parts of less than two rows."""
    most = max(1, plan.batch_size // 2)
    if plan.accumulate > most:
        raise OptionError(
            f"--accumulate {plan.accumulate} would split a batch of {plan.batch_size} rows into parts of less than "
            f"two; use at most {most}, or a larger --batch-size"
        )


def batch_for_norm(size: int, rows: int, ranks: int = 1) -> int:
    """The batch size of whose every batch each rank has two rows or more, or none: the next below, or else above."""
    sizes = (*range(size, 0, -1), *range(size + 1, rows + 1))
    return next((n for n in sizes if not any(0 < batch < 2 * ranks for batch in (n, rows % n))), 0)


def without_a_batch_of_one(plan: Plan, rows: int, model: str, *, asked: bool) -> Plan:
    """The plan, with a batch size that leaves no batch of one row, on which batch norm cannot be trained."""
    size = batch_for_norm(plan.batch_size, rows)
    if asked and size != plan.batch_size:
        raise OptionError(
            f"--batch-size {plan.batch_size} leaves a batch of one of the {rows:,} training rows, and "
            f"{model} normalises over the batch; {size} leaves none"
        )
    return replace(plan, batch_size=size)
