"""One column: its gaps, its different values, what a row is known by, and the line that a person reads."""

import numpy as np
import pytest

from sfumato.lab.data.column import Column, ColumnLine, is_by_place, line_of, name_by_place

NAN = float("nan")
OTHER_NAN = np.array([0x7FF8000000000123], np.uint64).view(np.float64)[0]


def number(*values, **how):
    return Column("x", "number", np.array(values, np.float64), **how)


def words(*codes, levels=("Oslo", "Rome"), **how):
    return Column("x", "category", np.array(codes, np.int64), levels, **how)


@pytest.mark.parametrize(
    ("column", "distinct", "missing"),
    [
        (number(3, 1, 3, 2), 3, [False] * 4),
        (number(1, 1), 1, [False] * 2),
        (number(NAN, 2, 1, NAN), 2, [True, False, False, True]),
        (number(NAN, NAN), 0, [True] * 2),
        (number(2, NAN), 1, [False, True]),
        (number(0, -0.0), 1, [False] * 2),
        (words(0, 1, -1, 0), 2, [False, False, True, False]),
        (Column("x", "date", np.array([1.5, NAN, 1.5])), 1, [False, True, False]),
    ],
)
def test_a_column_knows_its_gaps_and_counts_its_different_values(column, distinct, missing):
    assert (column.distinct, column.missing.tolist(), len(column)) == (distinct, missing, len(missing))


def test_numbers_are_known_by_their_bits_and_gaps_and_zeros_are_all_alike():
    values = [1.5, -2.0, 1e-300]
    assert number(*values).content().tolist() == np.array(values).view(np.uint64).tolist()
    assert len(set(number(NAN, OTHER_NAN).content().tolist())) == 1
    assert len(set(number(0.0, -0.0).content().tolist())) == 1
    assert len(set(number(0.0, NAN, 5e-324).content().tolist())) == 3


def test_words_are_known_by_their_letters_whatever_their_place():
    one, other = words(0, 1, -1).content(), words(1, 0, -1, levels=("Rome", "Oslo")).content()
    assert one.tolist() == other.tolist()
    assert len(set(one.tolist())) == 3
    assert one[2] == 0
    assert words(0, levels=("",)).content()[0] != 0


@pytest.mark.parametrize(
    ("column", "line"),
    [
        (number(1, 2, NAN), ("number", 2, 1, "")),
        (number(1, 1), ("number", 1, 0, "one value only")),
        (number(1, 2, written="text"), ("number", 2, 0, "")),
        (number(1, 2, written="."), ("number", 2, 0, "thousands marks")),
        (number(1, 1, written=",", cleared="gap", note="note"),
         ("number", 1, 0, "decimal comma; gap; note; one value only")),
        (words(0, -1, 1, note="note"), ("category", 2, 1, "note")),
        (words(0, 0, levels=(",",), written=","), ("category", 1, 0, "one value only")),
        (Column("x", "date", np.array([1.0, 2.0]), written="DD.MM.YYYY"),
         ("date", 2, 0, "DD.MM.YYYY, counted in days")),
        (Column("x", "date", np.array([1.0, 2.0])), ("date", 2, 0, "counted in days")),
    ],
)  # fmt: skip
def test_the_line_of_a_column_says_how_it_was_read(column, line):
    assert line_of(column) == ColumnLine("x", *line)


@pytest.mark.parametrize("name", ["column 1", "column 12"])
def test_a_name_by_place_is_told_from_one_that_a_file_gave(name):
    assert name_by_place(int(name.split()[1])) == name
    assert is_by_place(name)
    assert not is_by_place(f"{name}a")
    assert not is_by_place(f"a {name}")
