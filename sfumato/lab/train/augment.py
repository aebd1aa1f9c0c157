"""Augmentation of images: flips and shifts at random, the same in every arm.

What is drawn for a row in an epoch depends on the seed of the run, the epoch and the row alone. So all arms of one seed
see the same images, whatever the batches, their parts, or the processes that share them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.lab.data.table import Inputs
from sfumato.lab.models.built_in import channel_axis
from sfumato.lab.train import padding_of

_STREAM = 0x5F0A  # apart from other numbers that are drawn from the seed of a run


class Augmentation:
    """The images of an epoch.

    ``"flip"`` turns them left to right every other time. ``"crop"`` shifts them by up to an eighth of the shorter side
    in each direction and fills up with 0, which is black in bytes and the mean in standardised numbers.
    """

    def __init__(self, kinds: tuple[str, ...], inputs: Inputs, rows: int, seed: int) -> None:
        self.kinds, self.inputs, self.rows, self.seed = kinds, inputs, rows, seed
        shape = inputs.shape if inputs.kind == "image" else inputs.picture
        first = len(shape) == 3 and inputs.kind == "dense" and channel_axis(shape) == 0
        self._sides = shape[1:] if first else shape[:2]
        self._shape, self._first = shape, first or len(shape) == 2
        self._flips, self._shifts = np.zeros(rows, bool), np.zeros((rows, 2), np.int64)

    def begin(self, epoch: int) -> bytes:
        """Draw for every row of an epoch, from 1 on; the draws as bytes, for a hash."""
        draw = np.random.default_rng((self.seed, epoch, _STREAM))
        flips, most = draw.random(self.rows) < 0.5, padding_of(self._sides)
        shifts = draw.integers(0, 2 * most + 1, (self.rows, 2))
        self._flips = flips if "flip" in self.kinds else np.zeros_like(flips)
        self._shifts = shifts if "crop" in self.kinds else np.full_like(shifts, most)
        return self._flips.tobytes() + self._shifts.astype("<i8").tobytes()

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """Rows (n, …) of the data, whose numbers are ``rows``, as this epoch has them."""
        numbers = rows.cpu().numpy()
        flips, shifts = torch.from_numpy(self._flips[numbers]), torch.from_numpy(self._shifts[numbers])
        pictures = x.reshape(len(x), *self._shape)
        pictures = pictures if self._first else pictures.permute(0, 3, 1, 2)
        change = by_torch if find_spec("torchvision") is None else by_torchvision
        moved = change(pictures, flips, shifts, padding_of(self._sides))
        return (moved if self._first else moved.permute(0, 2, 3, 1)).reshape(x.shape)


def by_torchvision(x: Tensor, flips: Tensor, shifts: Tensor, padding: int) -> Tensor:
    """Images (n, …, H, W), flipped and cropped by torchvision's transforms."""
    from torchvision.transforms.v2 import functional

    transforms: Any = functional
    height, width = x.shape[-2:]
    padded = transforms.pad(x, [padding] * 4)
    corners = zip(padded, shifts.tolist(), strict=True)
    crops = torch.stack([transforms.crop(one, int(top), int(left), height, width) for one, (top, left) in corners])
    turned = flips.to(x.device)
    crops[turned] = transforms.horizontal_flip(crops[turned])
    return crops


def by_torch(x: Tensor, flips: Tensor, shifts: Tensor, padding: int) -> Tensor:
    """The same bits, by the indices of rows and columns."""
    height, width = x.shape[-2:]
    flips, shifts = flips.to(x.device), shifts.to(x.device)
    padded = F.pad(x, [padding] * 4)
    across = torch.arange(width, device=x.device)
    across = torch.where(flips[:, None], across.flip(0), across) + shifts[:, 1:]
    down = torch.arange(height, device=x.device) + shifts[:, :1]
    between = (1,) * (x.dim() - 3)
    down = down.view(len(x), *between, height, 1).expand(*x.shape[:-1], padded.shape[-1])
    across = across.view(len(x), *between, 1, width).expand(x.shape)
    return padded.gather(-2, down).gather(-1, across)
