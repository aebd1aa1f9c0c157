"""A table of numbers for each two classes, from a CSV file: names in the first line, then a line for each class.

``--noise``, ``--arm confusion`` and ``--arm similarity`` take this one form. Lines and columns may be in any order.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sfumato.lab.data.table import DataError
from sfumato.text import did_you_mean, short


def read_class_table(
    path: Path,
    classes: Sequence[str],
    allowed: Callable[[float], bool],
    wrong: str,
    row: Callable[[list[float], str], list[float]] | None = None,
) -> npt.NDArray[np.float64]:
    """The table (K, K) in a CSV file, in the order of ``classes``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(reader.line_num, row) for reader in [csv.reader(file)] for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None
    if len(lines) < 2:
        raise DataError(f"{path} must have a line with the names of the classes, and one for each class")
    first, names = f"{path}, line {lines[0][0]}", [name.strip() for name in lines[0][1][1:]]
    places = [_place(name, classes, first) for name in names]
    for k, each in enumerate(classes):
        if places.count(k) != 1:
            times = "more than once" if k in places else "not at all"
            raise DataError(f'{first} names the class "{short(each)}" {times}; it must name each class once')
    table = np.full((len(classes), len(classes)), np.nan)
    for number, (name, *cells) in lines[1:]:
        where = f"{path}, line {number}"
        y = _place(name.strip(), classes, where)
        if not np.isnan(table[y]).any():
            raise DataError(f'{where}: the class "{short(classes[y])}" has a line already')
        if len(cells) != len(classes):
            raise DataError(f"{where} has {len(cells)} numbers; there are {len(classes)} classes")
        values = [
            _number(cell, allowed, f'{where}, column "{short(classes[k])}": "{short(cell.strip())}" {wrong}')
            for cell, k in zip(cells, places, strict=True)
        ]
        try:
            table[y, places] = values if row is None else row(values, short(classes[y]))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
    missing = np.flatnonzero(np.isnan(table).any(axis=1))
    if len(missing):
        raise DataError(f'{path} has no line for the class "{short(classes[int(missing[0])])}"')
    return table


def _place(name: str, classes: Sequence[str], where: str) -> int:
    if name not in classes:
        raise DataError(f'{where}: "{short(name)}" is not a class.{did_you_mean(name, classes)}')
    return list(classes).index(name)


def _number(cell: str, allowed: Callable[[float], bool], otherwise: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not allowed(value):
        raise DataError(otherwise)
    return value
