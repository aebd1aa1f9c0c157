"""A table of examples as it was read, whatever it was read from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sfumato.lab.data.column import Column, ColumnLine, DataWarning
from sfumato.lab.data.inputs import Features

PARTS = ("train", "validation", "test")
MOST_BYTES = 8 * 10**9
"""Of data that are read at once, unpacked."""


class DataError(ValueError):
    r"""Data that cannot be used. The text says what is wrong, where, and the way out, on one line.

    >>> print(DataError('class "two\nlines" has 1 row'))
    class "two\nlines" has 1 row
    """

    def __init__(self, text: str) -> None:
        # Names and cells come from the file: they must not break the line or steer the terminal.
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


@dataclass(frozen=True)
class Table:
    """What was read, before splitting: N examples, each with one of K labels.

    Attributes:
        name: ``"digits"``, or the stem of the file: ``"flowers"`` for ``flowers.csv.gz``.
        kind: ``"digits"``, ``"csv"``, ``"parquet"``, ``"npz"``, ``"folder"``, ``"function"`` or ``"memory"``.
        features: what is known of each row: numbers, columns, pictures or texts.
        labels: (N,) int64, indices into ``class_names``; of soft labels the likeliest class, of equals the first.
        class_names: the K classes, sorted as numbers if all are integers, else as text.
        soft: (N, K) float64, rows that sum to 1, where labels are soft.
        weight: (N,) float64 above 0, where rows have weights.
        group: (N,) int64, equal for rows that may not be split, where there are such groups.
        part: (N,) int64, indices into ``PARTS``, where the data say which rows are for what.
        notes: sentences about what was read, left out or changed.
        found: counts for the record, such as images that did not open.
        kept: columns that were asked to be kept; that they tell much is known.
        columns: how each column of the file was read, in their order there; empty where the source has no columns.
        warnings: what should be known before a result is trusted.
        file: what messages call it, ``"flowers.csv.gz"``; empty where that is its name.
    """

    name: str
    kind: str
    features: Features
    labels: np.ndarray
    class_names: tuple[str, ...]
    soft: np.ndarray | None = None
    weight: np.ndarray | None = None
    group: np.ndarray | None = None
    part: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict[str, Any])
    kept: frozenset[str] = frozenset()
    columns: tuple[ColumnLine, ...] = ()
    warnings: tuple[DataWarning, ...] = ()
    file: str = ""

    @property
    def called(self) -> str:
        """What messages call it: its file as it was given, or its name."""
        return self.file or self.name

    def raw_columns(self) -> tuple[Column, ...]:
        """The columns that are learnt from, as they were read: name, kind, values or codes of words, and gaps."""
        return self.features.raw_columns()

    def counters(self) -> list[str]:
        """Columns that count the rows of the file: whole numbers, each one more than the one above."""
        numbers = [column for column in self.raw_columns() if column.kind == "number" and len(column) > 3]
        return [column.name for column in numbers if (np.diff(column.values) == 1).all()]
