"""Reading CSV and TSV files: what is accepted, and the words in which the rest is refused."""

import csv
import datetime
import gzip
import io
import os
from functools import partial

import numpy as np
import pandas
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from sfumato.io.tables import as_arrow, from_arrow, read_table, separator_of
from sfumato.lab.data import DataError, load
from tests.lab.data import refused

GOOD = "petal,sepal,label\n1,10,a\n2,20,a\n3,30,a\n4,40,b\n5,50,b\n6,60,b\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="flowers.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


refusal = partial(refused, load)


def test_a_csv_becomes_a_table_of_numbers_and_labels(write):
    table = load(write(GOOD))
    assert (table.name, table.kind, table.features.image, table.features.shape) == ("flowers", "csv", False, (2,))
    assert table.features.values.tolist() == [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50], [6, 60]]
    assert table.features.values.dtype == np.float64
    assert table.features.values.flags.c_contiguous
    assert (table.labels.tolist(), table.labels.dtype) == ([0, 0, 0, 1, 1, 1], np.int64)
    assert (table.class_names, table.features.names) == (("a", "b"), ("petal", "sepal"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("flowers.tsv", GOOD.replace(",", "\t").encode()),
        ("flowers.csv.gz", gzip.compress(GOOD.encode(), mtime=0)),
        ("bom.csv", b"\xef\xbb\xbf" + GOOD.encode()),
        ("windows.csv", GOOD.replace("\n", "\r\n").encode()),
        ("no-end.csv", GOOD.rstrip().encode()),
        ("excel.csv", ("sep=;\r\n" + GOOD.replace(",", ";").replace("\n", "\r\n")).encode()),
        ("excel-quoted.csv", b'\xef\xbb\xbf"SEP=|"\n' + GOOD.replace(",", "|").encode()),
        ("blank-lines.csv", ("\n" + GOOD.replace("3,30", "\n\n3,30") + "\n\n").encode()),
        ("spaces.csv", GOOD.replace(",", " , ").encode()),
        ("quoted.csv", ('"' + GOOD.strip().replace(",", '","').replace("\n", '"\n"') + '"').encode()),
    ],
)
def test_every_spelling_of_a_file_gives_the_same_table(write, name, content):
    table, plain = load(write(content, name)), load(write(GOOD))
    assert table.features.values.tolist() == plain.features.values.tolist()
    assert table.labels.tolist() == plain.labels.tolist()
    assert (table.class_names, table.features.names) == (plain.class_names, plain.features.names)


@pytest.mark.parametrize("bunch", [load_iris(), load_wine(), load_breast_cancer()], ids=["iris", "wine", "cancer"])
def test_real_tables_come_back_bit_for_bit(write, bunch):
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*bunch.feature_names, "class"])
    names = [str(name) for name in bunch.target_names]
    writer.writerows([*row, names[k]] for row, k in zip(bunch.data.tolist(), bunch.target, strict=True))
    table = load(write(out.getvalue(), "real.csv"))
    assert np.array_equal(table.features.values, bunch.data)
    assert [table.class_names[k] for k in table.labels] == [names[k] for k in bunch.target]
    assert table.class_names == tuple(sorted(names))
    assert table.features.names == tuple(bunch.feature_names)


def test_quoted_commas_quotes_and_newlines_stay_inside_their_cells(write):
    rows = "".join(f'{i},"red, ""dark""\nor so"\n{i},blue\n' for i in range(3))
    table = load(write('"petal,\nwidth",label\n' + rows))
    assert table.features.names == ("petal,\nwidth",)
    assert table.class_names == ("blue", 'red, "dark"\nor so')


BAD_FILES = {
    "empty": ("", "flowers.csv is empty; it needs a header line, then one line for each example"),
    "only a header": ("petal,label\n", "flowers.csv has a header but no rows; add some"),
    "its header twice": (
        GOOD.replace("1,10", "petal,sepal,label\n1,10"),
        "flowers.csv has its header twice; delete line 2",
    ),
    "a line of units": (
        GOOD.replace("1,10,a", "cm,mm,name\n1,10,a"),
        'flowers.csv, line 2: looks like a second header, with "cm", "mm" among numbers; delete the line',
    ),
    "a short row": (GOOD.replace("3,30,a", "3,a"), "flowers.csv, line 4: 2 cells, but the header has 3; add or remove"),
    "a quote never closed": (
        GOOD.replace("5,50,b", '5,50,"b'),
        "flowers.csv, line 6: bad quoting (unexpected end of data); close",
    ),
    "text after a quote": (
        GOOD.replace("5,50,b", '5,50,"b"c'),
        "flowers.csv, line 6: bad quoting (',' expected after '\"'); close",
    ),
    "neither UTF-8 nor Windows text": (
        GOOD.replace("4,40,b", "4,40,M\x81ller").encode("latin-1"),
        "flowers.csv, line 5: byte 0x81 is not UTF-8 text; save the file as UTF-8",
    ),
    "half a UTF-16": (GOOD.encode("utf-16")[:-1], "flowers.csv is not whole UTF-16 text; save the file as UTF-8"),
    "UTF-16 without a mark": (
        GOOD.encode("utf-16-le"),
        "flowers.csv, line 1: a NUL byte, so it is not plain text; save the file as UTF-8 text",
    ),
    "points and commas in one column": (
        GOOD.replace("2,20,a", '2,"2,5",a').replace("3,30,a", "3,3.5,a"),
        'flowers.csv, line 3: column "sepal" holds "2,5", which is not a',
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_in_one_clear_sentence(write, content, message):
    assert refusal(write(content)).startswith(message)


def test_lines_are_counted_as_an_editor_does_after_quoted_newlines_and_blank_lines(write):
    content = 'petal,label\n1,"a\nb\nc"\n\n2,d\nx,d\n'
    assert refusal(write(content)).startswith('flowers.csv, line 7: column "petal" holds "x"')


def test_names_that_break_lines_steer_terminals_or_run_on_are_shown_on_one_short_line(write):
    content = (GOOD + "7,70,b\n").replace("4,40,b", '4,40,"two\nlines\x1b[31m"').replace("petal", "p" * 100)
    assert refusal(write(content)).startswith(r'flowers.csv: class "two\nlines\x1b[31m" of column "label" has 1 row; ')
    assert f'line 5: column "{"p" * 37}..." holds "x"' in refusal(write(content.replace("4,40", "x,40")))


def test_a_file_that_is_no_gzip_is_refused(write):
    assert refusal(write(GOOD, "flowers.csv.gz")).startswith("flowers.csv.gz is not a gzip file, or a")


def test_a_gzip_file_that_was_cut_off_is_refused(write):
    assert refusal(write(gzip.compress(GOOD.encode())[:-9], "flowers.csv.gz")).startswith(
        "flowers.csv.gz ends too early: it was"
    )


@pytest.mark.parametrize("name", ["flowers.csv", "flowers.csv.gz"])
def test_a_file_of_exactly_the_most_bytes_is_read_and_of_one_more_is_not(write, name):
    path = write(gzip.compress(GOOD.encode()) if name.endswith(".gz") else GOOD, name)
    assert len(read_table(path, max_bytes=len(GOOD)).columns[0]) == 6
    with pytest.raises(DataError, match=f"^{name} holds more than 8 GB of text, too much to read; take fewer rows$"):
        read_table(path, max_bytes=len(GOOD) - 1)


def test_a_cell_may_be_longer_than_a_block(write):
    cells = [*"ab" * 20, *["c" * 5_000_000] * 3]
    content = "x,label\n" + "".join(f"{k}.5,{cell}\n" for k, cell in enumerate(cells))
    assert load(write(content)).class_names == ("a", "b", "c" * 5_000_000)


SPLIT = "a;b,c\n" + "1;2,5\n" * 5 + "3;4"  # the last row shows that the comma is in a name and in a number


@pytest.mark.parametrize(("most", "separator"), [(len(SPLIT), ";"), (len(SPLIT) - 1, ","), (len(SPLIT) + 1, ";")])
def test_a_row_that_is_cut_off_by_the_sample_says_nothing_of_the_separator(most, separator):
    assert separator_of(SPLIT.encode(), sample=most) == separator


@pytest.mark.parametrize(
    ("name", "separator", "told"),
    [
        ("flowers.csv", ",", ()),
        ("flowers.tsv", "\t", ()),
        ("FLOWERS.TSV.GZ", "\t", ()),
        ("flowers.csv", ";", ("cells separated by semicolons",)),
        ("flowers.csv", "\t", ("cells separated by tabs",)),
        ("flowers.tsv", ",", ("cells separated by commas",)),
    ],
)
def test_a_separator_that_the_name_of_the_file_does_not_say_is_told(write, name, separator, told):
    content = GOOD.replace(",", separator).encode()
    path = write(gzip.compress(content) if name.lower().endswith(".gz") else content, name)
    frame = read_table(path)
    assert (frame.notes, frame.comma) == (told, separator == ";")


def test_only_a_table_of_semicolons_has_decimal_commas_where_nothing_else_decides(write):
    rows = "\n".join(f'"{k},{k}00"SEP{"ab"[k % 2]}' for k in range(1, 7))
    content = f"xSEPlabel\n{rows}\n"
    assert load(write(content.replace("SEP", ";"))).features.values[0, 0] == 1.1
    assert load(write(content.replace("SEP", ","))).features.values[0, 0] == 1100


@pytest.mark.parametrize(
    ("header", "is_header"),
    [
        ("2019,2020,label", True),
        ("1,0,label", False),
        ("-1,+2,label", True),
        ("1.5,x,label", False),
        ("x,2024-01-31,label", False),
        ("x1.5,1.5x,label", True),
        ("9999999999999999999,1,label", True),  # no whole number that anything counts to
    ],
)
def test_a_first_line_of_numbers_is_a_header_where_they_rise(write, header, is_header):
    content = GOOD.replace("petal,sepal,label", header)
    if is_header:
        assert load(write(content)).features.names == tuple(header.split(",")[:2])
    else:
        assert refusal(write(content)).startswith("flowers.csv has no header: its first line holds values (")


def test_row_numbers_without_a_name_are_left_out_and_said(tmp_path):
    path = tmp_path / "pandas.csv"
    rows = "".join(f"{k},{k % 7}.5,{'ab'[k % 2]}\n" for k in range(40))
    path.write_text(",size,label\n" + rows)
    table = load(str(path))
    assert [(line.name, line.read_as) for line in table.columns] == [
        ("column 1", "id"), ("size", "number"), ("label", "label")
    ]  # fmt: skip
    assert [column.name for column in table.features.raw_columns()] == ["size"]
    assert any(
        'Column "column 1" has another whole number in every row and is left out' in note["text"]
        for note in table.notes
    )


@pytest.mark.parametrize(
    ("content", "names", "rows"),
    [
        ("0.5,1\n2,3.5\n", ["0", "1"], [["0.5", "1"], ["2", "3.5"]]),  # numbers alone: no header
        ("0.5 1\n2 3.5\n", ["0", "1"], [["0.5", "1"], ["2", "3.5"]]),
        ("p_0,p_1\n2,3.5\n", ["p_0", "p_1"], [["2", "3.5"]]),
        ("1\t2\n", ["0", "1"], [["1", "2"]]),
    ],
)
def test_a_header_may_be_missing_where_it_is_not_required(write, content, names, rows):
    frame = read_table(write(content), header=False)
    assert frame.header == names
    assert [list(row) for row in zip(*(column.to_pylist() for column in frame.columns), strict=True)] == rows
    assert frame.where(0) == f"flowers.csv, line {1 + (names[0] != '0')}"


def test_a_feather_file_is_read_as_a_parquet_file_is(tmp_path):
    feather.write_feather(pa.table({"a": [1.5, 2.5]}), str(tmp_path / "made.feather"))
    frame = read_table(str(tmp_path / "made.feather"))
    assert (frame.header, frame.columns[0].to_pylist(), frame.where(1)) == (["a"], [1.5, 2.5], "made.feather, row 1")
    (tmp_path / "made.arrow").write_bytes(b"nothing")
    with pytest.raises(DataError, match="^made.arrow is not a Feather file, or a damaged one "):
        read_table(str(tmp_path / "made.arrow"))


def frame_of(table):
    return from_arrow(table, file="X", name="made", kind="memory")


@pytest.fixture
def two_groups(tmp_path):
    """A Parquet file of two groups of rows."""
    table = pa.table({"a": [1.5, 2.5, 3.5, 4.5], "b": ["u", "v", "w", "x"]})
    parquet.write_table(table, tmp_path / "made.parquet", row_group_size=2)
    return str(tmp_path / "made.parquet")


def test_a_parquet_file_is_read_with_the_places_of_its_rows(two_groups):
    frame = read_table(two_groups)
    assert (frame.file, frame.name, frame.kind, frame.header) == ("made.parquet", "made", "parquet", ["a", "b"])
    assert [column.to_pylist() for column in frame.columns] == [[1.5, 2.5, 3.5, 4.5], ["u", "v", "w", "x"]]
    assert frame.where(3) == "made.parquet, row 3"


def test_as_much_as_may_be_unpacked_is_read_and_not_more(two_groups):
    with parquet.ParquetFile(two_groups) as file:
        sizes = [file.metadata.row_group(i).total_byte_size for i in (0, 1)]
    assert len(read_table(two_groups, max_bytes=sum(sizes)).columns[0]) == 4
    assert refused(read_table, two_groups, max_bytes=sum(sizes) - 1).startswith("made.parquet takes 0.0 GB unpacked;")


def test_a_parquet_file_that_is_damaged_or_gone_is_said_to_be(two_groups):
    with open(two_groups, "r+b") as file:
        file.truncate(50)
    told = refused(read_table, two_groups)
    assert told.startswith("made.parquet is not a Parquet file, or a damaged one (Parquet magic bytes not found")
    assert len(told) < 200
    os.remove(two_groups)
    with pytest.raises(FileNotFoundError):
        read_table(two_groups)


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
    frame = frame_of(made)
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
    assert refused(frame_of, table).startswith(says)
