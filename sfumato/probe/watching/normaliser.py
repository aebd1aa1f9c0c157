r"""What a trainer divides by. Pass m of A on rank r of R has n rows that count, N together, and each row's gradient
reaches the optimiser times e: 1/N is one mean over all rows, 1/(A·R·n) a mean of means, 1 a sum, and one of these times
A or R is divided once too often or too rarely.
"""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch

from sfumato.probe.rows import Array
from sfumato.probe.watching.parameters import multiplier
from sfumato.probe.watching.targets_seen import PassCount, Record, count_of

NormaliserName: TypeAlias = Literal["rows", "micro-batches", "sum", "twice"]

CLOSE, CLOSE_HALF = 3e-4, 1e-2  # how near a factor must be to one over a count, in float32 and in half precision

WAIT = timedelta(seconds=60)  # how long the notes of another rank are waited for


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


USUAL = (Size.USUAL_COUNTED, Size.USUAL_ALL)
"""An incomplete step is divided by the passes of a complete one."""

OF_ALL_ROWS = (Size.ALL_BUT_LAST, Size.ALL_BUT_LAST_OF_PASS, Size.ALL, Size.ALL_OF_PASS, Size.USUAL_ALL)
"""Rows without a gradient count."""


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


MISSING = {
    Excess.MISSING_PASSES: Excess.PASSES,
    Excess.MISSING_RANKS: Excess.RANKS,
    Excess.MISSING_PASSES_AND_RANKS: Excess.PASSES_AND_RANKS,
}


class StepCount(NamedTuple):
    """The passes between two steps of the optimiser, on all ranks."""

    passes: tuple[PassCount, ...]  # of every rank
    after: float | None = None  # the multiplier after the backward passes, as read from a parameter; None if unread
    ranks: int = 1  # R

    @property
    def passes_per_rank(self) -> int:
        """A, of the rank with the most."""
        return max(Counter(each.rank for each in self.passes).values())

    @property
    def after_a_scaler(self) -> float:
        """The multiplier if a scaler's power of 2 was taken back: one over it and the ranks."""
        largest = max(each.factor for each in self.passes) * sum(each.counted for each in self.passes)
        is_scaled = largest >= 16 and (self.after is None or self.after < 0.25)
        return 1 / (self.ranks * (2.0 ** np.floor(np.log2(largest) + 0.01) if is_scaled else 1))


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
        if self.excess is not Excess.NONE or self.size in USUAL:
            return "twice"
        if self.size in (Size.ONE, Size.SEQUENCES):
            return "sum"
        return "rows" if self.size in (Size.COUNTED, Size.ALL, Size.ALL_BUT_LAST) else "micro-batches"


def normaliser(steps: Sequence[StepCount], *, coarse: bool = False) -> NormaliserRead | None:
    """The size that the factors of most steps are one over; None without a step whose factors are known."""
    if not steps:
        return None
    usual = Counter(step.passes_per_rank for step in steps).most_common(1)[0][0]
    close = CLOSE_HALF if coarse else CLOSE
    best: NormaliserRead | None = None
    nearest: tuple[float, NormaliserRead | None] = (np.inf, None)
    of_ranks = [1 / step.ranks for step in steps]
    measured = [rank if step.after is None else step.after for rank, step in zip(of_ranks, steps, strict=True)]
    for afters in (measured, of_ranks, [step.after_a_scaler for step in steps]):
        candidates: dict[tuple[Size, Excess], list[float]] = {}
        for step, after in zip(steps, afters, strict=True):
            for key, value in _values(step, usual, after):
                candidates.setdefault(key, []).append(value)
        after = float(np.median(afters))
        for (size, excess), values in candidates.items():
            fit = sum(abs(value - 1) <= close for value in values)
            if fit > (best.steps if best else 0):
                best = NormaliserRead(size, excess, 1.0, fit, len(steps), after)
            mass = float(np.median(values))
            if excess is Excess.NONE and afters in (measured, of_ranks) and 0 < mass < np.inf:
                away = float(abs(np.log(mass)) + np.ptp(values) / max(mass, 1e-9))
                if away < nearest[0] - 1e-9:
                    nearest = away, NormaliserRead(size, excess, mass, len(steps), len(steps), after)
        if best is not None and best.steps == len(steps):
            return best
    return best if best is not None and 2 * best.steps > len(steps) else nearest[1]


def sizes(step: StepCount, usual: int | None = None) -> dict[Size, Array]:
    """What a right or a wrong trainer divides each pass by; ``usual`` is the number of passes that most steps have."""
    n, t, b, _, rank = np.array(step.passes, float).T
    a, r = step.passes_per_rank, step.ranks
    ones = np.ones(len(n))
    known = {Size.COUNTED: n.sum() * ones, Size.COUNTED_OF_PASS: a * r * n}
    if r > 1:
        turn = np.array([(rank[:i] == each).sum() for i, each in enumerate(rank)])  # which pass of its rank
        known[Size.COUNTED_OF_RANK] = r * np.array([n[rank == each].sum() for each in rank])
        known[Size.COUNTED_OF_TURN] = a * np.array([n[turn == each].sum() for each in turn])
    in_sequences = bool(((b > 0) & (t > b)).all())
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
    n, rows, _, factor, _ = np.array(step.passes, float).T
    a, r = float(step.passes_per_rank), float(step.ranks)
    known = sizes(step, usual)
    # The order is what is tried first: a size alone, before any size with an excess.
    for excess, count in zip(Excess, (1.0, a, r, a * r, 1 / a, 1 / r, 1 / (a * r), n.sum(), n, rows), strict=True):
        if excess is not Excess.NONE and np.all(np.asarray(count) == 1):
            continue
        is_of_rows = excess in (Excess.COUNTED, Excess.COUNTED_OF_PASS, Excess.ROWS_OF_PASS)
        for size, values in known.items():
            if is_of_rows and size in (Size.ONE, Size.SEQUENCES, Size.SEQUENCES_OF_PASS):
                continue
            product = factor * after * values * count
            yield (size, excess), float(product[np.argmax(np.abs(product - 1))])


class RankPlace(NamedTuple):
    """The store of a process group, and where this process is in it."""

    store: Any
    rank: int
    ranks: int


def place_among_ranks() -> RankPlace | None:
    """The place in the default process group; None without several ranks."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    ranks = torch.distributed.get_world_size()
    store = torch.distributed.distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
    return None if ranks < 2 else RankPlace(store, torch.distributed.get_rank(), ranks)


def exchange(note: Any, place: RankPlace, number: int, *, wait: timedelta = WAIT) -> dict[int, Any]:
    """Leave a note for the other ranks, and read theirs, without a collective call; ranks that left none are absent."""
    place.store.set(f"sfumato watch {number} of {place.rank}", json.dumps(note))
    notes: dict[int, Any] = {place.rank: note}
    for other in set(range(place.ranks)) - {place.rank}:
        key = f"sfumato watch {number} of {other}"
        with contextlib.suppress(Exception):  # a rank that is not watched, or that has ended
            place.store.wait([key], wait)
            notes[other] = json.loads(place.store.get(key))
    return notes


_uses = itertools.count()


def step_counts(record: Record, eps: float) -> tuple[list[StepCount], bool]:
    """The counts of each step over all ranks, and whether the ranks train apart, each with its own gradients."""
    own: list[dict[str, Any]] = []  # each step as numbers that can be told to other ranks
    for step in record.complete_steps():
        counts = [count for each in step.micro_batches if (count := count_of(each, eps)) is not None]
        passes = [[c.counted, c.rows, c.sequences, c.factor / step.divided_by] for c in counts]
        own.append({"passes": passes, "arrived": step.arrived, "there": step.at_the_optimiser})
    place, number = place_among_ranks() or RankPlace(None, 0, 1), next(_uses)
    notes = {0: own} if place.store is None else exchange(own, place, number)
    record.ranks, record.ranks_silent = place.ranks, sorted(set(range(place.ranks)) - set(notes))
    if record.ranks_silent:
        return [], False
    steps = range(min(len(each) for each in notes.values()))
    joined = [_joined({rank: its[i] for rank, its in notes.items()}, place) for i in steps]
    return [step for step, _ in joined if step.passes], bool(joined) and all(alone for _, alone in joined)


def _joined(notes: dict[int, dict[str, Any]], place: RankPlace) -> tuple[StepCount, bool]:
    """One step of all ranks, and whether this rank's gradients are its own alone."""
    passes = tuple(PassCount(n, t, b, c, rank) for rank, note in notes.items() for n, t, b, c in note["passes"])
    mine, ranks = notes[place.rank], place.ranks
    arrived = [note["arrived"] for note in notes.values()]
    same = len({len(each) for each in arrived}) == 1
    after = multiplier(np.sum(arrived, axis=0).tolist(), mine["there"]) if same else None
    after = None if after is None else abs(after)
    own = multiplier(mine["arrived"], mine["there"])
    alone = ranks > 1 and after is None and own is not None and abs(own - 1) < 1e-4
    if after is not None:
        after = next((float(x) for x in (1.0, 1 / ranks) if abs(after - x) < 2e-4 * x), after)
    return StepCount(passes, after, ranks), alone
