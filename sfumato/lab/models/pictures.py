"""What turns rows of the data into pictures (n, C, H, W) for the body of a model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.lab.data.arrays import CHANNELS
from sfumato.lab.data.table import Inputs
from sfumato.lab.errors import OptionError


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
        """(n, C, H, W)."""
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
        """(n, D)."""
        return self.pixels(x).flatten(1)


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Which of three axes is that of channels: the first or the last of size 1, 3 or 4; None if neither is.

    >>> channel_axis((3, 32, 32)), channel_axis((28, 28, 1)), channel_axis((8, 8, 8))
    (0, 2, None)
    """
    return 0 if shape[0] in CHANNELS else 2 if shape[2] in CHANNELS else None
