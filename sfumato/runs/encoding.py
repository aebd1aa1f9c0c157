"""What ``encoding.json`` of a run holds: how its rows became numbers, so that new rows can become numbers likewise.

All of it was learned from the training rows: means and medians, the levels of categories, a vocabulary. It is data and
not code, and a run folder may come from anyone, so what is read is checked.
"""

import math
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from sfumato.runs.read import ReportError, read_object
from sfumato.runs.schema import ShapeError, Text, Whole, check

FILE = "encoding.json"
SCHEMA = "sfumato.encoding/1"


class StoredInputs(TypedDict):
    """The form of one row as the model takes it; see :class:`sfumato.lab.data.Inputs`."""

    kind: Literal["dense", "image", "sparse", "tokens"]
    shape: list[Whole]
    width: Whole
    picture: list[Whole]
    mean: list[float]
    scale: list[float]


class StoredColumn(TypedDict):
    """How one column is read and encoded.

    ``written`` is ``","`` for numbers with decimal commas, or the form of dates. Numbers and dates have the keys from
    ``median`` to ``seasons``; categories have the ``levels`` with a place of their own.
    """

    name: Text
    kind: Literal["number", "category", "date"]
    written: Text
    median: NotRequired[float | None]
    mean: NotRequired[float]
    scale: NotRequired[float]
    flagged: NotRequired[bool]
    seasons: NotRequired[bool]
    levels: NotRequired[list[Text]]


class StoredEncoding(TypedDict):
    """The object in ``encoding.json``; keys that the kind of features does not need are missing.

    ``side`` is that of the squares that images of a folder were brought to; it is missing where they kept theirs.
    """

    schema: Text
    features: Literal["numbers", "columns", "images", "texts", "tokens"]
    inputs: StoredInputs
    columns: NotRequired[list[StoredColumn]]
    shape: NotRequired[list[Whole]]
    mean: NotRequired[list[float]]
    scale: NotRequired[list[float]]
    text_columns: NotRequired[list[Text]]
    terms: NotRequired[list[Text]]
    weights: NotRequired[list[float]]
    tokenizer: NotRequired[str]
    side: NotRequired[Whole]


_NEEDED = {
    "numbers": ("shape", "mean", "scale"),
    "columns": ("columns",),
    "images": (),
    "texts": ("text_columns", "terms", "weights"),
    "tokens": ("text_columns", "tokenizer"),
}


def read_encoding(folder: Path) -> StoredEncoding:
    """How the rows of a finished run were encoded."""
    path = folder / FILE
    if not path.exists():
        raise ReportError(
            f"{path} is missing, so the models cannot read new rows; `sfumato compare -c {folder / 'config.toml'}` "
            "makes the run again"
        )
    try:
        found = check(read_object(path), StoredEncoding, str(path))
    except ShapeError as error:
        raise ReportError(str(error)) from error
    if found["schema"] != SCHEMA:
        raise ReportError(f"{path} has the schema {found['schema']!r}, and this sfumato reads {SCHEMA!r}")
    missing = [key for key in _NEEDED[found["features"]] if key not in found]
    if missing:
        raise ReportError(f"{path} lacks {', '.join(missing)}")
    if contradiction := _contradiction(found):
        raise ReportError(f"{path}: {contradiction}")
    return found


def _contradiction(found: StoredEncoding) -> str:
    """Sizes that do not fit each other, or a column without what its kind needs; ``""`` where all fits."""
    inputs = found["inputs"]
    if inputs["width"] < 1 or min(inputs["shape"], default=0) < 1:
        return f"rows of shape {inputs['shape']} and width {inputs['width']} hold nothing"
    width = 0
    for column in found.get("columns", ()):
        needed = ("levels",) if column["kind"] == "category" else ("median", "mean", "scale", "flagged", "seasons")
        if missing := next((key for key in needed if key not in column), None):
            return f"column {column['name']!r} lacks {missing}"
        own = 1 + 2 * column.get("seasons", False) + column.get("flagged", False)
        width += len(column.get("levels", ())) + 2 if column["kind"] == "category" else own
    sizes = {len(found.get(key, ())) for key in ("mean", "scale")}
    fits = math.prod(found.get("shape", ())) == inputs["width"] and sizes in ({1}, {inputs["width"]})
    of_terms = {len(found.get(key, ())) for key in ("terms", "weights")} == {inputs["width"]}
    wrong = {
        "columns": f"the columns make {width} features, not {inputs['width']}" if width != inputs["width"] else "",
        "numbers": "" if fits else f"shape, mean and scale do not fit {inputs['width']} features",
        "images": _contradiction_of_images(found),
        "texts": "" if of_terms else f"terms and weights do not fit {inputs['width']} terms",
    }
    return wrong.get(found["features"], "")


def _contradiction_of_images(found: StoredEncoding) -> str:
    inputs = found["inputs"]
    if len(inputs["shape"]) != 3 or inputs["kind"] != "image":
        return f"images have height, width and channels, not {inputs['shape']}"
    if "side" in found and inputs["shape"][:2] != [found["side"]] * 2:
        return f"images of {inputs['shape']} are not squares of side {found['side']}"
    return ""
