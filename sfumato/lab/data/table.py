"""A table of examples as it was read, whatever it was read from, and the form of the rows that a model takes."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from sfumato.io.tables import DataError as DataError
from sfumato.lab.data.columns import Column, ColumnLine
from sfumato.messages import Note

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataWarning:
    """What a reader should know before trusting a result; ``column`` is None where no single column is meant."""

    code: str
    column: str | None
    text: str


@dataclass(frozen=True)
class Inputs:
    """The form of one row of an array for training.

    Dense rows are float32 numbers, images uint8 (height, width, channels) and tokens int64. Sparse rows are float32:
    the numbers of the row's terms and other features, then as many weights, filled up with 0.
    """

    kind: Literal["dense", "image", "sparse", "tokens"]
    shape: tuple[int, ...]  # of one row
    width: int  # features as a linear layer counts them: numbers, pixels × channels, or terms and other features
    picture: tuple[int, ...] = ()  # how dense numbers form an image, such as (8, 8) or (3, 32, 32)
    mean: tuple[float, ...] = ()  # of images: per channel over the training rows
    scale: tuple[float, ...] = ()  # of images: the standard deviation per channel

    @classmethod
    def dense(cls, width: int, picture: tuple[int, ...] = ()) -> "Inputs":
        """Plain numbers."""
        return cls("dense", (width,), width, picture)

    def describe(self) -> str:
        """In words, for progress and report.

        >>> Inputs.dense(64, picture=(8, 8)).describe()
        '64 features (8 × 8)'
        """
        if self.kind == "image":
            return f"images of {' × '.join(map(str, self.shape))}"
        if self.kind != "dense":
            return f"{self.width:,} sparse features" if self.kind == "sparse" else f"up to {self.shape[0]:,} tokens"
        form = f" ({' × '.join(map(str, self.picture))})" if len(self.picture) > 1 else ""
        return f"{self.width:,} feature{'' if self.width == 1 else 's'}{form}"


@dataclass(frozen=True)
class Encoder:
    """Turns row numbers into a new array for training; all that it knows of the data comes from training rows."""

    inputs: Inputs
    encode: Callable[[np.ndarray], np.ndarray]
    notes: tuple[Note, ...] = ()
    learned: Mapping[str, Any] = field(default_factory=dict[str, Any])  # a StoredEncoding without schema and inputs

    def stored(self) -> dict[str, Any]:
        """All that encoding new rows needs, as ``encoding.json`` of a run holds it beside its schema."""
        inputs = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self.inputs).items()}
        return {"inputs": inputs, **self.learned}


class Features(Protocol):
    """What is known of each of N rows, before anything is learned from it."""

    def __len__(self) -> int: ...

    def hashes(self) -> np.ndarray:
        """(N, 2) uint64: equal for rows of equal content, and for others, for all practical purposes, not."""
        ...

    def raw_columns(self) -> tuple[Column, ...]:
        """The columns as they were read, where the rows have columns; nothing is copied."""
        ...

    def fit(self, rows: np.ndarray, name: str) -> Encoder:
        """An encoder by the training rows alone; ``name`` is the data's, for messages."""
        ...


def hash_rows(features: np.ndarray, chunk: int = 2**14) -> np.ndarray:
    """BLAKE2b of each row's float64 little-endian bytes, −0 taken as 0: (N, D) float64 to (N, 2) uint64."""
    chunks = (features[start : start + chunk] + 0.0 for start in range(0, len(features), chunk))
    return as_hashes(row for each in chunks for row in each.astype("<f8", order="C").view(np.uint8))


def as_hashes(rows: Iterable[bytes | np.ndarray]) -> np.ndarray:
    """BLAKE2b of the bytes of each row, 128 bits as (N, 2) uint64."""
    digests = (
        hashlib.blake2b(np.ascontiguousarray(row).data if isinstance(row, np.ndarray) else row, digest_size=16)
        for row in rows
    )
    return np.frombuffer(b"".join(digest.digest() for digest in digests), ">u8").reshape(-1, 2).astype(np.uint64)


@dataclass(frozen=True)
class Table:
    """What was read, before splitting: N examples, each with one of K labels."""

    name: str  # "digits", or the stem of the file: "flowers" for flowers.csv.gz
    kind: str  # "digits", "csv", "parquet", "npz", "folder", "function" or "memory"
    features: Features
    labels: np.ndarray  # (N,) int64, indices into class_names; of soft labels the likeliest class, of equals the first
    class_names: tuple[str, ...]  # sorted as numbers if all are integers, else as text
    soft: np.ndarray | None = None  # (N, K) float64, rows that sum to 1
    weight: np.ndarray | None = None  # (N,) float64 above 0
    group: np.ndarray | None = None  # (N,) int64, equal for rows that may not be split
    part: np.ndarray | None = None  # (N,) int64, indices into PARTS, where the data say which rows are for what
    notes: tuple[Note, ...] = ()  # what was read, left out or changed
    found: Mapping[str, Any] = field(default_factory=dict[str, Any])  # counts for the record
    kept: frozenset[str] = frozenset()  # columns that --keep names, which are known to reveal much
    columns: tuple[ColumnLine, ...] = ()  # how each column of the file was read
    warnings: tuple[DataWarning, ...] = ()
    file: str = ""  # what messages call it, "flowers.csv.gz"; empty where that is its name

    @property
    def called(self) -> str:
        """What messages call it: its file as it was given, or its name."""
        return self.file or self.name

    def counters(self) -> list[str]:
        """Columns that count the rows of the file: whole numbers, each one more than the one above."""
        numbers = [column for column in self.features.raw_columns() if column.kind == "number" and len(column) > 3]
        return [column.name for column in numbers if (np.diff(column.values) == 1).all()]
