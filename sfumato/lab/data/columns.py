"""Tables with categories or gaps: numbers with missing cells, and columns of words.

A number that is missing becomes the median of its column, with a column beside it that says so. A category becomes one
column a level; levels that training hardly knows, or does not know at all, share one column. Medians, means and levels
are those of the training rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.lab.data.inputs import Inputs, hash_bytes
from sfumato.lab.data.numbers import counting, standardise
from sfumato.lab.data.table import DataError
from sfumato.text import listing, plural

LEAST_ROWS = 3
"""Training rows that a level needs for a column of its own."""

MOST_LEVELS = 256
"""Levels of one category with a column of their own; the most frequent ones."""

MOST_BYTES = 4 * 10**9


@dataclass(frozen=True)
class Category:
    """One column of words.

    Attributes:
        codes: (N,) int64, indices into ``levels``; −1 where the cell is missing.
        levels: the distinct words.
    """

    codes: np.ndarray
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """N rows of columns, each of numbers or of words.

    Attributes:
        names: of the columns.
        columns: (N,) float64 each, NaN where a number is missing, or a :class:`Category`.

    >>> age, city = np.array([1.0, np.nan, 3.0]), Category(np.array([0, 1, 0]), ("Oslo", "Rome"))
    >>> Columns(("age", "city"), (age, city)).missing()
    {'age': 1}
    """

    names: tuple[str, ...]
    columns: tuple[np.ndarray | Category, ...]

    def __len__(self) -> int:
        first = self.columns[0]
        return len(first.codes if isinstance(first, Category) else first)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each row: numbers by their bits, words by their letters."""
        cells = np.empty((len(self), len(self.columns)), "<u8")
        for j, column in enumerate(self.columns):
            if isinstance(column, Category):
                digests = [hashlib.blake2b(level.encode(), digest_size=8).digest() for level in column.levels]
                cells[:, j] = np.frombuffer(b"\0" * 8 + b"".join(digests), "<u8")[column.codes + 1]
            else:
                cells[:, j] = np.where(np.isnan(column), np.nan, column + 0.0).astype("<f8").view("<u8")
        return hash_bytes(cells.view(np.uint8))

    def counters(self) -> list[str]:
        """Columns that count the rows."""
        whole = [
            (name, column)
            for name, column in zip(self.names, self.columns, strict=True)
            if not isinstance(column, Category) and not np.isnan(column).any()
        ]
        if not whole:
            return []
        return counting(np.stack([column for _, column in whole], axis=1), tuple(name for name, _ in whole))

    def missing(self) -> dict[str, int]:
        """Missing cells of each column that has any."""
        counts = {
            name: int(np.count_nonzero(column.codes < 0 if isinstance(column, Category) else np.isnan(column)))
            for name, column in zip(self.names, self.columns, strict=True)
        }
        return {name: count for name, count in counts.items() if count}

    def fit(self, rows: np.ndarray, name: str) -> "ColumnEncoder":
        """Medians, means and levels of the training rows.

        Raises:
            DataError: numbers that cannot be standardised, or more columns than fit in memory.
        """
        made = tuple(
            _fit_category(column, rows) if isinstance(column, Category) else _fit_number(column, rows, own, name)
            for own, column in zip(self.names, self.columns, strict=True)
        )
        width = sum(each.width for each in made)
        if 4 * width * len(self) > MOST_BYTES:
            raise DataError(
                f"{name}: {plural(len(self), 'row')} of {width:,} columns, categories spread out, take "
                f"{4e-9 * width * len(self):.1f} GB; at most 4 GB are used. Drop columns with many levels, or rows"
            )
        notes: list[str] = []
        if gaps := self.missing():
            told = [f'"{column}" ({count:,})' for column, count in gaps.items()]
            words = any(isinstance(self.columns[self.names.index(column)], Category) for column in gaps)
            notes.append(
                f"Missing cells: {listing(told, 8)}. A missing number is the training rows' median with a column that "
                f"says so{'; a missing word is a level of its own' if words else ''}."
            )
        rare = [f'"{own}"' for own, each in zip(self.names, made, strict=True) if each.folded]
        if rare:
            notes.append(
                f"Rare levels (fewer than {LEAST_ROWS} training rows, or beyond the {MOST_LEVELS} commonest) count as "
                f"one in {'column' if len(rare) == 1 else 'columns'} {listing(rare, 8)}."
            )
        return ColumnEncoder(self, made, tuple(notes))


@dataclass(frozen=True)
class _Number:
    """How one column of numbers is encoded."""

    median: float
    mean: float
    scale: float
    flagged: bool
    folded: bool = False

    @property
    def width(self) -> int:
        return 2 if self.flagged else 1


@dataclass(frozen=True)
class _Levels:
    """How one category is encoded: the column of each level, the last but one missing, the last all others."""

    place: np.ndarray
    width: int
    folded: bool


@dataclass(frozen=True)
class ColumnEncoder:
    """Rows as (n, D) float32: standardised numbers, 0 and 1 for levels and gaps.

    Attributes:
        table: the columns.
        made: how each is encoded.
        notes: on gaps and rare levels.
    """

    table: Columns
    made: tuple[_Number | _Levels, ...]
    notes: tuple[str, ...]

    @property
    def inputs(self) -> Inputs:
        """Dense."""
        return Inputs.dense(sum(each.width for each in self.made))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(n, D) float32."""
        out = np.zeros((len(rows), self.inputs.width), np.float32)
        start = 0
        for column, each in zip(self.table.columns, self.made, strict=True):
            if isinstance(each, _Levels):
                assert isinstance(column, Category)
                out[np.arange(len(rows)), start + each.place[column.codes[rows]]] = 1
            else:
                assert not isinstance(column, Category)
                cells = column[rows]
                gaps = np.isnan(cells)
                out[:, start] = (np.where(gaps, each.median, cells) - each.mean) / each.scale
                if each.flagged:
                    out[:, start + 1] = gaps
            start += each.width
        return out


def _fit_number(column: np.ndarray, rows: np.ndarray, own: str, name: str) -> _Number:
    present = column[rows][~np.isnan(column[rows])]
    median = float(np.median(present)) if len(present) else 0.0
    filled = np.where(np.isnan(column), median, column)[:, None]
    mean, scale = standardise(name, filled, rows, (own,))
    return _Number(median, float(mean[0]), float(scale[0]), flagged=len(present) < len(rows))


def _fit_category(column: Category, rows: np.ndarray) -> _Levels:
    counts = np.bincount(column.codes[rows] + 1, minlength=len(column.levels) + 1)[1:]
    kept = np.lexsort((_ranks(column.levels), -counts))[:MOST_LEVELS]
    kept = kept[counts[kept] >= LEAST_ROWS]
    place = np.full(len(column.levels) + 1, len(kept) + 1)  # the last entry is that of code −1, a gap
    place[kept] = np.arange(len(kept))
    place[-1] = len(kept)
    return _Levels(place, len(kept) + 2, folded=len(kept) < len(column.levels))


def _ranks(levels: Sequence[str]) -> np.ndarray:
    """The place of each level in sorted order: ties in counts must not depend on the order of rows."""
    ranks = np.empty(len(levels), np.int64)
    ranks[sorted(range(len(levels)), key=levels.__getitem__)] = np.arange(len(levels))
    return ranks
