"""Cases of real ranks: what is refused, on the last rank or on all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

import sfumato as sf
from tests.parallel.common import CLASSES, ROWS, case, labels, logits, place, raised


@case
def errors(rank: int, world: int) -> dict[str, list[str]]:
    """Each call is wrong on the last rank, or on all."""
    own, last = place(rank, world), rank == world - 1
    local, given = logits()[:, own.start : own.stop], labels()
    sf.parallel.cross_entropy(local, given)  # the ranks know each other's classes from here on
    outside = given.clone()
    outside[4] = CLASSES
    own_outside = outside if last else given
    other = given.flip(0) if last else given
    probs = logits(seed=5).softmax(1)
    split = functools.partial(sf.parallel.cross_entropy, local)
    head = functools.partial(sf.parallel.linear_cross_entropy, local.new_ones(ROWS, 2))
    of_head = local.new_ones(own.stop - own.start, 2)
    calls: dict[str, Callable[[], Any]] = {
        "a label outside": lambda: split(outside),
        "a label outside on one rank": lambda: split(own_outside),
        "other labels": lambda: split(other),
        "fewer rows": lambda: sf.parallel.cross_entropy(local[: ROWS - last], given[: ROWS - last]),
        "another strength": lambda: split(given, label_smoothing=0.2 if last else 0.1),
        "another dtype": lambda: sf.parallel.cross_entropy(local.float() if last else local, given),
        "labels that are a list": lambda: split([1, 2] if last else given),  # type: ignore[arg-type]
        "logits that are a list": lambda: sf.parallel.cross_entropy([[1.0]] if last else local, given),  # type: ignore[arg-type]
        "an overlap": lambda: split(given, start=max(own.start - last, 0), num_classes=CLASSES),
        "a hole": lambda: split(given, start=own.start + last, num_classes=CLASSES + 1),
        "too few classes": lambda: split(given, num_classes=CLASSES + 3),
        "other items": lambda: split(given, num_items=torch.tensor(4.0) if last else 3),
        "other weights": lambda: split(given, weight=torch.full((CLASSES,), 1.0 + last)),
        "items that are no number": lambda: split(given, num_items="3"),  # type: ignore[arg-type]
        "an option that there is not": lambda: split(given, **({"smoothing": 0.1} if last else {})),  # type: ignore[arg-type]
        "a start between two classes": lambda: split(given, start=own.start + 0.5),  # type: ignore[arg-type]
        "a layer's weight that is none": lambda: head(None if last else of_head, given),  # type: ignore[arg-type]
        "a layer's weight of three axes": lambda: head(of_head[None] if last else of_head, given),
        "a cap in words": lambda: head(of_head, given, softcap="30" if last else None),  # type: ignore[arg-type]
        "a start on some": lambda: split(given, start=own.start if last else None),
        "a negative start": lambda: split(given, start=-1),
        "all probabilities": lambda: split(probs),
        "a dense target of all classes": lambda: split(sf.from_probs(probs)),
        "a teacher beside the label": lambda: split(sf.distil(given, probs, 0.5)),
        "a gradient for the target": lambda: split(probs[:, own.start : own.stop].clone().requires_grad_()),
        "a weight of the slice": lambda: split(given, weight=torch.ones(own.stop - own.start + 1)),
        "items of a sum": lambda: split(given, reduction="sum", num_items=3),
        "negative items": lambda: split(given, num_items=-1),
        "no reduction": lambda: split(given, reduction="average"),
        "nothing wrong": lambda: split(given),
    }
    return {name: raised(call) for name, call in calls.items()}


@case
def outside_the_group(rank: int, world: int) -> list[str]:
    group = distributed.new_group([0])
    if rank == 0:
        loss = sf.parallel.cross_entropy(logits(), labels(), group)
        return [str(abs(loss.item() - sf.cross_entropy(logits(), labels()).item()))]
    refused = raised(lambda: sf.parallel.cross_entropy(logits(), labels(), group))
    assert raised(lambda: sf.parallel.count_items(labels(), group)) == refused
    return refused
