"""What some rows look like: pictures in few colours, texts of one line, and the values that are furthest out."""

from __future__ import annotations

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sfumato.lab.examples import examples, show

RNG = np.random.default_rng(8)


def pixels(told, row):
    uri = told["rows"][str(row)]["thumbnail"]
    assert uri.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_table_shows_the_values_furthest_out_in_their_own_units():
    features = np.zeros((101, 9))
    features[:100] = np.where(np.arange(100)[:, None] % 2, 1, -1) * 10.0 ** np.arange(-3, 6)  # scales from .001 to 10⁵
    far = np.array([9, 1, 8, 2, 7, 3, 6, 4, 5.0])  # in standard deviations, nearly
    features[100] = far * 10.0 ** np.arange(-3, 6)
    told = examples([100], features=features, names=list("abcdefgh"))
    assert told["kind"] == "table"
    values = told["rows"]["100"]["values"]
    assert list(values) == ["a", "c", "e", "g", "h", "column 8"]  # in the order of the columns
    assert list(values.values()) == [features[100, j] for j in (0, 2, 4, 6, 7, 8)]


def test_a_column_that_never_changes_is_never_far_out():
    features = np.column_stack([np.full(50, 1e9), *RNG.normal(size=(7, 50))])
    told = examples(range(50), features=features)
    assert all("column 0" not in row["values"] and len(row["values"]) == 6 for row in told["rows"].values())


def test_the_distance_is_from_the_mean_of_the_column():
    features = np.column_stack([1000 + RNG.normal(size=300) * np.r_[np.ones(299), 0], *RNG.normal(size=(6, 300)) * 9])
    features[299, 1:] = 9.0  # one standard deviation out, while column 0 is at its mean
    told = examples([299], features=features)
    assert "column 0" not in told["rows"]["299"]["values"]


@pytest.mark.parametrize(
    ("shape", "mode"),
    [((8, 6), "L"), ((8, 6, 1), "L"), ((1, 8, 6), "L"), ((8, 6, 3), "RGB"), ((3, 8, 6), "RGB"), ((4, 4), "L")],
)
def test_pictures_of_every_layout_are_shown_as_they_are(shape, mode):
    features = RNG.integers(0, 256, (5, *shape))
    features[1].flat[0], features[3].flat[0] = 255, 0
    told = examples([1, 3], features=features.reshape(5, -1), shape=shape)
    assert told["kind"] == "image"
    assert list(told["rows"]) == ["1", "3"]
    for row in (1, 3):
        image = pixels(told, row)
        known = np.moveaxis(features[row], 0, -1) if shape[0] in (1, 3) else features[row]
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image).reshape(known.shape), known)


@pytest.mark.parametrize(
    "shape", [(3, 8), (8, 3), (8, 6, 2), (2, 8, 6), (3, 3, 3), (3, 3, 8), (1, 8, 3), (3, 8, 3), (64,), ()]
)
def test_what_has_no_shape_of_a_picture_is_a_table(shape):
    assert examples([0], features=np.ones((2, 144)), shape=shape)["kind"] == "table"


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.0, 16.0, (0, 255)),  # as the digits have them
        (-1.0, 1.0, (0, 255)),
        (0.0, 255.0, (0, 255)),
        (10.0, 200.0, (10, 200)),  # bytes: a dark picture stays dark
        (0.0, 128.0, (0, 255)),
        (0.0, 300.0, (0, 255)),
        (0.0, 200.0, (0, 200)),  # bytes from 0 to 255, and no others
        (0.5, 200.0, (0, 200)),
        (0.0, 129.0, (0, 129)),
        (10.0, 255.0, (10, 255)),
        (10.0, 256.0, (0, 255)),
        (-1.0, 200.0, (0, 255)),
        (5.0, 5.0, (0, 0)),
    ],
)
def test_the_smallest_and_largest_number_are_black_and_white(low, high, shown):
    features = np.full((1, 16), low)
    features[0, 5] = high
    values = np.asarray(pixels(examples([0], features=features, shape=(4, 4)), 0)).ravel()
    assert (values[0], values[5]) == shown


def test_one_scale_serves_all_the_rows_that_are_shown():
    features = np.array([np.zeros(16), np.full(16, 2.0), np.full(16, 4.0), np.full(16, 1000.0)])
    told = examples([0, 1, 2], features=features, shape=(4, 4))
    assert [np.asarray(pixels(told, row))[0, 0] for row in (0, 1, 2)] == [0, 128, 255]


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [((64, 64), (64, 64), "L"), ((65, 130), (64, 32), "L"), ((32, 32, 3), (32, 32), "RGB"),
     ((33, 33, 3), (33, 33), "P"), ((128, 256, 3), (64, 32), "P")],
)  # fmt: skip
def test_large_pictures_become_thumbnails_in_few_colours(shape, size, mode):
    image = pixels(examples([0], features=RNG.random((1, int(np.prod(shape)))), shape=shape), 0)
    assert (image.size, image.mode) == (size, mode)
    if mode == "P":
        assert len(image.convert("RGB").getcolors()) <= 64


def test_no_rows_are_no_pictures():
    assert examples([], features=np.ones((2, 16)), shape=(4, 4)) == {"kind": "image", "rows": {}}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  two\n words ", "two words"),
        ("x" * 240, "x" * 240),
        ("x" * 241, "x" * 240 + " …"),
        ("word " * 48 + "end", " ".join(["word"] * 48)[:239] + " …"),
        ("a " + "x" * 300, "a " + "x" * 238 + " …"),  # one word is longer than half: it is cut where the line ends
        ("x" * 121 + " " + "y" * 200, "x" * 121 + " …"),
        ("x" * 120 + " " + "y" * 200, "x" * 120 + " " + "y" * 119 + " …"),
    ],
)
def test_a_text_is_one_line_cut_at_a_word(text, shown):
    assert examples([0], texts=[text])["rows"]["0"]["text"] == shown


@pytest.mark.parametrize("given", [{}, {"features": np.ones((1, 2)), "texts": ["a"]}])
def test_features_or_texts_are_given_and_not_both(given):
    with pytest.raises(ValueError, match="give features or texts, and one of them only"):
        examples([0], **given)


def test_the_file_holds_what_the_rows_of_a_text_look_like_and_nothing_is_written_for_another_kind(tmp_path):
    assert show(tmp_path, [0], SimpleNamespace()) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("image", "kind"), [(True, "image"), (False, "table")])
def test_numbers_are_a_picture_where_the_data_say_so(image, kind, tmp_path, monkeypatch):
    numbers = SimpleNamespace(image=image, shape=(4, 4), values=np.eye(16), names=[f"n{j}" for j in range(16)])
    monkeypatch.setattr("sfumato.lab.examples.Numbers", SimpleNamespace)
    show(tmp_path, [2], numbers)
    path = tmp_path / "examples.json"
    told = json.loads(path.read_text("utf-8"))
    assert (path.name, told["kind"], list(told["rows"])) == ("examples.json", kind, ["2"])
    if not image:
        assert told["rows"]["2"]["values"]["n2"] == 1.0


def test_images_are_pictures_in_their_own_shape(tmp_path, monkeypatch):
    pictures = RNG.integers(0, 256, (3, 8, 6, 3))
    pictures[1].flat[:2] = 0, 255
    monkeypatch.setattr("sfumato.lab.examples.Images", SimpleNamespace)
    show(tmp_path, [1], SimpleNamespace(pixels=pictures))
    told = json.loads((tmp_path / "examples.json").read_text("utf-8"))
    assert (told["kind"], list(told["rows"])) == ("image", ["1"])
    np.testing.assert_array_equal(np.asarray(pixels(told, 1)), pictures[1])


def test_texts_are_written_as_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("sfumato.lab.examples.Texts", SimpleNamespace)
    show(tmp_path, [1], SimpleNamespace(texts=["", "Äpfel und 梨"]))
    written = (tmp_path / "examples.json").read_text("utf-8")
    assert written == '{"kind": "text", "rows": {"1": {"text": "Äpfel und 梨"}}}\n'
