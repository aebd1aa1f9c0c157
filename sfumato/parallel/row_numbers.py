"""The numbers of a row that ranks exchange: what one rank knows of its own classes, and what all know together.

A rank reads its slice of a row once, against the largest logit of that slice. What it finds is moved to the largest
logit of all when that is known, which takes a few operations a row. Terms of a sum have one sign, so nothing cancels.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.loss.eager import class_weight
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


class SliceNumbers(NamedTuple):
    """What a rank knows of each row, (N, …), from its own classes.

    Attributes:
        top: m, the largest logit, in the dtype of the arithmetic; −inf where the rank has no classes.
        at: its class, counted from the first class of the slice.
        rest: Σ e^(z−m) over the other classes of the slice.
        behind: Σ w·q·(m − z).
        mass: Σ w·q.
    """

    top: Tensor
    at: Tensor
    rest: Tensor
    behind: Tensor
    mass: Tensor

    def base(self) -> Tensor:
        """What the sums were taken against: m, or 0 where m is −inf."""
        return torch.where(self.top == -torch.inf, 0.0, self.top)

    def against(self, top: Tensor) -> Tensor:
        """(4, N, …): the numbers against the largest logit of all ranks, to be added up over the ranks.

        They are the sum of exponentials without those that are 1, how many are 1, Σ w·q·(top − z), and Σ w·q.
        """
        wide = self.rest.dtype
        leads = self.top == top
        below = (self.top.to(wide) - top.to(wide)).exp()
        rest = torch.where(leads, self.rest, (1 + self.rest) * below)
        further = top.to(wide) - self.base().to(wide)
        behind = self.behind + torch.where(self.mass == 0, 0.0, self.mass * further)
        return torch.stack([rest, leads.to(wide), behind, self.mass])


class RowNumbers(NamedTuple):
    """What every rank knows of each row, (N, …), after the exchange.

    Attributes:
        top: the largest logit of all classes.
        rest: Σ e^(z−top) over all classes but one that is largest; the log of 1 + rest is lse(z) − top.
        mass: S = Σ w·q.
        loss: Σ w·q·(lse(z) − z).
    """

    top: Tensor
    rest: Tensor
    mass: Tensor
    loss: Tensor


def wide_dtype(call: Call, device: torch.device) -> torch.dtype:
    """The dtype of what is one number a row: float64 where that is cheap, so that float32 rounds once."""
    return torch.float64 if call.dtype == torch.float32 and device.type == "cpu" else call.dtype


def slice_numbers(z: Tensor, call: Call, classes: ClassRange) -> SliceNumbers:
    """Each row's numbers from a rank's own logits.

    Args:
        z: (N, n, …), the logits of the classes that the rank has; n may be 0. A part of the rows will do, with the
            target and the weights of these rows in ``call``.
        call: what the loss is asked for, with the target over all classes.
        classes: those that the rank has.
    """
    wide = wide_dtype(call, z.device)
    if z.shape[1] == 0 or z.numel() == 0:
        none = z.new_zeros((z.shape[0], *z.shape[2:]), dtype=wide)
        return SliceNumbers(none.to(call.dtype) - torch.inf, none.long(), none, none, none)
    found = [block_numbers(rows, part, call, wide) for rows, part in _blocks(z, call, classes, wide)]
    return found[0] if len(found) == 1 else SliceNumbers(*(torch.cat(each) for each in zip(*found, strict=True)))


def block_numbers(z: Tensor, part: TargetSlice, call: Call, wide: torch.dtype) -> SliceNumbers:
    """The numbers of a few rows, whose copies are small.

    Args:
        z: (N, n, …), n at least 1.
        part: their target on the classes of the slice.
        call: says the dtype of the arithmetic.
        wide: the dtype of what is one number a row.
    """
    z = z.to(call.dtype)
    top, at = z.max(1, keepdim=True)
    d = z - torch.where(top == -torch.inf, 0.0, top)
    behind, mass = part.sums(d, wide)
    rest = d.exp_().scatter_(1, at, (top - top).masked_fill(top == -torch.inf, 0.0)).sum(1, dtype=wide)
    return SliceNumbers(top.squeeze(1), at.squeeze(1), rest, behind, mass)


def exchanged(mine: SliceNumbers, largest: Callable[[Tensor], Tensor], added: Callable[[Tensor], Tensor]) -> RowNumbers:
    """The numbers of all ranks together.

    Args:
        mine: what this rank knows.
        largest: gives the elementwise maximum of a tensor over the ranks; it is called once, with one number a row.
        added: gives the sum over the ranks; it is called once, with four numbers a row.
    """
    top = largest(mine.top)
    below, ones, behind, mass = added(mine.against(top)).unbind()
    rest = below + (ones - 1)
    lse = rest.log1p() + (top - top)  # NaN where the largest logit is infinite
    return RowNumbers(top, rest, mass, mass * lse + behind)


def slice_gradient(
    z: Tensor, mine: SliceNumbers, rows: RowNumbers, upstream: Tensor, call: Call, classes: ClassRange
) -> Tensor:
    """The gradient of a rank's own logits, upstream·(S·p − w·q), exactly 0 without upstream; it takes no exchange.

    Args:
        z: (N, n, …), as :func:`slice_numbers` was given.
        mine: what that gave.
        rows: what :func:`exchanged` made of it.
        upstream: (N, …), the gradient of each row's loss.
        call: as given to :func:`slice_numbers`.
        classes: those of the rank.
    """
    wide = rows.rest.dtype
    grad = torch.empty_like(z)
    upstream = upstream.to(wide)
    scale = upstream * rows.mass / (1 + rows.rest)
    at = 0
    for block, part in _blocks(z, call, classes, wide):
        own = slice(at, at + len(block))
        at += len(block)
        into = grad[own] if grad.dtype == call.dtype else torch.empty_like(block, dtype=call.dtype)
        torch.sub(block.to(call.dtype), rows.top[own].unsqueeze(1), out=into).exp_()
        into.mul_(scale[own].unsqueeze(1).to(into.dtype))
        part.subtract(into, upstream[own], wide)
        # At the largest logit S·p − w·q is (S − w·q − w·q·rest)/(1 + rest), which keeps the digits of a confident row.
        place, rest = mine.at[own].unsqueeze(1), rows.rest[own].unsqueeze(1)
        mass = part.mass_at(place, wide)
        lead = upstream[own].unsqueeze(1) * ((rows.mass[own].unsqueeze(1) - mass) - mass * rest) / (1 + rest)
        leads = (mine.top[own] == rows.top[own]).unsqueeze(1)
        into.scatter_(1, place, torch.where(leads, lead.to(into.dtype), into.gather(1, place)))
        inert = (upstream[own] == 0).unsqueeze(1)
        if not readable(inert) or bool(inert.any()):  # a pass over the block is spared where it can be
            into.masked_fill_(inert, 0.0)
        if into.dtype != grad.dtype:
            grad[own] = into
    return grad


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
