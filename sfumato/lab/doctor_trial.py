"""The trial of ``sfumato doctor DATA``: what is in the data, whether both arms learn, and what a full run takes."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.lab.cost_estimate import estimate
from sfumato.lab.data.table import PARTS
from sfumato.lab.device import one_thread
from sfumato.lab.options import Options
from sfumato.lab.prepared import Prepared, prepared
from sfumato.text import duration, plural, wrapped

SECONDS = 20.0
"""How long both arms together may train."""


def read(options: Options) -> Prepared:
    """Read the data, and say nothing yet of how they train."""
    options.check()
    return prepared(options)


def trial(ready: Prepared, seconds: float = SECONDS) -> dict[str, Any]:
    """Train each arm for a few seconds, and count up what a comparison would take."""
    from sfumato.lab.execute.training_run import TrainingRun

    whole, data = estimate(ready), ready.data
    per_epoch = max(1e-6, whole.seconds_per_step * math.ceil(len(data.split.train) / ready.plan.batch_size))
    epochs = max(2, min(ready.plan.epochs, int(seconds / 2 / per_epoch)))
    ready = replace(ready, plan=replace(ready.plan, epochs=epochs), options=replace(ready.options, seeds=1))
    rows = ready.rows("train", "validation")
    arms: list[dict[str, Any]] = []
    with one_thread():
        for task in ready.tasks(Path()):
            started, run = time.perf_counter(), TrainingRun(task, rows)
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


def as_text(found: dict[str, Any], width: int | None = None) -> str:
    """The same, to read; within so many columns, or one line for each thing that is told."""
    data, whole = found["data"], found["whole"]
    rows = ", ".join(f"{part} {data[part]:,}" for part in PARTS)
    lines = [f"data          {data['name']}: {data['inputs']}, {data['classes']} classes; rows: {rows}"]
    if data["duplicates"]:
        verb = "duplicates" if data["duplicates"] == 1 else "duplicate"
        lines.append(f"duplicates    {plural(data['duplicates'], 'row')} {verb} an earlier one")
    lines += [f"note          {note['text']}" for note in found["notes"]]
    for arm in found["arms"]:
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
