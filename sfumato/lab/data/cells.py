"""Cells of text into numbers: Arrow converts whole columns, and what it cannot convert is explained cell by cell."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sfumato.lab.data.table import DataError, listing, short

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?"))
_INFINITE = frozenset(("inf", "infinity", "-inf", "-infinity", "+inf", "+infinity"))


def read_numbers(file: str, columns: Sequence[Any], names: Sequence[str], line: Callable[[int], int]) -> np.ndarray:
    """Turn columns of text into one array of finite numbers.

    Args:
        file: what to call the file in messages.
        columns: D columns of N cells each, as Arrow text.
        names: their D names.
        line: gives the line in the file of a data row.

    Returns:
        (N, D) float64, C-contiguous; −0 is turned into 0.

    Raises:
        DataError: the columns that hold only text, or else the first cell, row by row, that is not a finite number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    features = np.empty((len(columns[0]), len(columns)))
    bad: list[int] = []
    for j, column in enumerate(columns):
        try:
            features[:, j] = pc.cast(trimmed(column), pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            bad.append(j)
        else:
            if not np.isfinite(features[:, j]).all():
                bad.append(j)
    if bad:
        _explain(file, {j: [cell.strip() for cell in columns[j].to_pylist()] for j in bad}, names, line)
    features += 0.0
    return features


def trimmed(column: Any) -> Any:
    """A column of Arrow text without the white space around its cells."""
    import pyarrow.compute as pc

    return pc.call_function("utf8_trim_whitespace", [column])


def _explain(file: str, cells: dict[int, list[str]], names: Sequence[str], line: Callable[[int], int]) -> None:
    """Raise for the columns of ``cells``, each of which holds a cell that is not a finite number."""
    texts = [f'"{short(names[j])}"' for j, column in cells.items() if _is_text(column)]
    if len(texts) == 1:
        raise DataError(f"{file}: column {texts[0]} holds text, which is not read yet; drop the column")
    if texts:
        raise DataError(f"{file}: columns {listing(texts)} hold text, which is not read yet; drop the columns")
    faults = ((next((i for i, cell in enumerate(c) if not _is_finite(cell)), 0), j) for j, c in cells.items())
    row, j = min(faults)
    cell = cells[j][row]
    where = f'{file}, line {line(row)}: column "{short(names[j])}"'
    if not cell:
        raise DataError(f"{where} is empty; fill in the cell, or drop the row or the column")
    if cell.lower() in _MISSING:
        raise DataError(f'{where} is missing ("{cell}"); fill in the cell, or drop the row or the column')
    if cell.lower() in _INFINITE or _NUMBER.fullmatch(cell):
        raise DataError(f'{where} is infinite ("{cell}"); replace the value or drop the row')
    raise DataError(
        f'{where} holds "{short(cell)}", which is not a number; correct the cell, or drop the row or the column'
    )


def _is_text(column: Sequence[str]) -> bool:
    present = [cell for cell in column if cell.lower() not in _MISSING]
    return bool(present) and not any(_NUMBER.fullmatch(cell) or cell.lower() in _INFINITE for cell in present)


def _is_finite(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None and math.isfinite(float(cell))
