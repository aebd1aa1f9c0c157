"""Tables of text: CSV and TSV, plain or gzipped, read by Arrow with every cell as text, so that nothing is guessed.

Arrow is fast but says little about what is wrong, and forgives bad quotes. So quotes are checked by Python's strict
reader, which is also asked for the line of a fault once there is one.
"""

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from sfumato.lab.data.cells import read_numbers, trimmed
from sfumato.lab.data.table import DataError, Table, check_classes, listing, order_classes, short

MOST_BYTES = 8 * 10**9
LABEL_NAMES = ("label", "target", "class", "y")
_BLOCK = 64 * 2**20  # Arrow wants every row to fit in one block
_CHUNK = 16 * 2**20


def read_csv(path: str, *, file: str, name: str, label: str | None) -> Table:
    """Read a CSV or TSV file with a header.

    Args:
        path: the file; a name that ends in ``.gz`` is unpacked.
        file: what to call it in messages.
        name: name of the table.
        label: the label column, or None for the usual names.

    Returns:
        The table; every column but the label is a feature.

    Raises:
        DataError: anything that keeps the file from being a table of finite numbers with labels.
    """
    data = _read_bytes(path, file)
    text = _Text(data, file, "\t" if ".tsv" in file.lower()[-7:] else ",")
    header = text.header()
    target = _label_column(file, header, label)
    if len(header) == 1:
        raise DataError(f'{file} has no column but "{short(header[target])}"; add at least one column of numbers')
    columns = text.columns(len(header))
    encoded = trimmed(columns[target].combine_chunks()).dictionary_encode()
    codes, values = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    if "" in values:
        line = text.line(int(np.argmax(codes == values.index(""))))
        raise DataError(
            f'{file}, line {line}: column "{short(header[target])}" is empty; give it a label or drop the row'
        )
    rest = [j for j in range(len(header)) if j != target]
    names = tuple(header[j] for j in rest)
    cells = [columns[j] for j in rest]
    features = read_numbers(file, cells, names, text.line)
    labels, class_names = order_classes(codes, values)
    way_out = "Add rows, merge or drop the class, or choose another column with --label"
    check_classes(file, labels, class_names, where=f'column "{short(header[target])}"', way_out=way_out)
    return Table(name, "csv", features, labels, class_names, names, (len(names),), image=False)


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
        hint = " (is its first line a header?)" if any(_is_decimal(name) for name in header) else ""
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


def _label_column(file: str, header: list[str], label: str | None) -> int:
    if label is not None:
        if label in header:
            return header.index(label)
        lower = {name.lower(): name for name in header}
        close = difflib.get_close_matches(label.lower(), lower, n=1)
        hint = f'. Did you mean "{lower[close[0]]}"?' if close else "."
        raise DataError(f'{file} has no column "{label}"{hint} Columns: {listing(header)}')
    for wanted in LABEL_NAMES:
        for j, name in enumerate(header):
            if name.lower() == wanted:
                return j
    other = next((c for c in ";\t|," if len(header) == 1 and c in header[0]), None)
    if other is not None:
        raise DataError(
            f'{file} has one column, "{short(header[0])}"; separate its cells by commas or tabs (.csv or .tsv)'
        )
    hint = " (Is its first line a header?)" if any(_is_decimal(name) for name in header) else ""
    raise DataError(
        f"{file} has no column called label, target, class or y; name the label column with --label.{hint} "
        f"Columns: {listing(header)}"
    )


def _is_decimal(name: str) -> bool:
    """Whether a column name is a number with decimals, as in a file without a header (0, 1, 2 are fair names)."""
    return "." in name and name.replace(".", "", 1).lstrip("+-").isdigit()
