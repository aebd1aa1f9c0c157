"""Tables drawn from the model of the statistics, for benchmarks/verdict.py: the components are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from verdict_rivals import exact, judge

from sfumato.evaluate import detectable_difference, estimate_interval, power, seeds_to_settle
from sfumato.evaluate.statistics.intervals import Estimate

TABLES, RESAMPLED = 2000, 400  # resampling is slow: fewer tables are enough to see it fail
OURS = "seeds × rows"
SIZES = ((3, 30), (3, 360), (5, 30), (5, 360), (10, 360))
LEVELS = (0.05, 0.05 / 3)  # a test alone, and the first step of Holm over three
COMPONENTS = {  # standard deviations of seed, row and rest; a row's own effect does not fade as seeds are added
    "rest alone": (0.0, 0.0, 1.0),
    "rows": (0.0, 1.0, 1.0),
    "few rows' worth": (0.0, 0.3, 1.0),
    "seeds": (0.3, 0.0, 1.0),
    "seeds and rows": (0.1, 1.0, 1.0),
    "mostly seeds": (1.0, 3.0, 1.0),
}


def draw(rng: np.random.Generator, seeds: int, rows: int, sds: tuple[float, float, float]) -> np.ndarray:
    """Seed + row + rest, mean 0: (S, N)."""
    parts = (rng.normal(size=shape) for shape in ((seeds, 1), (1, rows), (seeds, rows)))
    return sum((sd * part for sd, part in zip(sds, parts, strict=True)), np.zeros((seeds, rows)))


def tables(scale: float, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Errors of every method on tables of mean 0, and what a first comparison says of more seeds."""
    times = max(20, round(TABLES * scale))
    for name, sds in COMPONENTS.items():
        for seeds, rows in SIZES:
            say(f"tables: {name}, {seeds} seeds, {rows} rows")
            rng = np.random.default_rng([len(name), seeds, rows])
            true = Estimate(0.0, 0.0, 0.0, 1.0, np.inf, 0.0, *(sd**2 for sd in sds), seeds, rows)
            difference = detectable_difference(true)
            wrong: dict[str, list[int]] = {}
            found = 0
            for number in range(times):
                table = draw(rng, seeds, rows, sds)
                found += estimate_interval(table + difference).p < 0.05
                rivals = judge(table, rng) if number < RESAMPLED else exact(table)
                p_values = {OURS: estimate_interval(table).p} | {each: rival.p for each, rival in rivals.items()}
                for method, p in p_values.items():
                    counted = wrong.setdefault(method, [0] * (1 + len(LEVELS)))
                    for at, level in enumerate((1.1, *LEVELS)):
                        counted[at] += bool(p < level)
            for method, (compared, declared, at_a_third) in wrong.items():
                yield {
                    "experiment": "tables",
                    "components": name,
                    "sds": sds,
                    "seeds": seeds,
                    "test_rows": rows,
                    "method": method,
                    "comparisons": compared,
                    "declared": declared,
                    "declared_at_a_third": at_a_third,
                    **({"stated_power": 0.8, "found": int(found)} if method == OURS else {}),
                }
            yield _pilots(name, sds, seeds, rows, min(times, 300))


def _pilots(name: str, sds: tuple[float, float, float], seeds: int, rows: int, times: int) -> dict[str, Any]:
    """A first comparison says which difference twice as many seeds find four times in five: the chance that is true."""
    rng = np.random.default_rng([1, len(name), seeds, rows])
    true = Estimate(0.0, 0.0, 0.0, 1.0, np.inf, 0.0, sds[0] ** 2, sds[1] ** 2, sds[2] ** 2, seeds, rows)
    chances, needed = [], []
    difference = detectable_difference(true, seeds=2 * seeds)
    for _ in range(times):
        pilot = estimate_interval(draw(rng, seeds, rows, sds))
        chances.append(power(true, detectable_difference(pilot, seeds=2 * seeds), seeds=2 * seeds))
        needed.append(seeds_to_settle(pilot, difference=difference) or np.inf)
    return {
        "experiment": "pilots",
        "components": name,
        "sds": sds,
        "seeds": seeds,
        "test_rows": rows,
        "comparisons": times,
        "stated_chance": 0.8,
        "true_chance_mean": float(np.mean(chances)),
        "true_chance_quartiles": np.quantile(chances, [0.25, 0.5, 0.75]).tolist(),
        "seeds_needed": 2 * seeds,
        "seeds_stated_quartiles": [
            None if np.isinf(q) else float(q) for q in np.quantile(needed, [0.25, 0.5, 0.75], method="lower")
        ],
    }
