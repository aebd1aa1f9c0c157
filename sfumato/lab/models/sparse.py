"""Sparse rows, L term numbers and as many weights each: a linear layer for them, and their dense form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.lab.data.table import Inputs


class Spread(nn.Module):
    """Sparse rows, L term numbers and as many weights, to dense ones: (n, 2L) to (n, V)."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.width = inputs.width

    def forward(self, x: Tensor) -> Tensor:
        """(n, V)."""
        terms, weights = x.chunk(2, dim=1)
        return torch.zeros(len(x), self.width, dtype=x.dtype, device=x.device).scatter_add_(1, terms.long(), weights)


class SparseLinear(nn.Module):
    """A linear layer for sparse rows: each row's result is the weighted sum of its terms' rows of the weight.

    Equal to ``nn.Linear(V, width)`` on the dense row, initial weights too, at a cost that goes with the terms of a row.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        dense = nn.Linear(vocabulary, width)
        self.weight = nn.Parameter(dense.weight.detach().t().contiguous())
        self.bias = nn.Parameter(dense.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(n, width)."""
        terms, weights = x.chunk(2, dim=1)
        longest = max(1, int((weights != 0).sum(1).max()))  # rows are filled up at the end
        terms, weights = terms[:, :longest].long().contiguous(), weights[:, :longest].contiguous()
        return F.embedding_bag(terms, self.weight, per_sample_weights=weights, mode="sum") + self.bias
