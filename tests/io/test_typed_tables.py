"""Tables with types: which columns of a Parquet file or a data frame are read, and what is refused."""

import datetime
import os

import numpy as np
import pandas
import pyarrow as pa
import pytest
from pyarrow import parquet

from sfumato.io.tables import as_arrow, from_arrow, read_table
from tests.lab.data import refused


def read(table):
    return from_arrow(table, file="X", name="made", kind="memory")


@pytest.fixture
def path(tmp_path):
    """A Parquet file of two groups of rows."""
    table = pa.table({"a": [1.5, 2.5, 3.5, 4.5], "b": ["u", "v", "w", "x"]})
    parquet.write_table(table, tmp_path / "made.parquet", row_group_size=2)
    return str(tmp_path / "made.parquet")


def test_a_parquet_file_is_read_with_the_places_of_its_rows(path):
    frame = read_table(path)
    assert (frame.file, frame.name, frame.kind, frame.header) == ("made.parquet", "made", "parquet", ["a", "b"])
    assert [column.to_pylist() for column in frame.columns] == [[1.5, 2.5, 3.5, 4.5], ["u", "v", "w", "x"]]
    assert frame.where(3) == "made.parquet, row 3"


def test_as_much_as_may_be_unpacked_is_read_and_not_more(path):
    with parquet.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).total_byte_size for i in (0, 1)]
    assert len(read_table(path, max_bytes=sum(sizes)).columns[0]) == 4
    assert refused(read_table, path, max_bytes=sum(sizes) - 1).startswith("made.parquet takes 0.0 GB unpacked;")


def test_a_parquet_file_that_is_damaged_or_gone_is_said_to_be(path):
    with open(path, "r+b") as file:
        file.truncate(50)
    told = refused(read_table, path)
    assert told.startswith("made.parquet is not a Parquet file, or a damaged one (Parquet magic bytes not found")
    assert len(told) < 200
    os.remove(path)
    with pytest.raises(FileNotFoundError):
        read_table(path)


class Stream:
    """What hands over a stream of Arrow."""

    def __init__(self, made):
        self.__arrow_c_stream__ = made.__arrow_c_stream__


@pytest.mark.parametrize("value", [np.eye(3), [1, 2], "a", pandas.Series([1, 2]), Stream(pa.chunked_array([[1, 2]]))])
def test_what_has_no_columns_is_no_table(value):
    assert as_arrow(value) is None


def test_a_frame_keeps_its_columns_and_their_gaps():
    made = as_arrow(pandas.DataFrame({"a": [1.5, np.nan], 7: ["u", None]}, index=[3, 9]))
    assert made.to_pydict() == {"a": [1.5, None], "7": ["u", None]}


@pytest.mark.parametrize("cells", [[1, "a"], [1, datetime.date(2024, 1, 31)], [object(), object()]])
def test_a_column_of_several_types_is_named(cells):
    told = refused(as_arrow, pandas.DataFrame({"plain": [1, 2], "mixed": cells}))
    assert told.startswith(
        'column "mixed" of the data frame holds values of several types, or of an unsupported type ('
    )
    assert told.endswith("); make it numbers or text")


def test_what_pandas_keeps_of_its_row_numbers_is_no_column():
    made = pa.table({"__index_level_0__": [1], "__index_level_of_water": [2], "level__": [3], " a ": [4]})
    frame = read(made)
    assert frame.header == ["__index_level_of_water", "level__", "a"]
    assert [column.to_pylist() for column in frame.columns] == [[2], [3], [4]]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"a": [1], "b": [2], " a": [3]}), 'X has two columns called "a"; rename or drop one'),
        (pa.table({}), "X has no columns"),
        (pa.table({"__index_level_0__": [1]}), "X has no columns"),
        (pa.table({"a": pa.array([], pa.int64())}), "X has no rows; add some"),
    ],
)
def test_a_table_without_columns_or_rows_or_with_a_name_twice_is_refused(table, says):
    assert refused(read, table).startswith(says)
