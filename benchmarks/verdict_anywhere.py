"""Models that were trained anywhere, for benchmarks/verdict.py: seeds that are not paired, and rows in groups.

Tables are drawn from the model of the statistics: two arms share the rows and have seeds of their own, or rows of one
group have a part in common. The rivals are what people do instead: a test that takes rows as independent, a test of the
means over seeds (Welch), and one that pools all seeds into the rows of one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import stats
from verdict_tables import TABLES

from sfumato.evaluate import detectable_difference, estimate_interval, estimate_unpaired
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.intervals import Estimate

ROWS = 360
COMPONENTS = {"rows": (0.0, 0.5), "seeds and rows": (0.1, 0.5), "seeds": (0.3, 0.1)}
"""Standard deviations of seeds and of the rest; that of the shared rows is 1, that of rows of each arm alone is 0.2."""

SEEDS = ((1, 1), (2, 2), (3, 3), (5, 5), (10, 10), (1, 5), (2, 5), (3, 10))
GROUPS = (10, 30, 100)
SIZES = {"even": "20 rows each", "uneven": "geometric, mean 20"}


def unpaired(scale: float, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Arms with seeds of their own: errors between equal arms, and claims that a difference lies inside its margin."""
    times = max(50, round(TABLES * scale))
    for name, (seed, rest) in COMPONENTS.items():
        for mine, theirs in SEEDS:
            say(f"unpaired: {name}, {mine} and {theirs} seeds")
            rng = np.random.default_rng([4, len(name), mine, theirs])
            margin = _margin(seed, rest, mine, theirs)
            count = dict.fromkeys(("ours", "ours_first_of_three", "inside", "welch", "rows"), 0)
            for _ in range(times):
                rows = rng.normal(size=ROWS)
                a, b = (_arm(rng, rows, seed, rest, seeds) for seeds in (mine, theirs))
                found = estimate_unpaired(a, b)
                low, high = estimate_unpaired(a + margin, b).interval(0.9)
                count["ours"] += found.p < 0.05
                count["ours_first_of_three"] += found.p < 0.05 / 3
                count["inside"] += -margin <= low and high <= margin
                count["rows"] += stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue < 0.05
                if min(mine, theirs) > 1:
                    count["welch"] += stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False).pvalue < 0.05
            yield {
                "experiment": "unpaired",
                "components": name,
                "sds": (seed, rest),
                "seeds": (mine, theirs),
                "test_rows": ROWS,
                "margin": margin,
                "comparisons": times,
                **{key: int(value) for key, value in count.items()},
            }


def _arm(rng: np.random.Generator, rows: Any, seed: float, rest: float, seeds: int) -> Any:
    """Where there is one model of an arm the statement is about that model, so its seed is no error."""
    own = seed * rng.normal(size=(seeds, 1)) if seeds > 1 else 0.0
    return own + rows + 0.2 * rng.normal(size=ROWS) + rest * rng.normal(size=(seeds, ROWS))


def _margin(seed: float, rest: float, mine: int, theirs: int) -> float:
    """A margin that a test finds four times in five, roughly: wide enough for claims to be made at all."""
    seeds = max(min(mine, theirs), 2)
    components = 2 * seed**2, 0.08, 2 * rest**2
    return detectable_difference(Estimate(0.0, 0.0, 0.0, 1.0, np.inf, 0.0, *components, seeds, ROWS))


def groups(scale: float, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Coverage of the 95 % interval of a paired difference where rows of one group vary together."""
    times = max(50, round(TABLES * scale))
    for number in GROUPS:
        for sizes, told in SIZES.items():
            for kind in ("normal", "right or wrong"):
                say(f"groups: {number}, {sizes}, {kind}")
                rng = np.random.default_rng([5, number, len(sizes), len(kind)])
                covered = naive = 0
                for _ in range(times):
                    each = rng.geometric(0.05, number) if sizes == "uneven" else np.full(number, 20)
                    group = np.repeat(np.arange(number), each)
                    values = _difference(rng, group, number, kind)
                    made = RowGroups.of(group)
                    units = None if made.single else made.effective
                    found = estimate_interval(made.collapse(values)[None], estimate=float(values.mean()), units=units)
                    rows = estimate_interval(values[None])
                    covered += found.low <= 0 <= found.high
                    naive += rows.low <= 0 <= rows.high
                yield {
                    "experiment": "groups",
                    "groups": number,
                    "sizes": told,
                    "kind": kind,
                    "comparisons": times,
                    "covered": int(covered),
                    "rows_covered": int(naive),
                }


def _difference(rng: np.random.Generator, group: Any, number: int, kind: str) -> Any:
    """Differences of two models with mean 0: normal, or of right and wrong answers, each easier in some groups."""
    if kind == "normal":
        return 0.5 * rng.normal(size=number)[group] + rng.normal(size=len(group))
    first, second = (rng.beta(4, 1, number)[group] for _ in range(2))
    return (rng.random(len(group)) < first).astype(float) - (rng.random(len(group)) < second)
