"""What is known of a row from some of its classes, and from all of them together, by the kernel or in torch operations.

A slice of a row is read once, against the largest logit of that slice. The numbers are moved to the largest logit of
all when that is known, so rows need not be in memory as a whole, nor on one rank. Terms of a sum have one sign.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel import job
from sfumato.kernel.job import FlatTarget, WholeRows
from sfumato.loss.eager import wide_type
from sfumato.loss.flatten import take_classes, take_rows
from sfumato.loss.target_slice import TargetSlice

_FEW = 1 << 18  # logits of which torch operations make copies at a time: in the cache on a CPU


class SliceNumbers(NamedTuple):
    """What some classes say of each row, (N, …)."""

    top: Tensor  # m, the largest logit, in the dtype of the arithmetic; −inf where there are no classes
    at: Tensor  # its class, counted over all classes
    rest: Tensor  # Σ e^(z−m) over the other classes of the slice
    label_deficit: Tensor  # Σ w·q·(m − z)
    mass: Tensor  # Σ w·q
    others: Tensor  # Σ w·q over the classes but ``at``

    @classmethod
    def of_no_classes(cls, z: Tensor, call: Call) -> Self:
        """The numbers of the rows of ``z`` without a class."""
        none = z.new_zeros((z.shape[0], *z.shape[2:]), dtype=wide_type(z, call))
        return cls(none.to(call.dtype) - torch.inf, none.long(), none, none, none, none)

    @classmethod
    def of_blocks(cls, blocks: Sequence[Self]) -> Self:
        """The numbers of all rows, from those of some rows after others; there is at least one block."""
        return blocks[0] if len(blocks) == 1 else cls(*(torch.cat(each) for each in zip(*blocks, strict=True)))

    def base(self) -> Tensor:
        """What the sums were taken against: m, or 0 where m is −inf."""
        return torch.where(self.top == -torch.inf, 0.0, self.top)

    def against(self, top: Tensor) -> Tensor:
        """(4, N, …): the numbers against the largest logit of all classes, to be added up over the slices.

        They are the sum of exponentials without those that are 1, how many are 1, Σ w·q·(top − z), and Σ w·q.
        """
        wide = self.rest.dtype
        leads = self.top == top
        below = (self.top.to(wide) - top.to(wide)).exp()
        rest = torch.where(leads, self.rest, (1 + self.rest) * below)
        further = top.to(wide) - self.base().to(wide)
        label_deficit = self.label_deficit + torch.where(self.mass == 0, 0.0, self.mass * further)
        return torch.stack([rest, leads.to(wide), label_deficit, self.mass])

    def joined(self, after: Self) -> Self:
        """The numbers of these classes and others, which come after them."""
        top = torch.maximum(self.top, after.top)
        below, ones, label_deficit, mass = (self.against(top) + after.against(top)).unbind()
        first = self.top >= after.top
        others = torch.where(first, self.others + after.mass, self.mass + after.others)
        rest = torch.where(top == -torch.inf, 0.0, below + (ones - 1))
        return type(self)(top, torch.where(first, self.at, after.at), rest, label_deficit, mass, others)


class RowNumbers(NamedTuple):
    """What all classes say of each row, (N, …)."""

    top: Tensor  # the largest logit of all classes
    rest: Tensor  # Σ e^(z−top) over all classes but one that is largest; the log of 1 + rest is lse(z) − top
    mass: Tensor  # S = Σ w·q
    loss: Tensor  # Σ w·q·(lse(z) − z)

    @classmethod
    def of(cls, top: Tensor, sums: Tensor) -> Self:
        """From the largest logit, and what :meth:`SliceNumbers.against` it gives for all slices together."""
        below, ones, label_deficit, mass = sums.unbind()
        rest = below + (ones - 1)
        lse = rest.log1p() + (top - top)  # NaN where the largest logit is infinite
        return cls(top, rest, mass, mass * lse + label_deficit)

    def at_top(self, own: SliceNumbers) -> Tensor:
        """The gradient at the class ``own.at``, where its logit is the largest of all: (S − w·q) − S·(1 − p).

        That is Σ of the masses elsewhere less S·rest/(1 + rest), which keeps the digits of a confident row.
        """
        elsewhere = (self.mass - own.mass) + own.others
        return elsewhere - self.mass * (self.rest / (1 + self.rest))

    def whole(self, own: SliceNumbers) -> WholeRows:
        """What a gradient at some classes is made from; no class is the largest of a row where another slice leads."""
        top_class = torch.where(own.top == self.top, own.at, -1)
        spoilt = self.top - self.top  # NaN where the largest logit is infinite
        numbers = (self.top, self.rest + spoilt, self.mass, self.at_top(own))
        return WholeRows(top_class, *(each.to(torch.float64, copy=True) for each in numbers))


def torch_numbers(z: Tensor, part: TargetSlice, call: Call, *, start: int) -> SliceNumbers:
    """The numbers of a few rows, whose copies are small, in torch operations."""
    wide = wide_type(z, call)
    z = z.to(call.dtype)
    top, at = z.max(1, keepdim=True)
    d = z - torch.where(top == -torch.inf, 0.0, top)
    label_deficit, mass = part.sums(d, wide)
    others = mass - part.mass_at(at, wide).squeeze(1)
    rest = d.exp_().scatter_(1, at, (top - top).masked_fill(top == -torch.inf, 0.0)).sum(1, dtype=wide)
    return SliceNumbers(top.squeeze(1), at.squeeze(1) + start, rest, label_deficit, mass, others)


def on_kernel(z: Tensor, call: Call) -> bool:
    """Whether the kernel takes slices like ``z``."""
    dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
    return call.dtype == dtype and job.takes(z, *call.tensors())


def measure(z: Tensor, target: FlatTarget, call: Call, *, start: int) -> SliceNumbers:
    """What the classes from ``start`` on say of each row, (N, n)."""
    stop = start + z.shape[1]
    if on_kernel(z, call):
        at, top, *sums = job.measure(z, take_classes(target, start, stop), start=start)
        return SliceNumbers(top.to(call.dtype), at, *sums)
    few = len(z) if z.device.type != "cpu" else max(1, _FEW // z.shape[1])
    blocks: list[SliceNumbers] = []
    for first in range(0, len(z), few):
        rows = slice(first, first + few)
        terms = take_rows(target, rows).terms
        part = TargetSlice.cut(terms, start, stop, target.weight, wide_type(z, call))
        blocks.append(torch_numbers(z[rows], part, call, start=start))
    return SliceNumbers.of_blocks(blocks)


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
    """Put the gradient of the logits of some classes, times a factor a row, into ``to``."""
    stop = start + z.shape[1]
    if on_kernel(z, call):
        part = take_classes(target, start, stop)
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
