"""Cases of real ranks: what is refused, on the last rank or on all, and in which words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

import sfumato as sf
from tests.parallel.common import CLASSES, ROWS, case, labels, logits, place, raised

SAME = "it must be the same on all ranks"
TILES = "check start, num_classes and that the group is the one that the vocabulary is split over"
TENSOR = "must be a torch.Tensor, got {}; torch.as_tensor makes one"


Calls = dict[str, tuple[Callable[[], Any], str]]  # what is called, and the error that every rank must raise


def others_than_wanted(calls: Calls) -> dict[str, list[str]]:
    """Of each call that raises another error, or none: what it raises, and what was wanted."""
    found = {name: (": ".join(raised(call)), words) for name, (call, words) in calls.items()}
    return {name: [error, words] for name, (error, words) in found.items() if error != words}


@case
def errors(rank: int, world: int) -> dict[str, list[str]]:
    """Each call is wrong on the last rank, or on all; what ranks can only get wrong together, if there are several."""
    own, last, at = place(rank, world), rank == world - 1, f"rank {world - 1}"
    local, given = logits()[:, own.start : own.stop], labels()
    sf.parallel.cross_entropy(local, given)  # the ranks know each other's classes from here on
    outside = torch.where(torch.arange(ROWS) == 4, CLASSES, given)
    probs, here = logits(seed=5).softmax(1), own.stop - own.start
    split = functools.partial(sf.parallel.cross_entropy, local)
    head = functools.partial(sf.parallel.linear_cross_entropy, local.new_ones(ROWS, 2))
    of_head = local.new_ones(here, 2)
    on_0, on_last = (place(each, world) for each in (0, world - 1))
    size_0, size_last = on_0.stop - on_0.start, on_last.stop - on_last.start
    no_class = "label 23 in row 4 is not a class: logits have 23 classes (0 to 22)"
    alike: Calls = {
        "a label outside": (lambda: split(outside), f"IndexError: rank 0: {no_class}"),
        "labels that are a list": (
            lambda: split([1, 2] if last else given),  # type: ignore[arg-type]
            f"TypeError: {at}: target {TENSOR.format('list')}",
        ),
        "logits that are a list": (
            lambda: sf.parallel.cross_entropy([[1.0]] if last else local, given),  # type: ignore[arg-type]
            f"TypeError: {at}: logits {TENSOR.format('list')}",
        ),
        "too few classes": (
            lambda: split(given, num_classes=CLASSES + 3),
            f"ArgumentError: classes 23 to 25 of 26 are on no rank: {TILES}",
        ),
        "a negative start": (lambda: split(given, start=-1), "ArgumentError: rank 0: start must be at least 0, got -1"),
        "a gradient for the target": (
            lambda: split(probs[:, own.start : own.stop].clone().requires_grad_()),
            "ArgumentError: rank 0: with split logits, targets and weights get no gradient: pass them detached",
        ),
        "a weight of the slice": (
            lambda: split(given, weight=torch.ones(here + 1)),
            "ArgumentError: rank 0: weight tensor should be defined either for all 23 classes or no classes but got "
            f"weight tensor of shape: [{size_0 + 1}]",
        ),
        "items of a sum": (
            lambda: split(given, reduction="sum", num_items=3),
            'ArgumentError: rank 0: num_items is what a mean divides by, and reduction is "sum"',
        ),
        "negative items": (
            lambda: split(given, num_items=-1),
            "ArgumentError: rank 0: num_items must be at least 0, got -1",
        ),
        "items that are no number": (
            lambda: split(given, num_items="3"),  # type: ignore[arg-type]
            "TypeError: rank 0: num_items must be a number, got '3'",
        ),
        "an option that there is not": (
            lambda: split(given, **({"smoothing": 0.1} if last else {})),  # type: ignore[arg-type]
            f'TypeError: {at}: smoothing is no option of this loss. Did you mean "label_smoothing"? It has '
            "ignore_index, reduction, label_smoothing, over, weight_on, sample_weight, out_dtype",
        ),
        "a start between two classes": (
            lambda: split(given, start=own.start + 0.5),  # type: ignore[arg-type]
            "TypeError: rank 0: start must be an int, got 0.5",
        ),
        "a layer's weight that is none": (
            lambda: head(None if last else of_head, given),  # type: ignore[arg-type]
            f"TypeError: {at}: linear_weight {TENSOR.format('NoneType')}",
        ),
        "a layer's weight of three axes": (
            lambda: head(of_head[None] if last else of_head, given),
            f"ArgumentError: {at}: linear_weight must be (V, D), got (1, {size_last}, 2)",
        ),
        "a cap in words": (
            lambda: head(of_head, given, softcap="30" if last else None),  # type: ignore[arg-type]
            f"TypeError: {at}: softcap must be a number, got '30'",
        ),
        "no reduction": (
            lambda: split(given, reduction="average"),
            'ArgumentError: rank 0: reduction must be "mean", "sum" or "none", got \'average\'',
        ),
    }
    other_classes = (
        f"ArgumentError: rank 0: probabilities are split as the logits are: expected (7, {size_0}), got (7, 23); "
        f"pass this rank's classes, probs[:, 0:{size_0}], or a target that needs no array of all rows and classes"
    )
    together: Calls = {
        "a label outside on one rank": (
            lambda: split(outside if last else given),
            f"IndexError: {at}: {no_class}",
        ),
        "other labels": (
            lambda: split(given.flip(0) if last else given),
            f"ArgumentError: {at} has other labels than rank 0: all ranks of a group need the same rows",
        ),
        "fewer rows": (
            lambda: sf.parallel.cross_entropy(local[: ROWS - last], given[: ROWS - last]),
            f"ArgumentError: the shape of the rows is [7] on rank 0 and [6] on {at}: {SAME}",
        ),
        "another strength": (
            lambda: split(given, label_smoothing=0.2 if last else 0.1),
            f"ArgumentError: label_smoothing is 0.1 on rank 0 and 0.2 on {at}: {SAME}",
        ),
        "another dtype": (
            lambda: sf.parallel.cross_entropy(local.float() if last else local, given),
            f"ArgumentError: the dtype of the logits is torch.float64 on rank 0 and torch.float32 on {at}: {SAME}",
        ),
        "other items": (
            lambda: split(given, num_items=torch.tensor(4.0) if last else 3),
            f"ArgumentError: num_items is 3 on rank 0 and 4 on {at}: {SAME}",
        ),
        "other weights": (
            lambda: split(given, weight=torch.full((CLASSES,), 1.0 + last)),
            "ArgumentError: weight is a tensor (23,) with the sum 23 on rank 0 and a tensor (23,) with the sum 46 on "
            f"{at}: {SAME}",
        ),
        "a start on some": (
            lambda: split(given, start=own.start if last else None),
            f"ArgumentError: start is given on {at} and not on rank 0: give it on all, or none",
        ),
        "all probabilities": (lambda: split(probs), other_classes),
        "a dense target of all classes": (lambda: split(sf.from_probs(probs)), other_classes),
    }
    tiles: Calls = {
        "an overlap": (
            lambda: split(given, start=max(own.start - last, 0), num_classes=CLASSES),
            "ArgumentError: class 8 is on rank 0 and on rank 1: the slices overlap; starts are [0, 8], sizes [9, 14]",
        ),
        "a hole": (
            lambda: split(given, start=own.start + last, num_classes=CLASSES + 1),
            f"ArgumentError: class 9 of 24 is on no rank: {TILES}",
        ),
    }
    nothing = {"nothing wrong": (lambda: split(given), "")}  # and no rank waits for another
    return others_than_wanted(alike | (together if world > 1 else {}) | (tiles if world == 2 else {}) | nothing)


@case
def outside_the_group(rank: int, world: int) -> list[str]:
    group = distributed.new_group([0])
    if rank == 0:
        loss = sf.parallel.cross_entropy(logits(), labels(), group)
        return [str(abs(loss.item() - sf.cross_entropy(logits(), labels()).item()))]
    refused = raised(lambda: sf.parallel.cross_entropy(logits(), labels(), group))
    assert raised(lambda: sf.parallel.count_items(labels(), group)) == refused
    return refused
