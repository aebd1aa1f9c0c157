"""Cells into numbers, dates or words."""

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
