"""Tables of text: CSV and TSV, plain or gzipped, in the encoding and with the separator that they have.

Arrow reads every cell as text, so that nothing is guessed. It is fast but says little about what is wrong, and forgives
bad quotes. So quotes are checked by Python's strict reader, which is also asked for the line of a fault once there is
one.
"""

import codecs
import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from sfumato.evaluate.scores.files.tables import separator_of
from sfumato.lab.data.assemble import Frame
from sfumato.lab.data.column import name_by_place
from sfumato.lab.data.dates import is_date
from sfumato.lab.data.table import MOST_BYTES, DataError
from sfumato.text import listing, short

_CALLED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|"}
_SAID = re.compile(rb'"?sep=([,;\t|])"?(?=\r|\n)', re.IGNORECASE)  # how Excel is told the separator, on the first line
_BLOCK, _LARGE_BLOCK = 4 * 2**20, 64 * 2**20  # Arrow wants every row in one block, and is quicker with small ones
_CHUNK = 16 * 2**20
_SAMPLE = 2**16


def read_csv(path: str, *, file: str, name: str) -> Frame:
    """The header of a CSV or TSV file, unpacked if its name ends in ``.gz``; its columns are read when asked for.

    Raises:
        DataError: anything that keeps the file from being a table.
    """

    def data() -> tuple[bytes, str]:
        return _in_utf8(_read_bytes(path, file), file)

    def table() -> bytes:  # Excel's first line stays as a blank one, so that lines are counted as in the file
        return _SAID.sub(b"", data()[0])

    held, encoding = data()
    usual = "\t" if file.lower().removesuffix(".gz").endswith(".tsv") else ","
    said = _SAID.match(held)
    sample = held[:_SAMPLE].decode("utf-8", "ignore")
    separator = said[1].decode() if said else separator_of(sample, cut=len(held) > _SAMPLE, usual=usual)
    text = _Text(_SAID.sub(b"", held), file, separator, table)
    del held
    told = [encoding] if encoding else []
    if separator != usual:
        told.append(f"cells separated by {_CALLED[separator]}")
    header = text.header()
    return Frame(
        file, name, "csv", header, lambda: text.columns(len(header)), text.place, tuple(told), comma=separator == ";"
    )


def _read_bytes(path: str, file: str) -> bytes:
    buffer, size = io.BytesIO(), 0
    try:
        with gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                size += buffer.write(chunk)
                if size > MOST_BYTES:
                    raise DataError(f"{file} holds more than 8 GB of text, too much to read; take fewer rows")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{file} is not a gzip file, or a damaged one; pack it again, or drop .gz if it is plain"
        ) from error
    except EOFError as error:
        raise DataError(f"{file} ends too early: it was cut off; copy or pack it again") from error
    return buffer.getvalue()


def _in_utf8(data: bytes, file: str) -> tuple[bytes, str]:
    """The text as UTF-8 without a mark, and its encoding where it was another."""
    told = ""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data, told = data.decode("utf-16").encode(), "UTF-16"
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not whole UTF-16 text; save the file as UTF-8") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(f"{file}, line {line}: a NUL byte, so it is not plain text; save the file as UTF-8 text")
    try:
        if not data.isascii():
            data.decode("utf-8")
    except UnicodeDecodeError as error:
        try:
            return data.decode("cp1252").encode(), "Windows text (cp1252)"
        except UnicodeDecodeError as other:
            at = other.start
            line = data.count(b"\n", 0, at) + 1
            raise DataError(
                f"{file}, line {line}: byte 0x{data[at]:02x} is not UTF-8 text; save the file as UTF-8"
            ) from error
    return data, told


class _Text:
    """The text of one file: its header, its columns, and the line on which a row starts.

    The text is let go once it is read as columns, and read again where the line of a fault is asked for.
    """

    def __init__(self, data: bytes, file: str, delimiter: str, again: Callable[[], bytes]) -> None:
        self.data: bytes | None = data
        self.file, self.delimiter, self.again = file, delimiter, again
        self.quoted = b'"' in data

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """The line on which each record starts, and its cells; blank lines are passed over, as Arrow does."""
        stream = io.TextIOWrapper(io.BytesIO(self.again() if self.data is None else self.data), "utf-8", newline="")
        csv.field_size_limit(_LARGE_BLOCK)  # a cell may be a whole article
        reader = csv.reader(stream, delimiter=self.delimiter, strict=True)
        line = 1
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{self.file}, line {line}: bad quoting ({error}); "
                "close every double quote, and double those inside cells"
            ) from error

    def header(self) -> list[str]:
        """Names of the columns, each one given once; there are rows below them."""
        records = self.records()
        line, record = next(records, (0, None))
        if record is None:
            raise DataError(f"{self.file} is empty; it needs a header line, then one line for each example")
        header = [name.strip() or name_by_place(place) for place, name in enumerate(record, 1)]
        if _are_values(header):
            raise DataError(
                f"{self.file} has no header: its first line holds values ({listing(header, 6)}); "
                "write a line with the names of the columns above it"
            )
        twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
        if twice is not None:
            raise DataError(f'{self.file} has two columns called "{short(twice)}"; rename or drop one')
        line, first = next(records, (0, None))
        if first is None:
            raise DataError(f"{self.file} has a header but no rows; add some")
        if [name.strip() for name in first] == header:
            raise DataError(f"{self.file} has its header twice; delete line {line}")
        return header

    def columns(self, width: int) -> list[Any]:
        """The cells below the header as Arrow text, a column each; empty cells are null."""
        import pyarrow as pa

        if self.quoted:
            self._check(width)
        try:
            try:
                table = self._parsed(width, _BLOCK)
            except pa.ArrowInvalid as error:
                if "straddling" not in str(error):
                    raise
                table = self._parsed(width, _LARGE_BLOCK)
        except pa.ArrowInvalid as error:
            self._check(width)
            raise DataError(f"{self.file} cannot be read as a table: {str(error).splitlines()[0]}") from error
        self.data = None
        return table.slice(1).columns

    def _parsed(self, width: int, block: int) -> Any:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        return arrow_csv.read_csv(
            pa.BufferReader(self.data),
            arrow_csv.ReadOptions(block_size=block, autogenerate_column_names=True),
            arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=self.quoted),
            arrow_csv.ConvertOptions(
                column_types={f"f{j}": pa.string() for j in range(width)}, null_values=[""], strings_can_be_null=True
            ),
        )

    def place(self, row: int) -> str:
        """The file and the line, as an editor counts, on which data row ``row`` starts."""
        return f"{self.file}, line {next(line for i, (line, _) in enumerate(self.records()) if i == row + 1)}"

    def _check(self, width: int) -> None:
        for line, record in self.records():
            if len(record) != width:
                raise DataError(
                    f"{self.file}, line {line}: {len(record)} cells, but the header has {width}; "
                    "add or remove cells, and put cells that hold a delimiter in double quotes"
                )


def _are_values(header: list[str]) -> bool:
    """Whether a first line is one of values: a number with decimals, a date, whole numbers that do not rise.

    Columns may well be called 0, 1, 2 or 2019, 2020.
    """
    whole = [int(name) for name in header if re.fullmatch(r"[+-]?[0-9]{1,18}", name)]
    decimal = any(re.fullmatch(r"[+-]?[0-9]*[.,][0-9]+", name) or is_date(name) for name in header)
    return decimal or any(after < before for before, after in itertools.pairwise(whole))
