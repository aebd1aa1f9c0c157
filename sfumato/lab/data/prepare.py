"""What training sees: a table, split, and standardised by its training rows alone."""

import difflib
import hashlib
import json
from dataclasses import dataclass

import numpy as np

from sfumato.lab.data.sources import load
from sfumato.lab.data.split import Split, hash_rows, order_by_content, split_by_content
from sfumato.lab.data.table import PARTS, DataError, Table, short

_CHUNK = 2**16  # rows copied at a time


@dataclass(frozen=True)
class Data:
    """A table ready for training.

    Attributes:
        table: what was read.
        split: which rows are for what.
        mean: (D,) mean of the training rows; (1,) for images, over all pixels.
        scale: standard deviation of the training rows (divided by n), shaped like ``mean``; 1 where they are constant.
        fingerprint: SHA-256, in hex, of the features, labels and class names, rows in content order.
    """

    table: Table
    split: Split
    mean: np.ndarray
    scale: np.ndarray
    fingerprint: str

    def arrays(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of one part.

        Args:
            part: ``"train"``, ``"validation"`` or ``"test"``.

        Returns:
            New arrays: (n, D) float32, (x − mean)/scale computed in float64, and (n,) int64. Rows stand in content
            order: a file with its rows shuffled gives the same bits.

        Raises:
            ValueError: no such part.

        >>> features, labels = prepare("digits").arrays("train")
        >>> features.shape, features.dtype, labels.dtype
        ((1078, 64), dtype('float32'), dtype('int64'))
        """
        if part not in PARTS:
            close = difflib.get_close_matches(part, PARTS, n=1) or PARTS[:1]
            raise ValueError(f'no part "{part}"; did you mean "{close[0]}"? Parts: {", ".join(PARTS)}')
        rows: np.ndarray = getattr(self.split, part)
        features = np.empty((len(rows), self.table.features.shape[1]), np.float32)
        for start in range(0, len(rows), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            features[chunk] = (self.table.features[rows[chunk]] - self.mean) / self.scale
        return features, self.table.labels[rows]


def prepare(source: str, *, label: str | None = None) -> Data:
    """Read, split (60 : 20 : 20) and standardise a data set.

    Args:
        source: ``"digits"`` or a file, as for :func:`load`.
        label: the label column of a CSV file.

    Returns:
        The data, the same whatever the order of rows in the file.

    Raises:
        DataError: as :func:`load` and :func:`split`, or numbers too far apart to be standardised.

    >>> data = prepare("digits")
    >>> round(float(data.mean[0]), 2), round(float(data.scale[0]), 2), data.fingerprint[:8]
    (4.9, 6.02, 'fe23471d')
    """
    table = load(source, label=label)
    hashes = hash_rows(table.features)
    parts = split_by_content(table, hashes, 0.2, 0.2)
    mean, scale = _standardise(table, parts.train)
    return Data(table, parts, mean, scale, _fingerprint(table, order_by_content(hashes, table.labels)))


def _standardise(table: Table, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    train, every = table.features[rows], table.features
    if table.image:
        train, every = train.reshape(-1, 1), every.reshape(-1, 1)
    low, high = train.min(axis=0), train.max(axis=0)
    with np.errstate(all="ignore"):  # what overflows is refused below
        constant = low == high
        mean = np.where(constant, low, train.mean(axis=0))
        scale = np.where(constant, 1.0, train.std(axis=0))
        # Rows outside training may lie much further away; they too must fit float32.
        furthest = np.maximum(every.max(axis=0) - mean, mean - every.min(axis=0)) / scale
        good = np.isfinite(mean) & np.isfinite(scale) & (scale > 0) & (furthest < np.finfo(np.float32).max)
    if not good.all():
        j = int(np.argmin(good))
        where = "the pixel values" if table.image else f'column "{short(table.feature_names[j])}"'
        raise DataError(
            f"{table.name}: {where} cannot be standardised, with values from {every[:, j].min():.3g} to "
            f"{every[:, j].max():.3g}; look for outliers, or rescale"
        )
    return mean, scale


def _fingerprint(table: Table, order: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps([table.shape, table.class_names]).encode())
    for start in range(0, len(order), _CHUNK):
        digest.update((table.features[order[start : start + _CHUNK]] + 0.0).astype("<f8").tobytes())
    digest.update(table.labels[order].astype("<i8").tobytes())
    return digest.hexdigest()
