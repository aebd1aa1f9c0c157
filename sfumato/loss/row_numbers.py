"""What is known of a row from some of its classes, and from all of them together.

A slice of a row is read once, against the largest logit of that slice. What is found is moved to the largest logit of
all when that is known, which takes a few operations a row. So rows need not be in memory as a whole, nor on one rank.
Terms of a sum have one sign, so nothing cancels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel.job import WholeRows
from sfumato.loss.target_slice import TargetSlice


class SliceNumbers(NamedTuple):
    """What some classes say of each row, (N, …)."""

    top: Tensor  # m, the largest logit, in the dtype of the arithmetic; −inf where there are no classes
    at: Tensor  # its class, counted over all classes
    rest: Tensor  # Σ e^(z−m) over the other classes of the slice
    label_deficit: Tensor  # Σ w·q·(m − z)
    mass: Tensor  # Σ w·q
    others: Tensor  # Σ w·q over the classes but ``at``

    @classmethod
    def of_no_classes(cls, shape: tuple[int, ...], call: Call, device: torch.device) -> "SliceNumbers":
        """The numbers of so many rows without a class."""
        none = torch.zeros(shape, dtype=wide_dtype(call, device), device=device)
        return cls(none.to(call.dtype) - torch.inf, none.long(), none, none, none, none)

    @classmethod
    def of_blocks(cls, found: "Sequence[SliceNumbers]") -> "SliceNumbers":
        """The numbers of all rows, from those of some rows after others; there is at least one block."""
        return found[0] if len(found) == 1 else cls(*(torch.cat(each) for each in zip(*found, strict=True)))

    def of(self, rows: slice) -> "SliceNumbers":
        """The same of some of the rows."""
        return SliceNumbers(*(each[rows] for each in self))

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

    def joined(self, after: "SliceNumbers") -> "SliceNumbers":
        """The numbers of these classes and others, which come after them."""
        top = torch.maximum(self.top, after.top)
        below, ones, label_deficit, mass = (self.against(top) + after.against(top)).unbind()
        first = self.top >= after.top
        others = torch.where(first, self.others + after.mass, self.mass + after.others)
        rest = torch.where(top == -torch.inf, 0.0, below + (ones - 1))
        return SliceNumbers(top, torch.where(first, self.at, after.at), rest, label_deficit, mass, others)


class RowNumbers(NamedTuple):
    """What all classes say of each row, (N, …)."""

    top: Tensor  # the largest logit of all classes
    rest: Tensor  # Σ e^(z−top) over all classes but one that is largest; the log of 1 + rest is lse(z) − top
    mass: Tensor  # S = Σ w·q
    loss: Tensor  # Σ w·q·(lse(z) − z)

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


def together(own: SliceNumbers, largest: Callable[[Tensor], Tensor], added: Callable[[Tensor], Tensor]) -> RowNumbers:
    """The numbers of all slices together."""
    top = largest(own.top)
    below, ones, label_deficit, mass = added(own.against(top)).unbind()
    rest = below + (ones - 1)
    lse = rest.log1p() + (top - top)  # NaN where the largest logit is infinite
    return RowNumbers(top, rest, mass, mass * lse + label_deficit)


def wide_dtype(call: Call, device: torch.device) -> torch.dtype:
    """The dtype of what is one number a row: float64 where that is cheap, so that float32 rounds once."""
    return torch.float64 if call.dtype == torch.float32 and device.type == "cpu" else call.dtype


def slice_numbers(z: Tensor, part: TargetSlice, call: Call, *, start: int) -> SliceNumbers:
    """The numbers of a few rows, whose copies are small, in torch operations."""
    wide = wide_dtype(call, z.device)
    z = z.to(call.dtype)
    top, at = z.max(1, keepdim=True)
    d = z - torch.where(top == -torch.inf, 0.0, top)
    label_deficit, mass = part.sums(d, wide)
    others = mass - part.mass_at(at, wide).squeeze(1)
    rest = d.exp_().scatter_(1, at, (top - top).masked_fill(top == -torch.inf, 0.0)).sum(1, dtype=wide)
    return SliceNumbers(top.squeeze(1), at.squeeze(1) + start, rest, label_deficit, mass, others)
