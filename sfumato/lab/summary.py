"""What a comparison says of itself: ``summary.json``, for everyone, and ``env.json``, for those who look closer.

Both have the form that :mod:`sfumato.runs.schema` describes, which is also what reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.lab import ladder
from sfumato.lab.arms import Arm
from sfumato.lab.errors import ArmError
from sfumato.lab.train.notes import training_of
from sfumato.lab.versions_and_machine import machine, versions
from sfumato.runs.schema import (
    SUMMARY_SCHEMA,
    ColumnSummary,
    FittedTemperature,
    PairedHashes,
    ProbedTarget,
    Summary,
    TemperatureGain,
    WarningSummary,
)
from sfumato.verdict.analyse import ArmResult, analyse_arm, differences, summarise
from sfumato.verdict.sentences import notes, verdict

if TYPE_CHECKING:
    from sfumato.lab.data import Data
    from sfumato.lab.options import Options
    from sfumato.lab.train.plan import Plan


def summary_of(
    folder: Path, run: str, data: Data, arms: Sequence[Arm], seeds: int, records: Sequence[Mapping[str, Any]]
) -> tuple[Summary, dict[str, Any]]:
    """The summary, and what of ``env.json`` follows from the logits.

    Args:
        folder: where the logits are.
        run: name of the run.
        data: as it was split.
        arms: one-hot first.
        seeds: runs an arm.
        records: of every run.

    Raises:
        ArmError: the arms of one seed are not paired.
    """
    classes = len(data.table.class_names)
    split = data.split
    paired = _paired(records, arms, seeds)
    results = [analyse_arm(folder, arm, range(seeds)) for arm in arms]
    found = differences(results)
    gaps = {arm.name: [r["train_gap"] for r in records if r["arm"] == arm.name] for arm in arms}
    summary: Summary = {
        "schema": SUMMARY_SCHEMA,
        "run": run,
        "data": {
            "name": data.table.name,
            "classes": classes,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
        "paired": paired,
        "arms": [
            {
                "name": arm.name,
                "eps": arm.eps,
                "over": arm.over,
                "closed_form_gap": gap if math.isfinite(gap := arm.gap(classes)) else None,
                "train_gap": sum(gaps[arm.name]) / seeds,
                "metrics": summarise(result),
            }
            for arm, result in zip(arms, results, strict=True)
        ],
        "differences": found,
        "verdict": verdict(
            results,
            found,
            classes,
            majority=float(np.bincount(data.table.labels[split.test]).max()) / len(split.test),
            order=_by_validation(folder, arms, seeds) if len(arms) > 2 else (),
        ),
        "columns": columns_of(data),
        "warnings": warnings_of(data),
    }
    distinct = results[0].metrics["accuracy"].values.shape[1]
    extra: dict[str, Any] = {
        "temperatures": {result.arm.name: _temperatures(result) for result in results},
        "temperature_gain": {result.arm.name: _gain(result) for result in results},
        "notes": notes(distinct, data.table.counters()),
    }
    return summary, extra


def columns_of(data: Data) -> list[ColumnSummary]:
    """How each column of the data was read."""
    return [
        {"name": c.name, "read_as": c.read_as, "distinct": c.distinct, "missing": c.missing, "note": c.note}
        for c in data.table.columns
    ]


def warnings_of(data: Data) -> list[WarningSummary]:
    """What should be known of the data before a result is trusted."""
    return [{"kind": each.kind, "column": each.column, "text": each.text} for each in data.warnings]


def _by_validation(folder: Path, arms: Sequence[Arm], seeds: int) -> list[str]:
    """Names of the arms by their hard NLL after a cross-fitted temperature on the validation rows, best first."""
    rungs = [ladder.measure(folder, arm, range(seeds)) for arm in arms]
    return [rung.arm.name for rung in sorted(rungs, key=lambda rung: float(rung.scaled.by_seed.mean()))]


def environment_of(
    options: Options,
    data: Data,
    model: str,
    plan: Plan,
    arms: Sequence[Arm],
    records: Sequence[Mapping[str, Any]],
    command: str,
    workers: int,
) -> dict[str, Any]:
    """Versions, machine, command, data, model and training: what the numbers of a run depend on."""
    return {
        **versions(),
        **machine(),
        "workers": workers,
        "device": options.device,
        "command": command,
        "data": {"source": options.data, **data.describe()},
        "model": {
            "name": model,
            "parameters": records[0]["parameters"],
            "description": records[0]["description"],
        },
        "training": training_of(plan, len(data.split.train), records),
        "probe": {
            arm.name: ProbedTarget(eps=arm.eps, target=next(r["target"] for r in records if r["arm"] == arm.name))
            for arm in arms
        },
    }


def _temperatures(result: ArmResult) -> list[FittedTemperature]:
    return [
        {"seed": seed, "value": t.value, "at_bound": t.at_bound, "pseudo_row": t.pseudo_row}
        for seed, t in enumerate(result.temperatures)
    ]


def _gain(result: ArmResult) -> TemperatureGain:
    """Hard NLL on test rows with the temperature less without: mean and 95 % interval."""
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    return {"mean": gain.mean, "low": gain.low, "high": gain.high}


def _paired(records: Sequence[Mapping[str, Any]], arms: Sequence[Arm], seeds: int) -> PairedHashes:
    """The hashes of one arm a seed, and whether every other arm has the same.

    Arms that stopped early saw fewer batches: compared, and shown, are those up to the end of the shortest.
    """
    by_arm = {(r["arm"], r["seed"]): r for r in records}
    hashes: dict[str, list[set[str]]] = {"weights": [], "batches": []}
    for seed in range(seeds):
        runs = [by_arm[arm.name, seed] for arm in arms]
        common = min(len(run["batches"]) for run in runs)
        hashes["weights"].append({run["weights"] for run in runs})
        hashes["batches"].append({run["batches"][common - 1] for run in runs})
    if any(len(each) != 1 for kind in hashes.values() for each in kind):
        raise ArmError("the arms of one seed did not start from the same weights or see the same batches")
    weights, batches = ([next(iter(each)) for each in hashes[kind]] for kind in ("weights", "batches"))
    return {"weights": weights, "batches": batches, "equal": True}
