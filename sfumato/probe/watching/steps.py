"""What became of the gradients of a step after its backward passes, on this rank and on all.

A scaler, a clip, an average over ranks or a division by hand multiplies gradients after they were computed. The sum of
what arrived at a few small parameters, beside the gradient that their optimiser is given, tells the multiplier. Ranks
leave notes in the store of the process group: a collective call would hang where one rank alone is watched.
"""

import contextlib
import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.probe.watching.normaliser import PassCount, StepCount
from sfumato.probe.watching.targets_seen import ReadStep, Record, count_of

FEW, SMALL = 4, 65536
"""How many parameters are looked at, and how large they may be."""

SHARED = 64
"""Entries of a parameter that ranks tell each other."""


class SmallParameters:
    """Sums what arrives at a few small parameters."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        parameters = list(parameters)
        order = {id(p): i for i, p in enumerate(parameters)}  # of two as small the one nearer to the head
        able = [p for p in parameters if p.requires_grad and p.is_leaf and p.numel() > 0 and type(p) is nn.Parameter]
        able = sorted(able, key=lambda p: (p.numel(), -order[id(p)]))[:FEW]
        self._parameters = [p for p in able if p.numel() <= SMALL] or able[:1]
        self._sums: list[Tensor | None] = [None] * len(self._parameters)
        self._handles = [p.register_hook(self._adding(i)) for i, p in enumerate(self._parameters)]
        self._values: list[Tensor] | None = None

    def _adding(self, i: int) -> Any:
        def add(gradient: Tensor) -> None:
            if gradient.is_sparse:
                return
            with torch.no_grad():
                values = gradient.detach().reshape(-1)[:SMALL].float()
                held = self._sums[i]
                self._sums[i] = values.clone() if held is None else held + values

        return add

    def has_gradients(self) -> bool:
        """Whether any of the parameters has a gradient that is not 0."""
        return any(p.grad is not None and bool(p.grad.any()) for p in self._parameters)

    def cleared(self) -> bool:
        """Whether the gradients of parameters at which some arrived are gone; False where none arrived."""
        known = [p for p, each in zip(self._parameters, self._sums, strict=True) if each is not None]
        return bool(known) and not any(p.grad is not None and bool(p.grad.any()) for p in known)

    def entries(self) -> tuple[list[float], list[float]]:
        """A few entries of what arrived at one parameter, and of the gradient there now, for other ranks to read."""
        pairs = [
            (arrived, p.grad.detach().reshape(-1)[:SMALL].float())
            for p, arrived in zip(self._parameters, self._sums, strict=True)
            if arrived is not None and p.grad is not None and not p.grad.is_sparse
        ]
        if not pairs:
            return [], []
        arrived, there = max(pairs, key=lambda pair: float(pair[1].abs().max()))
        return arrived[:SHARED].double().tolist(), there[:SHARED].double().tolist()

    def moved(self) -> bool:
        """Whether any value differs from what it was at the last :meth:`remember`."""
        if self._values is None:
            return False
        return any(not torch.equal(p.detach(), old) for p, old in zip(self._parameters, self._values, strict=True))

    def remember(self) -> None:
        """Keep the values of now, to compare them later."""
        self._values = [p.detach().clone() for p in self._parameters]

    def forget(self) -> None:
        """Begin a new sum."""
        self._sums = [None] * len(self._parameters)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._sums, self._values = [], None


def multiplier(arrived: list[float], at_the_optimiser: list[float]) -> float | None:
    """What the optimiser's gradients are of those that arrived; None where they point elsewhere, or nothing arrived."""
    a = torch.tensor(arrived, dtype=torch.float64)
    b = torch.tensor(at_the_optimiser, dtype=torch.float64)
    if len(a) == 0 or len(a) != len(b) or not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return None
    size, other = float(a.norm()), float(b.norm())
    if size == 0 or other == 0 or (len(a) > 1 and float(a @ b) < 0.999 * size * other):
        return None
    return float(a @ b) / float(a @ a)


WAIT = timedelta(seconds=60)
"""How long the notes of another rank are waited for."""


def store_of_ranks() -> tuple[Any, int, int] | None:
    """The store of the default process group, this rank, and the number of ranks; None without several ranks."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    ranks = torch.distributed.get_world_size()
    if ranks < 2:
        return None
    store = torch.distributed.distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
    return store, torch.distributed.get_rank(), ranks


def exchange(
    note: Sequence[Any], place: tuple[Any, int, int], number: int, *, wait: timedelta = WAIT
) -> dict[int, list[Any]]:
    """Leave a note for the other ranks, and read theirs; ranks that left none in time are absent."""
    store, rank, ranks = place
    store.set(f"sfumato watch {number} of {rank}", json.dumps(list(note)))
    notes: dict[int, list[Any]] = {rank: list(note)}
    for other in range(ranks):
        if other != rank:
            key = f"sfumato watch {number} of {other}"
            with contextlib.suppress(Exception):  # a rank that is not watched, or that has ended
                store.wait([key], wait)
                notes[other] = json.loads(store.get(key))
    return notes


_uses = itertools.count()


def complete_steps(record: Record) -> list[ReadStep]:
    """The steps whose passes were all seen: those that the optimiser took, or all where it took none."""
    steps = [each for each in record.steps if each.passes]
    stepped = [each for each in steps if each.stepped] or steps
    if len(stepped) > 1 and stepped[0].began_with_gradients and not any(s.began_with_gradients for s in stepped[1:]):
        return stepped[1:]
    return stepped


def step_counts(record: Record, eps: float) -> tuple[list[StepCount], bool]:
    """The counts of each step over all ranks, and whether the ranks train apart, each with its own gradients."""
    own = [_note(step, eps) for step in complete_steps(record)]
    place, number = store_of_ranks(), next(_uses)
    if place is None:
        return [_joined({0: note}, 0, 1)[0] for note in own if note["passes"]], False
    _, rank, ranks = place
    notes = exchange(own, place, number)
    record.ranks, record.ranks_silent = ranks, sorted(set(range(ranks)) - set(notes))
    if record.ranks_silent:
        return [], False
    steps = range(min(len(each) for each in notes.values()))
    joined = [_joined({each: notes[each][i] for each in notes}, rank, ranks) for i in steps]
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
    arrived = [note["arrived"] for note in notes.values()]
    same = bool(arrived) and len({len(each) for each in arrived}) == 1
    after = multiplier(np.sum(arrived, axis=0).tolist(), there) if same else None
    own = multiplier(notes[rank]["arrived"], there)
    alone = ranks > 1 and after is None and own is not None and abs(own - 1) < 1e-4
    if after is not None:
        after = next((float(x) for x in (1.0, 1 / ranks) if abs(after - x) < 2e-4 * x), after)
    return StepCount(passes, after, ranks), alone
