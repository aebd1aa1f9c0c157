"""Numbers and columns of a table as the array for training, learned from the training rows and stored without code.

A missing number becomes the median of its column, with a column next to it that marks it. A date counts days, and where
dates span more than a year, the season too. A category becomes one column per level; levels that are rare or unknown in
training share one. :func:`transform` serves training rows and new rows alike, by what ``encoding.json`` holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.lab.data.columns import Column
from sfumato.lab.data.table import DataError, Encoder, Inputs, as_hashes, hash_rows
from sfumato.messages import Note
from sfumato.text import listing, plural, short

if TYPE_CHECKING:
    from sfumato.runs.schema import StoredColumn

MIN_ROWS = 3  # training rows that a level needs for a column of its own
MAX_LEVELS = 256  # levels of one category with a column of their own; the most frequent ones
_YEAR = 365.2425


@dataclass(frozen=True)
class Numbers:
    """N rows of D numbers, without missing ones."""

    values: np.ndarray  # (N, D) float64, C-contiguous, finite, without negative zeros
    names: tuple[str, ...]  # of the D features: column names, or positions such as "X[3,4]"
    shape: tuple[int, ...]  # of one example before flattening, such as (8, 8)
    image: bool = False  # scaled as a whole, not column by column
    written: tuple[str, ...] = ()  # how each column of a table writes its numbers; empty where there are no columns

    def __len__(self) -> int:
        return len(self.values)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each row."""
        return hash_rows(self.values)

    def raw_columns(self) -> tuple[Column, ...]:
        """One for each feature; none of an image."""
        if self.image:
            return ()
        return tuple(Column(name, "number", self.values[:, j]) for j, name in enumerate(self.names))

    def fit(self, rows: np.ndarray, name: str, *, chunk: int = 2**16) -> Encoder:
        """Mean and scale of the training rows; ``chunk`` rows are copied at a time."""
        mean, scale = standardise(name, self.values, rows, self.names, image=self.image)

        def encode(rows: np.ndarray) -> np.ndarray:
            features = np.empty((len(rows), self.values.shape[1]), np.float32)
            for start in range(0, len(rows), chunk):
                at = slice(start, start + chunk)
                features[at] = (self.values[rows[at]] - mean) / scale
            return features

        means, scales = mean.tolist(), scale.tolist()
        learned: dict[str, Any] = {"features": "numbers", "shape": list(self.shape), "mean": means, "scale": scales}
        if self.written:  # new rows come by the names of the columns; there is no median where no number was missing
            plain: dict[str, Any] = {"flagged": False, "seasons": False}
            columns = [
                {"name": own, "kind": "number", "written": mark, "median": None, "mean": m, "scale": s, **plain}
                for own, mark, m, s in zip(self.names, self.written, means, scales, strict=True)
            ]
            learned = {"features": "columns", "columns": columns}
        return Encoder(Inputs.dense(self.values.shape[1], self.shape if self.image else ()), encode, (), learned)


@dataclass(frozen=True)
class Columns:
    """N rows of columns, each of numbers, dates or categories."""

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

    def fit(self, rows: np.ndarray, name: str, *, max_bytes: int = 4 * 10**9, max_levels: int = MAX_LEVELS) -> Encoder:
        """Standardised numbers, 0 and 1 for levels and missing values, as learned from the training rows."""
        learned = [fit_column(column, rows, name, max_levels) for column in self.columns]
        width = sum(map(width_of, learned))
        if 4 * width * len(self) > max_bytes:
            held = f"{plural(len(self), 'row')} of {width:,} columns, categories spread out"
            size = f"take {4e-9 * width * len(self):.1f} GB; at most 4 GB are used"
            raise DataError(f"{name}: {held}, {size}. Drop columns with many levels, or rows")

        def encode(rows: np.ndarray) -> np.ndarray:
            return transform([Column(c.name, c.kind, c.values[rows], c.levels) for c in self.columns], learned)

        notes: list[Note] = []
        if missing := self.missing():
            named = listing([f'"{column}" ({count:,})' for column, count in missing.items()], 8)
            levels = any(column.kind == "category" for column in self.columns if column.name in missing)
            word = "; a missing word is a level of its own" if levels else ""
            text = f"A missing number is the training rows' median with a column that says so{word}."
            text = f"Missing cells: {named}. {text}"
            notes.append(Note(code="missing-cells", text=text))
        rare = [f'"{c.name}"' for c, own in zip(self.columns, learned, strict=True)
                if c.kind == "category" and len(own.get("levels", ())) < len(c.levels)]  # fmt: skip
        if rare:
            which = f"fewer than {MIN_ROWS} training rows, or beyond the {max_levels} commonest"
            columns = f"{'column' if len(rare) == 1 else 'columns'} {listing(rare, 8)}"
            notes.append(Note(code="rare-levels", text=f"Rare levels ({which}) count as one in {columns}."))
        return Encoder(Inputs.dense(width), encode, tuple(notes), {"features": "columns", "columns": learned})


def fit_column(column: Column, rows: np.ndarray, name: str, max_levels: int = MAX_LEVELS) -> StoredColumn:
    """What the training rows teach of one column; ``name`` is the data's, for messages."""
    if column.kind == "category":
        counts = np.bincount(column.values[rows] + 1, minlength=len(column.levels) + 1)[1:]
        ranks = np.argsort(np.argsort(np.array(column.levels, object)))  # ties must not depend on the order of rows
        common = np.lexsort((ranks, -counts))[:max_levels]
        levels = [column.levels[k] for k in common[counts[common] >= MIN_ROWS]]
        return {"name": column.name, "kind": "category", "written": "", "levels": levels}
    present = column.values[rows][~np.isnan(column.values[rows])]
    median = float(np.median(present)) if len(present) else 0.0
    filled = np.where(np.isnan(column.values), median, column.values)[:, None]
    mean, scale = standardise(name, filled, rows, (column.name,))
    return {
        "name": column.name,
        "kind": column.kind,
        "written": column.written,
        "median": median,
        "mean": float(mean[0]),
        "scale": float(scale[0]),
        "flagged": len(present) < len(rows),
        "seasons": column.kind == "date" and float(np.ptp(filled[rows])) > _YEAR,
    }


def width_of(learned: StoredColumn) -> int:
    """Features of one column: its levels, missing and other; or the number, its season, and whether it is missing."""
    if learned["kind"] == "category":
        return len(learned.get("levels", ())) + 2
    return 1 + 2 * learned.get("seasons", False) + learned.get("flagged", False)


def transform(columns: Sequence[Column], learned: Sequence[StoredColumn]) -> np.ndarray:
    """(n, width) float32 of columns, by what :func:`fit_column` learned of each."""
    encoded = np.zeros((len(columns[0]), sum(map(width_of, learned))), np.float32)
    start = 0
    for column, own in zip(columns, learned, strict=True):
        out = encoded[:, start : start + width_of(own)]
        start += width_of(own)
        if own["kind"] == "category":
            levels = own.get("levels", [])
            place = {level: k for k, level in enumerate(levels)}
            places = np.array([*(place.get(level, len(levels) + 1) for level in column.levels), len(levels)])
            out[np.arange(len(column)), places[column.values]] = 1
            continue
        missing, median = np.isnan(column.values), own.get("median")
        filled = np.where(missing, 0.0 if median is None else median, column.values)
        out[:, 0] = (filled - own.get("mean", 0.0)) / own.get("scale", 1.0)
        if own.get("seasons"):
            angle = 2 * np.pi / _YEAR * filled
            out[:, 1], out[:, 2] = np.sin(angle), np.cos(angle)
        if own.get("flagged"):
            out[:, -1] = missing
    return encoded


def standardise(
    name: str, values: np.ndarray, rows: np.ndarray, columns: tuple[str, ...], *, image: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale by the training rows, (D,), or (1,) for images, over all pixels; every row must fit float32.

    The scale is the standard deviation (divided by n), and 1 where the training rows are constant.
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
        held = f"values from {every[:, j].min():.3g} to {every[:, j].max():.3g}"
        raise DataError(f"{name}: {where} cannot be standardised, with {held}; look for outliers, or rescale")
    return mean, scale
