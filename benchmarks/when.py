"""On how many real data sets is smoothing better, worse, the same? The runs behind docs/when.md, one rule for all.

    python benchmarks/when.py --packages build/packages --data-folder FOLDER    # goes on where it was stopped
    python benchmarks/when.py --stage ladder --sets digits,letter --minutes 30
    python benchmarks/when.py --write                                           # the page, out of the rows

The rule stands in docs/when.md and was committed before any run. Each trained model is kept in the cache, so a run that
is killed loses one model a worker; a set whose stage is whole has rows in benchmarks/when.jsonl and is not run again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are loaded: a model trains on one thread

import argparse
import datetime
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from data_sets import SETS, DataSet, Loaded, MissingError, Places, add_places
from hardware import environment

from sfumato.evaluate import fit_temperature
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.from_python.compare import options_of
from sfumato.io.atomic import write_lines
from sfumato.lab.data.prepare import prepare_table
from sfumato.lab.data.python_objects import IN_MEMORY, table_in_memory
from sfumato.lab.data.roles import Roles
from sfumato.lab.errors import OptionError
from sfumato.lab.execute import RunTask
from sfumato.lab.execute.training_run import run
from sfumato.lab.ladder import Candidate, choose, measure
from sfumato.lab.prepared import Prepared, prepared
from sfumato.lab.resume import finished
from sfumato.verdict.analyse import (
    ArmResult,
    ModelScores,
    analyse_models,
    differences,
    load_part,
    on_validation,
    rows_of,
    summarise,
)

HERE = Path(__file__).parent
ROWS = HERE / "when.jsonl"
CACHE = HERE.parent / "build" / "when"

FOLDS = 5
SMOOTHED = "all:0.1"
STAGES: dict[str, tuple[str, ...]] = {
    "smoothing": ("onehot", SMOOTHED),
    "ladder": ("onehot", "all:0.05", SMOOTHED, "all:0.2", "all:0.4"),
    "rivals": ("onehot", "margin:10", "online:0.5"),
}
"""The arms of each stage, which is run for all sets before the next. What an earlier stage trained is used again."""

ENVIRONMENT = ("sfumato", "torch", "numpy", "scikit-learn", "scipy")


class LateError(Exception):
    """The time is up; what was trained is kept."""


def prepared_for(loaded: Loaded, arms: Sequence[str], **design: Any) -> Prepared:
    """The data as `compare` reads and splits them, the model that it chooses, its budget, and the arms."""
    features = np.asarray(loaded.features, dtype=object) if isinstance(loaded.features, list) else loaded.features
    options = options_of(IN_MEMORY, {"arm": list(arms), "folds": FOLDS, "seeds": 1, **design})
    data = prepare_table(table_in_memory(features, np.array(loaded.labels), Roles(), {}))
    return prepared(options, data)


def train(ready: Prepared, folder: Path, until: float) -> list[RunTask]:
    """Train what is not yet in the folder, and give all tasks.

    Raises:
        LateError: the time is up.
    """
    tasks = ready.tasks(folder)
    for name in ("logits", "weights", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = ready.rows(*ready.parts)
    for task in tasks:  # fold by fold
        if finished(task) is None:
            if time.time() > until:
                raise LateError
            run(task, rows(task.fold), lambda _: None)
    return tasks


def same_start(tasks: Sequence[RunTask]) -> None:
    """All arms of a fold began with the same weights and saw the same batches.

    Raises:
        ValueError: they did not; names the arm.
    """
    first: dict[int, tuple[str, list[str]]] = {}
    for task in tasks:
        record = finished(task)
        assert record is not None, "all were trained"
        mine = (record["weights"], record["batches"])
        if first.setdefault(task.seed, mine) != mine:
            raise ValueError(f"{task.key.name} in {task.folder} did not start as the other arms; remove the folder")


def scores(folder: Path, names: Sequence[str]) -> Iterator[ModelScores]:
    """The scores of the models of one arm, which has a name for each of them."""
    for seed, name in enumerate(names):
        yield ModelScores(load_part(folder, name, seed, "test"), load_part(folder, name, seed, "validation"))


def judged(ready: Prepared, folder: Path, arm: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The verdict on one arm against one-hot, as a comparison of these two gives it."""
    base, folds = ready.arms[0], ready.data.folds
    results = [
        analyse_models(base, scores(folder, [base.name] * ready.models), folds),
        analyse_models(arm, scores(folder, names or [arm.name] * ready.models), folds),
    ]
    found = differences(results)
    return {
        "differences": {
            row["metric"]: {k: v for k, v in row.items() if k not in ("metric", "arm", "against")} for row in found
        },
        "standard_errors": {name: standard_error(results, name) for name in HEADLINE},
        "metrics": [summarise(result) for result in results],
        "aurc": [result.aurc.mean for result in results if result.aurc is not None],
        "mistakes": [result.mistakes for result in results],
    }


def standard_error(results: Sequence[ArmResult], name: str) -> float:
    """Of the difference between two arms in a metric."""
    base, other = (result.metrics[name] for result in results)
    return other.minus(base).estimate().se


def told_beforehand(ready: Prepared, folder: Path) -> dict[str, float]:
    """What can be read off the one-hot models alone, without the test row of any: means over folds."""
    name, rows = ready.arms[0].name, []
    parts = [load_part(folder, name, fold, "validation") for fold in range(FOLDS)]
    records = [record for task in ready.tasks(folder) if task.arm.name == name and (record := finished(task))]
    for record, part in zip(records, parts, strict=True):
        temperature = fit_temperature(small=True, logits=part.logits, labels=part.labels).value
        validation, training = rows_of(part), rows_of(load_part(folder, name, record["seed"], "train"))
        rows.append(
            {
                "log_temperature": float(np.log(temperature)),
                "train_gap": record["train_gap"],
                "train_nll": float(training.nll.mean()),
                "validation_nll": float(validation.nll.mean()),
                "validation_error": 1 - float(validation.correct.mean()),
                "noise": noise(part.logits / temperature, part.labels),
            }
        )
    return {
        **{key: float(np.mean([row[key] for row in rows])) for key in rows[0]},
        "validation_nll_after_temperature": on_validation(parts, FOLDS)[1].mean,
        "classes": ready.classes,
        "train_rows": len(ready.data.split.train),
    }


def baseline(ready: Prepared, folder: Path) -> dict[str, Any]:
    """How far each arm was over-trained: validation log loss at the epoch that is kept, and at the end of training.

    Beside them stands the log loss of always giving the class shares of the training rows, on test rows.
    """
    nll: dict[str, list[tuple[float, float]]] = {}
    for task in ready.tasks(folder):
        record = finished(task)
        assert record is not None, "all were trained"
        epochs = [epoch["validation_nll"] for epoch in record["epochs"]]
        nll.setdefault(task.arm.name, []).append((epochs[record["kept_epoch"] - 1], epochs[-1]))
    constant = []
    for fold in range(FOLDS):
        data = ready.data.of_fold(fold)
        shares = np.bincount(data.labels("train"), minlength=ready.classes) / len(data.labels("train"))
        constant.append(float(-np.log(shares[data.labels("test")]).mean()))
    means = {name: np.mean(each, axis=0).tolist() for name, each in nll.items()}
    return {"kept_and_last": means, "constant": float(np.mean(constant))}


def noise(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows that confident learning takes for mislabelled (Northcutt et al. 2021, the confident joint).

    A row counts for class k where its probability of k reaches the mean of that probability over the rows labelled k;
    of several such classes the likeliest counts. It is taken for mislabelled where that class is not its label.

    >>> noise(np.log([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.1, 0.9]]), np.array([0, 0, 1, 1]))
    0.25
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    probs = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    own = [probs[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(probs.shape[1])]
    counted = np.where(probs >= np.array(own), probs, -1.0)
    sure = counted.max(axis=1) >= 0
    return float((sure & (counted.argmax(axis=1) != labels)).mean())


def climbed(ready: Prepared, folder: Path) -> tuple[list[Any], list[dict[str, Any]]]:
    """The strength that the validation rows of each fold choose, and what all of them say of each strength."""

    def candidates(folds: Sequence[int], many: int) -> list[Candidate]:
        return [measure(folder, arm, folds, many) for arm in ready.arms]

    of_all = [
        {"eps": each.arm.eps, "nll_after_temperature": each.scaled.mean} for each in candidates(range(FOLDS), FOLDS)
    ]
    return [choose(candidates([fold], 1)).chosen for fold in range(FOLDS)], of_all


def rows_of_set(name: str, stage: str, places: Places, cache: Path, until: float) -> list[dict[str, Any]]:
    """Run one stage of one set, and give its rows: one for each arm against one-hot.

    Raises:
        LateError: the time is up.
        MissingError: the set is not there.
        OptionError: an arm that this sfumato does not have.
    """
    started = time.time()
    each = next(known for known in SETS if known.name == name)  # a set cannot be sent to another process, its name can
    loaded = each.load(places)
    ready = prepared_for(loaded, STAGES[stage])
    folder = cache / each.name
    same_start(train(ready, folder, until))
    head = {
        "experiment": "when",
        "stage": stage,
        "set": each.name,
        "kind": each.kind,
        "family": each.family or each.name,
        "against": ready.arms[0].name,
        "folds": FOLDS,
        "rows": len(ready.data.tested),
        "classes": ready.classes,
        "train": len(ready.data.split.train),
        "model": ready.model.name,
        "steps": ready.plan.steps(len(ready.data.split.train)),
        "sha256": loaded.sha256,
    }
    tail = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        **environment(ENVIRONMENT),
    }
    if stage == "ladder":
        chosen, rungs = climbed(ready, folder)
        strengths = [arm.eps for arm in chosen]
        more = {"arm": "ladder", "chosen_eps": strengths, "rungs": rungs}
        found = judged(ready, folder, max(chosen, key=lambda arm: arm.eps), [arm.name for arm in chosen])
        return [head | more | (found if any(strengths) else {}) | tail]
    beforehand: dict[str, Any] = {}
    if stage == "smoothing":
        beforehand = {"beforehand": told_beforehand(ready, folder), "baseline": baseline(ready, folder)}
    specs = STAGES[stage][1:]
    return [
        head | {"arm": spec} | judged(ready, folder, arm) | beforehand | tail
        for spec, arm in zip(specs, ready.arms[1:], strict=True)
    ]


def read_rows(path: Path = ROWS) -> list[dict[str, Any]]:
    """All rows so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def left(rows: Sequence[dict[str, Any]], stages: Sequence[str], sets: Sequence[str]) -> Iterator[tuple[DataSet, str]]:
    """What is not yet in the rows, stage by stage."""
    done = {(row["set"], row["stage"]) for row in rows}
    for stage in stages:
        yield from ((each, stage) for each in SETS if each.name in sets and (each.name, stage) not in done)


def go_on(asked: argparse.Namespace, sets: Sequence[str], stages: Sequence[str]) -> None:
    """Run what is left until the time is up, and write each finished stage of a set at once."""
    until = time.time() + 60 * asked.minutes
    places = Places(asked.packages, asked.debian, asked.data_folder)
    spawn = multiprocessing.get_context("spawn")
    refused: set[str] = set()
    with ProcessPoolExecutor(asked.workers, mp_context=spawn) as pool:
        futures = {
            pool.submit(rows_of_set, each.name, stage, places, asked.cache, until): (each, stage)
            for each, stage in left(read_rows(), stages, sets)
        }
        for future in as_completed(futures):
            each, stage = futures[future]
            try:
                keep(future.result())
            except LateError:
                continue
            except OptionError as error:  # an arm that is not there is not there for any set
                if stage not in refused:
                    print(f"{stage}: {error}", file=sys.stderr)
                refused.add(stage)
                continue
            except (MissingError, ValueError) as error:
                print(f"{each.name}: {error}", file=sys.stderr)
                continue


def keep(rows: Sequence[dict[str, Any]], path: Path | None = None) -> None:
    """Add rows to the file, in the place of those of the same set and arm, and tell what they say."""
    path, new = path or ROWS, {(row["set"], row["arm"]) for row in rows}
    write_lines(path, [*(row for row in read_rows(path) if (row["set"], row["arm"]) not in new), *rows])
    for row in rows:
        found = row.get("differences", {})
        words = [f"{name} {found[name]['finding']}" for name in HEADLINE] if found else ["one-hot is kept"]
        print(f"{row['set']}, {row['arm']}: {'; '.join(words)} ({row['seconds']} s)", flush=True)


def main() -> None:
    """Go on with the runs, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    parser.add_argument("--sets", help="names with commas between; by default all")
    parser.add_argument("--stage", choices=list(STAGES), help="by default all, one after the other")
    parser.add_argument("--minutes", type=float, default=float(10**6), help="begin no further model after so long")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where trained models are kept")
    parser.add_argument("--write", action="store_true", help="write the tables and the figure of docs/when.md")
    asked = parser.parse_args()
    if asked.write:
        from when_page import write

        write(read_rows())
        return
    names = [each.name for each in SETS]
    sets = asked.sets.split(",") if asked.sets else names
    for name in sets:
        if name not in names:
            parser.error(f'no data set "{name}". Sets: {", ".join(names)}')
    go_on(asked, sets, [asked.stage] if asked.stage else list(STAGES))


if __name__ == "__main__":
    main()
