"""Cells of new rows, read as those of the training rows were.

How a column was written was decided by the whole table that was trained on: its decimal mark, the style of its dates,
whether it holds words. New rows, which may be few, decide nothing: they are read in that way, or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.lab.data.cells import COMMA, POINT, as_numbers, matching, plain_type, present
from sfumato.lab.data.column import Column
from sfumato.lab.data.dates import days_as, days_of, read_dates
from sfumato.lab.data.signs_and_dashes import dashes, without_sign
from sfumato.lab.data.table import DataError
from sfumato.text import short

if TYPE_CHECKING:
    from sfumato.runs.encoding import StoredColumn


def read_again(kept: StoredColumn, cells: Any, where: Callable[[int], str], *, comma: bool) -> Column:
    """A column of new rows, of the kind that the training rows had.

    Args:
        kept: how the column of the training rows was read.
        cells: an Arrow array of any type, in one or more chunks.
        where: the place of a row, for messages.
        comma: whether the table that was trained on has decimal commas.

    Raises:
        DataError: a cell, or the type of the column, is of another kind; names the column, the row and the value.

    >>> import pyarrow as pa
    >>> price = {"name": "price", "kind": "number", "written": ",", "sign": "€"}
    >>> read_again(price, pa.chunked_array([["1.234,5 €", None]]), "row {}".format, comma=True).values
    array([1234.5,    nan])
    """
    column = plain_type(cells)
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    read = _Reader(kept, where, comma)
    if kept["kind"] == "category":
        return read.words(column)
    values = read.days(column) if kept["kind"] == "date" else read.numbers(column)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise read.fault(int(infinite[0]), "is infinite; replace the value, or leave the row out")
    return Column(kept["name"], kept["kind"], values)


class _Reader:
    """Reads one column, and words what is wrong with it."""

    def __init__(self, kept: StoredColumn, where: Callable[[int], str], comma: bool) -> None:
        self.kept, self.where, self.comma = kept, where, comma

    def fault(self, row: int, text: str) -> DataError:
        return DataError(f'{self.where(row)}: column "{short(self.kept["name"])}" {text}')

    def of_type(self, column: Any, held: str) -> DataError:
        return DataError(
            f'{self.where(0)}: column "{short(self.kept["name"])}" has type {column.type}, but held {held} in training'
        )

    def words(self, column: Any) -> Column:
        """Texts, and whole numbers and truths as a file would write them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_null(column.type):
            column = pc.cast(column, pa.string())
        elif pa.types.is_boolean(column.type):
            column = pc.call_function("if_else", [column, pa.scalar("True"), pa.scalar("False")])
        elif pa.types.is_floating(column.type):
            values: list[float | None] = column.to_pylist()  # NaN is told as "nan", which is a gap
            told = [None if x is None else str(int(x)) if x.is_integer() else repr(x) for x in values]
            column = pa.array(told, pa.string())
        elif pa.types.is_integer(column.type):
            column = pc.cast(column, pa.string())
        elif not pa.types.is_string(column.type):
            raise self.of_type(column, "words")
        encoded = present(column).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
        return Column(self.kept["name"], "category", codes, tuple(encoded.dictionary.to_pylist()))

    def numbers(self, column: Any) -> np.ndarray:
        """(n,) float64, NaN for gaps."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if pa.types.is_boolean(kind):
            column, kind = pc.cast(column, pa.uint8()), pa.uint8()
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        if is_number or pa.types.is_null(kind):
            return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
        if not pa.types.is_string(kind):
            raise self.of_type(column, "numbers")
        texts = _without_dashes(column)
        try:
            plain = np.asarray(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
            if self.kept["written"] not in (",", ".") and not self.kept["sign"]:
                return plain
        except pa.ArrowInvalid:
            pass
        return self._written(texts)

    def _written(self, texts: Any) -> np.ndarray:
        """Numbers with the decimal mark and the sign that the training rows have."""
        held, sign = texts.drop_null(), self.kept["sign"]
        rows = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        bare = held
        if sign and len(held):
            _, signed, bare = without_sign(held, sign)
            if not signed.all():
                first = int(np.argmin(signed))
                raise self.fault(
                    int(rows[first]),
                    f'holds "{short(held[first].as_py())}", but in training "{sign}" stood at each number',
                )
        written = self.kept["written"]
        mark = written if written in (",", ".") else "," if self.comma else "."
        good = matching(bare, COMMA if mark == "," else POINT)
        if not good.all():
            first = int(np.argmin(good))
            told = f"is not a number with a decimal {'comma' if mark == ',' else 'point'}, as those of training are"
            raise self.fault(int(rows[first]), f'holds "{short(held[first].as_py())}", which {told}')
        values = np.full(len(texts), np.nan)
        values[rows] = as_numbers(bare, mark)
        return values

    def days(self, column: Any) -> np.ndarray:
        """(n,) days since the start of 1970, NaN for gaps."""
        import pyarrow as pa

        if pa.types.is_null(column.type):
            return np.full(len(column), np.nan)
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            return days_of(column)
        if not pa.types.is_string(column.type):
            raise self.of_type(column, "dates")
        texts = _without_dashes(column)
        held, style = texts.drop_null(), self.kept["written"]
        rows = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        if style:
            found = days_as(held, style)
        else:  # training had dates, not texts: any style will do that is beyond doubt
            read = read_dates(held)
            found = np.full(len(held), np.nan) if read is None or read.ambiguous else read.days
        if np.isnan(found).any():
            first = int(np.argmax(np.isnan(found)))
            told = f"a date written as {style}, as those of training are" if style else "a date; write 2024-01-31"
            raise self.fault(int(rows[first]), f'holds "{short(held[first].as_py())}", which is not {told}')
        values = np.full(len(texts), np.nan)
        values[rows] = found
        return values


def _without_dashes(column: Any) -> Any:
    """Arrow text with null for each gap, a dash among them: of numbers and dates it can be nothing else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = present(column)
    gaps = pa.array(dashes(texts.fill_null("")))
    return pc.call_function("if_else", [gaps, pa.scalar(None, pa.string()), texts])
