"""Cells of new rows: read as those of training were, where the new rows alone would be read in another way."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from sfumato.lab.data import DataError
from sfumato.lab.data.reread import read_again

DAY = (datetime.date(2024, 4, 3) - datetime.date(1970, 1, 1)).days


def read(cells, kind="number", written="text", sign="", comma=False):
    kept = {"name": "x", "kind": kind, "written": written, "sign": sign}
    array = cells if isinstance(cells, pa.Array) else pa.array(cells)
    return read_again(kept, pa.chunked_array([array]), "row {}".format, comma=comma)


@pytest.mark.parametrize(
    ("cells", "how", "values"),
    [
        (["1,234", "2"], {"written": ","}, [1.234, 2]),
        (["1,234", "2"], {"written": "."}, [1234, 2]),
        (["1.234", "2"], {"written": ","}, [1234, 2]),
        (["1.234", "2"], {"written": "text", "comma": True}, [1.234, 2]),
        (["1,5", "2"], {"written": "text", "comma": True}, [1.5, 2]),
        (["5 %", "–", "NA"], {"sign": "%"}, [5, np.nan, np.nan]),
        ([1, None], {}, [1, np.nan]),
        ([2**53 + 1, None], {}, [2.0**53, np.nan]),
        (["1.5", ""], {"written": "text", "comma": True}, [1.5, np.nan]),
        ([True, False], {}, [1, 0]),
        ([1.5, float("nan")], {"sign": "€", "written": ","}, [1.5, np.nan]),
        ([None, None], {}, [np.nan, np.nan]),
        (["03/04/2024", ""], {"kind": "date", "written": "DD/MM/YYYY"}, [DAY, np.nan]),
        (["04/03/2024", "-"], {"kind": "date", "written": "MM/DD/YYYY"}, [DAY, np.nan]),
        (["2024-04-03"], {"kind": "date", "written": ""}, [DAY]),
        ([datetime.date(2024, 4, 3), None], {"kind": "date", "written": "DD.MM.YYYY"}, [DAY, np.nan]),
        ([datetime.datetime(2024, 4, 3, 12)], {"kind": "date"}, [DAY + 0.5]),
    ],
)
def test_numbers_and_dates_are_read_as_in_training(cells, how, values):
    assert np.array_equal(read(cells, **how).values, values, equal_nan=True)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([" a ", "", "n/a", "a"], ["a", None, None, "a"]),
        ([1, 2, None], ["1", "2", None]),
        ([1.0, 2.5, float("nan"), None], ["1", "2.5", None, None]),
        ([True, False], ["True", "False"]),
        (["2024-01-31", "1"], ["2024-01-31", "1"]),
        ([None, None], [None, None]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    ],
)
def test_words_are_words_however_they_look(cells, words):
    column = read(cells, kind="category")
    assert [None if code < 0 else column.levels[code] for code in column.values] == words


@pytest.mark.parametrize(
    ("cells", "how", "text"),
    [
        (["1", "x"], {}, 'row 1: column "x" holds "x", which is not a number with a decimal point, as those of '),
        (["1", "2,5"], {"written": "."}, 'row 1: column "x" holds "2,5", which is not a number with a decimal point'),
        (["", "5"], {"sign": "%"}, 'row 1: column "x" holds "5", but in training "%" stood at each number'),
        (["5 %", "6"], {"sign": "%"}, 'row 1: column "x" holds "6", but in training "%" stood at each number'),
        (["", "5 %", "6 €", "7 €"], {"sign": "%"}, 'row 2: column "x" holds "6 €", but in training "%" stood at each'),
        (["5", "6"], {"sign": "%"}, 'row 0: column "x" holds "5", but in training "%" stood at each number'),
        (["5 €", "5 %"], {"sign": "%"}, 'row 0: column "x" holds "5 €", but in training "%" stood at each number'),
        (["1", "inf"], {}, 'row 1: column "x" is infinite; replace the value, or leave the row out'),
        ([[1], [2]], {}, 'row 0: column "x" has type list<'),
        (["03/13/2024"], {"kind": "date", "written": "DD/MM/YYYY"},
         'row 0: column "x" holds "03/13/2024", which is not a date written as DD/MM/YYYY, as those of training are'),
        (["03/04/2024"], {"kind": "date", "written": ""},
         'row 0: column "x" holds "03/04/2024", which is not a date; write 2024-01-31'),
        ([[1], [2]], {"kind": "category"}, 'row 0: column "x" has type list<'),
        ([1], {"kind": "date"}, 'row 0: column "x" has type int64, but held dates in training'),
    ],
)  # fmt: skip
def test_a_cell_of_another_kind_is_named(cells, how, text):
    with pytest.raises(DataError) as refused:
        read(cells, **how)
    assert str(refused.value).startswith(text)
