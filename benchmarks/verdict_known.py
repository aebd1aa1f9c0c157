"""A known effect, for benchmarks/verdict.py: one-hot against smoothed where the posterior can be computed.

A training set, a validation set and two procedures are fixed; what is random is the seed and the test rows. The true
difference is the mean over all seeds of the bank and over rows without end: labels enter by their exact probability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from verdict_rivals import judge
from verdict_training import Mixture, Stack, train_together

from sfumato import evaluate
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.statistics.margins import RELIABLE
from sfumato.lab.arms import Arm
from sfumato.lab.train import default_plan
from sfumato.verdict.analyse import ArmResult, analyse_arm, differences

TRAIN, VALIDATION = 200, 100
STRENGTHS = (0.1, 0.2, 0.4, 0.6)  # over the others; one training set each
BANK = 150
CELLS = ((3, 100), (3, 400), (5, 100), (5, 400), (10, 400))
REPEATS = 75  # comparisons of each training set in each cell
TRUTH_ROWS, COMPONENT_ROWS = 20_000, 3_000
OURS = "seeds × rows"
TASK = Mixture.make()

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bank:
    """Models of both arms, seed by seed from the same weights on the same batches, and their validation rows."""

    arms: tuple[Arm, Arm]
    models: tuple[Stack, Stack]
    x: torch.Tensor
    labels: npt.NDArray[np.int64]


def bank(number: int, cache: Path, say: Callable[[str], None]) -> Bank:
    """The trained models of one training set, from the cache if they are there."""
    rng = np.random.default_rng([7, number])
    (x, y), (x_validation, y_validation) = TASK.draw(TRAIN, rng), TASK.draw(VALIDATION, rng)
    plan = default_plan(TRAIN, epochs=None, batch_size=None, learning_rate=1e-3, least_epochs=40)
    stacks: list[Stack] = []
    arms = Arm("one-hot", 0.0, "others"), Arm("smoothed", STRENGTHS[number], "others")
    for arm in arms:
        file = cache / f"bank-{number}-{arm.name}.npz"
        if not file.exists():
            say(f"training set {number}, {arm.name}: training {BANK} seeds")
            seeds = [10**6 * number + seed for seed in range(BANK)]
            sets = x[None], torch.from_numpy(y)[None]
            made = train_together(*sets, [0] * BANK, seeds, len(TASK.means), plan, arm.eps)
            cache.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial.npz")
            np.savez(partial, *(tensor.numpy() for layer in made.layers for tensor in layer))
            partial.rename(file)
        with np.load(file) as stored:
            tensors = [torch.from_numpy(stored[name]) for name in stored.files]
        stacks.append(Stack(tuple(zip(tensors[::2], tensors[1::2], strict=True))))
    return Bank(arms, (stacks[0], stacks[1]), x_validation, y_validation)


@dataclass(frozen=True)
class Truth:
    """What holds for a training set: the base's numbers, the true difference of each metric, and its variances."""

    base: dict[str, float]
    difference: dict[str, float]
    components: dict[str, evaluate.Estimate]


def truth(each: Bank, rng: np.random.Generator) -> Truth:
    """Means over the whole bank; expectations over labels are exact, over features from many rows."""
    x, _ = TASK.draw(TRUTH_ROWS, rng)
    posterior = TASK.posterior(x)
    x_few, y_few = TASK.draw(COMPONENT_ROWS, rng)
    means: list[dict[str, float]] = []
    tables: list[dict[str, Floats]] = []
    for stack in each.models:
        exact: dict[str, list[float]] = {name: [] for name in (*HEADLINE, "aurc")}
        table: dict[str, list[Floats]] = {name: [] for name in HEADLINE}
        for model in range(BANK):
            one = stack[model : model + 1]
            fitted = evaluate.fit_temperature(small=True, logits=one.logits(each.x)[0], labels=each.labels)
            for name, value in exact_metrics(one.logits(x)[0], posterior, fitted.value).items():
                exact[name].append(value)
            logits = one.logits(x_few)[0]
            rows = evaluate.per_row(logits=logits, labels=y_few)
            table["accuracy"].append(rows.correct.astype(float))
            table["nll_after_temperature"].append(
                evaluate.per_row(logits=logits, labels=y_few, temperature=fitted.value).nll
            )
            ranked = RankedGroups(rows.score, rows.correct)
            table["eaurc"].append(evaluate.pseudo_values(ranked.eaurc(), ranked.eaurc_without_each()))
        means.append({name: float(np.mean(values)) for name, values in exact.items()})
        tables.append({name: np.stack(values) for name, values in table.items()})
    return Truth(
        means[0],
        {name: means[1][name] - means[0][name] for name in HEADLINE},
        {name: evaluate.estimate_interval(tables[1][name] - tables[0][name]) for name in HEADLINE},
    )


def exact_metrics(logits: torch.Tensor, posterior: Floats, temperature: float) -> dict[str, float]:
    """The headline metrics with labels in expectation: a row is wrong with the probability that the posterior says."""
    log_p = torch.log_softmax(logits.double(), dim=1).numpy()
    scaled = torch.log_softmax(logits.double() / temperature, dim=1).numpy()
    wrong = 1 - np.take_along_axis(posterior, log_p.argmax(axis=1)[:, None], axis=1)[:, 0]
    order = np.argsort(-log_p.max(axis=1), kind="stable")
    risk = float(wrong.mean())
    area = float(np.mean(np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)))
    return {
        "accuracy": 1 - risk,
        "nll_after_temperature": float(-(posterior * scaled).sum(axis=1).mean()),
        "aurc": area,
        "eaurc": area - (risk + (1 - risk) * float(np.log1p(-risk))),
    }


def known(cache: Path, scale: float, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Coverage and power: one row a training set, cell, metric and method."""
    for number in range(len(STRENGTHS)):
        each = bank(number, cache, say)
        true = truth(each, np.random.default_rng([8, number]))
        say(f"training set {number}, ε = {each.arms[1].eps}: true differences {true.difference}")
        for seeds, rows in CELLS:
            yield from _cell(each, true, number, seeds, rows, max(2, round(REPEATS * scale)))


def compared(each: Bank, seeds: int, rows: int, rng: np.random.Generator) -> list[ArmResult]:
    """Both arms of one comparison: models of so many seeds of the bank, and fresh test rows."""
    chosen = rng.choice(BANK, size=seeds, replace=False).tolist()
    x, labels = TASK.draw(rows, rng)
    with TemporaryDirectory() as folder:
        for arm, stack in zip(each.arms, each.models, strict=True):
            some = stack[chosen]
            _save(Path(folder), arm, "validation", some.logits(each.x), each.labels)
            _save(Path(folder), arm, "test", some.logits(x), labels)
        return [analyse_arm(Path(folder), arm, range(seeds)) for arm in each.arms]


def _cell(each: Bank, true: Truth, number: int, seeds: int, rows: int, repeats: int) -> Iterator[dict[str, Any]]:
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for repeat in range(repeats):
        rng = np.random.default_rng([9, number, seeds, rows, repeat])
        results = compared(each, seeds, rows, rng)
        found = {row["metric"]: row for row in differences(results) if row["metric"] in HEADLINE}
        judged: dict[str, dict[str, tuple[float, float, float]]] = {OURS: {}}
        for metric in HEADLINE:
            difference = results[1].metrics[metric].minus(results[0].metrics[metric])
            estimate = difference.estimate()
            judged[OURS][metric] = estimate.p, estimate.low, estimate.high
            for method, result in judge(difference.values, rng).items():
                judged.setdefault(method, {})[metric] = result
        for method, by_metric in judged.items():
            adjusted = evaluate.holm([p for p, _, _ in by_metric.values()])
            for (metric, (p, low, high)), final in zip(by_metric.items(), adjusted, strict=True):
                all_tested = all(row["p_adjusted"] is not None for row in found.values())
                if method == OURS and all_tested and (found[metric]["finding"] in RELIABLE) != (final < 0.05):
                    raise AssertionError("compare's own finding is another one")
                count = counts.setdefault((metric, method), {"comparisons": 0, "covered": 0, "found": 0, "adjusted": 0})
                count["comparisons"] += 1
                count["covered"] += bool(low <= true.difference[metric] <= high)
                count["found"] += bool(p < 0.05)
                count["adjusted"] += bool(final < 0.05)
    for (metric, method), count in counts.items():
        row: dict[str, Any] = {
            "experiment": "known",
            "training_set": number,
            "eps": each.arms[1].eps,
            "seeds": seeds,
            "test_rows": rows,
            "metric": metric,
            "method": method,
            **count,
        }
        if method == OURS:
            components, difference = true.components[metric], true.difference[metric]
            third = 1 - 0.05 / len(HEADLINE)
            row |= {
                "true_difference": difference,
                "components": [components.var_seed, components.var_row, components.var_rest],
                "stated_power": evaluate.power(components, difference, seeds=seeds, rows=rows),
                "stated_power_adjusted": evaluate.power(components, difference, seeds=seeds, rows=rows, level=third),
            }
        yield row


def _save(folder: Path, arm: Arm, part: str, logits: torch.Tensor, labels: npt.NDArray[np.int64]) -> None:
    (folder / "logits").mkdir(exist_ok=True)
    for seed, each in enumerate(logits.numpy()):
        file = folder / "logits" / f"{arm.name}-seed{seed}-{part}.npz"
        np.savez(file, logits=each, labels=labels, group=np.arange(len(labels)))
