"""Dense numbers: a table in which every cell is finite, standardised by its training rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.lab.data.column import Column
from sfumato.lab.data.inputs import Encoder, Inputs, hash_rows
from sfumato.lab.data.table import DataError
from sfumato.text import short

_CHUNK = 2**16  # rows copied at a time


@dataclass(frozen=True)
class Numbers:
    """N rows of D numbers.

    Attributes:
        values: (N, D) float64, C-contiguous, finite, without negative zeros.
        names: the D features: column names, or positions such as ``"X[3,4]"``.
        shape: shape of one example before flattening, such as (8, 8).
        image: scaled as a whole, not column by column.
        written: how each column of a table writes its numbers, and the sign at them; empty where there are no columns.

    >>> [column.name for column in Numbers(np.eye(2), ("a", "b"), (2,)).raw_columns()]
    ['a', 'b']
    """

    values: np.ndarray
    names: tuple[str, ...]
    shape: tuple[int, ...]
    image: bool = False
    written: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each row."""
        return hash_rows(self.values)

    def raw_columns(self) -> tuple[Column, ...]:
        """One for each feature; none of a picture."""
        if self.image:
            return ()
        return tuple(Column(name, "number", self.values[:, j]) for j, name in enumerate(self.names))

    def fit(self, rows: np.ndarray, name: str) -> Encoder:
        """Mean and scale of the training rows.

        Raises:
            DataError: numbers too far apart to be standardised.
        """
        mean, scale = standardise(name, self.values, rows, self.names, image=self.image)

        def encode(rows: np.ndarray) -> np.ndarray:
            features = np.empty((len(rows), self.values.shape[1]), np.float32)
            for start in range(0, len(rows), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                features[chunk] = standard(self.values[rows[chunk]], mean, scale)
            return features

        form = Inputs.dense(self.values.shape[1], self.shape if self.image else ())
        return Encoder(form, encode, (), self._kept(mean, scale))

    def _kept(self, mean: np.ndarray, scale: np.ndarray) -> dict[str, Any]:
        """What encodes new rows: of a table, column by column."""
        if not self.written:
            return {
                "features": "numbers",
                "shape": list(self.shape),
                "mean": mean.tolist(),
                "scale": scale.tolist(),
            }
        columns = zip(self.names, self.written, mean.tolist(), scale.tolist(), strict=True)
        return {
            "features": "columns",
            "columns": [
                {
                    "name": name,
                    "kind": "number",
                    "written": written,
                    "sign": sign,
                    "median": None,  # there was no gap to be filled
                    "mean": own_mean,
                    "scale": own_scale,
                    "flagged": False,
                    "seasons": False,
                }
                for name, (written, sign), own_mean, own_scale in columns
            ],
        }


def standard(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(x − mean)/scale in float64, to be rounded to float32."""
    return (values - mean) / scale


def standardise(
    name: str, values: np.ndarray, rows: np.ndarray, columns: tuple[str, ...], *, image: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale by the training rows, such that every row fits float32.

    Both are (D,), or (1,) for images, over all pixels. The scale is the standard deviation (divided by n), and 1 where
    the training rows are constant.

    Raises:
        DataError: names the column whose spread overflows.
    """
    train, every = values[rows], values
    if image:
        train, every = train.reshape(-1, 1), every.reshape(-1, 1)
    low, high = train.min(axis=0), train.max(axis=0)
    with np.errstate(all="ignore"):  # what overflows is refused below
        constant = low == high
        mean = np.where(constant, low, train.mean(axis=0))
        scale = np.where(constant, 1.0, train.std(axis=0))
        # Rows outside training may lie much further away; they too must fit float32.
        furthest = np.maximum(every.max(axis=0) - mean, mean - every.min(axis=0)) / scale
        good = np.isfinite(scale) & (furthest <= np.finfo(np.float32).max)  # NaN, which is below nothing, is not good
    if not good.all():
        j = int(np.argmin(good))
        where = "the pixel values" if image else f'column "{short(columns[j])}"'
        raise DataError(
            f"{name}: {where} cannot be standardised, with values from {every[:, j].min():.3g} to "
            f"{every[:, j].max():.3g}; look for outliers, or rescale"
        )
    return mean, scale
