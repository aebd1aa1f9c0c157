"""What a comparison costs, from a few steps tried here; the epochs that ``--time-budget`` allows; doctor's trial."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.lab.choose_model import one_thread
from sfumato.lab.data.table import PARTS
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options
from sfumato.lab.prepared import Prepared, prepared
from sfumato.lab.train import Plan
from sfumato.messages import Note
from sfumato.text import duration, plural, wrapped

_TRIED = 5  # steps that are timed, after two that are not
_LEAST_EPOCHS = 3
AROUND = 10.0  # seconds to start processes, judge and write the report


@dataclass(frozen=True)
class Cost:
    """The cost of a comparison of so many runs, each of which takes so many epochs and steps."""

    arms: tuple[str, ...]
    runs: int
    workers: int
    epochs: int
    steps: int
    parameters: int
    seconds_per_step: float  # median of a few steps tried here, of one run on one thread
    seconds: float  # of the whole, on the clock, without reading the data
    memory: int  # bytes per process for rows, weights, gradients and the optimiser; layers' results and torch on top
    disk: int  # bytes of the run folder, without the report

    def to_json(self) -> dict[str, Any]:
        """As ``compare --dry-run --json`` prints it."""
        return {"schema": "sfumato.dry-run/1", **asdict(self), "arms": list(self.arms)}

    def describe(self) -> str:
        """As ``compare --dry-run`` prints it."""
        step = 1000 * self.seconds_per_step
        return (
            f"arms     {', '.join(self.arms)}\n"
            f"runs     {self.runs}, in {plural(self.workers, 'process')}\n"
            f"steps    {self.steps:,} a run, in {self.epochs:,} epochs; {step:.3g} ms each\n"
            f"model    {self.parameters:,} parameters\n"
            f"time     about {duration(self.seconds)}, besides reading the data\n"
            f"memory   about {_size(self.memory)} a process, besides torch itself\n"
            f"disk     about {_size(self.disk)}"
        )


def estimate(ready: Prepared) -> Cost:
    """Try a few steps of one run of a comparison, and count up."""
    import torch

    from sfumato.lab.models import build, logits_of
    from sfumato.lab.train.augment import Augmentation
    from sfumato.lab.train.loop import nll_after_temperature, optimiser_of

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
        logits = logits_of(built, x)
        per_row = (clock_after(options.device) - started) / len(x)
        started = clock_after(options.device)
        if plan.keeps_best:  # after every epoch
            copies = math.ceil(len(split.validation) / len(y))
            nll_after_temperature(logits.repeat(copies, 1), y.repeat(copies))
        per_epoch = clock_after(options.device) - started
    step, steps, runs = median(times[2:]), plan.steps(len(split.train)), len(ready.arms) * ready.models
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
        seconds=AROUND + (steps * step + looked_at * per_row + plan.epochs * per_epoch) * math.ceil(runs / workers),
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
    epochs = int(plan.epochs * (budget - AROUND) / max(expected.seconds - AROUND, 1e-9))
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


def trial(ready: Prepared, seconds: float = 20.0) -> dict[str, Any]:
    """``sfumato doctor DATA``: train each arm, all in so many seconds, and count up what a comparison would take."""
    from sfumato.lab.execute.training_run import TrainingRun

    whole, data = estimate(ready), ready.data
    per_epoch = max(1e-6, whole.seconds_per_step * math.ceil(len(data.split.train) / ready.plan.batch_size))
    epochs = max(2, min(ready.plan.epochs, int(seconds / 2 / per_epoch)))
    ready = replace(ready, plan=replace(ready.plan, epochs=epochs))
    rows = ready.rows("train", "validation")
    arms: list[dict[str, Any]] = []
    with one_thread():
        for task in ready.tasks(Path())[: len(ready.arms)]:
            started, run = time.perf_counter(), TrainingRun(task, rows(task.fold))
            run.train(None)
            task.arm.verify(run.loss, task.classes)
            nll = [run.epochs[at]["validation_nll"] for at in (0, -1)]
            took = time.perf_counter() - started
            arms.append({"name": task.arm.name, "epochs": epochs, "nll": nll, "seconds": took})
    described = data.describe()
    return {
        "data": {
            "name": data.table.name,
            "classes": ready.classes,
            "inputs": described["inputs"],
            **{part: len(getattr(data.split, part)) for part in PARTS},
            "duplicates": described["duplicates"],
            "missing": described["missing"],
        },
        "notes": [*data.notes, *ready.model.notes],
        "whole": whole.to_json(),
        "arms": arms,
    }


def trial_as_text(result: dict[str, Any], width: int | None = None) -> str:
    """The trial, within so many columns, or one line for each thing that is reported."""
    data, whole = result["data"], result["whole"]
    rows = ", ".join(f"{part} {data[part]:,}" for part in PARTS)
    lines = [f"data          {data['name']}: {data['inputs']}, {data['classes']} classes; rows: {rows}"]
    if data["duplicates"]:
        verb = "duplicates" if data["duplicates"] == 1 else "duplicate"
        lines.append(f"duplicates    {plural(data['duplicates'], 'row')} {verb} an earlier one")
    lines += [f"note          {note['text']}" for note in result["notes"]]
    for arm in result["arms"]:
        first, last = arm["nll"]
        learnt = "" if last < first else "; it did not fall: look at the data, or at --learning-rate"
        lines.append(
            f"trial         {arm['name']}: validation {METRICS['nll'].label} {first:.3f} to {last:.3f} "
            f"in {arm['epochs']} epochs ({duration(arm['seconds'])}){learnt}"
        )
    lines.append(
        f"full run      {whole['runs']} runs of {whole['epochs']:,} epochs: about {duration(whole['seconds'])}"
    )
    return "\n".join(lines if width is None else [wrapped(line, width, rest=" " * 14) for line in lines])
