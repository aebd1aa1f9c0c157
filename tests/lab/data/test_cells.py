"""Cells into numbers, dates or words."""

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from sfumato.lab.data.cells import Fault, Unused, read_columns


@given(st.lists(st.text("0123456789+-.eE ", max_size=6) | st.floats().map(str), min_size=1, max_size=5))
@example(["1_0", "0x1", "1e400", "١", "infinity"])
@example(["1", "x", "2"])
@example(["", "nan"])
def test_a_column_is_of_numbers_exactly_when_python_reads_each_cell_that_is_there_as_a_finite_number(cells):
    def number(cell):
        try:
            return float(cell) if cell.isascii() and "_" not in cell else np.nan
        except ValueError:
            return np.nan

    present = [cell for cell in cells if cell.strip().lower() not in ("", "nan")]
    read = read_columns({"x": pa.chunked_array([pa.array(cells, pa.string())])}, frozenset())["x"]
    if not present:
        assert read == Unused("holds no value", 0, len(cells))
    elif np.isfinite([number(cell) for cell in present]).all():
        truth = [number(cell) if cell in present else np.nan for cell in cells]
        assert np.array_equal(read.values, truth, equal_nan=True)
    else:
        assert isinstance(read, Fault) or read.kind == "category"
