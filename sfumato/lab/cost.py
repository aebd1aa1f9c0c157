"""What a comparison will cost, before it is paid: steps, seconds, memory and disk, from a few steps tried here."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from sfumato.lab.options import OptionError

if TYPE_CHECKING:
    from sfumato.lab.arms import Arm
    from sfumato.lab.data import Data
    from sfumato.lab.options import Options
    from sfumato.lab.train.loop import Plan

_TRIED = 5  # steps that are timed, after two that are not
LEAST_EPOCHS = 3
"""A time budget that leaves fewer is refused."""


@dataclass(frozen=True)
class Estimate:
    """The cost of a comparison.

    Attributes:
        arms: names.
        runs: arms × seeds.
        workers: processes; 1 where all runs train together.
        epochs: of each run.
        steps: of each run.
        parameters: of the model.
        seconds_per_step: median of a few steps tried here, of one run on one thread, or of all runs where they train
            together.
        seconds: of the whole, on the clock, without reading the data and writing the report.
        memory: bytes that each process needs for rows, weights, gradients and the optimiser's state; what the layers
            keep for the backward pass, and torch itself, come on top.
        disk: bytes of the run folder, without the report.
    """

    arms: tuple[str, ...]
    runs: int
    workers: int
    epochs: int
    steps: int
    parameters: int
    seconds_per_step: float
    seconds: float
    memory: int
    disk: int
    together: bool = False

    def to_json(self) -> dict[str, Any]:
        """As ``compare --dry-run --json`` prints it."""
        return {"schema": "sfumato.dry-run/1", **asdict(self), "arms": list(self.arms)}

    def told(self) -> str:
        """The same, to read."""
        spread = "as one program" if self.together else f"in {self.workers} process{'es' if self.workers > 1 else ''}"
        each = "each, of all runs" if self.together else "each"
        step = 1000 * self.seconds_per_step
        return "\n".join(
            [
                f"arms     {', '.join(self.arms)}",
                f"runs     {self.runs}, {spread}",
                f"steps    {self.steps:,} a run, in {self.epochs:,} epochs; {step:.3g} ms {each}",
                f"model    {self.parameters:,} parameters",
                f"time     about {duration(self.seconds)}, besides reading the data and writing the report",
                f"memory   about {_size(self.memory)} a process, besides torch itself",
                f"disk     about {_size(self.disk)}",
            ]
        )


def estimate(options: Options, data: Data, model: str, plan: Plan, arms: Sequence[Arm], workers: int) -> Estimate:
    """Try a few steps of the first arm, or of as many as train together, and count up.

    Args:
        options: seeds, device and weights to start from.
        data: prepared.
        model: its name.
        plan: the budget of each run.
        arms: to be trained.
        workers: processes at most, or threads where all runs train together.
    """
    import torch

    from sfumato.lab.models import build, logits_of
    from sfumato.lab.train.loop import optimiser_of

    classes, split = len(data.table.class_names), data.split
    train = data.part("train")
    built = build(model, data.inputs, classes, seed=0, pretrained=options.pretrained).to(options.device)
    loss = torch.nn.CrossEntropyLoss()
    rows = slice(0, plan.batch_size)
    x, y = torch.from_numpy(train.features[rows]).to(options.device), torch.from_numpy(train.labels[rows])
    y, runs = y.to(options.device), len(arms) * options.seeds
    if options.together:
        from sfumato.lab.execute.together import Stack

        stack = Stack([built] * runs, plan)
        optimiser, many = stack.optimiser, x.expand(runs, *x.shape)

        def value() -> torch.Tensor:
            return torch.stack([loss(logits, y) for logits in stack.training_logits(many)]).sum()

    else:
        optimiser, stack = optimiser_of(built.parameters(), plan), None

        def value() -> torch.Tensor:
            return loss(built(x), y)

    threads = torch.get_num_threads()
    torch.set_num_threads(workers if options.together else 1)  # as it will be
    try:
        times: list[float] = []
        for _ in range(_TRIED + 2):
            started = time.perf_counter()
            optimiser.zero_grad()
            value().backward()
            optimiser.step()
            times.append(time.perf_counter() - started)
        started = time.perf_counter()
        logits_of(built, x) if stack is None else stack.logits(x)
        per_row = (time.perf_counter() - started) / len(x)
    finally:
        torch.set_num_threads(threads)
    step, steps = median(times[2:]), plan.steps(len(split.train))
    workers = 1 if options.together else max(1, min(workers, runs))
    looked_at = plan.epochs * len(split.validation) + len(split.train) + len(split.validation) + len(split.test)
    each = steps * step + looked_at * per_row
    parameters = sum(p.numel() for p in built.parameters())
    everything = sum(len(part) for part in (split.train, split.validation, split.test))
    return Estimate(
        tuple(arm.name for arm in arms),
        runs,
        workers,
        plan.epochs,
        steps,
        parameters,
        step,
        each if options.together else each * math.ceil(runs / workers),
        train.features.nbytes * everything // max(1, len(split.train))
        + 16 * parameters * (runs if options.together else 1),
        runs * (4 * parameters + everything * (4 * classes + 24)),
        options.together,
    )


def within(plan: Plan, expected: Estimate, budget: float) -> Plan:
    """The plan, with as many epochs as the time allows.

    Args:
        plan: as it would be.
        expected: its cost.
        budget: seconds.

    Raises:
        OptionError: fewer than three epochs would be left.
    """
    if expected.seconds <= budget:
        return plan
    epochs = int(plan.epochs * budget / expected.seconds)
    if epochs < LEAST_EPOCHS:
        raise OptionError(
            f"--time-budget {budget / 60:g} minutes is too short: {expected.runs} runs of {plan.epochs:,} epochs take "
            f"about {duration(expected.seconds)} here, and less than {LEAST_EPOCHS} epochs would be left; give more "
            "time, fewer --seeds, or a smaller --model"
        )
    return replace(plan, epochs=epochs)


def duration(seconds: float) -> str:
    """A time for a person.

    >>> duration(4), duration(250), duration(9000)
    ('4 s', '4 min', '2.5 h')
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count //= 1000
    return f"{count:,} {unit}"
