"""Tables whose columns have types: Parquet files, data frames, Arrow tables."""

from typing import Any

from sfumato.lab.data.assemble import Frame
from sfumato.lab.data.table import MOST_BYTES, DataError
from sfumato.text import short


def read_parquet(path: str, *, file: str, name: str) -> Frame:
    """The columns of a Parquet file.

    Raises:
        DataError: the file is no table, or is too large.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as source:
            size = sum(source.metadata.row_group(i).total_byte_size for i in range(source.metadata.num_row_groups))
            if size > MOST_BYTES:
                raise DataError(f"{file} takes {size / 1e9:.1f} GB unpacked; at most 8 GB are read")
            table = source.read()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, (PermissionError, FileNotFoundError)):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{file} is not a Parquet file, or a damaged one ({short(reason, 120)})") from error
    return from_arrow(table, file=file, name=name, kind="parquet")


def as_arrow(value: Any) -> Any:
    """A data frame of pandas, polars or any other kind that Arrow takes, as an Arrow table; None for anything else.

    Raises:
        DataError: a column of a data frame of pandas holds values of several types; names the column.
    """
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        return _from_pandas(value)
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


def _from_pandas(frame: Any) -> Any:
    import pyarrow as pa

    made: list[Any] = []
    for place, name in enumerate(frame.columns):
        try:
            made.append(pa.chunked_array(pa.Array.from_pandas(frame.iloc[:, place])))
        except (pa.ArrowException, TypeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise DataError(
                f'column "{short(str(name))}" of the data frame holds values of several types, or of none that can be '
                f"read ({short(reason, 120)}); make it numbers or text"
            ) from error
    return pa.Table.from_arrays(made, names=[str(name) for name in frame.columns])


def from_arrow(table: Any, *, file: str, name: str, kind: str) -> Frame:
    """The columns of an Arrow table.

    Raises:
        DataError: as :func:`read_parquet`.
    """
    # What pandas keeps of its row numbers is no feature.
    header = [str(column) for column in table.column_names]
    kept = [j for j, column in enumerate(header) if not (column.startswith("__index_level_") and column.endswith("__"))]
    names = [header[j].strip() for j in kept]
    twice = next((column for i, column in enumerate(names) if column in names[:i]), None)
    if twice is not None:
        raise DataError(f'{file} has two columns called "{short(twice)}"; rename or drop one')
    if not names:
        raise DataError(f"{file} has no columns")
    if table.num_rows == 0:
        raise DataError(f"{file} has no rows; add some")
    return Frame(file, name, kind, names, lambda: [table.column(j) for j in kept], lambda row: f"{file}, row {row}")
