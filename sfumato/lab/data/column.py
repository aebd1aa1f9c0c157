"""One column of a table: what its cells hold, and the line that says how it was read."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it was read, of N rows.

    Attributes:
        name: of the column.
        kind: what its cells are; a date is a number of days.
        values: (N,) float64, NaN where a number is missing, dates as days since the start of 1970; of a category (N,)
            int64, indices into ``levels``, −1 where the cell is missing.
        levels: the different words of a category.
        written: how the file writes a date, or the decimal mark of its numbers where that had to be found out.
        note: what a reader should know of it.
        cleared: what was taken off its cells to read them: a sign, or a dash for a gap.
        sign: the per cent or currency sign that was taken off.

    >>> ages = Column("age", "number", np.array([20.0, np.nan, 20.0]))
    >>> ages.distinct, ages.missing.tolist()
    (1, [False, True, False])
    """

    name: str
    kind: Literal["number", "category", "date"]
    values: np.ndarray
    levels: tuple[str, ...] = ()
    written: str = ""
    note: str = ""
    cleared: str = ""
    sign: str = ""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> np.ndarray:
        """(N,) whether a cell is missing."""
        return self.values < 0 if self.kind == "category" else np.isnan(self.values)

    @property
    def distinct(self) -> int:
        """Different values, gaps aside."""
        if self.kind == "category":
            return len(self.levels)
        ordered = np.sort(self.values)
        return int(np.count_nonzero(ordered[1:] > ordered[:-1])) + int(not np.isnan(ordered[0]))

    def content(self) -> np.ndarray:
        """(N,) uint64: numbers by their bits, words by their letters."""
        if self.kind == "category":
            digests = [hashlib.blake2b(level.encode(), digest_size=8).digest() for level in self.levels]
            return np.frombuffer(b"\0" * 8 + b"".join(digests), "<u8")[self.values + 1]
        return np.where(np.isnan(self.values), np.nan, self.values + 0.0).astype("<f8").view("<u8")


def name_by_place(place: int) -> str:
    """What a column without a name is called: pandas and R write row numbers so, unless they are told not to."""
    return f"column {place}"


def is_by_place(name: str) -> bool:
    """Whether a column is called by its place, from 1 on.

    >>> is_by_place(name_by_place(1)), is_by_place("customer_id")
    (True, False)
    """
    return re.fullmatch(r"column \d+", name) is not None


@dataclass(frozen=True)
class ColumnLine:
    """How one column was read, for a person.

    Attributes:
        name: of the column.
        read_as: ``"number"``, ``"category"``, ``"date"``, ``"text"``, ``"id"``, ``"label"``, ``"left out"``, or the
            option that gave it another role, such as ``"weight"``.
        distinct: different values, gaps aside.
        missing: cells without a value.
        note: how it is written, or why it is left out.
    """

    name: str
    read_as: str
    distinct: int
    missing: int
    note: str = ""


@dataclass(frozen=True)
class DataWarning:
    """What a reader should know before trusting a result; ``column`` is None where no single column is meant."""

    kind: str
    column: str | None
    text: str


def line_of(column: Column) -> ColumnLine:
    """The line of a column that is learnt from.

    >>> line_of(Column("size", "number", np.array([2.5, np.nan]), written=","))
    ColumnLine(name='size', read_as='number', distinct=1, missing=1, note='decimal comma; one value only')
    """
    told = {",": "decimal comma", ".": "thousands marks"}.get(column.written, "") if column.kind == "number" else ""
    if column.kind == "date":
        told = f"{column.written}, counted in days" if column.written else "counted in days"
    distinct = column.distinct
    notes = [told, column.cleared, column.note, "one value only" if distinct == 1 else ""]
    missing = int(np.count_nonzero(column.missing))
    return ColumnLine(column.name, column.kind, distinct, missing, "; ".join(note for note in notes if note))
