"""What a comparison reports: ``summary.json``, for everyone, and ``env.json``, for those who look closer.

Both have the form that :mod:`sfumato.runs.schema` describes, which is also what reads them.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sfumato.lab.arms import Arm
from sfumato.lab.errors import ArmError
from sfumato.lab.execute import RunKey
from sfumato.lab.train.notes import training_of
from sfumato.messages import RunWarning
from sfumato.runs.schema import (
    SUMMARY_SCHEMA,
    ArmSummary,
    ColumnSummary,
    Look,
    PairedHashes,
    RangeOfMetric,
    RunRecord,
    Summary,
    TemperatureGain,
)
from sfumato.verdict.analyse import ArmResult, analyse_arm, by_validation, summarise, validation_parts
from sfumato.verdict.conclusion import conclude
from sfumato.verdict.sentences import notes
from sfumato.verdict.settling import SeedCost
from sfumato.verdict.wording import noise_sentences
from sfumato.version import __version__

if TYPE_CHECKING:
    from sfumato.lab.data import Data
    from sfumato.lab.prepared import Prepared


def versions() -> dict[str, str]:
    """sfumato, Python and the packages whose versions can change a result."""
    packages = {name: version(name) for name in ("torch", "numpy", "scikit-learn", "scipy")}
    return {"sfumato": __version__, "python": platform.python_version(), **packages}


def arithmetic() -> dict[str, str]:
    """What decides the bits of a training run, beside the versions: processor, instruction sets, the loss's path."""
    import torch

    from sfumato.kernel import job

    instructions = torch.backends.cpu.get_cpu_capability()
    return {"cpu": processor(), "torch instructions": instructions, "loss": job.status().isa or "torch"}


def processor() -> str:
    """The processor's name, where the system has it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def summary_of(
    folder: Path,
    run: str,
    ready: Prepared,
    arms: Sequence[Arm],
    records: Sequence[RunRecord],
    looks: Sequence[Look] = (),
) -> tuple[Summary, dict[str, Any]]:
    """The summary, and what of ``env.json`` follows from the logits."""
    table, split, classes, folds = ready.data.table, ready.data.split, ready.classes, ready.data.folds
    seeds, tested = range(ready.models), ready.data.tested
    paired, grouped = _paired(records, arms), table.group is not None
    seconds = round(sum(record["seconds"] for record in records) / ready.models / ready.workers(len(records)), 2)
    results = [analyse_arm(folder, arm.compared(classes), seeds, folds) for arm in arms]
    concluded = conclude(
        results,
        table.labels[tested],
        table.class_names,
        ready.options.margins(),
        order=by_validation(results, lambda name: validation_parts(folder, name, seeds), folds),
        grouped=grouped,
        aim=ready.options.aim,
        cost=SeedCost(seconds),
        looks=looks,
    )
    concluded["warnings"][:0] = warnings_in(ready.data)
    noise = None if ready.data.noisy is None else ready.data.noisy.describe()
    concluded["verdict"]["sentences"] += noise_sentences(noise)
    gaps = {arm.name: [r["train_gap"] for r in records if r["arm"] == arm.name] for arm in arms}
    summary: Summary = {
        "schema": SUMMARY_SCHEMA,
        "run": run,
        "data": {
            "name": table.name,
            "classes": classes,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(tested),
            "folds": folds,
        },
        "paired": paired,
        "arms": [
            _arm_summary(arm, classes, sum(gaps[arm.name]) / len(gaps[arm.name]), summarise(result))
            for arm, result in zip(arms, results, strict=True)
        ],
        **concluded,
        "columns": columns_of(ready.data),
    }
    if looks:
        summary["looks"] = list(looks)
    distinct = results[0].metrics["accuracy"].values.shape[1]
    extra: dict[str, Any] = {
        "temperatures": {
            result.arm.name: [{"seed": seed, **asdict(t)} for seed, t in enumerate(result.temperatures)]
            for result in results
        },
        "seconds_per_seed": seconds,
        "temperature_gain": {result.arm.name: _gain(result) for result in results},
        "notes": notes(distinct, table.counters(), grouped=grouped),
    }
    return summary, extra


def _arm_summary(arm: Arm, classes: int, train_gap: float, metrics: dict[str, RangeOfMetric]) -> ArmSummary:
    gap = arm.gap(classes)
    more = {"penalty": arm.penalty, "schedule": arm.schedule, "description": arm.description(classes)}
    entry = {
        "name": arm.name,
        "eps": arm.eps,
        "over": arm.over,
        "closed_form_gap": gap if math.isfinite(gap) else None,
        "train_gap": train_gap,
        "metrics": metrics,
        **{name: value for name, value in more.items() if value is not None},
    }
    return cast("ArmSummary", entry)


def columns_of(data: Data) -> list[ColumnSummary]:
    """How each column of the data was read."""
    return [
        {"name": c.name, "read_as": c.read_as, "distinct": c.distinct, "missing": c.missing, "note": c.note}
        for c in data.table.columns
    ]


def warnings_in(data: Data) -> list[RunWarning]:
    """What should be known of the data before a result is trusted."""
    return [{"code": w.code, "column": w.column, "text": w.text} for w in data.warnings]


def environment_of(ready: Prepared, arms: Sequence[Arm], records: Sequence[RunRecord]) -> dict[str, Any]:
    """Versions, machine, data, model and training: what the numbers of a run depend on."""
    first = {record["arm"]: record for record in reversed(records)}
    return {
        **versions(),
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "device": ready.options.device,
        "data": {"source": ready.options.data, **ready.data.describe()},
        "model": {
            "name": ready.model.name,
            "parameters": records[0]["parameters"],
            "description": records[0]["description"],
        },
        "training": training_of(ready.plan, len(ready.data.split.train), records),
        "probe": {arm.name: {"eps": arm.eps, "target": first[arm.name]["target"]} for arm in arms},
    }


def _gain(result: ArmResult) -> TemperatureGain:
    """Log loss on test rows with the temperature, less that without: mean and 95 % interval."""
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    return {"mean": gain.mean, "low": gain.low, "high": gain.high}


def _paired(records: Sequence[RunRecord], arms: Sequence[Arm]) -> PairedHashes:
    """The hashes of each seed, which must be the same in all arms.

    Arms that stopped early saw fewer batches; the hashes are those at the end of the shortest.
    """
    names, weights, batches = {arm.name for arm in arms}, list[str](), list[str]()
    paired: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        if record["arm"] in names:
            paired.setdefault(RunKey.of(record).pair, []).append(record)
    for _, runs in sorted(paired.items()):
        common = min(len(run["batches"]) for run in runs)
        hashes = {(run["weights"], run["batches"][common - 1]) for run in runs}
        if len(runs) != len(names) or len(hashes) != 1:
            raise ArmError("the arms of one seed did not start from the same weights or see the same batches")
        weights.append(runs[0]["weights"])
        batches.append(runs[0]["batches"][common - 1])
    return {"weights": weights, "batches": batches, "equal": True}
