"""Pictures of one size, as bytes: a quarter of the memory of float32, and scaled by the model that takes them."""

from dataclasses import dataclass

import numpy as np

from sfumato.lab.data.column import Column
from sfumato.lab.data.inputs import Inputs, hash_bytes

_CHUNK = 2**12


@dataclass(frozen=True)
class Images:
    """N pictures.

    Attributes:
        pixels: (N, H, W, C) uint8.

    >>> encoder = Images(np.zeros((6, 8, 8, 3), np.uint8)).fit(np.arange(4), "made")
    >>> encoder.inputs.told(), encoder.inputs.scale
    ('images of 8 × 8 × 3', (1.0, 1.0, 1.0))
    """

    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each picture's bytes."""
        return hash_bytes(self.pixels)

    def raw_columns(self) -> tuple[Column, ...]:
        """None: pixels are no columns."""
        return ()

    def fit(self, rows: np.ndarray, name: str) -> "Pixels":
        """Mean and standard deviation of each channel over the training rows."""
        count = len(rows) * self.pixels.shape[1] * self.pixels.shape[2]
        total, squares = np.zeros(self.pixels.shape[3]), np.zeros(self.pixels.shape[3])
        for start in range(0, len(rows), _CHUNK):
            block = self.pixels[np.sort(rows)[start : start + _CHUNK]].astype(np.float64)
            total += block.sum(axis=(0, 1, 2))
            squares += (block**2).sum(axis=(0, 1, 2))
        mean = total / count
        variance = squares / count - mean**2  # of bytes: sums are exact, and nothing is lost
        scale = np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), 1.0)
        return Pixels(self, tuple(mean.tolist()), tuple(scale.tolist()))


@dataclass(frozen=True)
class Pixels:
    """Rows as they are, with the numbers by which a model scales them.

    Attributes:
        images: the pictures.
        mean: per channel, 0 to 255.
        scale: standard deviation per channel; 1 where a channel is constant.
        notes: none.
    """

    images: Images
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> Inputs:
        """Images, with mean and scale."""
        shape = self.images.pixels.shape[1:]
        return Inputs("image", shape, int(np.prod(shape)), mean=self.mean, scale=self.scale)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(n, H, W, C) uint8."""
        return self.images.pixels[rows]
