"""The main job: train every arm from the same weights on the same batches, and say what came of it."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato import __version__
from sfumato.lab.arms import Arm, ArmError, arms_of
from sfumato.lab.data import prepare
from sfumato.lab.options import Options, to_toml
from sfumato.lab.runs import RunFolder, write_text
from sfumato.lab.work import Progress, Task, run_all

if TYPE_CHECKING:
    from sfumato.lab.analyse import ArmResult
    from sfumato.lab.data import Data
    from sfumato.lab.train import Plan

SCHEMA = "sfumato.compare/1"


@dataclass(frozen=True)
class Setup:
    """What is about to run, for those who show it.

    Attributes:
        data: the data set, split.
        arms: one-hot first.
        plan: the budget of every run.
        tasks: runs in all.
        workers: processes that share them.
    """

    data: Data
    arms: tuple[Arm, ...]
    plan: Plan
    tasks: int
    workers: int


def compare(
    options: Options,
    *,
    sources: Mapping[str, str] | None = None,
    command: str = "",
    on_setup: Callable[[Setup], None] = lambda setup: None,
    progress: Progress = lambda arm, seed, epoch: None,
    render: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """Run a whole comparison into a run folder.

    Args:
        options: what to compare; checked before anything is written.
        sources: where each option came from, for ``config.toml``.
        command: the command line, for ``env.json``.
        on_setup: called once, when the data are read and before training starts.
        progress: called after every epoch of every run.
        render: called with the folder when all but the report is in it; the command line passes the report here.

    Returns:
        The summary, as ``compare --json`` prints it and ``summary.json`` holds it. What a reader should know before
        trusting the verdict is under ``"notes"`` in ``env.json``.

    Raises:
        OptionError, DataError, RunError: bad input; nothing was written.
        ArmError, TrainingError, WorkerError: a run failed; the folder stays ``….partial``.
    """
    options.check()
    started, clock = datetime.now().astimezone(), time.perf_counter()
    data = prepare(options.data, label=options.label)

    from sfumato.lab.train import default_plan  # torch is loaded only when the input is known to be good

    classes = len(data.table.class_names)
    arms = arms_of(options.eps, options.over)
    plan = default_plan(
        len(data.split.train),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
    )
    folder = RunFolder.create(options.out, data.table.name)
    # Seed by seed, so that the arms of one seed train at the same time and can be watched side by side.
    tasks = [
        Task(arm, seed, options.model, classes, plan, folder.path) for seed in range(options.seeds) for arm in arms
    ]
    workers = min(options.workers or os.cpu_count() or 1, len(tasks))
    on_setup(Setup(data, arms, plan, len(tasks), workers))
    parts = {part: (getattr(data.split, part), *data.arrays(part)) for part in ("train", "validation", "test")}
    records = run_all(tasks, parts, workers=workers, progress=progress)

    summary, extra = _summary(folder, data, arms, options.seeds, records)
    resolved = {"epochs": plan.epochs, "batch_size": plan.batch_size}
    write_text(folder.path / "config.toml", to_toml(options, sources or {}, resolved))
    epochs = [
        {"arm": record["arm"], "seed": record["seed"], **epoch} for record in records for epoch in record["epochs"]
    ]
    folder.write_lines("metrics.jsonl", epochs)
    env = _environment(options, data, plan, arms, records, command, workers)
    env |= extra | {"started": started.isoformat(timespec="seconds"), "seconds": round(time.perf_counter() - clock, 2)}
    folder.write_json("env.json", env)
    folder.write_json("summary.json", summary)
    if render is not None:
        render(folder.path)
    folder.finish()
    return summary


def _summary(
    folder: RunFolder, data: Data, arms: Sequence[Arm], seeds: int, records: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary, and what only the report and the reader need."""
    import numpy as np

    from sfumato.lab.analyse import analyse_arm, differences, summarise
    from sfumato.lab.verdict import notes, verdict

    classes = len(data.table.class_names)
    paired = _paired(records, arms, seeds)
    tested = len(data.split.test)
    results = [analyse_arm(folder.path, arm, range(seeds)) for arm in arms]
    found = differences(results)
    gaps = {arm.name: [r["train_gap"] for r in records if r["arm"] == arm.name] for arm in arms}
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "run": str(folder.final),
        "data": {
            "name": data.table.name,
            "classes": classes,
            **{part: len(getattr(data.split, part)) for part in ("train", "validation", "test")},
        },
        "paired": paired,
        "arms": [
            {
                "name": result.arm.name,
                "eps": result.arm.eps,
                "over": result.arm.over,
                "closed_form_gap": gap if math.isfinite(gap := result.arm.gap(classes)) else None,
                "train_gap": sum(gaps[result.arm.name]) / seeds,
                "metrics": summarise(result),
            }
            for result in results
        ],
        "differences": found,
        "verdict": verdict(
            results, found, classes, majority=float(np.bincount(data.table.labels[data.split.test]).max()) / tested
        ),
    }
    mean_gaps = {arm["name"]: arm["train_gap"] for arm in summary["arms"]}
    distinct = results[0].metrics["accuracy"].values.shape[1]
    extra: dict[str, Any] = {
        "temperatures": {
            result.arm.name: [{"seed": seed, **asdict(t)} for seed, t in enumerate(result.temperatures)]
            for result in results
        },
        "temperature_gain": {result.arm.name: _gain(result) for result in results},
        "notes": notes(results, mean_gaps, classes, distinct, data.table.counters()),
    }
    return summary, extra


def _gain(result: ArmResult) -> dict[str, float]:
    """Hard NLL on test rows with the temperature less without: mean and 95 % interval."""
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    return {"mean": gain.mean, "low": gain.low, "high": gain.high}


def _paired(records: Sequence[Mapping[str, Any]], arms: Sequence[Arm], seeds: int) -> dict[str, Any]:
    """The hashes of one arm a seed, and whether every other arm has the same."""
    by_arm = {(r["arm"], r["seed"]): r for r in records}
    hashes = {
        kind: [{by_arm[arm.name, seed][kind] for arm in arms} for seed in range(seeds)]
        for kind in ("weights", "batches")
    }
    if any(len(each) != 1 for kind in hashes.values() for each in kind):
        raise ArmError("the arms of one seed did not start from the same weights or see the same batches")
    return {**{kind: [next(iter(each)) for each in found] for kind, found in hashes.items()}, "equal": True}


def _environment(
    options: Options,
    data: Data,
    plan: Plan,
    arms: Sequence[Arm],
    records: Sequence[Mapping[str, Any]],
    command: str,
    workers: int,
) -> dict[str, Any]:
    table = data.table
    return {
        "sfumato": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn", "scipy")},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "workers": workers,
        "command": command,
        "data": {
            "source": options.data,
            "kind": table.kind,
            "fingerprint": data.fingerprint,
            "class_names": list(table.class_names),
            "features": table.features.shape[1],
            "shape": list(table.shape),
            "duplicates": data.split.duplicates,
        },
        "model": {
            "name": options.model,
            "parameters": records[0]["parameters"],
            "description": records[0]["description"],
        },
        "training": {
            "epochs": plan.epochs,
            "batch_size": plan.batch_size,
            "optimiser": "Adam, no weight decay",
            "learning_rate": plan.learning_rate,
            "schedule": "cosine to 0",
            "steps": plan.steps(len(data.split.train)),
        },
        "probe": {
            arm.name: {"eps": arm.eps, "target": next(r["target"] for r in records if r["arm"] == arm.name)}
            for arm in arms
        },
    }


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
