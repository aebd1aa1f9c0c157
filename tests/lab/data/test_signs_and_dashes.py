"""Per cent, currencies, dashes for gaps and years of two digits, as a table is read from them."""

import numpy as np
import pyarrow as pa
import pytest

from sfumato.lab.data.cells import Fault, Unused, read_columns
from sfumato.lab.data.column import line_of
from sfumato.lab.data.signs_and_dashes import brief


def read(*cells):
    return read_columns({"x": pa.chunked_array([list(cells)])}, frozenset())["x"]


@pytest.mark.parametrize(
    ("cells", "values", "sign"),
    [
        (["5 %", "7.5%", "-2 %"], [5, 7.5, -2], "%"),
        (["€5", "€ 1,200", "-€3.50", "€-4"], [5, 1200, -3.5, -4], "€"),
        (["5,00 €", "1.200,50 €"], [5, 1200.5], "€"),
        (["5\u00a0€", "7\u00a0€"], [5, 7], "€"),
        (["$0.5", "$.75"], [0.5, 0.75], "$"),
        (["USD 3", "12 USD"], [3, 12], "USD"),
    ],
)
def test_a_sign_at_every_number_is_taken_off_and_said(cells, values, sign):
    found = read(*cells)
    assert (found.kind, found.values.tolist()) == ("number", values)
    assert f'without "{sign}"' in line_of(found).note


def test_a_gap_needs_no_sign():
    assert np.array_equal(read("5 %", "", "NA", "6 %").values, [5, np.nan, np.nan, 6], equal_nan=True)


def test_a_number_without_the_sign_that_others_have_is_a_mistake():
    found = read("5 %", "6 %", "0.07")
    assert isinstance(found, Fault)
    assert (found.row, found.text) == (2, 'holds "0.07" beside "5 %"; write "%" in every cell or in none')


def test_amounts_in_different_currencies_are_words_and_that_is_said():
    told = "its amounts have different signs, € and $; write all of them in one unit"
    assert read("€5", "$6").note == told
    many = read(*[f"{'€$'[i % 2]}{i}" for i in range(300)])
    assert isinstance(many, Unused)
    assert told in many.reason
    assert read(*["€5", "$6", "red", "green", "blue"] * 5).note == ""


@pytest.mark.parametrize("cells", [["€5", "$5"] * 6, ["100 %", "full"] * 6, ["%", "€"] * 6, ["C$", "C%"] * 6])
def test_signs_that_do_not_stand_at_all_numbers_leave_words(cells):
    assert (read(*cells).kind, len(read(*cells).levels)) == ("category", 2)


@pytest.mark.parametrize("dash", ["-", "--", "–", "—"])
def test_a_dash_among_numbers_or_dates_is_a_gap_and_that_is_said(dash):
    found = read("1.5", dash, "2")
    assert np.array_equal(found.values, [1.5, np.nan, 2], equal_nan=True)
    assert line_of(found).note == f'"{dash}" is a gap'
    found = read("2024-01-31", dash, "2024-02-01")
    assert (found.kind, found.missing.tolist()) == ("date", [False, True, False])


def test_the_longest_date_may_have_dashes_for_gaps():
    found = read("2024-01-31 12:00:00.123456789 +00:00", "-", "2024-02-01 12:00:00.123456789 +00:00")
    assert (found.kind, found.missing.tolist()) == ("date", [False, True, False])


def test_texts_longer_than_any_amount_or_date_are_not_looked_at():
    assert brief(pa.array(["x" * 36, "x" * 37, "ä" * 18, "ä" * 19])).tolist() == [True, False, True, False]


def test_many_dashes_are_gaps_too():
    found = read(*(["-"] * 40 + ["1", "2"] * 10))
    assert (found.kind, int(found.missing.sum())) == ("number", 40)


def test_a_dash_among_words_stays_a_word():
    assert read(*["+", "-", "-", "+"]).levels == ("+", "-")
    assert read(*["-"] * 3).levels == ("-",)


def test_a_mistake_among_dashes_is_still_named():
    found = read(*["-", "three", *map(str, range(20))])
    assert (found.row, found.cell) == (1, "three")


def test_dashes_and_a_sign_go_together():
    found = read("5 %", "-", "6 %")
    assert np.array_equal(found.values, [5, np.nan, 6], equal_nan=True)
    assert line_of(found).note == '"-" is a gap; without "%"'


@pytest.mark.parametrize(
    "days", [["31.01.24", "01.02.24"], ["1/31/99", "2/1/99"], ["31-01-24 10:00", "01-02-24 11:00"]]
)
def test_the_century_of_a_year_of_two_digits_is_not_guessed(days):
    told = "its years of two digits do not tell the century; write 2024-01-31"
    assert read(*days * 6).note == told
    many = read(*[f"{1 + i % 28:02d}.{1 + i // 28:02d}.24" for i in range(200)])
    assert isinstance(many, Unused)
    assert told in many.reason


@pytest.mark.parametrize(
    "words", [["1.2.3", "1.2.4"], ["10.0.0.1", "10.0.0.2"], ["a/b/24", "c/d/25"], ["$1.2.3", "$1.2.4"]]
)
def test_other_words_with_points_are_no_dates_and_no_amounts(words):
    assert read(*words * 6).note == ""


def test_a_column_of_numbers_in_text_without_marks_has_no_marks():
    assert line_of(read("1 %", "2 %")).note == 'without "%"'
    assert line_of(read("1,000 %", "2,000.5 %")).note == 'thousands marks; without "%"'
