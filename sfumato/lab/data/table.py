"""A table of examples as it was read, and the checks that every source shares.

The readers hand over raw class values; here they become class indices in one fixed order, so that the same
classes get the same indices whatever the order of the rows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sfumato.lab.data.inputs import Features
from sfumato.text import plural, short

PARTS = ("train", "validation", "test")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


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
        kind: ``"digits"``, ``"csv"``, ``"parquet"``, ``"npz"``, ``"folder"`` or ``"function"``.
        features: what is known of each row: numbers, columns, pictures or texts.
        labels: (N,) int64, indices into ``class_names``; of soft labels the likeliest class, of equals the first.
        class_names: the K classes, sorted as numbers if all are integers, else as text.
        soft: (N, K) float64, rows that sum to 1, where labels are soft.
        weight: (N,) float64 above 0, where rows have weights.
        group: (N,) int64, equal for rows that may not be split, where there are such groups.
        part: (N,) int64, indices into ``PARTS``, where the data say which rows are for what.
        notes: sentences about what was read, left out or changed.
        found: counts for the record, such as images that did not open.
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

    def counters(self) -> list[str]:
        """Columns that count the rows of the file: whole numbers, each one more than the one above."""
        return self.features.counters()


def order_classes(codes: np.ndarray, values: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Renumber classes so that they stand in sorted order.

    Args:
        codes: (N,) integers, indices into ``values``.
        values: the distinct class names, in any order.

    Returns:
        (N,) int64 labels, and the names in order: as numbers if all are integers, else as text.

    >>> labels, names = order_classes(np.array([0, 1, 2]), ["10", "9", "-1"])
    >>> labels.tolist(), names
    ([2, 1, 0], ('-1', '9', '10'))
    """
    numeric = all(_INTEGER.fullmatch(value) for value in values)
    order = sorted(range(len(values)), key=lambda i: (int(values[i]) if numeric else 0, values[i]))
    position = np.empty(len(values), np.int64)
    position[order] = np.arange(len(values))
    return position[codes], tuple(values[i] for i in order)


def check_classes(
    file: str, labels: np.ndarray, class_names: Sequence[str], *, where: str, way_out: str, least: int = 3
) -> None:
    """Refuse labels that cannot be split in three: one class only, or a class of fewer than three rows.

    Args:
        file: what to call the data in messages.
        labels: (N,) class indices.
        class_names: the K classes.
        where: what holds the labels: ``'column "label"'`` or ``"y"``.
        way_out: what to do about it, apart from adding rows.
        least: rows that a class needs; 1 where the data say which rows are for what.

    Raises:
        DataError: names the class and its number of rows.
    """
    if len(class_names) < 2:
        raise DataError(
            f'{file}: {where} holds one class only, "{short(class_names[0])}"; at least 2 are needed. {way_out}'
        )
    counts = np.bincount(labels, minlength=len(class_names))
    small = int(np.argmin(counts >= least))  # the first class that is too small, or 0 where none is
    if counts[small] < least:
        raise DataError(
            f'{file}: class "{short(class_names[small])}" of {where} has {plural(int(counts[small]), "row")}; '
            f"each class needs at least 3, one each for training, validation and test. {way_out}"
        )
