"""What turns rows of the data into pictures (n, C, H, W) for the body of a model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.lab.data.arrays import CHANNELS
from sfumato.lab.data.inputs import Inputs
from sfumato.lab.errors import OptionError


def as_picture(
    inputs: Inputs, name: str, *, channels: int | None = None, size: tuple[int, int] | None = None
) -> tuple[nn.Module, int, int, int]:
    """What turns rows into pictures (n, C, H, W), with H, W and C.

    Raises:
        OptionError: the rows are no pictures.
    """
    if inputs.kind == "image":
        height, width, own = inputs.shape
        return PicturesOfBytes(inputs, channels=channels, size=size), height, width, channels or own
    shape = inputs.picture
    if inputs.kind == "dense" and len(shape) == 2:
        return PicturesOfNumbers(inputs, channels=channels, size=size), *shape, channels or 1
    if inputs.kind == "dense" and len(shape) == 3 and (axis := channel_axis(shape)) is not None:
        own, height, width = (shape[0], *shape[1:]) if axis == 0 else (shape[2], *shape[:2])
        return PicturesOfNumbers(inputs, channels=channels, size=size), height, width, channels or own
    raise OptionError(
        f"--model {name} takes pictures, but these data are {inputs.told()}; use --model mlp or --model linear"
    )


class PicturesOfBytes(nn.Module):
    """Bytes (n, H, W, C) to standardised float32 (n, C, H, W), grey to three channels and to another size if asked."""

    def __init__(self, inputs: Inputs, *, channels: int | None = None, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(inputs.mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(inputs.scale, dtype=torch.float32))
        self.channels, self.size = channels, size

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W)."""
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        return _fitted(((x.float() - mean) / scale).permute(0, 3, 1, 2), self.channels, self.size)


class PicturesOfNumbers(nn.Module):
    """Dense rows (n, D) that are pictures, back to (n, C, H, W)."""

    def __init__(self, inputs: Inputs, *, channels: int | None = None, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.shape, self.channels, self.size = inputs.picture, channels, size

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W)."""
        x = x.reshape(len(x), *self.shape)
        if len(self.shape) == 2:
            x = x.unsqueeze(1)
        elif channel_axis(self.shape) == 2:
            x = x.permute(0, 3, 1, 2)
        return _fitted(x, self.channels, self.size)


class Flat(nn.Module):
    """Bytes (n, H, W, C) to standardised float32 (n, H·W·C)."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.pixels = PicturesOfBytes(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, D)."""
        return self.pixels(x).flatten(1)


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Which of three axes is that of channels: the first or the last of size 1, 3 or 4; None if neither is.

    >>> channel_axis((3, 32, 32)), channel_axis((28, 28, 1)), channel_axis((8, 8, 8))
    (0, 2, None)
    """
    return 0 if shape[0] in CHANNELS else 2 if shape[2] in CHANNELS else None


def _fitted(x: Tensor, channels: int | None, size: tuple[int, int] | None) -> Tensor:
    if channels is not None and x.shape[1] != channels:
        x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1) if x.shape[1] not in (3, 4) else x[:, :channels]
    if size is not None and x.shape[2:] != size:
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    return x
