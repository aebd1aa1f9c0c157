"""Pictures of one size, as bytes: a quarter of the memory of float32, and scaled by the model that takes them."""

from dataclasses import dataclass

import numpy as np

from sfumato.lab.data.column import Column
from sfumato.lab.data.inputs import Encoder, Inputs, as_hashes

_CHUNK = 2**12


@dataclass(frozen=True)
class Images:
    """N pictures.

    Attributes:
        pixels: (N, H, W, C) uint8.
        side: of the squares that the pictures were brought to; None where they kept their size.

    >>> encoder = Images(np.zeros((6, 8, 8, 3), np.uint8)).fit(np.arange(4), "made")
    >>> encoder.inputs.told(), encoder.inputs.scale
    ('images of 8 × 8 × 3', (1.0, 1.0, 1.0))
    """

    pixels: np.ndarray
    side: int | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each picture's bytes."""
        return as_hashes(self.pixels)

    def raw_columns(self) -> tuple[Column, ...]:
        """None: pixels are no columns."""
        return ()

    def fit(self, rows: np.ndarray, name: str) -> Encoder:
        """Rows as they are, with mean and standard deviation of each channel over the training rows."""
        shape = self.pixels.shape[1:]
        count = len(rows) * shape[0] * shape[1]
        total, squares = np.zeros(shape[2]), np.zeros(shape[2])
        for start in range(0, len(rows), _CHUNK):
            block = self.pixels[np.sort(rows)[start : start + _CHUNK]].astype(np.float64)
            total += block.sum(axis=(0, 1, 2))
            squares += (block**2).sum(axis=(0, 1, 2))
        mean = total / count
        variance = squares / count - mean**2  # of bytes: sums are exact, and nothing is lost
        scale = np.sqrt(np.where(variance > 0, variance, 1.0))
        form = Inputs("image", shape, int(np.prod(shape)), mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))
        brought = {} if self.side is None else {"side": self.side}
        return Encoder(form, lambda rows: self.pixels[rows], (), {"features": "pictures", **brought})
