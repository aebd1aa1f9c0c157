r"""What a trainer divides by, told from the factor of each pass and the rows that were in it.

Between two steps of the optimiser, pass m of A on rank r of R has n rows that count. N is the sum of all n. Each row's
gradient reaches the optimiser times e, and the sizes that e may be one over tell the trainers apart: N (one mean over
all rows), A·R·n (a mean of means), 1 (a sum), or one of these times A or R once too often or too rarely.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias

import numpy as np

NormaliserName: TypeAlias = Literal["rows", "micro-batches", "sum", "twice"]
Array = np.ndarray[Any, Any]

CLOSE, CLOSE_HALF = 3e-4, 1e-2
"""How near a factor must be to one over a count, in float32 and in half precision."""


class Size(Enum):
    """What a row's gradient may be one over, the likeliest first."""

    COUNTED = "N"
    COUNTED_OF_PASS = "A·R·n"
    COUNTED_OF_RANK = "R·N of each rank"
    COUNTED_OF_TURN = "A·N of each turn"
    ALL_BUT_LAST = "all rows but the last positions"
    ALL_BUT_LAST_OF_PASS = "A·R·(rows but the last)"
    ALL = "all rows"
    ALL_OF_PASS = "A·R·all rows"
    ONE = "1"
    SEQUENCES = "sequences"
    SEQUENCES_OF_PASS = "A·R·sequences"
    USUAL_COUNTED = "A·R·n with the usual A"
    USUAL_ALL = "A·R·all rows with the usual A"

    @property
    def is_usual(self) -> bool:
        """Whether an incomplete step is divided by the passes of a complete one."""
        return self in (Size.USUAL_COUNTED, Size.USUAL_ALL)

    @property
    def counts_ignored(self) -> bool:
        """Whether rows without a gradient count."""
        return self in (Size.ALL_BUT_LAST, Size.ALL_BUT_LAST_OF_PASS, Size.ALL, Size.ALL_OF_PASS, Size.USUAL_ALL)


class Excess(Enum):
    """A count that gradients are divided by once too often, or that is missing among what they are divided by."""

    NONE = ""
    PASSES = "A"
    RANKS = "R"
    PASSES_AND_RANKS = "A·R"
    MISSING_PASSES = "1/A"
    MISSING_RANKS = "1/R"
    MISSING_PASSES_AND_RANKS = "1/(A·R)"
    COUNTED = "N"
    COUNTED_OF_PASS = "n"
    ROWS_OF_PASS = "rows"

    @property
    def is_of_rows(self) -> bool:
        """Whether it is a number of rows."""
        return self in (Excess.COUNTED, Excess.COUNTED_OF_PASS, Excess.ROWS_OF_PASS)


MISSING = {
    Excess.MISSING_PASSES: Excess.PASSES,
    Excess.MISSING_RANKS: Excess.RANKS,
    Excess.MISSING_PASSES_AND_RANKS: Excess.PASSES_AND_RANKS,
}


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
    after: float | None = None  # the multiplier after the backward passes, as read from a parameter; None if unread
    ranks: int = 1  # R


@dataclass(frozen=True)
class NormaliserRead:
    """What was divided by."""

    size: Size
    excess: Excess
    mass: float  # what is left of the factor: 1, unless the factor is none of the known ones
    steps: int  # how many steps it explains
    of: int  # how many steps there are
    after: float  # the multiplier after the backward passes that belongs to it

    @property
    def name(self) -> NormaliserName:
        """The kind of normaliser."""
        if self.excess is not Excess.NONE or self.size.is_usual:
            return "twice"
        if self.size in (Size.ONE, Size.SEQUENCES):
            return "sum"
        return "rows" if self.size in (Size.COUNTED, Size.ALL, Size.ALL_BUT_LAST) else "micro-batches"


def normaliser(steps: Sequence[StepCount], *, coarse: bool = False) -> NormaliserRead | None:
    """The size that the factors of most steps are one over; None without a step whose factors are known."""
    if not steps:
        return None
    usual = Counter(_passes_a_rank(step) for step in steps).most_common(1)[0][0]
    close = CLOSE_HALF if coarse else CLOSE
    best: NormaliserRead | None = None
    nearest: tuple[float, NormaliserRead] | None = None
    for way in ("measured", "assumed", "scaled"):
        candidates: dict[tuple[Size, Excess], list[float]] = {}
        afters = [_after(step, way) for step in steps]
        for step, after in zip(steps, afters, strict=True):
            for key, value in _values(step, usual, after):
                candidates.setdefault(key, []).append(value)
        after = float(np.median(afters))
        for (size, excess), values in candidates.items():
            fit = sum(abs(value - 1) <= close for value in values)
            if fit > (best.steps if best else 0):
                best = NormaliserRead(size, excess, 1.0, fit, len(steps), after)
            if excess is Excess.NONE and way != "scaled":
                mass = float(np.median(values))
                away = abs(np.log(mass)) if mass > 0 and np.isfinite(mass) else np.inf
                away = float(away + np.ptp(values) / max(abs(mass), 1e-9))
                if np.isfinite(away) and (nearest is None or away < nearest[0] - 1e-9):
                    nearest = away, NormaliserRead(size, excess, mass, len(steps), len(steps), after)
        if best is not None and best.steps == len(steps):
            return best
    if best is not None and 2 * best.steps > len(steps):
        return best
    return None if nearest is None else nearest[1]


def sizes(step: StepCount, usual: int | None = None) -> dict[Size, Array]:
    """What a right or a wrong trainer divides each pass by; ``usual`` is the number of passes that most steps have."""
    n, t = (np.array([getattr(each, name) for each in step.passes], float) for name in ("counted", "rows"))
    b = np.array([each.sequences for each in step.passes], float)
    rank = np.array([each.rank for each in step.passes])
    a, r = _passes_a_rank(step), step.ranks
    ones = np.ones(len(n))
    known = {Size.COUNTED: n.sum() * ones, Size.COUNTED_OF_PASS: a * r * n}
    if r > 1:
        turn = np.array([int((rank[:i] == each).sum()) for i, each in enumerate(rank)])  # which pass of its rank
        known[Size.COUNTED_OF_RANK] = r * np.array([n[rank == each].sum() for each in rank])
        known[Size.COUNTED_OF_TURN] = a * np.array([n[turn == each].sum() for each in turn])
    in_sequences = bool((np.where(b > 0, t / np.maximum(b, 1), 1) > 1).all())
    if in_sequences:
        known |= {Size.ALL_BUT_LAST: (t - b).sum() * ones, Size.ALL_BUT_LAST_OF_PASS: a * r * (t - b)}
    known |= {Size.ALL: t.sum() * ones, Size.ALL_OF_PASS: a * r * t, Size.ONE: ones}
    if in_sequences:
        known |= {Size.SEQUENCES: b.sum() * ones, Size.SEQUENCES_OF_PASS: a * r * b}
    if usual is not None and usual != a:
        known |= {Size.USUAL_COUNTED: usual * r * n, Size.USUAL_ALL: usual * r * t}
    return known


def _values(step: StepCount, usual: int, after: float) -> Iterator[tuple[tuple[Size, Excess], float]]:
    """For each size and excess: e times both, which is 1 where they are right; the worst of the passes."""
    e = np.array([each.factor for each in step.passes]) * after
    a, r = float(_passes_a_rank(step)), float(step.ranks)
    n = np.array([each.counted for each in step.passes], float)
    rows = np.array([each.rows for each in step.passes], float)
    known = sizes(step, usual)
    # The order is what is tried first: a size alone, before any size with an excess.
    for excess, count in zip(Excess, (1.0, a, r, a * r, 1 / a, 1 / r, 1 / (a * r), n.sum(), n, rows), strict=True):
        if excess is not Excess.NONE and np.all(np.asarray(count) == 1):
            continue
        for size, values in known.items():
            if excess.is_of_rows and size in (Size.ONE, Size.SEQUENCES, Size.SEQUENCES_OF_PASS):
                continue
            product = e * values * count
            yield (size, excess), float(product[np.argmax(np.abs(product - 1))])


def _after(step: StepCount, way: str) -> float:
    """What came after the backward passes: as measured, as ranks alone have it, or one over a scaler's power of 2."""
    if way == "measured" and step.after is not None:
        return step.after
    if way == "scaled" and (step.after is None or step.after < 0.25):
        largest = max(each.factor for each in step.passes) * sum(each.counted for each in step.passes)
        if largest >= 16:
            return 1 / (step.ranks * 2.0 ** np.floor(np.log2(largest) + 0.01))
    return 1 / step.ranks


def _passes_a_rank(step: StepCount) -> int:
    return max(Counter(each.rank for each in step.passes).values())
