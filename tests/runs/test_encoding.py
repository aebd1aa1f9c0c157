"""What is refused of the file that tells how rows became numbers."""

import copy
import json

import pytest

from sfumato.runs.read import ReportError, read_encoding

NUMBER = {
    "name": "age", "kind": "number", "written": ".",
    "median": 3.0, "mean": 3.5, "scale": 1.5, "flagged": True, "seasons": False,
}  # fmt: skip
DATE = {**NUMBER, "kind": "date", "seasons": True, "flagged": False}
CATEGORY = {"name": "town", "kind": "category", "written": "", "levels": ["Bonn", "Ulm"]}


def of(features, width, shape=None, kind="dense", **more):
    inputs = {"kind": kind, "shape": shape or [width], "width": width, "picture": [], "mean": [0.0], "scale": [1.0]}
    return {"schema": "sfumato.encoding/1", "features": features, "inputs": inputs, **more}


WHOLE = {
    "numbers": of("numbers", 6, shape=[2, 3], mean=[0.0], scale=[1.0]) | {"shape": [2, 3]},
    "a number each": of("numbers", 2, mean=[0.0, 1.0], scale=[1.0, 2.0]) | {"shape": [2]},
    "columns": of("columns", 6, columns=[NUMBER, CATEGORY]),
    "a date with seasons": of("columns", 5, columns=[DATE, NUMBER]),
    "images": of("images", 192, shape=[8, 8, 3], kind="image", side=8),
    "texts": of("texts", 2, kind="sparse", text_columns=["said"], terms=["a", "b"], weights=[1.0, 2.0]),
    "texts and columns": of(
        "texts", 8, kind="sparse", text_columns=["t"], terms=["a", "b"], weights=[1.0, 2.0], columns=[NUMBER, CATEGORY]
    ),
    "tokens": of("tokens", 16, kind="tokens", text_columns=["said"], tokenizer="{}"),
}  # fmt: skip


def read(folder, found):
    (folder / "encoding.json").write_text(json.dumps(found))
    return read_encoding(folder)


@pytest.mark.parametrize("found", WHOLE.values(), ids=WHOLE)
def test_what_fits_is_read_as_it_stands(tmp_path, found):
    assert read(tmp_path, found) == found


def without(key):
    return lambda found: found.pop(key)


@pytest.mark.parametrize(
    ("features", "broken", "said"),
    [
        ("columns", without("columns"), "lacks columns"),
        ("texts", without("weights"), "lacks weights"),
        ("columns", lambda found: found["inputs"].update(width=0), r"rows of shape \[6\] and width 0 hold nothing"),
        (
            "columns",
            lambda found: found["inputs"].update(width=10**12),
            "the columns make 6 features, not 1000000000000",
        ),
        ("columns", lambda found: found["columns"][0].pop("median"), "column 'age' lacks median"),
        ("columns", lambda found: found["columns"][1].pop("levels"), "column 'town' lacks levels"),
        ("columns", lambda found: found["columns"][1]["levels"].pop(), "the columns make 5 features, not 6"),
        ("columns", lambda found: found["columns"][0].update(flagged=False), "the columns make 5 features, not 6"),
        ("columns", lambda found: found["columns"][0].update(seasons=True), "the columns make 8 features, not 6"),
        ("numbers", lambda found: found.update(shape=[2, 2]), "shape, mean and scale do not fit 6 features"),
        ("numbers", lambda found: found.update(mean=[0.0] * 5), "shape, mean and scale do not fit 6 features"),
        ("images", lambda found: found["inputs"].update(shape=[64, 3]), "images have height, width and channels"),
        ("images", lambda found: found["inputs"].update(kind="dense"), "images have height, width and channels"),
        ("images", lambda found: found.update(side=7), r"images of \[8, 8, 3\] are not squares of side 7"),
        ("texts", lambda found: found["weights"].pop(), "terms and weights are not as many"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(tmp_path, features, broken, said):
    found = copy.deepcopy(WHOLE[features])
    broken(found)
    with pytest.raises(ReportError, match=said):
        read(tmp_path, found)
