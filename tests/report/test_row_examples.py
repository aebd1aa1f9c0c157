import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from sfumato.lab.data.encoding import Numbers
from sfumato.lab.examples import examples, show
from sfumato.report.changed_rows import load_examples
from sfumato.runs.read import ReportError
from tests.report.run_folders import thumbnail


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_bytes_become_a_picture_with_the_same_bytes():
    features = np.random.default_rng(0).integers(0, 256, (5, 28 * 28)).astype(float)
    rows = examples([3, 1], features=features, shape=(28, 28))["rows"]
    assert list(rows) == ["3", "1"]
    np.testing.assert_array_equal(pixels(rows["3"]["thumbnail"]), features[3].reshape(28, 28))


def test_other_numbers_are_stretched_over_black_to_white():
    features = np.array([np.linspace(0, 16, 64), np.full(64, 4.0)])
    rows = examples([0, 1], features=features, shape=(8, 8))["rows"]
    first, second = (pixels(rows[str(i)]["thumbnail"]) for i in (0, 1))
    assert (first.min(), first.max()) == (0, 255)
    assert set(second.flat) == {64}


@pytest.mark.parametrize("shape", [(9, 8, 3), (3, 9, 8)])
def test_colours_keep_their_channels_first_or_last(shape):
    features = np.random.default_rng(1).integers(0, 256, (2, *shape))
    found = pixels(examples([0], features=features.reshape(2, -1), shape=shape)["rows"]["0"]["thumbnail"])
    known = features[0] if shape[-1] == 3 else np.moveaxis(features[0], 0, -1)
    low, high = features[[0]].min(), max(features[[0]].max(), 1)
    assert found.shape == (9, 8, 3)
    np.testing.assert_allclose(found, known, atol=1 + 255 - high + low)


@pytest.mark.parametrize("shape", [(9, 8, 1), (1, 9, 8)])
def test_one_channel_is_grey(shape):
    features = np.arange(144, dtype=float).reshape(2, 72)
    assert pixels(examples([1], features=features, shape=shape)["rows"]["1"]["thumbnail"]).shape == (9, 8)


def test_a_large_picture_becomes_small():
    features = np.random.default_rng(2).integers(0, 256, (1, 200 * 100 * 3)).astype(float)
    uri = examples([0], features=features, shape=(200, 100, 3))["rows"]["0"]["thumbnail"]
    assert pixels(uri).shape == (64, 32)
    assert len(uri) < 8000


def test_a_text_is_one_line_cut_at_a_word():
    content = examples([1], texts=["", "word\n\n  and " * 60])
    text = content["rows"]["1"]["text"]
    assert content["kind"] == "text"
    assert len(text) <= 242
    assert text.endswith(" …")
    assert set(text.removesuffix(" …").split()) == {"word", "and"}


def test_a_table_row_shows_what_is_unusual_about_it():
    features = np.random.default_rng(3).normal(size=(200, 9))
    features[7, [2, 5]] = [50.0, -40.0]
    values = examples([7], features=features, names=[f"f{j}" for j in range(9)])["rows"]["7"]["values"]
    assert len(values) == 6
    assert (values["f2"], values["f5"]) == (50.0, -40.0)


@pytest.mark.parametrize("given", [{}, {"features": np.zeros((1, 1)), "texts": [""]}])
def test_features_or_texts_are_given_and_not_both(given):
    with pytest.raises(ValueError, match=r"^give features or texts, and one of them only$"):
        examples([0], **given)


def test_what_the_lab_writes_the_report_reads(tmp_path):
    features = np.arange(640, dtype=float).reshape(10, 64)
    names = ("first", *(f"column {j}" for j in range(1, 64)))
    show(tmp_path, [4, 9], Numbers(features, names, (8, 8), image=True))
    found = load_examples(tmp_path).rows
    assert sorted(found) == ["4", "9"]
    assert pixels(found["4"].thumbnail).shape == (8, 8)
    show(tmp_path, [2], Numbers(features, names, (64,)))
    assert load_examples(tmp_path).rows["2"].values["column 1"] == 129


def test_a_run_without_examples_has_none(tmp_path):
    assert (load_examples(tmp_path).kind, load_examples(tmp_path).rows) == ("none", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "sound", "rows": {}}, "Invalid enum value 'sound' - at `$.kind`"),
        ({"kind": "text", "rows": {"-1": {"text": ""}}}, "Expected `str` matching regex"),
        ({"kind": "text", "rows": {"1": {"text": 1}}}, "Expected `str | null`, got `int`"),
        ({"kind": "image", "rows": {"1": {"thumbnail": "https://example.org/x.png"}}}, "matching regex"),
        ({"kind": "image", "rows": {"1": {"thumbnail": "data:image/png;base64,AAAA"}}}, "matching regex"),
        ({"kind": "image", "rows": {"1": {"thumbnail": thumbnail() + '"><script>'}}}, "matching regex"),
        ({"kind": "image", "rows": {"1": {"thumbnail": thumbnail()[:-4] + "A" * 400_000}}}, "length <= 400000"),
    ],
)
def test_examples_that_do_not_fit_are_named(tmp_path, content, message):
    (tmp_path / "examples.json").write_text(json.dumps(content))
    with pytest.raises(ReportError) as raised:
        load_examples(tmp_path)
    assert message in str(raised.value)
