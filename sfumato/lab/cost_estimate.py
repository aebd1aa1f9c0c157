"""What a comparison will cost, from a few steps tried here, and how ``--time-budget`` cuts its epochs until it fits."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from sfumato.lab.device import one_thread
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options
from sfumato.lab.prepared import Prepared, prepared
from sfumato.lab.train.plan import Plan
from sfumato.messages import Note
from sfumato.text import duration, plural

_TRIED = 5  # steps that are timed, after two that are not
_LEAST_EPOCHS = 3


@dataclass(frozen=True)
class Cost:
    """The cost of a comparison of so many runs, each of which takes so many epochs and steps.

    Attributes:
        seconds_per_step: median of a few steps tried here, of one run on one thread.
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

    def to_json(self) -> dict[str, Any]:
        """As ``compare --dry-run --json`` prints it."""
        return {"schema": "sfumato.dry-run/1", **asdict(self), "arms": list(self.arms)}

    def told(self) -> str:
        """The same, to read."""
        step = 1000 * self.seconds_per_step
        return (
            f"arms     {', '.join(self.arms)}\n"
            f"runs     {self.runs}, in {plural(self.workers, 'process')}\n"
            f"steps    {self.steps:,} a run, in {self.epochs:,} epochs; {step:.3g} ms each\n"
            f"model    {self.parameters:,} parameters\n"
            f"time     about {duration(self.seconds)}, besides reading the data and writing the report\n"
            f"memory   about {_size(self.memory)} a process, besides torch itself\n"
            f"disk     about {_size(self.disk)}"
        )


def estimate(ready: Prepared) -> Cost:
    """Try a few steps of one run of a comparison, and count up."""
    import torch

    from sfumato.lab.models import build, logits_of
    from sfumato.lab.train.augment import Augmentation
    from sfumato.lab.train.loop import optimiser_of

    options, plan, split, classes = ready.options, ready.plan, ready.data.split, ready.classes
    train = ready.data.part("train")
    built = build(ready.model.name, ready.data.inputs, classes, seed=0, pretrained=options.pretrained)
    built = built.to(options.device)
    loss, optimiser = torch.nn.CrossEntropyLoss(), optimiser_of(built.parameters(), plan)
    rows = slice(0, plan.batch_size)
    x, y = (torch.from_numpy(array[rows]).to(options.device) for array in (train.features, train.labels))
    numbers = torch.arange(len(y))
    augment = Augmentation(plan.augment, ready.data.inputs, len(y), 0) if plan.augment else None
    times: list[float] = []
    with one_thread():
        for _ in range(_TRIED + 2):
            started = clock_after(options.device)
            optimiser.zero_grad()
            loss(built(x if augment is None else augment(x, numbers)), y).backward()
            optimiser.step()
            times.append(clock_after(options.device) - started)
        started = clock_after(options.device)
        logits_of(built, x)
        per_row = (clock_after(options.device) - started) / len(x)
    step, steps, runs = median(times[2:]), plan.steps(len(split.train)), len(ready.arms) * options.seeds
    workers = ready.workers(runs)
    everything = len(split.train) + len(split.validation) + len(split.test)
    looked_at = plan.epochs * len(split.validation) + everything
    parameters = sum(p.numel() for p in built.parameters())
    return Cost(
        arms=tuple(arm.name for arm in ready.arms),
        runs=runs,
        workers=workers,
        epochs=plan.epochs,
        steps=steps,
        parameters=parameters,
        seconds_per_step=step,
        seconds=(steps * step + looked_at * per_row) * math.ceil(runs / workers),
        memory=train.features.nbytes * everything // max(1, len(split.train)) + 16 * parameters,
        disk=runs * (4 * parameters + everything * (4 * classes + 24)),
    )


def clock_after(device: str) -> float:
    """Seconds by a clock, once the device has done all that it was given: a GPU works on while Python goes on."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()
    return time.perf_counter()


def dry_run(options: Options) -> Cost:
    """Prepare a comparison, and count up what it would cost (``--dry-run``); nothing is written."""
    options.check()
    return estimate(in_time(prepared(options)))


def in_time(ready: Prepared) -> Prepared:
    """The comparison with as many epochs as ``--time-budget`` allows; without a budget, the comparison unchanged."""
    minutes = ready.options.time_budget
    if minutes is None:
        return ready
    plan = within(ready.plan, estimate(ready), 60 * minutes)
    if plan == ready.plan:
        return ready
    return replace(ready, plan=plan, options=replace(ready.options, epochs=plan.epochs))


def note_on_cut(full: Plan, cut: Plan) -> Note:
    """What a reader of the verdict should know of a budget that was cut."""
    text = (
        f"Cut from {full.epochs:,} to {cut.epochs:,} epochs by --time-budget: the arms may be short of their "
        "optima, and a full budget may change the verdict."
    )
    return Note(code="time-budget", text=text)


def within(plan: Plan, expected: Cost, budget: float) -> Plan:
    """A plan, whose cost is known, with as many epochs as a budget in seconds allows."""
    if expected.seconds <= budget:
        return plan
    epochs = int(plan.epochs * budget / expected.seconds)
    if epochs < _LEAST_EPOCHS:
        raise OptionError(
            f"--time-budget {budget / 60:g} minutes is too short: {expected.runs} runs of {plan.epochs:,} epochs take "
            f"about {duration(expected.seconds)} here, and less than {_LEAST_EPOCHS} epochs would be left; give more "
            "time, fewer --seeds, or a smaller --model"
        )
    return replace(plan, epochs=epochs)


def _size(count: int) -> str:
    """Bytes for a person."""
    power = min(3, (len(str(count)) - 1) // 3)
    return f"{count // 1000**power:,} {('B', 'kB', 'MB', 'GB')[power]}"
