"""A table as it was read: its limit, its errors, and the columns that count its rows."""

import numpy as np
import pytest

from sfumato.lab.data import DataError, Numbers, Table
from sfumato.lab.data.python_objects import as_array


class Sparse:
    """A matrix of zeros that takes no memory until it is spread out, and little then."""

    nnz = 0

    def __init__(self, rows):
        self.shape = (rows, 1)

    def toarray(self):
        return np.zeros(3)


def test_eight_gigabytes_are_the_most_that_is_read():
    assert as_array("f", Sparse(10**9), "X").tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="^f: X is sparse and takes more than 8 GB spread out; keep fewer columns$"):
        as_array("f", Sparse(10**9 + 1), "X")


def test_an_error_stands_on_one_line_whatever_the_file_holds():
    assert str(DataError("a\tb\x1b[31m é\n")) == "a\\tb\\x1b[31m é\\n"


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ([1, 2, 3, 4], True),
        ([7, 8, 9, 10], True),
        ([1, 2, 3, 5], False),
        ([4, 3, 2, 1], False),
        ([0.5, 1.5, 2.5, 3.5], True),
    ],
)
def test_a_column_counts_rows_where_each_number_is_one_more_than_the_one_above(values, counts):
    features = Numbers(np.array([[value, 0.0] for value in values]), ("n", "x"), (2,))
    assert Table("made", "csv", features, np.zeros(4, int), ("a",)).counters() == ["n"] * counts


def test_three_rows_are_too_few_to_be_counted():
    features = Numbers(np.array([[1.0], [2.0], [3.0]]), ("n",), (1,))
    assert Table("made", "csv", features, np.zeros(3, int), ("a",)).counters() == []
