"""Tables of text: CSV and TSV, plain or gzipped, read by Arrow with every cell as text, so that nothing is guessed.

Arrow is fast but says little about what is wrong, and forgives bad quotes. So quotes are checked by Python's strict
reader, which is also asked for the line of a fault once there is one.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from sfumato.lab.data.column_roles import Roles, assemble, is_decimal
from sfumato.lab.data.table import DataError, Table
from sfumato.text import short

MOST_BYTES = 8 * 10**9
_BLOCK = 64 * 2**20  # Arrow wants every row to fit in one block
_CHUNK = 16 * 2**20


def read_csv(path: str, *, file: str, name: str, roles: Roles) -> Table:
    """Read a CSV or TSV file with a header.

    Args:
        path: the file; a name that ends in ``.gz`` is unpacked.
        file: what to call it in messages.
        name: name of the table.
        roles: which column is for what; those without a role are features.

    Returns:
        The table.

    Raises:
        DataError: anything that keeps the file from being a table with labels.
    """
    data = _read_bytes(path, file)
    text = _Text(data, file, "\t" if ".tsv" in file.lower()[-7:] else ",")
    header = text.header()
    return assemble(_CsvFrame(file, name, header, text), roles)


class _CsvFrame:
    """A CSV file as columns; they are read when they are asked for, after the header has been looked at."""

    kind = "csv"

    def __init__(self, file: str, name: str, header: list[str], text: "_Text") -> None:
        self.file, self.name, self.header, self.text = file, name, header, text
        self.cells: list[Any] | None = None

    @property
    def columns(self) -> Sequence[Any]:
        """The cells as Arrow text."""
        if self.cells is None:
            self.cells = self.text.columns(len(self.header))
        return self.cells

    def where(self, row: int) -> str:
        """The file and the line of a row."""
        return f"{self.file}, line {self.text.line(row)}"


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
    data = buffer.getvalue()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise DataError(f"{file}, line {line}: byte 0x{byte:02x} is not UTF-8 text; save the file as UTF-8") from error
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(f"{file}, line {line}: a NUL byte, so it is not plain text; save the file as UTF-8 text")
    return data


class _Text:
    """The text of one file: its header, its columns, and the line on which a row starts."""

    def __init__(self, data: bytes, file: str, delimiter: str) -> None:
        self.data, self.file, self.delimiter = data, file, delimiter
        self.quoted = b'"' in data

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """The line on which each record starts, and its cells; blank lines are passed over, as Arrow does."""
        stream = io.TextIOWrapper(io.BytesIO(self.data), "utf-8-sig", newline="")
        csv.field_size_limit(_BLOCK)  # a cell may be a whole article
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
        header = [name.strip() for name in record]
        hint = " (is its first line a header?)" if any(is_decimal(name) for name in header) else ""
        if "" in header:
            raise DataError(
                f"{self.file}, line {line}: column {header.index('') + 1} has no name{hint}; name it, or drop it "
                "(pandas writes row numbers so, unless told index=False)"
            )
        twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
        if twice is not None:
            raise DataError(f'{self.file} has two columns called "{short(twice)}"{hint}; rename or drop one')
        if next(records, None) is None:
            raise DataError(f"{self.file} has a header but no rows; add some")
        return header

    def columns(self, width: int) -> list[Any]:
        """The cells below the header as Arrow text, a column each."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        if self.quoted:
            self._check(width)
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(self.data),
                arrow_csv.ReadOptions(block_size=_BLOCK, autogenerate_column_names=True),
                arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=self.quoted),
                arrow_csv.ConvertOptions(column_types={f"f{j}": pa.string() for j in range(width)}),
            )
        except pa.ArrowInvalid as error:
            self._check(width)
            raise DataError(f"{self.file} cannot be read as a table: {str(error).splitlines()[0]}") from error
        return table.slice(1).columns

    def line(self, row: int) -> int:
        """The line, as an editor counts, on which data row ``row`` starts."""
        return next(line for i, (line, _) in enumerate(self.records()) if i == row + 1)

    def _check(self, width: int) -> None:
        for line, record in self.records():
            if len(record) != width:
                raise DataError(
                    f"{self.file}, line {line}: {len(record)} cells, but the header has {width}; "
                    "add or remove cells, and put cells that hold a delimiter in double quotes"
                )
