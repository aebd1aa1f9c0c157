"""New rows become the array that training had of the same rows, whatever form they come in, or are refused."""

from __future__ import annotations

import datetime
from functools import partial

import numpy as np
import pandas
import pyarrow as pa
import pytest

from sfumato.lab.data import DataError, Roles, load
from sfumato.lab.data.new_rows import encode_new, read_as
from sfumato.lab.data.python_objects import table_in_memory
from tests.lab.data import refused

ROWS = 24


def mixed():
    """Numbers with decimal commas and gaps, words of which one is rare, and dates over more than a year."""
    days = [datetime.date(2023, 1, 28) + datetime.timedelta(days=31 * i) for i in range(ROWS)]
    return pandas.DataFrame(
        {
            "size": ["" if i % 7 == 3 else f"{i % 5},25" for i in range(ROWS)],
            "count": [str(i % 4) for i in range(ROWS)],
            "city": ["Rare" if i == 5 else ["Oslo", "Rome"][i % 2] for i in range(ROWS)],
            "seen": [f"{day:%d/%m/%Y}" for day in days],
            "label": [i % 2 for i in range(ROWS)],
        }
    )


def plain():
    rng = np.random.default_rng(0)
    return pandas.DataFrame(rng.normal(size=(ROWS, 3)), columns=["a", "b", "c"]).assign(label=np.arange(ROWS) % 2)


def stored_of(table):
    """How the rows of a table were encoded, and what training had of them."""
    encoder = table.features.fit(np.arange(len(table.labels)), "made")
    return encoder.stored(), encoder.encode(np.arange(len(table.labels)))


def of_file(frame, tmp_path, **roles):
    frame.to_csv(tmp_path / "made.csv", sep=";", index=False)
    return stored_of(load(str(tmp_path / "made.csv"), Roles(**roles)))


def of_arrays(x):
    return stored_of(table_in_memory(x, np.arange(len(x)) % 2, Roles(), {}))


refusal = partial(refused, encode_new)
FORMS = {
    "a frame": lambda frame: frame,
    "a frame of Arrow": pa.Table.from_pandas,
    "columns in another order": lambda frame: frame[frame.columns[::-1]].assign(more=1),
    "dicts": lambda frame: frame.to_dict("records"),
    "dicts without their gaps": lambda frame: [
        {name: cell for name, cell in row.items() if cell != ""} for row in frame.to_dict("records")
    ],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("made", [mixed, plain])
def test_rows_of_a_table_become_what_training_had_of_them(made, form, tmp_path):
    stored, trained = of_file(made(), tmp_path)
    assert np.array_equal(encode_new(stored, FORMS[form](made())), trained)


@pytest.mark.parametrize("made", [mixed, plain])
def test_one_row_may_be_one_dict_and_a_table_a_file(made, tmp_path):
    stored, trained = of_file(made(), tmp_path)
    assert np.array_equal(encode_new(stored, made().iloc[4].to_dict()), trained[4:5])
    for path in (tmp_path / "made.csv", str(tmp_path / "made.csv")):
        assert np.array_equal(encode_new(stored, path), trained)


def test_columns_of_numbers_may_come_as_an_array_in_their_order(tmp_path):
    stored, trained = of_file(plain(), tmp_path)
    x = plain()[["a", "b", "c"]].to_numpy()
    assert np.array_equal(encode_new(stored, x), trained)
    assert np.array_equal(encode_new(stored, x.tolist()), trained)
    assert refusal(stored, x[:, :2]) == "X has shape (24, 2); it needs the columns a, b, c, (n, 3)"
    assert refusal(stored, x[0]) == "X has shape (3,); it needs the columns a, b, c, (n, 3)"
    by_name = (
        "the model reads columns by their names (a, b, c); give a data frame, a list of dicts, or the path of a table"
    )
    assert refusal(stored, x.astype(str)) == by_name


def test_a_gap_where_training_had_none_is_named_with_its_row(tmp_path):
    stored, _ = of_file(plain(), tmp_path)
    rows = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "c": 3.0}, {"a": 1.0}]
    assert refusal(stored, rows).startswith('X, row 1: column "b" is missing; no training row lacked it,')


def test_a_gap_where_training_had_gaps_elsewhere_is_their_median_and_a_word_may_be_missing(tmp_path):
    stored, _ = of_file(mixed(), tmp_path)
    row = mixed().iloc[0].to_dict()
    median = stored["columns"][1]["median"]
    assert np.array_equal(
        encode_new(stored, {**row, "count": ""})[:, 2], encode_new(stored, {**row, "count": median})[:, 2]
    )
    assert encode_new(stored, {**row, "city": None}).shape == (1, len(encode_new(stored, row)[0]))


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path):
    stored, _ = of_file(mixed(), tmp_path)
    assert refusal(stored, mixed().rename(columns={"city": "ctiy"})).startswith('X has no column "city", which the')


@pytest.mark.parametrize("made", [mixed, plain])
def test_a_row_too_far_from_training_is_named(made, tmp_path):
    stored, _ = of_file(made(), tmp_path)
    rows = made().to_dict("records")[:3]
    rows[1] |= {"count": "1e308"} if "count" in rows[1] else {"b": 1e308}
    assert refusal(stored, rows) == "row 1 of X lies too far from the training rows to be standardised"


def numbers(shape):
    return np.random.default_rng(1).normal(size=(ROWS, *shape))


@pytest.mark.parametrize("shape", [(4,), (2, 2), (2, 3, 4)])
def test_arrays_of_numbers_are_taken_in_their_shape_or_flat(shape):
    x = numbers(shape)
    stored, trained = of_arrays(x)
    for form in (x, x.reshape(ROWS, -1), x.tolist(), pandas.DataFrame(x.reshape(ROWS, -1)).add_prefix("c")):
        assert np.array_equal(encode_new(stored, form), trained)
    assert np.array_equal(encode_new(stored, x[5:6]), trained[5:6])
    assert encode_new(stored, x[:0]).shape == (0, trained.shape[1])


def test_numbers_of_any_type_are_taken_and_a_zero_has_no_sign():
    stored, _ = of_arrays(np.arange(48).reshape(ROWS, 2) % 5)
    rows = np.array([[0, 1], [1, 0]])
    for kind in (bool, np.int8, np.uint16, np.float16, np.float64):
        assert np.array_equal(encode_new(stored, rows.astype(kind)), encode_new(stored, rows))
    assert np.array_equal(encode_new(stored, np.array([[-0.0, 1.0]])), encode_new(stored, rows[:1]))
    assert refusal(stored, np.array([["0", "1"]])) == "X has type <U1; the model reads numbers"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (np.zeros((2, 3)), "X has shape (2, 3); the model reads (n, 2, 2) or (n, 4), even of one row"),
        (np.zeros(4), "X has shape (4,); the model reads (n, 2, 2) or (n, 4), even of one row"),
        ([[1, 2, 3, 4], [1, 2, np.nan, np.inf]], "X: number 2 of row 1 is nan; replace it, or leave the row out"),
        ([[1, 2, 3, 4], [1, 2, 1e300, 4]], "row 1 of X lies too far from the training rows to be standardised"),
        (pandas.DataFrame(np.eye(3)), "X has 3 columns; the model was trained on an array of 4 numbers per row"),
        (pandas.DataFrame({"a": [1.0]}), "X has 1 column; the model was trained on an array of 4 numbers per row"),
    ],
)
def test_an_array_of_another_shape_or_with_numbers_that_are_none_is_refused(rows, told):
    stored, _ = of_arrays(numbers((2, 2)))
    assert refusal(stored, rows).startswith(told)


def test_an_archive_is_read_for_its_array_x(tmp_path):
    x = numbers((4,))
    stored, trained = of_arrays(x)
    for name, key in (("new.npz", "X"), ("NEW2.NPZ", "x")):
        np.savez(tmp_path / "made.npz", **{key: x, "other": x[:2]})
        (tmp_path / "made.npz").rename(tmp_path / name)
        assert np.array_equal(encode_new(stored, tmp_path / name), trained)
        assert np.array_equal(encode_new(stored, str(tmp_path / name)), trained)
    np.savez(tmp_path / "none.npz", y=x)
    assert refusal(stored, tmp_path / "none.npz") == f"{tmp_path / 'none.npz'} lacks X"
    (tmp_path / "bad.npz").write_text("nothing")
    assert refusal(stored, tmp_path / "bad.npz").startswith(f"{tmp_path / 'bad.npz'} is not an .npz archive")
    assert refusal(stored, "gone.npz") == 'no file "gone.npz"'


TEXTS = ["a red sun", "rain and wind", "red wind", "the sun and the rain"] * 6


def test_texts_may_come_as_a_list_an_array_or_the_one_column_of_a_frame():
    stored, trained = of_arrays(TEXTS)
    for form in (TEXTS, np.array(TEXTS), pandas.DataFrame({"t": TEXTS}), [{"t": text} for text in TEXTS]):
        assert np.array_equal(encode_new(stored, form), trained)
    assert refusal(stored, pandas.DataFrame({"t": TEXTS, "u": TEXTS})).startswith(
        "X has 2 columns, and the model reads"
    )
    assert refusal(stored, np.array([TEXTS])) == ("X has type <U20 and shape (1, 24); the model reads one text per row")
    assert refusal(stored, np.eye(3)) == "X has type float64 and shape (3, 3); the model reads one text per row"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            np.zeros((2, 8, 6, 3)),
            "X has type float64; the model reads images as bytes (uint8, 0 to 255), or image files by their paths",
        ),
        (np.zeros((2, 8, 6), np.uint8), "X has shape (2, 8, 6); the model reads images of (n, 8, 6, 3)"),
        (np.zeros((1, 1, 8, 6, 3), np.uint8), "X has shape (1, 1, 8, 6, 3); the model reads images of (n, 8, 6, 3)"),
        (np.zeros((2, 6, 8, 3), np.uint8), "X has shape (2, 6, 8, 3); the model reads images of (n, 8, 6, 3)"),
    ],
)
def test_pictures_of_another_form_are_refused(rows, told):
    stored, _ = of_arrays(np.zeros((ROWS, 8, 6, 3), np.uint8))
    assert refusal(stored, rows).startswith(told)


DAY = (datetime.date(2024, 4, 3) - datetime.date(1970, 1, 1)).days
NAN = float("nan")


def read(cells, kind="number", written="", comma=False):
    learned = {"name": "x", "kind": kind, "written": written}
    array = cells if isinstance(cells, pa.Array) else pa.array(cells)
    return read_as(learned, pa.chunked_array([array]), "row {}".format, comma=comma)


@pytest.mark.parametrize(
    ("cells", "how", "values"),
    [
        (["1,234", "−2"], {"written": ","}, [1.234, -2]),
        (["1,5", "2"], {"comma": True}, [1.5, 2]),
        (["1.5", ""], {"comma": True}, [1.5, NAN]),
        (["5", "–", "NA"], {}, [5, NAN, NAN]),
        ([1, None], {}, [1, NAN]),
        ([True, False], {}, [1, 0]),
        (["03/04/2024", ""], {"kind": "date", "written": "DD/MM/YYYY"}, [DAY, NAN]),
        (["04/03/2024", "-"], {"kind": "date", "written": "MM/DD/YYYY"}, [DAY, NAN]),
        (["2024-04-03"], {"kind": "date"}, [DAY]),
        ([datetime.date(2024, 4, 3), None], {"kind": "date", "written": "DD.MM.YYYY"}, [DAY, NAN]),
        ([datetime.datetime(2024, 4, 3, 12)], {"kind": "date"}, [DAY + 0.5]),
    ],
)
def test_numbers_and_dates_are_read_as_in_training(cells, how, values):
    assert np.array_equal(read(cells, **how).values, values, equal_nan=True)


@pytest.mark.parametrize(
    ("cells", "levels"),
    [
        ([" a ", "", "n/a", "a"], ["a", None, None, "a"]),
        ([1, 2, None], ["1", "2", None]),
        ([1.0, 2.5, NAN, None], ["1", "2.5", None, None]),
        ([True, False], ["True", "False"]),
        (["2024-01-31", "1"], ["2024-01-31", "1"]),
        ([None, None], [None, None]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    ],
)
def test_cells_of_a_category_are_text_however_they_look(cells, levels):
    column = read(cells, kind="category")
    assert [None if code < 0 else column.levels[code] for code in column.values] == levels


@pytest.mark.parametrize(
    ("cells", "how", "text"),
    [
        (["1", "x"], {}, 'row 1: column "x" holds "x", which is not a number with a decimal point, as in training'),
        (["1", "2,5"], {}, 'row 1: column "x" holds "2,5", which is not a number with a decimal point, as in training'),
        (["", "2.5"], {"written": ","}, 'row 1: column "x" holds "2.5", which is not a number with a decimal comma'),
        (["1", "inf"], {}, 'row 1: column "x" is infinite; replace the value, or leave the row out'),
        (["03/13/2024"], {"kind": "date", "written": "DD/MM/YYYY"},
         'row 0: column "x" holds "03/13/2024", which is not a date written as DD/MM/YYYY, as in training'),
        (["03/04/2024"], {"kind": "date"},
         'row 0: column "x" holds "03/04/2024", which is not a date; write 2024-01-31'),
        ([[1], [2]], {"kind": "category"}, 'row 0: column "x" has type list<'),
        ([1], {"kind": "date"}, 'row 0: column "x" has type int64, but held dates in training'),
    ],
)  # fmt: skip
def test_a_cell_of_another_kind_is_named(cells, how, text):
    with pytest.raises(DataError) as refused:
        read(cells, **how)
    assert str(refused.value).startswith(text)
