"""A table from a file or from memory as Arrow columns: CSV and TSV, plain or gzipped, Parquet, Feather, data frames.

A CSV file may be UTF-8, UTF-16 with a byte-order mark or else cp1252. Arrow reads every cell as text, so that nothing
is guessed before the whole column is known. Python's strict reader checks quotes and finds the line of a fault.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import importlib
import io
import itertools
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.io.arrays import MAX_BYTES
from sfumato.text import listing, short


class _Lazy:
    """A module that is imported when something of it is asked for: most commands read no table."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


pa: Any = _Lazy("pyarrow")
pc: Any = _Lazy("pyarrow.compute")

SEPARATORS = (",", ";", "\t", "|")
TEXT_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
ENDINGS = (*TEXT_ENDINGS, ".parquet", ".pq", ".feather", ".arrow")

MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?", "-", "--", "---", "–", "—")  # in lower case
_EXPONENT = r"(?:[eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity)$"
NUMBER = {
    ".": r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)" + _EXPONENT,
    ",": r"^[+-]?(?:[0-9]+(?:,[0-9]*)?|,[0-9]+)" + _EXPONENT,
}
"""What a number looks like, by its decimal mark."""
GROUPED = {
    ".": r"^[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?$",
    ",": r"^[+-]?[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]*)?$",
}
"""What a number with thousands separators looks like, by its decimal mark."""
_SPACED = r"^[+-]?[0-9]{1,3}(?:[ '’_\x{a0}\x{2009}\x{202f}][0-9]{3})+(?:[.,][0-9]*)?$"

_CALLED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|", " ": "spaces"}
_EXCEL = re.compile(rb'"?sep=([,;\t|])"?(?=\r|\n)', re.IGNORECASE)  # Excel's own first line, which names the separator
_MAX_CELL = 64 * 2**20


class DataError(ValueError):
    """Data that cannot be used. The text says what is wrong, where, and the way out, on one line."""

    def __init__(self, text: str) -> None:
        # Names and cells come from the file: they must not break the line or steer the terminal.
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


@dataclass
class Frame:
    """Arrow columns of one length."""

    file: str  # what messages call the file
    name: str  # the stem of the file name
    kind: str  # "csv", "parquet", "function" or "memory"
    header: list[str]  # the names of the columns, each one once
    columns: Sequence[Any]  # as many Arrow arrays; those of a CSV file hold text, and null for empty cells
    where: Callable[[int], str]  # the place of a row, with the file: "flowers.csv, line 7"
    notes: tuple[str, ...] = ()  # the encoding and the separator, where they are not the usual ones
    comma: bool = False  # whether 1,234 more likely has a decimal comma: semicolons separate the cells


def read_table(path: str, *, header: bool = True, max_bytes: int = MAX_BYTES) -> Frame:
    """The columns of a CSV, TSV, Parquet or Feather file; its ending says which.

    Without ``header``, a first line of numbers is a row, the columns are called ``"0"``, ``"1"`` and so on, and spaces
    may separate the cells.
    """
    file = os.path.basename(os.path.normpath(path))
    ending = next((each for each in ENDINGS if file.lower().endswith(each)), None)
    if ending is None:
        raise DataError(f"{file}: unsupported file format; tables are read from {', '.join(ENDINGS)}")
    read = read_csv if ending in TEXT_ENDINGS else read_arrow
    return read(path, file=file, name=file[: -len(ending)] or file, header=header, max_bytes=max_bytes)


def read_csv(path: str, *, file: str, name: str, header: bool = True, max_bytes: int = MAX_BYTES) -> Frame:
    """The columns of a CSV or TSV file, as :func:`read_table`."""

    def text() -> tuple[bytes, bytes | None, str]:
        data, encoding = _in_utf8(_read_bytes(path, file, max_bytes), file)
        excel = _EXCEL.match(data)  # without it, a blank line stays, so that lines are counted as in the file
        return (data, None, encoding) if excel is None else (data[excel.end() :], excel[1], encoding)

    data, named, encoding = text()
    usual = "\t" if file.lower().removesuffix(".gz").endswith(".tsv") else ","
    separator = named.decode() if named else separator_of(data, usual=usual, spaces=not header)
    names, skipped = _names(_records(data, file, separator), file, header)
    cells = [column.slice(skipped) for column in _parsed(data, file, separator, len(names))]

    def where(row: int) -> str:
        again = _records(text()[0], file, separator)
        return f"{file}, line {next(line for i, (line, _) in enumerate(again) if i == row + skipped)}"

    notes = [encoding] if encoding else []
    if separator != usual:
        notes.append(f"cells separated by {_CALLED[separator]}")
    return Frame(file, name, "csv", names, cells, where, tuple(notes), comma=separator == ";")


def separator_of(data: bytes, *, usual: str = ",", spaces: bool = False, sample: int = 2**16) -> str:
    """The separator that gives most of the first rows as many cells as the first one, and more than one cell."""
    text, cut = data[:sample].decode("utf-8", "ignore"), len(data) > sample

    def fit(separator: str) -> tuple[bool, float, int, bool]:
        try:
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
        except csv.Error:
            return False, 0.0, 0, False
        rows = rows[:-1] if cut and len(rows) > 1 else rows
        width = len(rows[0]) if rows else 0
        same = sum(len(row) == width for row in rows) / max(len(rows), 1)
        return width > 1, same, width if width > 1 else 0, separator == usual

    best = max(SEPARATORS, key=fit)
    return " " if spaces and not fit(best)[0] and fit(" ")[0] else best


def read_arrow(path: str, *, file: str, name: str, header: bool = True, max_bytes: int = MAX_BYTES) -> Frame:
    """The columns of a Parquet or Feather file, as :func:`read_table`."""
    from pyarrow import feather, parquet

    def refuse_size(size: int) -> None:
        if size > max_bytes:
            raise DataError(f"{file} takes {size / 1e9:.1f} GB unpacked; at most 8 GB are read")

    kind = "Feather" if file.lower().endswith((".feather", ".arrow")) else "Parquet"
    try:
        if kind == "Feather":
            table = feather.read_table(path)
            refuse_size(table.nbytes)
        else:
            with parquet.ParquetFile(path) as source:
                groups = (source.metadata.row_group(i) for i in range(source.metadata.num_row_groups))
                refuse_size(sum(group.total_byte_size for group in groups))
                table = source.read()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, (PermissionError, FileNotFoundError)):
            raise
        raise DataError(f"{file} is not a {kind} file, or a damaged one ({_reason(error)})") from error
    return from_arrow(table, file=file, name=name, kind="parquet")


def from_arrow(table: Any, *, file: str, name: str, kind: str) -> Frame:
    """The columns of an Arrow table; the row numbers that pandas stores are left out."""
    header = [str(column) for column in table.column_names]
    kept = [j for j, column in enumerate(header) if not (column.startswith("__index_level_") and column.endswith("__"))]
    names = [header[j].strip() for j in kept]
    _refuse_twins(names, file)
    if not names:
        raise DataError(f"{file} has no columns")
    if table.num_rows == 0:
        raise DataError(f"{file} has no rows; add some")
    return Frame(file, name, kind, names, [table.column(j) for j in kept], lambda row: f"{file}, row {row}")


def as_arrow(value: Any) -> Any:
    """A data frame of pandas, polars or any other kind that Arrow takes, as an Arrow table; None for anything else."""
    if isinstance(value, pa.Table):
        return value
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        names = [str(name) for name in value.columns]
        series = [value.iloc[:, place] for place in range(len(names))]
        return of_columns("the data frame", names, series, pa.Array.from_pandas)
    if hasattr(value, "to_arrow"):
        return as_arrow(value.to_arrow())
    if not hasattr(value, "__arrow_c_stream__"):
        return None
    try:
        return pa.table(value)
    except (pa.ArrowInvalid, TypeError) as error:
        if "non-struct" in str(error) or isinstance(error, TypeError):  # a series: it has values, but no columns
            return None
        raise


def of_columns(source: str, names: Sequence[str], values: Sequence[Any], to_arrow: Callable[[Any], Any]) -> Any:
    """An Arrow table of columns; ``source`` is what messages call it."""
    columns: list[Any] = []
    for name, each in zip(names, values, strict=True):
        try:
            columns.append(pa.chunked_array(to_arrow(each)))
        except (pa.ArrowException, TypeError) as error:
            held = "holds values of several types, or of an unsupported type"
            way_out = f"({_reason(error)}); make it numbers or text"
            raise DataError(f'column "{short(name)}" of {source} {held} {way_out}') from error
    return pa.Table.from_arrays(columns, names=list(names))


def plain_type(column: Any) -> Any:
    """A column without the dictionary, or the view, by which its values may be stored."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return column if kind == column.type else pc.cast(column, kind)


def trimmed(column: Any) -> Any:
    """A column of Arrow text without the white space around its cells."""
    return pc.utf8_trim_whitespace(column)


def present(column: Any) -> Any:
    """Arrow text without white space around it, and null where a cell marks a missing value."""
    column = trimmed(column)
    return pc.if_else(pc.is_in(pc.utf8_lower(column), pa.array(MISSING)), pa.scalar(None, pa.string()), column)


def matching(texts: Any, pattern: str) -> np.ndarray:
    """(n,) in which of some Arrow texts a pattern occurs."""
    return pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)


def plainly(texts: Any) -> Any:
    """Arrow text with a hyphen for the minus sign (U+2212) and for brackets, and without other thousands separators.

    These are spaces, apostrophes and underscores: no decimal mark can be meant.
    """
    texts = pc.replace_substring_regex(pc.replace_substring(texts, "−", "-"), r"^\(([0-9][^()]*)\)$", r"-\1")
    spaced = pc.match_substring_regex(texts, _SPACED)
    return pc.if_else(spaced, pc.replace_substring_regex(texts, "[^0-9.,+-]", ""), texts)


def as_numbers(texts: Any, decimal: str = ".", *, grouped: bool = False) -> np.ndarray:
    """(n,) float64 of Arrow texts that match ``NUMBER[decimal]``, or ``GROUPED[decimal]``; NaN for null."""
    texts = plainly(texts)
    if grouped:
        texts = pc.replace_substring(texts, "," if decimal == "." else ".", "")
    texts = pc.replace_substring(texts, decimal, ".")
    return np.asarray(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _read_bytes(path: str, file: str, max_bytes: int, chunk: int = 16 * 2**20) -> bytes:
    buffer, size = io.BytesIO(), 0
    try:
        with gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb") as stream:
            while block := stream.read(chunk):
                size += buffer.write(block)
                if size > max_bytes:
                    raise DataError(f"{file} holds more than 8 GB of text, too much to read; take fewer rows")
    except (gzip.BadGzipFile, zlib.error) as error:
        way_out = "pack it again, or drop .gz if it is plain"
        raise DataError(f"{file} is not a gzip file, or a damaged one; {way_out}") from error
    except EOFError as error:
        raise DataError(f"{file} ends too early: it was cut off; copy or pack it again") from error
    return buffer.getvalue()


def _in_utf8(data: bytes, file: str) -> tuple[bytes, str]:
    """The text as UTF-8 without a mark, and the name of another encoding."""
    encoding = ""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data, encoding = data.decode("utf-16").encode(), "UTF-16"
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not whole UTF-16 text; save the file as UTF-8") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(f"{file}, line {line}: a NUL byte, so it is not plain text; save the file as UTF-8 text")
    with contextlib.suppress(UnicodeDecodeError):
        if not data.isascii():
            data.decode("utf-8")
        return data, encoding
    try:
        return data.decode("cp1252").encode(), "Windows text (cp1252)"
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise DataError(f"{file}, line {line}: byte 0x{byte:02x} is not UTF-8 text; save the file as UTF-8") from error


def _records(data: bytes, file: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record starts, and its cells; blank lines are passed over, as Arrow does."""
    csv.field_size_limit(_MAX_CELL)  # a cell may be a whole article
    stream = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
    reader = csv.reader(stream, delimiter=separator, strict=True)
    line = 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        way_out = "close every double quote, and double those inside cells"
        raise DataError(f"{file}, line {line}: bad quoting ({error}); {way_out}") from error


def _names(records: Iterator[tuple[int, list[str]]], file: str, required: bool) -> tuple[list[str], int]:
    """The names of the columns, each one once, with rows below them; and how many lines they take: 1, or 0."""
    record = next(records, (0, None))[1]
    if record is None:
        raise DataError(f"{file} is empty; it needs a header line, then one line for each example")
    names = [name.strip() or f"column {place}" for place, name in enumerate(record, 1)]
    if not required and any(
        all(re.match(mark, name) or name.lower() == "nan" for name in names) for mark in NUMBER.values()
    ):
        return [str(place) for place in range(len(names))], 0
    if required and _are_values(names):
        held = f"its first line holds values ({listing(names, 6)})"
        raise DataError(f"{file} has no header: {held}; write a line with the names of the columns above it")
    _refuse_twins(names, file)
    line, first = next(records, (0, None))
    if first is None:
        raise DataError(f"{file} has a header but no rows; add some")
    if [name.strip() for name in first] == names:
        raise DataError(f"{file} has its header twice; delete line {line}")
    return names, 1


def _are_values(header: list[str]) -> bool:
    """Whether a first line holds a number with decimals, a date, or whole numbers that do not rise as years do."""
    whole = [int(name) for name in header if re.fullmatch(r"[+-]?[0-9]{1,18}", name)]
    value = r"[+-]?[0-9]*[.,][0-9]+|[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}(?:[T ].*)?"
    return any(re.fullmatch(value, name) for name in header) or any(b < a for a, b in itertools.pairwise(whole))


def _refuse_twins(names: Sequence[str], file: str) -> None:
    twin = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twin is not None:
        raise DataError(f'{file} has two columns called "{short(twin)}"; rename or drop one')


def _parsed(data: bytes, file: str, separator: str, width: int) -> Sequence[Any]:
    """The cells of all lines as Arrow text, one array per column; empty cells are null."""
    from pyarrow import csv as arrow_csv

    quoted = b'"' in data

    def check() -> None:
        for line, record in _records(data, file, separator):
            if len(record) != width:
                way_out = "add or remove cells, and put cells that hold a delimiter in double quotes"
                raise DataError(f"{file}, line {line}: {len(record)} cells, but the header has {width}; {way_out}")

    def parse(block: int) -> Sequence[Any]:
        return arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(block_size=block, autogenerate_column_names=True),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=quoted),
            arrow_csv.ConvertOptions(
                column_types={f"f{j}": pa.string() for j in range(width)}, null_values=[""], strings_can_be_null=True
            ),
        ).columns

    if quoted:
        check()
    try:
        try:
            return parse(4 * 2**20)  # small blocks are quicker, but each row must fit one
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
            return parse(_MAX_CELL)
    except pa.ArrowInvalid as error:
        check()
        raise DataError(f"{file} cannot be read as a table: {str(error).splitlines()[0]}") from error


def _reason(error: Exception) -> str:
    return short((str(error).splitlines() or [type(error).__name__])[0].rstrip("."), 120)
