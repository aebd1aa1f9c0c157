"""What is done with a piece of the logits, some rows at some classes: by the compiled kernel, or in torch operations.

A piece says what its classes add to its rows (:func:`measure`). Once that is known of all classes, it can be made its
gradient (:func:`to_gradient`).
"""

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel import job
from sfumato.kernel.job import FlatTarget, WholeRows
from sfumato.loss import flatten
from sfumato.loss.row_numbers import SliceNumbers, slice_numbers, wide_dtype
from sfumato.loss.target_slice import TargetSlice

_FEW = 1 << 18  # logits of which torch operations make copies at a time: in the cache on a CPU


def on_kernel(z: Tensor, call: Call) -> bool:
    """Whether the kernel takes pieces like ``z``."""
    dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
    return call.dtype == dtype and job.takes(z, *call.tensors())


def piece_bytes(x: Tensor, call: Call) -> int:
    """Memory for a piece of the logits; in torch operations a few copies of it are made besides."""
    if x.device.type != "cpu":
        return 256 << 20
    return 24 << 20 if on_kernel(x, call) else 6 << 20


def measure(z: Tensor, target: FlatTarget, call: Call, *, start: int) -> SliceNumbers:
    """What some classes say of each row."""
    stop = start + z.shape[1]
    if on_kernel(z, call):
        at, top, *sums = job.measure(z, flatten.take_classes(target, start, stop), start=start)
        return SliceNumbers(top.to(call.dtype), at, *sums)
    few = len(z) if z.device.type != "cpu" else max(1, _FEW // z.shape[1])
    found: list[SliceNumbers] = []
    for first in range(0, len(z), few):
        rows = slice(first, first + few)
        of_rows = flatten.take_rows(target, rows)
        part = TargetSlice.cut(of_rows.terms, start, stop, target.weight, wide_dtype(call, z.device))
        found.append(slice_numbers(z[rows], part, call, start=start))
    return SliceNumbers.of_blocks(found)


def to_gradient(
    z: Tensor,
    target: FlatTarget,
    call: Call,
    whole: WholeRows,
    to: Tensor,
    *,
    start: int,
    factor: Tensor,
    softcap: float = 0.0,
) -> None:
    """Find the gradient of the logits of some classes."""
    stop = start + z.shape[1]
    if on_kernel(z, call):
        part = flatten.take_classes(target, start, stop)
        job.slice_gradient(z, part, whole, to, start=start, softcap=softcap, row_scale=factor)
        return
    wide, x = torch.float64, z.to(call.dtype)
    slope = (whole.mass / (1 + whole.rest)).to(x.dtype)
    grad = (x - whole.top.to(x.dtype).unsqueeze(1)).exp_().mul_(slope.unsqueeze(1))
    part = TargetSlice.cut(target.terms, start, stop, target.weight, wide)
    part.subtract(grad, torch.ones_like(whole.rest), wide)
    here = ((whole.top_class >= start) & (whole.top_class < stop)).nonzero().squeeze(1)
    grad[here, whole.top_class[here] - start] = whole.at_top[here].to(x.dtype)
    if softcap:
        grad *= 1 - (x / softcap) ** 2
    to.copy_(grad * factor.to(x.dtype).unsqueeze(1))
