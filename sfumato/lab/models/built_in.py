"""The built-in models: linear layers with ReLU between them, three convolutions, and layers for sparse rows."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.lab.data.table import Inputs
from sfumato.lab.models.classifier import Classifier
from sfumato.lab.models.pictures import Flat, as_picture

_CHANNELS = (32, 64, 128)
_LARGE = 48
"""Pictures whose shorter side is beyond this are halved by the first convolution."""


def stack(widths: list[int], classes: int, *, inputs: Inputs | None = None) -> Classifier:
    """Linear layers of these widths with ReLU between them, and a head for K classes; weights from torch's own state.

    >>> stack([6, 64, 64], 3).description
    '6-64-64-3, ReLU'
    """
    inputs = inputs or Inputs.dense(widths[0])

    def layer(number: int, a: int, b: int) -> nn.Module:
        return SparseLinear(a, b) if number == 0 and inputs.kind == "sparse" else nn.Linear(a, b)

    made = [layer(number, a, b) for number, (a, b) in enumerate(itertools.pairwise([*widths, classes]))]
    body = nn.Sequential(*itertools.chain.from_iterable((each, nn.ReLU()) for each in made[:-1]))
    told = "-".join(str(width) for width in [*widths, classes]) + (", ReLU" if len(made) > 1 else "")
    return Classifier(body, made[-1], told, prepare=Flat(inputs) if inputs.kind == "image" else None)


def cnn(inputs: Inputs, classes: int) -> Classifier:
    """Three convolutions with batch norm, and the mean over what is left of the picture."""
    prepare, height, width, channels = as_picture(inputs, "cnn")
    layers: list[nn.Module] = []
    stride = 2 if min(height, width) > _LARGE else 1
    for number, (a, b) in enumerate(itertools.pairwise([channels, *_CHANNELS])):
        # The maximum first: normalising and rectifying a quarter of the values takes half of the time.
        layers += [
            nn.Conv2d(a, b, 3, stride=stride if number == 0 else 1, padding=1, bias=False),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.BatchNorm2d(b),
            nn.ReLU(),
        ]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    body = body.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # its stub lacks this form
    told = (
        f"{height}×{width}×{channels}, convolutions 3×3 of {', '.join(map(str, _CHANNELS))}, each with maximum over "
        f"2×2, batch norm and ReLU; mean; {_CHANNELS[-1]}-{classes}"
    )
    return Classifier(body, nn.Linear(_CHANNELS[-1], classes), told, prepare=prepare)


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
