"""Tables whose columns have types: Parquet files, data frames, Arrow tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.lab.data.column_roles import Roles, assemble
from sfumato.lab.data.table import DataError, Table
from sfumato.text import short

MOST_BYTES = 8 * 10**9


@dataclass
class _ArrowFrame:
    """An Arrow table as columns."""

    file: str
    name: str
    kind: str
    header: list[str]
    columns: Sequence[Any]

    def where(self, row: int) -> str:
        """The file and the number of a row, the first one being 0 as in a data frame."""
        return f"{self.file}, row {row}"


def read_parquet(path: str, *, file: str, name: str, roles: Roles) -> Table:
    """Read a Parquet file.

    Args:
        path: the file.
        file: what to call it in messages.
        name: name of the table.
        roles: which column is for what; those without a role are features.

    Returns:
        The table.

    Raises:
        DataError: anything that keeps the file from being a table with labels.
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
    return from_arrow(table, file=file, name=name, kind="parquet", roles=roles)


def from_arrow(table: Any, *, file: str, name: str, kind: str, roles: Roles) -> Table:
    """A table from an Arrow table.

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
    return assemble(_ArrowFrame(file, name, kind, names, [table.column(j) for j in kept]), roles)
