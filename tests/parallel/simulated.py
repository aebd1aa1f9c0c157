"""Ranks without processes: each slice is worked on in turn, and the exchanges are a maximum and a sum over a list."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from sfumato.loss.reduce import reduce, weigh
from sfumato.loss.slices import RowNumbers
from sfumato.parallel.rank import ClassRange, Request, slice_gradient, slice_numbers
from sfumato.targets.dense import Dense

Cuts = Sequence[int]  # where slices begin and end: 0, …, K


def own_target(target: Any, classes: ClassRange) -> Any:
    """What a rank is given: the target itself, or its own slice of probabilities."""
    if isinstance(target, Dense):
        dense = target.to_dense(torch.promote_types(target.probs_dtype(), target.x.dtype))
        return sf.from_probs(dense[:, classes.start : classes.stop], check=False, mask=target.valid)
    if isinstance(target, Tensor) and target.is_floating_point():
        return target[:, classes.start : classes.stop]
    return target


def split_loss(
    z: Tensor, target: Any, cuts: Cuts, weight: Tensor | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """The loss of logits (N, K, …) cut into slices, and its gradient, under an upstream gradient that is not 1."""
    ranges = [ClassRange(start, stop, z.shape[1]) for start, stop in itertools.pairwise(cuts)]
    slices = [z[:, each.start : each.stop] for each in ranges]
    calls = [
        Request(own, own_target(target, each), weight, None, options).over(each)  # type: ignore[arg-type]
        for own, each in zip(slices, ranges, strict=True)
    ]
    mine = [slice_numbers(own, call, each) for own, call, each in zip(slices, calls, ranges, strict=True)]
    top = torch.stack([each.top for each in mine]).amax(0)
    total = torch.stack([each.against(top) for each in mine]).sum(0)
    rows = RowNumbers.of(top, total)
    each = rows.loss.detach().requires_grad_()
    loss = reduce(calls[0], each, weigh(calls[0], each.dtype))
    upstream = torch.linspace(0.25, 3, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    (back,) = torch.autograd.grad(loss, each, upstream)
    grads = [
        slice_gradient(own, numbers, rows, back, call, classes)
        for own, numbers, call, classes in zip(slices, mine, calls, ranges, strict=True)
    ]
    return loss.detach(), torch.cat(grads, 1)
