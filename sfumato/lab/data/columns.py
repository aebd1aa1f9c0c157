"""Tables with categories, dates or gaps, and how their columns become numbers.

A number that is missing becomes the median of its column, with a column beside it that says so. A date counts days, and
where the dates span more than a year, the season too. A category becomes one column a level; levels that training
hardly knows, or does not know at all, share one column. Medians, means and levels are those of the training rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.lab.data.column import Column
from sfumato.lab.data.inputs import Encoder, Inputs, as_hashes
from sfumato.lab.data.numbers import standardise
from sfumato.lab.data.table import DataError
from sfumato.text import listing, plural

if TYPE_CHECKING:
    from sfumato.runs.encoding import StoredColumn

LEAST_ROWS = 3
"""Training rows that a level needs for a column of its own."""

MOST_LEVELS = 256
"""Levels of one category with a column of their own; the most frequent ones."""

MOST_BYTES = 4 * 10**9
YEAR = 365.2425


@dataclass(frozen=True)
class Columns:
    """N rows of columns, each of numbers, dates or words.

    >>> age = Column("age", "number", np.array([1.0, np.nan, 3.0]))
    >>> Columns((age, Column("city", "category", np.array([0, 1, 0]), ("Oslo", "Rome")))).missing()
    {'age': 1}
    """

    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.name for column in self.columns)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each row."""
        cells = np.empty((len(self), len(self.columns)), "<u8")
        for j, column in enumerate(self.columns):
            cells[:, j] = column.content()
        return as_hashes(cells.view(np.uint8))

    def raw_columns(self) -> tuple[Column, ...]:
        """As they were read."""
        return self.columns

    def missing(self) -> dict[str, int]:
        """Missing cells of each column that has any."""
        counts = {column.name: int(np.count_nonzero(column.missing)) for column in self.columns}
        return {name: count for name, count in counts.items() if count}

    def fit(self, rows: np.ndarray, name: str) -> Encoder:
        """Standardised numbers, 0 and 1 for levels and gaps, by medians, means and levels of the training rows.

        Raises:
            DataError: numbers that cannot be standardised, or more columns than fit in memory.
        """
        made = [
            _fit_category(column, rows) if column.kind == "category" else _fit_number(column, rows, name)
            for column in self.columns
        ]
        width = sum(each.width for each in made)
        if 4 * width * len(self) > MOST_BYTES:
            raise DataError(
                f"{name}: {plural(len(self), 'row')} of {width:,} columns, categories spread out, take "
                f"{4e-9 * width * len(self):.1f} GB; at most 4 GB are used. Drop columns with many levels, or rows"
            )

        def encode(rows: np.ndarray) -> np.ndarray:
            return _encoded([column.values[rows] for column in self.columns], made, width)

        kept = [
            {
                "name": column.name,
                "kind": column.kind,
                "written": column.written,
                "sign": column.sign,
                **each.kept(column),
            }
            for column, each in zip(self.columns, made, strict=True)
        ]
        return Encoder(Inputs.dense(width), encode, tuple(self._notes(made)), {"features": "columns", "columns": kept})

    def _notes(self, made: "Sequence[_Number | _Levels]") -> Iterator[str]:
        if gaps := self.missing():
            told = [f'"{column}" ({count:,})' for column, count in gaps.items()]
            words = any(column.kind == "category" for column in self.columns if column.name in gaps)
            yield (
                f"Missing cells: {listing(told, 8)}. A missing number is the training rows' median with a column that "
                f"says so{'; a missing word is a level of its own' if words else ''}."
            )
        rare = [f'"{own}"' for own, each in zip(self.names, made, strict=True) if each.folded]
        if rare:
            yield (
                f"Rare levels (fewer than {LEAST_ROWS} training rows, or beyond the {MOST_LEVELS} commonest) count as "
                f"one in {'column' if len(rare) == 1 else 'columns'} {listing(rare, 8)}."
            )


@dataclass(frozen=True)
class _Number:
    """How one column of numbers or dates is encoded: the number, the season of a date, and whether it is missing."""

    median: float | None  # None where no training row has a gap, nor any other
    mean: float
    scale: float
    flagged: bool
    seasons: bool
    folded: bool = False

    @property
    def width(self) -> int:
        return 1 + 2 * self.seasons + self.flagged

    def kept(self, column: Column) -> dict[str, Any]:
        """What encodes new cells of the column."""
        return {name: value for name, value in vars(self).items() if name != "folded"}

    def write(self, cells: np.ndarray, out: np.ndarray) -> None:
        gaps = np.isnan(cells)
        filled = np.where(gaps, 0.0 if self.median is None else self.median, cells)
        out[:, 0] = (filled - self.mean) / self.scale
        if self.seasons:
            angle = 2 * np.pi / YEAR * filled
            out[:, 1], out[:, 2] = np.sin(angle), np.cos(angle)
        if self.flagged:
            out[:, -1] = gaps


@dataclass(frozen=True)
class _Levels:
    """How one category is encoded: the column of each level, the last but one missing, the last all others."""

    place: np.ndarray
    width: int
    folded: bool

    def kept(self, column: Column) -> dict[str, Any]:
        """The levels that have a place of their own, in the order of their places."""
        own = np.argsort(self.place[:-1], kind="stable")[: self.width - 2]
        return {"levels": [column.levels[k] for k in own]}

    def write(self, cells: np.ndarray, out: np.ndarray) -> None:
        out[np.arange(len(cells)), self.place[cells]] = 1


def encode_again(columns: Sequence[Column], kept: Sequence["StoredColumn"]) -> np.ndarray:
    """(n, width) float32 of new rows, by what was kept of the training rows: as :meth:`Columns.fit` encodes them.

    >>> told = {"name": "city", "kind": "category", "written": "", "sign": "", "levels": ["Oslo", "Rome"]}
    >>> encode_again([Column("city", "category", np.array([0, 1, -1]), ("Bern", "Rome"))], [told])
    array([[0., 0., 0., 1.],
           [0., 1., 0., 0.],
           [0., 0., 1., 0.]], dtype=float32)
    """
    made = [_restored(column, each) for column, each in zip(columns, kept, strict=True)]
    return _encoded([column.values for column in columns], made, sum(each.width for each in made))


def _restored(column: Column, kept: "StoredColumn") -> "_Number | _Levels":
    if column.kind != "category":
        names = ("median", "mean", "scale", "flagged", "seasons")
        told: dict[str, Any] = {name: kept.get(name) for name in names}
        return _Number(**told)
    levels = kept.get("levels", [])
    own = {level: place for place, level in enumerate(levels)}
    place = [*(own.get(level, len(levels) + 1) for level in column.levels), len(levels)]
    return _Levels(np.array(place), len(levels) + 2, folded=False)


def _encoded(values: Sequence[np.ndarray], made: "Sequence[_Number | _Levels]", width: int) -> np.ndarray:
    out = np.zeros((len(values[0]), width), np.float32)
    start = 0
    for cells, each in zip(values, made, strict=True):
        each.write(cells, out[:, start : start + each.width])
        start += each.width
    return out


def _fit_number(column: Column, rows: np.ndarray, name: str) -> _Number:
    present = column.values[rows][~np.isnan(column.values[rows])]
    median = float(np.median(present)) if len(present) else 0.0
    filled = np.where(np.isnan(column.values), median, column.values)[:, None]
    mean, scale = standardise(name, filled, rows, (column.name,))
    seasons = column.kind == "date" and float(np.ptp(filled[rows])) > YEAR
    return _Number(median, float(mean[0]), float(scale[0]), len(present) < len(rows), seasons)


def _fit_category(column: Column, rows: np.ndarray) -> _Levels:
    counts = np.bincount(column.values[rows] + 1, minlength=len(column.levels) + 1)[1:]
    ranks = np.argsort(np.argsort(np.array(column.levels, object)))  # ties must not depend on the order of rows
    kept = np.lexsort((ranks, -counts))[:MOST_LEVELS]
    kept = kept[counts[kept] >= LEAST_ROWS]
    place = np.full(len(column.levels) + 1, len(kept) + 1)  # the last entry is that of code −1, a gap
    place[kept] = np.arange(len(kept))
    place[-1] = len(kept)
    return _Levels(place, len(kept) + 2, folded=len(kept) < len(column.levels))
