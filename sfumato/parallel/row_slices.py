"""The numbers that one rank finds of its own classes, and the gradient of its own logits."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel.job import FlatTarget
from sfumato.loss import row_numbers
from sfumato.loss.eager import class_weight
from sfumato.loss.flatten import flatten
from sfumato.loss.linear import engine
from sfumato.loss.row_numbers import RowNumbers, SliceNumbers, wide_dtype
from sfumato.loss.target_slice import TargetSlice
from sfumato.targets import Target
from sfumato.targets.checks import readable

# Logits that are worked on at a time, so that copies of them stay small: in the cache on a CPU.
_BLOCK = {"cpu": 1 << 18}
_LARGE_BLOCK = 1 << 26


class ClassRange(NamedTuple):
    """The classes of a rank, ``start`` to ``stop`` − 1, of the ``num_classes`` that all ranks have together."""

    start: int
    stop: int
    num_classes: int

    @classmethod
    def within(cls, start: int, columns: int, num_classes: int) -> "ClassRange":
        """The classes of so many columns of logits from ``start`` on; columns beyond all classes are padding."""
        return cls(min(start, num_classes), min(start + columns, num_classes), num_classes)


def slice_numbers(z: Tensor, call: Call, classes: ClassRange) -> SliceNumbers:
    """Each row's numbers from a rank's own logits."""
    if z.shape[1] == 0 or z.numel() == 0:
        return SliceNumbers.of_no_classes((z.shape[0], *z.shape[2:]), call, z.device)
    flat = _for_kernel(z, call)
    if flat is not None:
        return engine.measure(z, flat, call, start=classes.start)
    blocks = _blocks(z, call, classes, wide_dtype(call, z.device))
    return SliceNumbers.of_blocks(
        [row_numbers.slice_numbers(rows, part, call, start=classes.start) for rows, part in blocks]
    )


def slice_gradient(
    z: Tensor, mine: SliceNumbers, rows: RowNumbers, upstream: Tensor, call: Call, classes: ClassRange
) -> Tensor:
    """The gradient of a rank's own logits, upstream·(S·p − w·q), exactly 0 without upstream; it takes no exchange."""
    wide = rows.rest.dtype
    grad = torch.empty_like(z, memory_format=torch.contiguous_format)
    upstream = upstream.to(wide)
    flat = _for_kernel(z, call)
    if flat is not None:
        factor = upstream.double().contiguous()
        engine.to_gradient(z, flat, call, rows.whole(mine), grad, start=classes.start, factor=factor)
        inert = (upstream == 0).nonzero().squeeze(1)
        return grad if len(inert) == 0 else grad.index_fill_(0, inert, 0.0)  # NaN times 0 is NaN
    scale = upstream * rows.mass / (1 + rows.rest)
    lead = (upstream * rows.at_top(mine)).to(call.dtype)
    at = 0
    for block, part in _blocks(z, call, classes, wide):
        own = slice(at, at + len(block))
        at += len(block)
        into = grad[own] if grad.dtype == call.dtype else torch.empty_like(block, dtype=call.dtype)
        torch.sub(block.to(call.dtype), rows.top[own].unsqueeze(1), out=into).exp_()
        into.mul_(scale[own].unsqueeze(1).to(into.dtype))
        part.subtract(into, upstream[own], wide)
        place = (mine.at[own] - classes.start).unsqueeze(1)
        leads = (mine.top[own] == rows.top[own]).unsqueeze(1)
        into.scatter_(1, place, torch.where(leads, lead[own].unsqueeze(1), into.gather(1, place)))
        inert = (upstream[own] == 0).unsqueeze(1)
        if not readable(inert) or bool(inert.any()):  # a pass over the block is spared where it can be
            into.masked_fill_(inert, 0.0)
        if into.dtype != grad.dtype:
            grad[own] = into
    return grad


def _for_kernel(z: Tensor, call: Call) -> FlatTarget | None:
    """The target over all classes for the kernel; None where it does not serve such logits.

    All rows count there: one that is ignored gets no upstream gradient, and its loss is left out later.
    """
    if z.dim() != 2 or z.numel() == 0 or (z.shape[1] > 1 and z.stride(1) != 1) or not engine.on_kernel(z, call):
        return None
    flat = flatten(z, call._replace(given=call.target()))
    if flat is None or flat.terms.dense is not None or any(each.support is not None for each in flat.terms.backs):
        return None
    return flat._replace(valid=None, ignore_index=None)


def _blocks(z: Tensor, call: Call, classes: ClassRange, wide: torch.dtype) -> Iterator[tuple[Tensor, TargetSlice]]:
    """The rows in blocks, each with its target on the classes of the rank."""
    if z.numel() == 0:
        return
    target = call.target()
    weight = class_weight(call, wide)
    step = max(1, _BLOCK.get(z.device.type, _LARGE_BLOCK) // z[0].numel())
    for at in range(0, len(z), step):
        part: Target = target if step >= len(z) else target[at : at + step]
        terms = part.terms(wide)
        yield z[at : at + step], TargetSlice.cut(terms, classes.start, classes.stop, weight, wide)
