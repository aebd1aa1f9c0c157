"""Cells into numbers, dates or words."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfumato.lab.data.cells import Fault, Unused, read_columns


@given(st.lists(st.text("0123456789+-.eE ", max_size=6) | st.floats().map(str), min_size=1, max_size=5))
@example(["1_0", "0x1", "1e400", "١", "infinity"])
@example(["1", "x", "2"])
@example(["1", " -", "2"])
@example(["-", "-"])
@example(["", "nan"])
def test_a_column_is_of_numbers_exactly_when_python_reads_each_cell_that_is_there_as_a_finite_number(cells):
    def number(cell):
        try:
            return float(cell) if cell.isascii() and "_" not in cell else np.nan
        except ValueError:
            return np.nan

    present = [cell for cell in cells if cell.strip().lower() not in ("", "nan")]
    present = [cell for cell in present if cell.strip() not in ("-", "--", "---")] or present  # beside others, a gap
    read = read_columns({"x": pa.chunked_array([pa.array(cells, pa.string())])}, frozenset())["x"]
    if not present:
        assert read == Unused("holds no value", 0, len(cells))
    elif np.isfinite([number(cell) for cell in present]).all():
        truth = [number(cell) if cell in present else np.nan for cell in cells]
        assert np.array_equal(read.values, truth, equal_nan=True)
    else:
        assert isinstance(read, Fault) or read.kind == "category"


def read(**columns):
    return read_columns({name: pa.chunked_array([cells]) for name, cells in columns.items()}, frozenset())


@pytest.mark.parametrize(
    ("others", "value"), [(["2,5", "3,25"], 1.234), (["2.5", "0.25"], 1234.0), (["2", "3"], 1234.0)]
)
def test_the_rest_of_the_table_says_whether_a_comma_is_before_decimals(others, value):
    found = read(a=["1,234", "2,000"], b=others)
    assert found["a"].values.tolist()[0] == value


def test_points_are_between_thousands_where_the_table_has_decimal_commas():
    assert read(a=["1.234", "2.000"], b=["2,5", "3"])["a"].values.tolist() == [1234.0, 2000.0]
    assert read(a=["1.234", "2.000"], b=["2.5", "3"])["a"].values.tolist() == [1.234, 2.0]
    assert read(a=["0.234", "2.000"], b=["2,5", "3"])["a"].values.tolist() == [0.234, 2.0]


def test_a_mistake_is_found_whichever_decimal_mark_its_column_has():
    commas = [f"{i},5" for i in range(20)]
    found = read(a=[*commas, "x"], b=[f"{i}.25" for i in range(21)])["a"]
    assert (found.row, found.cell) == (20, "x")
    assert read(a=[*commas, "inf", "y"])["a"].text == 'is infinite ("inf"); replace the value or drop the row'


@pytest.mark.parametrize("cell", ["1,23,4", "12,34.5", "1.2.3", "0,123,456", ",", "1e5,", "1 23"])
def test_marks_in_other_places_make_no_number(cell):
    assert read(a=[cell, "red"])["a"].levels == (cell, "red")


def parquet(cells, kind=None):
    return pa.chunked_array([pa.array(cells, kind)])


def read_one(cells, name="x", keep=frozenset()):
    return read_columns({name: cells if isinstance(cells, pa.ChunkedArray) else parquet(cells)}, keep)[name]


@pytest.mark.parametrize(
    ("others", "value"),
    [
        ({"b": ["2,5", "3"], "c": ["2.5", "0.25"]}, 1234.0),  # both marks occur, and none of them decides
        ({"b": ["2,5", "3"], "c": ["1.2345", "2.5"]}, 1234.0),  # no thousands have four digits behind the point
        ({"b": ["2,5", "3"], "c": ["2.5", "1.25"]}, 1234.0),
        ({"b": ["2,5", "3"], "c": ["2.500", "1.250"]}, 1.234),  # three decimals may be three digits of thousands
        ({"b": ["2,5", "3"], "c": ["0", "1.234"]}, 1.234),
        ({"b": ["2,5", "3"], "c": ["1", "-2.500"]}, 1.234),
        ({"b": ["2,5", "3"], "c": ["0.5", "2.5"]}, 1234.0),  # no thousands begin with a zero
        ({"b": ["2,5", "3"], "c": ["", "1.234"]}, 1.234),
        ({"b": ["2,5", "3"], "c": parquet([2.5, 0.25])}, 1.234),  # what is no text was not written with a mark
        ({"b": ["2,5", "3"], "c": parquet([0.25, None])}, 1.234),
    ],
)
def test_one_column_of_text_decides_how_another_is_read(others, value):
    columns = {name: cells if isinstance(cells, pa.ChunkedArray) else parquet(cells) for name, cells in others.items()}
    found = read_columns({"a": parquet(["1,234", "2,000"]), **columns}, frozenset())
    assert found["a"].values.tolist()[0] == value


@pytest.mark.parametrize(
    ("cells", "values", "written"),
    [
        (["2", "30"], [2, 30], "text"),  # without a point there is nothing to be read anew
        (["1.5", "2.25"], [1.5, 2.25], "text"),  # points that cannot be between thousands
        (["1.234", "0", "NA"], [1234, 0, np.nan], ","),
        (["1.234e3", "-2"], [1234000, -2], ","),
    ],
)
def test_a_column_of_plain_numbers_beside_decimal_commas_is_read_anew_where_its_points_allow_it(cells, values, written):
    found = read(a=cells, b=[*["2,5"] * (len(cells) - 1), "3"])["a"]
    assert np.array_equal(found.values, values, equal_nan=True)
    assert found.written == written


def test_a_number_that_is_infinite_only_without_its_point_is_refused():
    found = read(a=["1", "1.000e308"], b=["2,5", "3"])["a"]
    assert (found.row, found.text) == (1, 'is infinite ("1.000e308"); replace the value or drop the row')


LOST = 'whole numbers beyond 2^53 lose their last digits; if it is an id, leave it out with --drop "x"'


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["9007199254740991", "1"], ""),
        (["9007199254740993", "1"], LOST),  # 2^53 + 1
        (["-9007199254740993", "1"], LOST),
        (["9007199254740993", "", "2"], LOST),
        (["18446744073709551615", "1"], LOST),  # 2^64 − 1
        (["18446744073709555712", "1"], ""),  # beyond 64 bits it is no id, but a measure
        (["9007199254740993", "1.5"], ""),
        (["9.007.199.254.740.993", "1,0"], LOST),
        (["9,007,199,254,740,993", "1.0"], LOST),
        (parquet([2**53 + 1, 1]), LOST),
        (parquet([2**64 - 1, None], pa.uint64()), LOST),
        (parquet([2.0**60, 1.5]), ""),
    ],
)
def test_whole_numbers_that_float64_does_not_tell_apart_are_noted_with_a_way_out(cells, note):
    assert read_one(cells).note == note


def test_whole_numbers_with_points_between_thousands_are_noted_as_others_are():
    cells = ["9007199254740993", "1.234"]
    assert read(x=cells)["x"].note == ""  # 1.234 has decimals
    found = read(x=cells, b=["2,5", "3"])["x"]
    assert (found.values.tolist(), found.written, found.note) == ([2.0**53, 1234], ",", LOST)


CODES = [f"c{i}" for i in range(9)]
IDS = "has another whole number in every row"


@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        ("customer_id", range(0, 900, 100), None),  # nine rows are too few
        ("customer_id", range(0, 1000, 100), IDS),
        ("customer_id", [*range(0, 1000, 100), None], None),
        ("customer_id", [*range(0, 1000, 100), 900], None),
        ("customer_id", [i + 0.5 for i in range(10)], None),
        ("price", range(0, 1000, 100), None),
        ("price", range(10), None),  # 10² is not above 10 · 10
        ("price", range(11), IDS),
        ("price", range(1000, 1011), IDS),
        ("price", [*range(10), 11], IDS),  # 11² is above 10 · 12
        ("price", [*range(10), 12], None),  # and not above 10 · 13
    ],
)
def test_numbers_that_never_repeat_are_an_id_by_their_name_or_where_chance_would_repeat_them(name, cells, reason):
    found = read_one(parquet([None if cell is None else float(cell) for cell in cells]), name)
    if reason is None:
        assert found.kind == "number"
    else:
        assert found == Unused(reason, len(cells), 0, "id")
        assert read_one(parquet(list(cells)), name, frozenset((name,))).kind == "number"


@pytest.mark.parametrize(
    ("others", "comma", "value"), [([], True, 1.234), ([], False, 1234), (["2.5"], True, 1234), (["2,5"], False, 1.234)]
)
def test_what_the_file_makes_likely_decides_where_no_cell_does(others, comma, value):
    columns = {"a": parquet(["1,234"]), **({"b": parquet(others)} if others else {})}
    assert read_columns(columns, frozenset(), comma=comma)["a"].values.tolist() == [value]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_text_is_read_however_it_is_stored(kind):
    assert read_one(parquet(["1,5", "2,5"], pa.string()).cast(kind)).values.tolist() == [1.5, 2.5]
    assert read_one(parquet(["red", "blue"], pa.string()).cast(kind)).levels == ("red", "blue")


def test_numbers_are_read_however_they_are_stored():
    for cells in (
        parquet([2, 3, 2], pa.int8()),
        parquet([2, 3, 2]).dictionary_encode(),
        parquet([2.0, 3.0, 2.0], pa.float32()),
    ):
        found = read_one(cells)
        assert (found.kind, found.values.dtype, found.values.tolist()) == ("number", np.float64, [2, 3, 2])


def numbers_and(wrong, rows):
    """As many cells, of which the last few hold words; the numbers repeat, and so do the words."""
    return [*(str(i % 5) for i in range(rows - wrong)), *(f"w{i % 2}" for i in range(wrong))]


@pytest.mark.parametrize(
    ("wrong", "rows", "is_mistake"),
    [
        (1, 3, True),
        (1, 2, False),  # as many as there are numbers
        (3, 7, True),
        (4, 20, False),
        (4, 399, False),
        (4, 400, True),  # one in a hundred
        (5, 400, False),
    ],
)
def test_a_few_words_among_numbers_are_mistakes_and_more_make_a_column_of_words(wrong, rows, is_mistake):
    found = read_one(numbers_and(wrong, rows))
    if is_mistake:
        told = 'holds "w0", which is not a number; correct the cell, or drop the row or the column'
        assert found == Fault(rows - wrong, told, "w0")
    else:
        assert found.kind == "category"


def test_the_cells_that_are_numbers_decide_which_mark_their_mistakes_lack():
    for cells in (["1,5", "2,5", "3,5", "x"], ["1.5", "2.5", "3.5", "x"]):
        for others in (["0,5", "2"], ["0.5", "2"]):
            assert read(a=cells, b=others)["a"].row == 3
    tied = ["1,5", "2.5", "3", "4", "5", "x"]
    assert read(a=tied, b=["0,5", "2"])["a"].cell == "2.5"
    assert read(a=tied, b=["0.5", "2"])["a"].cell == "1,5"


@pytest.mark.parametrize(
    ("cells", "left_out"),
    [
        (CODES, None),  # nine cells are too few to say that each row has another
        ([*CODES, "c9"], Unused("has another code in every row", 10, 0, "id")),
        ([*CODES, "c9", ""], Unused("has another code in every row", 10, 1, "id")),
        ([*CODES, "c 9"], Unused("holds 10 different texts in 10 cells", 10, 0, words=True)),
        ([*CODES, "c9", "c9"], None),
        ([f"c{i % 100}" for i in range(120)], None),
        ([f"c{i % 101}" for i in range(120)], Unused("holds 101 different texts in 120 cells", 101, 0, words=True)),
        ([*(f"c{i % 101}" for i in range(202)), *[""] * 9], None),
        ([f"c{i % 150}" for i in range(300)], None),
        ([f"c{i % 151}" for i in range(300)], Unused("holds 151 different texts in 300 cells", 151, 0, words=True)),
        (
            [*(f"c{i % 1001}" for i in range(2000)), "?", None],
            Unused("holds 1,001 different texts in 2,000 cells", 1001, 2, words=True),
        ),
    ],
)
def test_words_that_name_the_rows_or_are_too_many_are_left_out_unless_they_are_kept(cells, left_out):
    kept = read_one(cells, keep=frozenset("x"))
    assert kept.kind == "category"
    assert [None if code < 0 else kept.levels[code] for code in kept.values] == [
        cell if cell not in ("", "?") else None for cell in cells
    ]
    found = read_one(cells)
    assert found == left_out if left_out else found.levels == kept.levels
    assert left_out is None or found.words is ("texts" in left_out.reason)


@pytest.mark.parametrize(("numbers", "told"), [(150, False), (151, True), (290, True)])
def test_of_a_column_of_words_that_is_mostly_numbers_the_first_word_is_named(numbers, told):
    said = f'{numbers} cells are numbers, and others are not, such as "about 1"' if told else ""
    many = read_one([f"{i / 8}" if i < numbers else f"about {i - numbers + 1}" for i in range(300)])
    assert many.reason == "holds 300 different texts in 300 cells" + (f" ({said})" if told else "")
    few = read_one([f"{i % 7}" if i < numbers else f"about {i % 3 + 1}" for i in range(300)][::-1])
    assert (few.kind, few.note.partition(", such")[0]) == ("category", said.partition(", such")[0])
    tickets = read_one([f"{i}" if i < 60 else f"A{i}" for i in range(100)])
    assert tickets.read_as == "id"


DAYS = (datetime.date(2024, 1, 31) - datetime.date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (parquet([datetime.date(2024, 1, 31), None, datetime.date(1969, 12, 31)]), [DAYS, np.nan, -1]),
        (parquet([datetime.datetime(2024, 1, 31, 6), None]), [DAYS + 0.25, np.nan]),
        (parquet([1, None], pa.timestamp("ns")), [0, np.nan]),  # finer than what is counted
        (parquet([43_200_000_000_001], pa.timestamp("ns")), [0.5]),
    ],
)
def test_dates_that_are_stored_as_dates_count_days(cells, values):
    found = read_one(cells)
    assert (found.kind, found.written) == ("date", "")
    assert np.array_equal(found.values, values, equal_nan=True)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (parquet([None, None]), Unused("holds no value", 0, 2)),
        (parquet([None, None], pa.float64()), Unused("holds no value", 0, 2)),
        (parquet([float("nan")] * 3), Unused("holds no value", 0, 3)),
        (parquet([b"1", None]), Unused("holds values of type binary", 0, 1)),
        (
            parquet([1.5, float("-inf"), float("inf")]),
            Fault(1, 'is infinite ("-inf"); replace the value or drop the row'),
        ),
        (["1", " -inf "], Fault(1, 'is infinite ("-inf"); replace the value or drop the row')),
        (
            ["1.5", "2,5", "3,5"],
            Fault(
                1,
                'holds "2,5" beside "1.5": decimal points and decimal commas in one column; write all of them one way',
            ),
        ),
        (["1,000", "2.5", "1e999"], Fault(2, 'is infinite ("1e999"); replace the value or drop the row')),
    ],
)
def test_a_column_that_cannot_be_used_says_why(cells, found):
    assert read_one(cells) == found


@pytest.mark.parametrize("gap", ["", " ", "NA", "n/a", "#N/A", "<NA>", "NaN", "null", "None", "?", None])
def test_a_gap_is_a_gap_among_numbers_words_and_dates(gap):
    assert np.array_equal(read_one(["1,5", gap, "2"]).values, [1.5, np.nan, 2], equal_nan=True)
    assert read_one(["red", gap, "red"]).values.tolist() == [0, -1, 0]
    assert np.array_equal(read_one(["2024-01-31", gap]).values, [DAYS, np.nan], equal_nan=True)


def test_dashes_are_gaps_wherever_they_stand_and_the_words_around_them_keep_their_rows():
    found = read_one(["7,5", "-", "", "8", "–", "7,5"])
    assert np.array_equal(found.values, [7.5, np.nan, np.nan, 8, np.nan, 7.5], equal_nan=True)
    assert found.cleared == '"-" is a gap'


def test_no_number_is_a_negative_zero():
    for cells in (["-0", "1"], ["-0,0", "1"], parquet([-0.0, 1.0])):
        assert not np.signbit(read_one(cells).values).any()


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["01/02/2024", "03/04/2024"], "day and month cannot be told apart; write 2024-01-31"),
        (["red", "2024-01-31", "green", "blue"], ""),
        (["red", "31.01.24", "green", "blue"], ""),
    ],
)
def test_words_of_which_some_look_like_dates_are_words_and_the_reason_is_noted_where_nearly_all_do(cells, note):
    found = read_one(cells)
    assert (found.kind, found.note, found.levels) == ("category", note, tuple(cells))


def test_dates_in_text_count_days_and_a_mistake_among_them_is_named():
    found = read_one(["31.01.2024", "", "01.02.2024"])
    assert (found.kind, found.written, found.note) == ("date", "DD.MM.YYYY", "")
    assert np.array_equal(found.values, [DAYS, np.nan, DAYS + 1], equal_nan=True)
    told = 'holds "{}", which is not a date; correct the cell, or drop the row or the column'
    assert read_one(["2024-01-31"] * 5 + ["soon"]) == Fault(5, told.format("soon"), "soon")
    assert read_one(["2024-01-31", "2024-02-30", "2024-02-01"]) == Fault(1, told.format("2024-02-30"), "2024-02-30")
