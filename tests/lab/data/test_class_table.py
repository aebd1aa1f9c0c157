"""A table for each two classes in a CSV file: known by its names, and refused with its line and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sfumato.lab.data import DataError
from sfumato.lab.data.labels import read_class_table

CLASSES = ("cat", "dog", "car")
TABLE = """,dog,cat,car
car,1,2,30

dog,40,5,6
cat,7,80,9
"""


def is_whole(number: float) -> bool:
    return number % 1 == 0


WHOLE = (is_whole, "is not whole")


def test_lines_and_columns_are_known_by_their_names(tmp_path: Path):
    (tmp_path / "t.csv").write_text("\ufeff" + TABLE, encoding="utf-8")
    expected = [[80, 7, 9], [5, 40, 6], [2, 1, 30]]
    np.testing.assert_array_equal(read_class_table(tmp_path / "t.csv", CLASSES, *WHOLE), expected)


def test_blank_lines_and_blanks_around_names_are_passed_over(tmp_path: Path):
    text = "\n, dog ,cat\n,,\n cat ,1, 2\n\ndog, 3 ,4\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(read_class_table(tmp_path / "t.csv", CLASSES[:2], *WHOLE), [[2, 1], [4, 3]])


REFUSED = {
    "a class that is none": (TABLE.replace("\ncat", "\ncta"), 'line 5: "cta" is not a class. Did you mean "cat"?'),
    "a class without a line": (TABLE.replace("dog,40,5,6\n", ""), 'has no line for the class "dog"'),
    "a class twice": (TABLE + "cat,0,1,0\n", 'line 6: the class "cat" has a line already'),
    "a class not in the first line": (",dog,car\ncar,1,30\n", 'first line: the class "cat" is missing'),
    "a class twice in the first line": (TABLE.replace(",dog,cat", ",dog,dog"), 'has two columns called "dog"'),
    "a class of the first line that is none": (
        TABLE.replace(",dog,cat", ",dgo,cat"),
        'first line: "dgo" is not a class.',
    ),
    "a cell": (TABLE.replace("40", "many"), 'line 4, column "dog": "many" is not whole'),
    "an empty cell": (TABLE.replace("1,2,30", "1,,30"), 'line 2, column "cat": "" is not whole'),
    "a cell too few": (TABLE.replace("1,2,30", "1,2"), "line 2: 3 cells, but the header has 4"),
    "only names": (",dog,cat,car\n", "has a header but no rows"),
    "no text": ("\0\xff", "line 1: a NUL byte"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_table_that_is_none_is_refused_with_its_line(what, tmp_path: Path):
    text, message = REFUSED[what]
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as error:
        read_class_table(path, CLASSES, *WHOLE)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
