"""What trainers log of each row beside its loss, found from the logits piece by piece."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from sfumato.loss.row_numbers import RowNumbers, SliceNumbers

_FEW = 1 << 20  # logits that are copied at a time


class RowParts(NamedTuple):
    """Numbers of rows that trainers log, (n,) each: −log p_y, H(p), whether p_y is largest, and log Σ e^z."""

    nll: Tensor | None
    entropy: Tensor
    correct: Tensor | None
    lse: Tensor


class PartSums(NamedTuple):
    """What some classes add to the parts of each row.

    Attributes:
        top: m, the largest of their logits.
        spread: Σ e^(z−m)·(m − z).
        label: z_y, or −inf where the label is another class.
    """

    top: Tensor
    spread: Tensor
    label: Tensor

    @classmethod
    def of_piece(cls, z: Tensor, found: SliceNumbers, labels: Tensor | None, *, start: int) -> Self:
        """The sums of a piece (n, C) that begins at class ``start``; ``labels`` (n,) are counted over all classes."""
        spread = torch.empty_like(found.rest)
        label = torch.full_like(found.rest, -torch.inf)
        few = max(1, _FEW // z.shape[1])
        for at in range(0, len(z), few):
            rows = slice(at, at + few)
            d = z[rows].to(torch.promote_types(z.dtype, torch.float32))
            d = d - found.of(rows).base().to(d.dtype).unsqueeze(1)
            e = d.exp()
            spread[rows] = -(e * d.masked_fill(e == 0, 0.0)).sum(1, dtype=spread.dtype)
        if labels is not None:
            here = ((labels >= start) & (labels < start + z.shape[1])).nonzero().squeeze(1)
            label[here] = z[here, labels[here] - start].to(label.dtype)
        return cls(found.top.to(spread.dtype), spread, label)

    def joined(self, after: Self, mine: SliceNumbers, others: SliceNumbers) -> Self:
        """The sums of these classes and others; with the numbers of both."""
        top = torch.maximum(self.top, after.top)
        return type(self)(
            top, self._against(top, mine) + after._against(top, others), torch.maximum(self.label, after.label)
        )

    def _against(self, top: Tensor, found: SliceNumbers) -> Tensor:
        """Σ e^(z−top)·(top − z): every term is at least 0."""
        further = top - self.top
        moved = (-further).exp() * (self.spread + further * (1 + found.rest))
        return torch.where(self.top == -torch.inf, 0.0, moved)

    def of_rows(self, at: Tensor, rows: RowNumbers, labels: Tensor | None) -> RowParts:
        """The parts, once the sums are those of all classes; ``at`` is each row's class of the largest logit."""
        lse = rows.rest.log1p()
        entropy = lse + self.spread / (1 + rows.rest)
        if labels is None:
            return RowParts(None, entropy, None, self.top + lse)
        return RowParts((self.top - self.label) + lse, entropy, at == labels, self.top + lse)
