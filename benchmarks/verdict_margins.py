"""Differences that lie on the margin, for benchmarks/verdict.py: how often they are said to lie inside.

Each such claim is an error, and 5 % are promised. The first half are tables drawn from the model of the statistics. The
second half are the trained models of a task whose posterior is known: there the margins are parts of the base's own
numbers, which each comparison has to estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from verdict_known import CELLS, REPEATS, STRENGTHS, Bank, Truth, bank, compared, truth
from verdict_tables import COMPONENTS, SIZES, TABLES, draw

from sfumato.evaluate import detectable_difference, estimate_interval
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.evaluate.statistics.intervals import Estimate
from sfumato.evaluate.statistics.margins import Margins
from sfumato.verdict.analyse import differences

INSIDE = ("equivalent", "slightly better", "slightly worse")


def margins(cache: Path, scale: float, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """One row for each kind of table and its size, and for each training set, metric and size."""
    times = max(20, round(TABLES * scale))
    for name, sds in COMPONENTS.items():
        for seeds, rows in SIZES:
            say(f"margins: {name}, {seeds} seeds, {rows} rows")
            yield _tables(name, sds, seeds, rows, times)
    for number in range(len(STRENGTHS)):
        each = bank(number, cache, say)
        true = truth(each, np.random.default_rng([8, number]))
        for seeds, rows in CELLS:
            say(f"margins: training set {number}, {seeds} seeds, {rows} rows")
            yield from _models(each, true, number, seeds, rows, max(2, round(REPEATS * scale)))


def _tables(name: str, sds: tuple[float, float, float], seeds: int, rows: int, times: int) -> dict[str, Any]:
    """A margin that a test would find four times in five: wide enough for claims to be made at all."""
    rng = np.random.default_rng([2, len(name), seeds, rows])
    true = Estimate(0.0, 0.0, 0.0, 1.0, np.inf, 0.0, sds[0] ** 2, sds[1] ** 2, sds[2] ** 2, seeds, rows)
    margin = detectable_difference(true)
    wrong = right = 0
    for number in range(times):
        table = draw(rng, seeds, rows, sds)
        for shift in (margin, 0.0):
            found = estimate_interval(table + (shift if number % 2 else -shift))
            low, high = found.interval(0.9)
            inside = -margin <= low and high <= margin
            wrong, right = wrong + (inside and shift != 0), right + (inside and shift == 0)
    return {
        "experiment": "margins",
        "of": "tables",
        "components": name,
        "sds": sds,
        "seeds": seeds,
        "test_rows": rows,
        "comparisons": times,
        "inside": wrong,
        "inside_without_difference": right,
    }


def _models(each: Bank, true: Truth, number: int, seeds: int, rows: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Comparisons of trained models, each metric with the true difference as its margin."""
    size = {name: abs(true.difference[name]) for name in HEADLINE}
    asked = Margins(
        accuracy=f"{100 * size['accuracy']:.12f}",
        nll=f"{100 * size['nll_after_temperature'] / true.base['nll_after_temperature']:.12f}%",
        eaurc=f"{100 * size['eaurc'] / true.base['aurc']:.12f}%",
    )
    inside = dict.fromkeys(HEADLINE, 0)
    for repeat in range(repeats):
        rng = np.random.default_rng([10, number, seeds, rows, repeat])
        for row in differences(compared(each, seeds, rows, rng), asked):
            if row["metric"] in HEADLINE:
                inside[row["metric"]] += row["finding"] in INSIDE
    for metric in HEADLINE:
        yield {
            "experiment": "margins",
            "of": "models",
            "training_set": number,
            "eps": each.arms[1].eps,
            "metric": metric,
            "seeds": seeds,
            "test_rows": rows,
            "margin": size[metric],
            "comparisons": repeats,
            "inside": inside[metric],
        }
