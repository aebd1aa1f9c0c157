"""Put what all ranks recorded together: the steps, and what each was divided by."""

import itertools
from typing import Any

import numpy as np

from sfumato.probe.watching.normaliser import PassCount, StepCount
from sfumato.probe.watching.parameters import multiplier
from sfumato.probe.watching.ranks import exchange, store_of_ranks
from sfumato.probe.watching.record import ReadStep, Record
from sfumato.probe.watching.targets_seen import count_of

_uses = itertools.count()


def complete_steps(record: Record) -> list[ReadStep]:
    """The steps whose passes were all seen: those that the optimiser took, or all where it took none.

    A first step whose parameters had gradients already when watching began may have had passes before.
    """
    steps = [each for each in record.steps if each.passes]
    stepped = [each for each in steps if each.stepped] or steps
    if len(stepped) > 1 and stepped[0].began_with_gradients and not any(s.began_with_gradients for s in stepped[1:]):
        return stepped[1:]
    return stepped


def step_counts(record: Record, eps: float) -> tuple[list[StepCount], bool]:
    """The counts of each step over all ranks, and whether the ranks train apart, each with its own gradients."""
    own = [_note(step, eps) for step in complete_steps(record)]
    place = store_of_ranks()
    number = next(_uses)
    if place is None:
        return [_joined({0: note}, 0, 1)[0] for note in own if note["passes"]], False
    _, rank, ranks = place
    told = exchange(own, place, number)
    record.ranks, record.ranks_silent = ranks, sorted(set(range(ranks)) - set(told))
    if record.ranks_silent:
        return [], False
    joined = [
        _joined({each: told[each][i] for each in told}, rank, ranks)
        for i in range(min(len(told[each]) for each in told))
    ]
    apart = bool(joined) and all(alone for _, alone in joined)
    return [step for step, _ in joined if step.passes], apart


def _note(step: ReadStep, eps: float) -> dict[str, Any]:
    """A step as numbers that can be told to other ranks."""
    counts = [count_of(each, eps) for each in step.passes]
    passes = [[c.counted, c.rows, c.sequences, c.factor / step.divided_by] for c in counts if c is not None]
    return {"passes": passes, "arrived": step.arrived, "there": step.at_the_optimiser}


def _joined(notes: dict[int, dict[str, Any]], rank: int, ranks: int) -> tuple[StepCount, bool]:
    """One step of all ranks, and whether this rank's gradients are its own alone."""
    passes = tuple(PassCount(n, t, b, c, each) for each, note in notes.items() for n, t, b, c in note["passes"])
    there = notes[rank]["there"]
    told = [note["arrived"] for note in notes.values()]
    same = bool(told) and len({len(each) for each in told}) == 1
    after = multiplier(np.sum(told, axis=0).tolist(), there) if same else None
    alone = ranks > 1 and after is None and _is_one(multiplier(notes[rank]["arrived"], there))
    if after is not None:
        after = next((float(x) for x in (1.0, 1 / ranks) if abs(after - x) < 2e-4 * x), after)
    return StepCount(passes, after, ranks), alone


def _is_one(value: float | None) -> bool:
    return value is not None and abs(value - 1) < 1e-4
