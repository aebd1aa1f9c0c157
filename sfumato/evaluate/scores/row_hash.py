"""A number for the content of a row, which equal rows share, and which depends neither on their order nor on a seed.

It assigns rows to folds, so neither a row nor a copy of it helps to choose the temperature that scores the row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDS = 5
GROUPS = 20  # a multiple of FOLDS


def row_hash(raw: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of the bytes of every row of a contiguous (n, K) array.

    The words of 8 bytes times fixed odd random numbers are summed modulo 2^64 (Dietzfelbinger's multilinear hash), and
    the sum is mixed.
    """
    data = np.ascontiguousarray(raw).view(np.uint8)
    words, rest = divmod(data.shape[1], 8)
    odd = multipliers(data.shape[1])
    if rest == 0:
        total = data.view(np.uint64) @ odd[:words]
    else:
        whole = np.ascontiguousarray(data[:, : 8 * words]).view(np.uint64)
        tail = np.zeros((len(data), 8), dtype=np.uint8)
        tail[:, :rest] = data[:, 8 * words :]
        total = whole @ odd[:words] + tail.view(np.uint64)[:, 0] * odd[words]
    total ^= total >> np.uint64(33)
    total *= np.uint64(0xFF51AFD7ED558CCD)
    total ^= total >> np.uint64(33)
    total *= np.uint64(0xC4CEB9FE1A85EC53)
    total ^= total >> np.uint64(33)
    return total


def group_of(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The group, 0 to 19, of every row."""
    return (hashes % np.uint64(GROUPS)).astype(np.int64)


@lru_cache(maxsize=8)
def multipliers(row_bytes: int) -> npt.NDArray[np.uint64]:
    """The factors of the words of a row, and one for the bytes left over: SplitMix64 from 1 on, made odd."""
    with np.errstate(over="ignore"):
        z = np.arange(1, row_bytes // 8 + 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))) | np.uint64(1)
