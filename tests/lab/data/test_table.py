"""A table as it was read: its limit, its errors, its counting columns, the form of its rows and their hashes."""

import hashlib
import json

import numpy as np
import pytest

from sfumato.lab.data import DataError, Numbers, Table
from sfumato.lab.data.table import Encoder, Inputs, as_hashes, hash_rows


def test_an_error_stands_on_one_line_whatever_the_file_holds():
    assert str(DataError("a\tb\x1b[31m é\n")) == "a\\tb\\x1b[31m é\\n"


@pytest.mark.parametrize(
    ("values", "counts"), [([1, 2, 3, 4], True), ([1, 2, 3, 5], False), ([0.5, 1.5, 2.5, 3.5], True)]
)
def test_a_column_counts_rows_where_each_number_is_one_more_than_the_one_above(values, counts):
    features = Numbers(np.array([[value, 0.0] for value in values]), ("n", "x"), (2,))
    assert Table("made", "csv", features, np.zeros(4, int), ("a",)).counters() == ["n"] * counts


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (Inputs.dense(1), "1 feature"),
        (Inputs.dense(64, (8, 8)), "64 features (8 × 8)"),
        (Inputs.dense(3072, (3, 32, 32)), "3,072 features (3 × 32 × 32)"),
        (Inputs("image", (64, 48, 3), 64 * 48 * 3), "images of 64 × 48 × 3"),
        (Inputs("sparse", (20,), 12345), "12,345 sparse features"),
        (Inputs("tokens", (1024,), 30000), "up to 1,024 tokens"),
    ],
)
def test_a_form_is_told_in_words(form, told):
    assert form.describe() == told


def test_what_is_stored_goes_through_json():
    form = Inputs("image", (8, 8, 1), 64, mean=(0.5,), scale=(1.5,))
    stored = Encoder(form, lambda rows: rows, learned={"features": "images", "side": 8}).stored()
    assert json.loads(json.dumps(stored)) == stored
    assert stored == {
        "inputs": {"kind": "image", "shape": [8, 8, 1], "width": 64, "picture": [], "mean": [0.5], "scale": [1.5]},
        "features": "images",
        "side": 8,
    }


def test_hashes_do_not_depend_on_how_many_rows_are_hashed_at_a_time():
    rows = np.random.default_rng(0).normal(size=(11, 3))
    rows[4] = rows[7]
    rows[5] = -0.0
    rows[6] = 0.0
    whole = hash_rows(rows)
    assert whole.shape == (11, 2)
    assert np.array_equal(whole, as_hashes(row.tobytes() for row in rows + 0.0))
    assert len({tuple(each) for each in whole.tolist()}) == 9
    for most in (1, 4, 11):
        assert np.array_equal(hash_rows(rows, most), whole)
        assert np.array_equal(hash_rows(np.asfortranarray(rows), most), whole)


@pytest.mark.parametrize("row", [b"some bytes", np.arange(12, dtype=np.uint8).reshape(3, 4).T])
def test_a_hash_is_the_first_128_bits_of_blake2b_of_the_bytes(row):
    held = row if isinstance(row, bytes) else row.tobytes()
    digest = hashlib.blake2b(held, digest_size=16).digest()
    (made,) = as_hashes([row])
    assert made.dtype == np.uint64
    assert [int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")] == made.tolist()
