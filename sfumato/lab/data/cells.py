"""Cells into numbers or words: Arrow converts whole columns, and what it cannot convert is looked at cell by cell.

A column of text is one of numbers if its cells are, gaps aside, and one of words otherwise. In between lies a column of
numbers with a few cells that are none: those are mistakes, and the first one is named.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.lab.data.columns import Category

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?")
_INFINITE = frozenset(("inf", "infinity", "-inf", "-infinity", "+inf", "+infinity"))


@dataclass(frozen=True)
class Fault:
    """A cell that keeps a column from being used.

    Attributes:
        row: of the cell.
        text: what is wrong with it, and the way out; the place is put before it.
    """

    row: int
    text: str


@dataclass(frozen=True)
class Unused:
    """A column that is left out, and why; ``words`` where it may be text for ``--text``."""

    reason: str
    words: bool = False


def read_column(column: Any) -> np.ndarray | Category | Fault | Unused:
    """One column as (N,) float64 with NaN for gaps, as words, or as what keeps it from being either.

    Args:
        column: an Arrow array of any type, in one or more chunks.

    >>> import pyarrow as pa
    >>> read_column(pa.chunked_array([pa.array(["1", "NA", " 2.5"])]))
    array([1. , nan, 2.5])
    >>> read_column(pa.chunked_array([pa.array(["red", "", "blue"])]))
    Category(codes=array([ 0, -1,  1]), levels=('red', 'blue'))
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = pc.cast(column, kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _from_text(trimmed(pc.cast(column, pa.string())))
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return Unused("holds no value" if pa.types.is_null(kind) else f"holds values of type {kind}")
    values = pc.cast(column, pa.float64(), safe=False).to_numpy()
    return _finite(values.astype(np.float64))


def trimmed(column: Any) -> Any:
    """A column of Arrow text without the white space around its cells."""
    import pyarrow.compute as pc

    return pc.call_function("utf8_trim_whitespace", [column])


def _from_text(column: Any) -> np.ndarray | Category | Fault | Unused:
    import pyarrow as pa
    import pyarrow.compute as pc

    # By call_function, for type checkers do not know the functions that Arrow makes at run time.
    lower = pc.call_function("utf8_lower", [column])
    gaps = pc.call_function("is_in", [lower], pc.SetLookupOptions(pa.array(_MISSING), skip_nulls=False))
    present = pc.call_function("if_else", [gaps, pa.scalar(None, pa.string()), column])
    try:
        return _finite(np.asarray(pc.cast(present, pa.float64()).to_numpy(), np.float64), column)
    except pa.ArrowInvalid:
        return _words(present)


def _finite(values: np.ndarray, cells: Any = None) -> np.ndarray | Fault | Unused:
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        row = int(infinite[0])
        cell = f"{values[row]:g}" if cells is None else cells[row].as_py()
        return Fault(row, f'is infinite ("{cell}"); replace the value or drop the row')
    if len(values) and np.isnan(values).all():
        return Unused("holds no value")
    return values + 0.0


def _words(present: Any) -> np.ndarray | Category | Fault | Unused:
    """Cells that are not all numbers."""
    encoded = present.combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    counts = np.bincount(codes + 1, minlength=len(levels) + 1)[1:]
    numeric = np.array([_NUMBER.fullmatch(level) is not None or level.lower() in _INFINITE for level in levels])
    numbers, others = int(counts[numeric].sum()), int(counts[~numeric].sum())
    if others < numbers and others <= max(3, (numbers + others) // 100):
        finite = np.array([_NUMBER.fullmatch(level) is not None and math.isfinite(float(level)) for level in levels])
        row = int(np.argmax((codes >= 0) & ~finite[codes]))
        cell = levels[codes[row]]
        if numeric[codes[row]]:
            return Fault(row, f'is infinite ("{cell}"); replace the value or drop the row')
        return Fault(
            row,
            f'holds "{cell if len(cell) <= 40 else cell[:37] + "..."}", which is not a number; '
            "correct the cell, or drop the row or the column",
        )
    filled = int(counts.sum())
    if len(levels) > max(100, filled // 2):
        return Unused(f"holds {len(levels):,} different texts in {filled:,} cells", words=True)
    return Category(codes, tuple(levels))
