"""Columns of cells as numbers, dates or categories, what is left out, and what each column is known by."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfumato.lab.data.columns import Column, Fault, Unused, date_format, days_in, read_columns
from sfumato.lab.data.new_rows import read_as

NAN = float("nan")
OTHER_NAN = np.array([0x7FF8000000000123], np.uint64).view(np.float64)[0]
DAYS = (datetime.date(2024, 1, 31) - datetime.date(1970, 1, 1)).days
DASHES = ("-", "--", "---")


@given(st.lists(st.text("0123456789+-.eE ", max_size=6) | st.floats().map(str), min_size=1, max_size=5))
@example(["1_0", "0x1", "1e400", "١", "infinity"])
@example(["1", "x", "2"])
@example(["1", " -", "2"])
@example(["", "nan"])
def test_a_column_is_of_numbers_exactly_when_python_reads_each_cell_that_is_there_as_a_finite_number(cells):
    def number(cell):
        try:
            return float(cell) if cell.isascii() and "_" not in cell else NAN
        except ValueError:
            return NAN

    present = [cell for cell in cells if cell.strip().lower() not in ("", "nan", *DASHES)]
    read = read_columns({"x": pa.chunked_array([pa.array(cells, pa.string())])}, frozenset())["x"]
    if not present:
        assert read == Unused("holds no value", 0, len(cells))
    elif np.isfinite([number(cell) for cell in present]).all():
        truth = [number(cell) if cell in present else NAN for cell in cells]
        assert np.array_equal(read.values, truth, equal_nan=True)
    else:
        assert isinstance(read, Fault) or read.kind == "category"


def arrow(cells, kind=None):
    return cells if isinstance(cells, pa.ChunkedArray) else pa.chunked_array([pa.array(cells, kind)])


def read(**columns):
    return read_columns({name: arrow(cells) for name, cells in columns.items()}, frozenset())


def read_one(cells, name="x", keep=frozenset()):
    return read_columns({name: arrow(cells)}, keep)[name]


COMMAS, POINTS = ["2,5", "3,25"], ["2.5", "0.25"]


@pytest.mark.parametrize(
    ("cells", "others", "value"),
    [
        (["1,5", "2"], [], 1.5),
        (["1,5", "2"], POINTS, 1.5),  # each column decides by itself
        (["1.5", "2"], COMMAS, 1.5),
        (["1,234", "2,000"], COMMAS, 1.234),
        (["1,234", "2,000"], POINTS, 1234),
        (["1.234", "2.000"], COMMAS, 1234),
        (["1,234.5", "2"], [], 1234.5),
        (["1.234,5", "2"], [], 1234.5),
        (["1,234,567", "1,234", "2"], [], 1234567),
        (["1.234.567", "1.234", "2"], [], 1234567),
        (["1,234", "2.25", "0.5"], [], 1234),  # other cells prove the decimal point
        (["1.234", "2,25", "0,5"], [], 1234),
        (["(1,234.00)", "12.50"], [], -1234),
        (["(5)", "7"], [], -5),
        (["1_000", "12"], [], 1000),
        (["−1 234,5", "12"], [], -1234.5),
        (["1'234.5", "7"], [], 1234.5),
        (["1\u202f234", "7"], [], 1234),
        (["1.234", "2.000"], POINTS, 1.234),
        (["0.234", "2.000"], COMMAS, 0.234),  # no thousands begin with a zero
        (["1", "2"], COMMAS, 1),
        (arrow([1.234, 2.0]), COMMAS, 1.234),  # what is not text was not written with a mark
        (["−1,5", "2"], [], -1.5),  # U+2212
        (["+1.5e1", ".5"], [], 15),
    ],
)
def test_numbers_have_a_point_or_a_comma_and_only_what_may_be_thousands_asks_the_other_columns(cells, others, value):
    found = read(a=cells, **({"b": others} if others else {}))["a"]
    assert (found.kind, found.values[0], found.code) == ("number", value, "")
    stored = {"name": "a", "kind": "number", "written": found.written}
    assert isinstance(cells, pa.ChunkedArray) or read_as(stored, arrow(cells), str).values[0] == value


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["5 %", "6%", "7,5 %"], "a per cent or currency sign"),
        (["€5", "€ 1,200", "-€7"], "a per cent or currency sign"),
        (["5 EUR", "6 USD", "dear", "cheap"], ""),
        ([f"{i}.5 kg" for i in range(12)], 'the unit "kg"'),
        ([f"{i} {'kg' if i % 2 else 'g'}" for i in range(12)], ""),
        ([f"A{i}m" for i in range(12)], ""),
        (["31.01.24", "1/31/99 10:00", "01-02-03"], "years of two digits"),
        (["1/31/2024 10:30 PM", "2/1/2024 9:00 am"], "times with AM and PM"),
        (["01/02/2024", "03/04/2024"], "day and month are ambiguous"),
        (["red", "2024-01-31", "green", "blue"], ""),
        (["a", "b"], ""),
    ],
)
def test_amounts_and_dates_that_are_not_read_are_text_with_the_reason(cells, reason):
    found = read_one(cells, keep=frozenset("x"))
    assert (found.kind, found.levels, found.code) == ("category", tuple(cells), "kept-as-text" if reason else "")
    assert found.note.startswith(f"kept as text: {reason}") if reason else found.note == ""


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (["1.234", "111"], "thousands-or-decimals"),
        (["1.234", "-5", "0"], "thousands-or-decimals"),
        (["1.234", "1111"], ""),  # a thousand without a separator
        (["1.234", "0.500", "7"], ""),
        (["1.234", "0"], ""),
        (["1.25", "111"], ""),
        (["00501", "90210"], "leading-zeros"),
        (["007", ""], "leading-zeros"),
        (["01", "12"], ""),  # a month
        (["0.05", "000"], ""),
        (["2024-01-31"] * 6 + ["never"] * 4, "mixed-values"),
        (["2024-01-31"] * 4 + ["never"] * 6, ""),
        (["1.5"] * 6 + ["<1"] * 4, "mixed-values"),
    ],
)
def test_what_is_read_in_a_way_that_may_surprise_has_a_code(cells, code):
    assert read_one(cells).code == code


@pytest.mark.parametrize("cell", ["1,23,4", "12,34.5", "1.2.3", "0,123,456", ",", "1e5,", "1 23"])
def test_marks_in_other_places_make_no_number(cell):
    assert read(a=[cell, "red"])["a"].levels == (cell, "red")


LOST = 'whole numbers beyond 2^53 lose their last digits; if it is an id, leave it out with --drop "x"'


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["9007199254740991", "1"], ""),
        (["9007199254740993", "1"], LOST),  # 2^53 + 1
        (["-9007199254740993", "", "2"], LOST),
        (["18446744073709551615", "1"], LOST),  # 2^64 − 1
        (["9007199254740993", "1.5"], ""),
        (arrow([2**53 + 1, 1]), LOST),
        (arrow([2**64 - 1, None], pa.uint64()), LOST),
    ],
)
def test_whole_numbers_that_float64_does_not_tell_apart_are_noted_with_a_way_out(cells, note):
    assert read_one(cells).note == note


IDS = "has another whole number in every row"


@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        ("customer_id", range(0, 900, 100), None),  # nine rows are too few
        ("customer_id", range(0, 1000, 100), IDS),
        ("customer_id", [*range(0, 1000, 100), None], None),
        ("customer_id", [*range(0, 1000, 100), 900], None),
        ("customer_id", [i + 0.5 for i in range(10)], None),
        ("price", range(10), None),  # 10² is not above 10 · 10
        ("price", range(11), IDS),
        ("price", [*range(10), 11], IDS),  # 11² is above 10 · 12
        ("price", [*range(10), 12], None),  # and not above 10 · 13
    ],
)
def test_numbers_that_never_repeat_are_an_id_by_their_name_or_where_chance_would_repeat_them(name, cells, reason):
    found = read_one(arrow([None if cell is None else float(cell) for cell in cells]), name)
    if reason is None:
        assert found.kind == "number"
    else:
        assert found == Unused(reason, len(cells), 0, "id")
        assert read_one(arrow(list(cells)), name, frozenset((name,))).kind == "number"


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_text_is_read_however_it_is_stored(kind):
    assert read_one(arrow(["1,5", "2,5"], pa.string()).cast(kind)).values.tolist() == [1.5, 2.5]
    assert read_one(arrow(["red", "blue"], pa.string()).cast(kind)).levels == ("red", "blue")


@pytest.mark.parametrize(
    ("wrong", "rows", "is_mistake"),
    [
        (1, 3, True),
        (1, 2, False),  # as many as there are numbers
        (4, 399, False),
        (4, 400, True),  # one in a hundred
        (5, 400, False),
    ],
)
def test_a_few_words_among_numbers_are_mistakes_and_more_make_a_category(wrong, rows, is_mistake):
    found = read_one([*(str(i % 5) for i in range(rows - wrong)), *(f"w{i % 2}" for i in range(wrong))])
    if is_mistake:
        text = 'holds "w0", which is not a number; correct the cell, or drop the row or the column'
        assert found == Fault(rows - wrong, text, "w0")
    else:
        assert found.kind == "category"


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (["1,5", "2,5", "3,5", "x"], 3),
        (["1.5", "2,5", "3,5"], 0),  # most have commas
        (["1,5", "2.5", "3", "4", "5", "x"], 0),  # as many of either: points
        (["1,000", "2.5", "1e999"], 2),
        (["1", "2", "3", "1,2,3"], 3),
    ],
)
def test_the_first_cell_that_is_not_a_number_like_most_is_named(cells, row):
    found = read_one(cells)
    assert found.row == row


CODES = [f"c{i}" for i in range(9)]


@pytest.mark.parametrize(
    ("cells", "left_out"),
    [
        (CODES, None),  # nine cells are too few to say that each row has another
        ([*CODES, "c9"], Unused("has another code in every row", 10, 0, "id")),
        ([*CODES, "c9", ""], Unused("has another code in every row", 10, 1, "id")),
        ([*CODES, "c 9"], Unused("holds 10 different texts in 10 cells", 10, 0, text=True)),
        ([*CODES, "c9", "c9"], None),
        ([f"c{i % 101}" for i in range(120)], Unused("holds 101 different texts in 120 cells", 101, 0, text=True)),
        ([*(f"c{i % 101}" for i in range(202)), *[""] * 9], None),
        ([f"c{i % 151}" for i in range(300)], Unused("holds 151 different texts in 300 cells", 151, 0, text=True)),
        (
            [*(f"c{i % 1001}" for i in range(2000)), "?", None],
            Unused("holds 1,001 different texts in 2,000 cells", 1001, 2, text=True),
        ),
    ],
)
def test_words_that_name_the_rows_or_are_too_many_are_left_out_unless_they_are_kept(cells, left_out):
    kept = read_one(cells, keep=frozenset("x"))
    assert [None if code < 0 else kept.levels[code] for code in kept.values] == [
        cell if cell not in ("", "?") else None for cell in cells
    ]
    found = read_one(cells)
    assert found == left_out if left_out else found.levels == kept.levels


@pytest.mark.parametrize(("numbers", "said"), [(150, False), (151, True), (290, True)])
def test_of_a_column_of_text_that_is_mostly_numbers_the_first_text_is_named(numbers, said):
    note = f'{numbers} cells are numbers, and others are not, such as "about 1"' if said else ""
    many = read_one([f"{i / 8}" if i < numbers else f"about {i - numbers + 1}" for i in range(300)])
    assert (many.reason, many.note) == ("holds 300 different texts in 300 cells", note)
    few = read_one([f"{i % 7}" if i < numbers else f"about {i % 3 + 1}" for i in range(300)][::-1])
    assert (few.kind, few.note.partition(", such")[0]) == ("category", note.partition(", such")[0])
    assert read_one([f"{i}" if i < 60 else f"A{i}" for i in range(100)]).read_as == "id"


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (arrow([datetime.date(2024, 1, 31), None, datetime.date(1969, 12, 31)]), [DAYS, NAN, -1]),
        (arrow([datetime.datetime(2024, 1, 31, 6), None]), [DAYS + 0.25, NAN]),
        (arrow([1, None], pa.timestamp("ns")), [0, NAN]),  # finer than what is counted
        (["31.01.2024", "", "01.02.2024"], [DAYS, NAN, DAYS + 1]),
    ],
)
def test_dates_count_days(cells, values):
    found = read_one(cells)
    assert (found.kind, found.written) == ("date", "DD.MM.YYYY" if isinstance(cells, list) else "")
    assert np.array_equal(found.values, values, equal_nan=True)


INFINITE = 'is infinite ("{}"); replace the value or drop the row'
NOT_A_DATE = 'holds "{}", which is not a date; correct the cell, or drop the row or the column'


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (arrow([None, None]), Unused("holds no value", 0, 2)),
        (arrow([NAN] * 3), Unused("holds no value", 0, 3)),
        (arrow([b"1", None]), Unused("holds values of type binary", 0, 1)),
        (arrow([1.5, float("-inf"), float("inf")]), Fault(1, INFINITE.format("-inf"))),
        (["1", " -inf "], Fault(1, INFINITE.format("-inf"))),
        (["2024-01-31"] * 5 + ["soon"], Fault(5, NOT_A_DATE.format("soon"), "soon")),
        (["2024-01-31", "2024-02-30", "2024-02-01"], Fault(1, NOT_A_DATE.format("2024-02-30"), "2024-02-30")),
    ],
)
def test_a_column_that_cannot_be_used_says_why(cells, found):
    assert read_one(cells) == found


@pytest.mark.parametrize(
    "cell", ["", " ", "NA", "n/a", "#N/A", "<NA>", "NaN", "null", "None", "?", "-", "--", "–", "—", None]
)
def test_a_missing_value_is_missing_among_numbers_texts_and_dates(cell):
    assert np.array_equal(read_one(["1,5", cell, "2"]).values, [1.5, NAN, 2], equal_nan=True)
    assert read_one(["red", cell, "red"]).values.tolist() == [0, -1, 0]
    assert np.array_equal(read_one(["2024-01-31", cell]).values, [DAYS, NAN], equal_nan=True)


def number(*values, **how):
    return Column("x", "number", np.array(values, np.float64), **how)


def category(*codes, levels=("Oslo", "Rome"), **how):
    return Column("x", "category", np.array(codes, np.int64), levels, **how)


@pytest.mark.parametrize(
    ("column", "distinct", "missing"),
    [
        (number(3, 1, 3, 2), 3, [False] * 4),
        (number(NAN, 2, 1, NAN), 2, [True, False, False, True]),
        (number(NAN, NAN), 0, [True] * 2),
        (number(0, -0.0), 1, [False] * 2),
        (category(0, 1, -1, 0), 2, [False, False, True, False]),
        (Column("x", "date", np.array([1.5, NAN, 1.5])), 1, [False, True, False]),
    ],
)
def test_a_column_knows_its_missing_values_and_counts_its_different_ones(column, distinct, missing):
    assert (column.distinct, column.missing.tolist(), len(column)) == (distinct, missing, len(missing))


def test_numbers_are_known_by_their_bits_and_missing_values_and_zeros_are_all_alike():
    values = [1.5, -2.0, 1e-300]
    assert number(*values).content().tolist() == np.array(values).view(np.uint64).tolist()
    assert len(set(number(NAN, OTHER_NAN).content().tolist())) == 1
    assert len(set(number(0.0, -0.0).content().tolist())) == 1
    assert len(set(number(0.0, NAN, 5e-324).content().tolist())) == 3


def test_categories_are_known_by_their_letters_whatever_their_place():
    one, other = category(0, 1, -1).content(), category(1, 0, -1, levels=("Rome", "Oslo")).content()
    assert one.tolist() == other.tolist()
    assert len(set(one.tolist())) == 3
    assert one[2] == 0
    assert category(0, levels=("",)).content()[0] != 0


EPOCH = datetime.datetime(1970, 1, 1)
STYLES = {
    "YYYY-MM-DD": ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%SZ"),
    "DD.MM.YYYY": ("%d.%m.%Y", "%d.%m.%Y %H:%M:%S"),
    "MM/DD/YYYY": ("%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%m-%d-%Y %H:%M:%S"),
    "DD/MM/YYYY": ("%d/%m/%Y", "%d/%m/%Y %H:%M:%S"),
}
WRITTEN = [(style, form) for style, forms in STYLES.items() for form in forms]


@pytest.mark.parametrize(("style", "form"), WRITTEN, ids=[form for _, form in WRITTEN])
@given(moments=st.lists(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2250, 12, 31)), max_size=20))
def test_a_date_of_every_style_counts_the_days_of_pythons_calendar(style, form, moments):
    moments = [*moments, datetime.datetime(2024, 2, 29, 23, 59, 59)]  # a day above 12 tells it from a month
    texts = [moment.strftime(form) for moment in moments]
    parts = (lambda each: each.replace(microsecond=0)) if "%f" not in form else (lambda each: each)
    whole = [parts(each) if "%M" in form else datetime.datetime.combine(each, datetime.time()) for each in moments]
    cells = pa.array([text.rjust(len(texts[-1]), "0") for text in texts])
    assert date_format(cells) == (style, False)
    exact = [(each - EPOCH) // datetime.timedelta(microseconds=1) / 86_400_000_000 for each in whole]
    assert days_in(cells, style).tolist() == exact


def days_of_texts(*texts):
    """The days of texts in the form that most of them have."""
    cells = pa.array(texts)
    form, ambiguous = date_format(cells)
    return None if not form or ambiguous else days_in(cells, form)


def test_a_day_and_an_hour_may_lack_their_zero():
    assert days_of_texts("31.1.2024 9:30", "1.12.2024 19:30").tolist() == [19753 + 9.5 / 24, 20058 + 19.5 / 24]


@pytest.mark.parametrize(
    "text", ["2023-02-29", "2024-13-01", "2024-01-31 24:00", "01/31/2024 01:00 PM", "2024-01-31 and more"]
)
def test_a_day_or_a_time_that_does_not_exist_is_not_a_date(text):
    assert np.isnan(days_of_texts(text, "2024-01-31" if text[4] == "-" else text)).tolist()[0]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-31 10:30:00+01:00", "2024-01-31T10:30:00+0100", "2024-01-31 09:30:00 UTC", "2024-01-31 09:30Z",
        "2024-01-31 10:30:00.000000000+01:00", "2024-1-31 4:30 -05:00", "31.01.2024 10:30+01",
        "2024/01/31 15:00 +05:30",
    ],
)  # fmt: skip
def test_a_time_with_a_zone_counts_from_the_same_moment_as_that_of_utc(text):
    other = "30.01.2024 09:30" if text[2] == "." else "2024-01-30 09:30"  # of no zone
    assert days_of_texts(text, other, text).tolist() == [19753 + 9.5 / 24, 19752 + 9.5 / 24, 19753 + 9.5 / 24]


@pytest.mark.parametrize("text", ["red", "12:30", "2024", "2024-01", "31.1.24", "1.2.3.2024"])
def test_a_text_of_another_form_is_not_a_date(text):
    assert days_of_texts(text) is None


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["01/02/2024", "03/04/2024"], ("MM/DD/YYYY", True)),
        (["01/01/2024", "02/02/2024"], ("MM/DD/YYYY", False)),
        (["01/02/2024", "12/31/2024"], ("MM/DD/YYYY", False)),
        (["01/02/2024", "31/12/2024"], ("DD/MM/YYYY", False)),
    ],
)
def test_the_whole_column_decides_which_number_is_the_day(cells, found):
    assert date_format(pa.array(cells)) == found
