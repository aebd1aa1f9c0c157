r"""What a trainer divides by, told from the factor of each pass and the rows that were in it.

Between two steps of the optimiser, pass m of A on rank r of R has n rows that count. N is the sum of all n. Each row's
gradient reaches the optimiser times e, and the sizes that e may be one over tell the trainers apart: N (one mean over
all rows), A·R·n (a mean of means), 1 (a sum), or one of these times A or R once too often or too rarely.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

NormaliserName: TypeAlias = Literal["rows", "micro-batches", "sum", "twice"]
Array = np.ndarray[Any, Any]

CLOSE, CLOSE_HALF = 3e-4, 1e-2
"""How near a factor must be to one over a count, in float32 and in half precision."""


@dataclass(frozen=True)
class PassCount:
    """The rows of one pass, and what their gradients were multiplied by."""

    counted: int  # rows with a gradient
    rows: int  # all rows
    sequences: int  # how many sequences the rows came in; rows where they came in none
    factor: float  # c, the mean over the rows that count
    rank: int = 0  # the rank that had it


@dataclass(frozen=True)
class StepCount:
    """The passes between two steps of the optimiser, on all ranks."""

    passes: tuple[PassCount, ...]  # of every rank
    after: float | None = None  # what gradients were multiplied by after the backward passes, as read from a parameter
    ranks: int = 1  # R


@dataclass(frozen=True)
class NormaliserRead:
    """What was divided by."""

    name: NormaliserName  # "rows", "micro-batches", "sum" or "twice"
    size: str  # what a row's gradient is one over, as in "N"; see :func:`sizes`
    times: str  # the power of a count that is too much, as in "A" or "1/R"; "" for none
    mass: float  # what is left of the factor: 1, unless the factor is none of the known ones
    steps: int  # how many steps it explains
    of: int  # how many steps there are
    after: float  # the multiplier after the backward passes that belongs to it


def normaliser(steps: Sequence[StepCount], *, coarse: bool = False) -> NormaliserRead | None:
    """The size that the factors of most steps are one over; None without a step whose factors are known."""
    if not steps:
        return None
    usual = Counter(_passes_a_rank(step) for step in steps).most_common(1)
    close = CLOSE_HALF if coarse else CLOSE
    best: NormaliserRead | None = None
    nearest: tuple[float, NormaliserRead] | None = None
    for way in ("measured", "assumed", "scaled"):
        candidates: dict[tuple[str, str], list[float]] = {}
        afters: list[float] = []
        for step in steps:
            after = _after(step, way)
            afters.append(after)
            for key, value in _values(step, usual[0][0], after):
                candidates.setdefault(key, []).append(value)
        for (size, times), values in candidates.items():
            fit = sum(abs(value - 1) <= close for value in values)
            found = NormaliserRead(_name(size, times), size, times, 1.0, fit, len(steps), float(np.median(afters)))
            if fit > (best.steps if best else 0):
                best = found
            if times == "" and way != "scaled":
                mass = float(np.median(values))
                away = abs(np.log(mass)) if mass > 0 and np.isfinite(mass) else np.inf
                wobble = float(np.ptp(values)) / max(abs(mass), 1e-9)
                told = NormaliserRead(found.name, size, "", mass, len(steps), len(steps), found.after)
                if np.isfinite(away) and (nearest is None or away + wobble < nearest[0] - 1e-9):
                    nearest = (float(away + wobble), told)
        if best is not None and best.steps == len(steps):
            return best
    if best is not None and 2 * best.steps > len(steps):
        return best
    return None if nearest is None else nearest[1]


def sizes(step: StepCount, usual: int | None = None) -> dict[str, Array]:
    """What a right or a wrong trainer divides each pass of a step by, the likeliest first."""
    n, t = (np.array([getattr(each, name) for each in step.passes], float) for name in ("counted", "rows"))
    b = np.array([each.sequences for each in step.passes], float)
    rank = np.array([each.rank for each in step.passes])
    a, r = _passes_a_rank(step), step.ranks
    ones = np.ones(len(n))
    found = {"N": n.sum() * ones, "A·R·n": a * r * n}
    if r > 1:
        of_rank = np.array([n[rank == each].sum() for each in rank])
        order = _order(rank)
        of_turn = np.array([n[order == each].sum() for each in order])
        found |= {"R·N of each rank": r * of_rank, "A·N of each turn": a * of_turn}
    positions = np.where(b > 0, t / np.maximum(b, 1), 1)
    if (positions > 1).all():
        found |= {"all rows but the last positions": (t - b).sum() * ones, "A·R·(rows but the last)": a * r * (t - b)}
    found |= {"all rows": t.sum() * ones, "A·R·all rows": a * r * t, "1": ones}
    if (positions > 1).all():
        found |= {"sequences": b.sum() * ones, "A·R·sequences": a * r * b}
    if usual is not None and usual != a:
        found |= {"usual A·R·n": usual * r * n, "usual A·R·all rows": usual * r * t}
    return found


def _values(step: StepCount, usual: int, after: float) -> Iterator[tuple[tuple[str, str], float]]:
    """For each size and power: e times both, which is 1 where they are right; the worst of the passes."""
    e = np.array([each.factor for each in step.passes]) * after
    a, r = float(_passes_a_rank(step)), float(step.ranks)
    n = np.array([each.counted for each in step.passes], float)
    rows = np.array([each.rows for each in step.passes], float)
    known = sizes(step, usual)
    # The order is what is tried first: a size alone, before any size with a power.
    powers: dict[str, Any] = {
        "": 1.0, "A": a, "R": r, "A·R": a * r, "1/A": 1 / a, "1/R": 1 / r, "1/(A·R)": 1 / (a * r), "N": n.sum(), "n": n,
        "rows": rows,
    }  # fmt: skip
    for times, power in powers.items():
        if times and np.all(np.asarray(power) == 1):
            continue
        for size, values in known.items():
            if times in ("N", "n", "rows") and size in ("1", "sequences", "A·R·sequences"):
                continue
            product = e * values * power
            yield (size, times), float(product[np.argmax(np.abs(product - 1))])


def _after(step: StepCount, way: str) -> float:
    """What came after the backward passes: as measured, as ranks alone have it, or one over a scaler's power of 2."""
    if way == "measured" and step.after is not None:
        return step.after
    if way == "scaled" and (step.after is None or step.after < 0.25):
        largest = max(each.factor for each in step.passes) * sum(each.counted for each in step.passes)
        if largest >= 16:
            return 1 / (step.ranks * 2.0 ** np.floor(np.log2(largest) + 0.01))
    return 1 / step.ranks


def _name(size: str, times: str) -> NormaliserName:
    if times:
        return "twice"
    if size in ("1", "sequences"):
        return "sum"
    if size in ("N", "all rows", "all rows but the last positions"):
        return "rows"
    return "twice" if size.startswith("usual") else "micro-batches"


def _passes_a_rank(step: StepCount) -> int:
    return max(Counter(each.rank for each in step.passes).values())


def _order(rank: Array) -> Array:
    """Which pass of its rank each one is."""
    return np.array([int((rank[:i] == each).sum()) for i, each in enumerate(rank)])
