"""A table of numbers for each two classes, from a CSV file: names in the first line, then a line for each class.

``--noise``, ``--arm confusion`` and ``--arm similarity`` take this one form. Lines and columns may be in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sfumato.io.tables import DataError, read_csv
from sfumato.text import did_you_mean, short


def read_class_table(
    path: Path,
    classes: Sequence[str],
    allowed: Callable[[float], bool],
    wrong: str,
    row: Callable[[list[float], str], list[float]] | None = None,
) -> npt.NDArray[np.float64]:
    """The table (K, K) in a CSV file, in the order of ``classes``; ``row`` makes other numbers of a line."""
    try:
        frame = read_csv(str(path), file=str(path), name=path.stem, header=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None

    def place(name: str, where: Callable[[], str]) -> int:
        if name not in classes:
            raise DataError(f'{where()}: "{short(name)}" is not a class.{did_you_mean(name, classes)}')
        return list(classes).index(name)

    places = [place(name, lambda: f"{path}, first line") for name in frame.header[1:]]
    if lacking := [name for k, name in enumerate(classes) if k not in places]:
        raise DataError(f'{path}, first line: the class "{short(lacking[0])}" is missing; name each class once')
    table = np.full((len(classes), len(classes)), np.nan)
    for number, (first, *cells) in enumerate(zip(*(column.to_pylist() for column in frame.columns), strict=True)):
        if not any((first, *cells)):
            continue
        y = place((first or "").strip(), lambda line=number: frame.where(line))
        if not np.isnan(table[y]).any():
            raise DataError(f'{frame.where(number)}: the class "{short(classes[y])}" has a line already')
        values = [_number(cell) for cell in cells]
        if (bad := next((j for j, value in enumerate(values) if not allowed(value)), None)) is not None:
            cell, name = short((cells[bad] or "").strip()), short(classes[places[bad]])
            raise DataError(f'{frame.where(number)}, column "{name}": "{cell}" {wrong}')
        try:
            table[y, places] = values if row is None else row(values, short(classes[y]))
        except ValueError as error:
            raise DataError(f"{frame.where(number)}: {error}") from None
    missing = np.flatnonzero(np.isnan(table).any(axis=1))
    if len(missing):
        raise DataError(f'{path} has no line for the class "{short(classes[int(missing[0])])}"')
    return table


def _number(cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError:
        return math.nan
