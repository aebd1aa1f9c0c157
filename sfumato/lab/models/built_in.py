"""The built-in models, and what turns rows of the data into what a body takes: images (n, C, H, W), or flat rows."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.lab.data.arrays import CHANNELS
from sfumato.lab.data.table import Inputs
from sfumato.lab.errors import OptionError
from sfumato.lab.models.classifier import Classifier

_CHANNELS = (32, 64, 128)
_LARGE = 48
"""Pictures whose shorter side is beyond this are halved by the first convolution."""


def stack(widths: list[int], classes: int, *, inputs: Inputs | None = None) -> Classifier:
    """Linear layers of these widths with ReLU between them, and a head for K classes."""
    inputs = inputs or Inputs.dense(widths[0])

    def layer(number: int, a: int, b: int) -> nn.Module:
        return SparseLinear(a, b) if number == 0 and inputs.kind == "sparse" else nn.Linear(a, b)

    made = [layer(number, a, b) for number, (a, b) in enumerate(itertools.pairwise([*widths, classes]))]
    body = nn.Sequential(*itertools.chain.from_iterable((linear, nn.ReLU()) for linear in made[:-1]))
    description = "-".join(str(width) for width in [*widths, classes]) + (", ReLU" if len(made) > 1 else "")
    return Classifier(body, made[-1], description, prepare=Flat(inputs) if inputs.kind == "image" else None)


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
    description = (
        f"{height}×{width}×{channels}, convolutions 3×3 of {', '.join(map(str, _CHANNELS))}, each with maximum over "
        f"2×2, batch norm and ReLU; mean; {_CHANNELS[-1]}-{classes}"
    )
    return Classifier(body, nn.Linear(_CHANNELS[-1], classes), description, prepare=prepare)


class Spread(nn.Module):
    """Sparse rows, L term numbers and as many weights, to dense ones: (n, 2L) to (n, V)."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.width = inputs.width

    def forward(self, x: Tensor) -> Tensor:
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
        terms, weights = x.chunk(2, dim=1)
        longest = max(1, int((weights != 0).sum(1).max()))  # rows are filled up at the end
        terms, weights = terms[:, :longest].long().contiguous(), weights[:, :longest].contiguous()
        return F.embedding_bag(terms, self.weight, per_sample_weights=weights, mode="sum") + self.bias


def as_picture(
    inputs: Inputs, name: str, *, channels: int | None = None, size: tuple[int, int] | None = None
) -> tuple[nn.Module, int, int, int]:
    """What turns rows into pictures (n, C, H, W), with the H and W that the rows have, and C."""
    shape = inputs.shape if inputs.kind == "image" else inputs.picture
    axis = channel_axis(shape) if len(shape) == 3 and inputs.kind == "dense" else 2
    if inputs.kind not in ("image", "dense") or len(shape) not in (2, 3) or axis is None:
        raise OptionError(
            f"--model {name} takes pictures, but these data are {inputs.describe()}; use --model mlp or --model linear"
        )
    height, width = shape[1:] if axis == 0 else shape[:2]
    own = shape[axis] if len(shape) == 3 else 1
    return Pictures(inputs, channels=channels, size=size), height, width, channels or own


class Pictures(nn.Module):
    """Rows that are pictures, to float32 (n, C, H, W), with as many channels and of the size that are asked for.

    Of four channels the first three are the colours. Where another number is asked for, each is the colours' mean.
    Bytes (n, H, W, C) are standardised by channel. Dense rows (n, D) get back the shape that they had.
    """

    def __init__(self, inputs: Inputs, *, channels: int | None = None, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        if inputs.kind == "image":
            self.register_buffer("mean", torch.tensor(inputs.mean, dtype=torch.float32))
            self.register_buffer("scale", torch.tensor(inputs.scale, dtype=torch.float32))
        self.inputs, self.channels, self.size = inputs, channels, size

    def forward(self, x: Tensor) -> Tensor:
        shape, channels, size = self.inputs.picture, self.channels, self.size
        if self.inputs.kind == "image":
            x = ((x.float() - self.get_buffer("mean")) / self.get_buffer("scale")).permute(0, 3, 1, 2)
        elif len(shape) == 2:
            x = x.reshape(len(x), 1, *shape)
        else:
            x = x.reshape(len(x), *shape)
            x = x if channel_axis(shape) == 0 else x.permute(0, 3, 1, 2)
        if channels is not None and x.shape[1] != channels:
            x = x[:, :3]  # without how opaque it is
            x = x if x.shape[1] == channels else x.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        if size is not None and x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        return x


class Flat(nn.Module):
    """Bytes (n, H, W, C) to standardised float32 (n, H·W·C)."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.pixels = Pictures(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.pixels(x).flatten(1)


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Which of three axes is that of channels: the first or the last of size 1, 3 or 4; None if neither is."""
    return 0 if shape[0] in CHANNELS else 2 if shape[2] in CHANNELS else None
