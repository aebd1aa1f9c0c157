"""What ``encoding.json`` of a run holds: how its rows became numbers, so that new rows can become numbers likewise.

All of it was learnt from the training rows: means and medians, the levels of categories, a vocabulary. It is data and
no code, and a run folder may come from anyone, so what is read is checked.
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

    ``written`` is the decimal mark of its numbers or the style of its dates, and ``sign`` a per cent or currency sign
    that its cells have. Numbers and dates have the keys from ``median`` to ``seasons``; categories have the ``levels``
    that have a place of their own.
    """

    name: Text
    kind: Literal["number", "category", "date"]
    written: Text
    sign: Text
    median: NotRequired[float | None]
    mean: NotRequired[float]
    scale: NotRequired[float]
    flagged: NotRequired[bool]
    seasons: NotRequired[bool]
    levels: NotRequired[list[Text]]


class StoredEncoding(TypedDict):
    """The object in ``encoding.json``; keys that the kind of features does not need are missing.

    ``side`` is that of the squares that pictures of a folder were brought to; it is missing where they kept theirs.
    """

    schema: Text
    features: Literal["numbers", "columns", "pictures", "texts", "tokens"]
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
    "pictures": (),
    "texts": ("text_columns", "terms", "weights"),
    "tokens": ("text_columns", "tokenizer"),
}


def read_encoding(folder: Path) -> StoredEncoding:
    """How the rows of a finished run were encoded.

    Raises:
        ReportError: the run was made before this was kept, or the file is broken; the message says what to do.
    """
    path = folder / FILE
    if not path.exists():
        raise ReportError(
            f"{folder} was made by an earlier sfumato, which did not keep how rows are encoded, so its models cannot "
            f"read new rows; `sfumato compare -c {folder / 'config.toml'}` makes the run again"
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
    _refuse_contradictions(path, found)
    return found


def _refuse_contradictions(path: Path, found: StoredEncoding) -> None:
    """Refuse sizes that do not fit each other, and columns without what their kind needs."""
    inputs = found["inputs"]
    if inputs["width"] < 1 or min(inputs["shape"], default=0) < 1:
        raise ReportError(f"{path}: rows of shape {inputs['shape']} and width {inputs['width']} hold nothing")
    width = 0
    for column in found.get("columns", ()):
        needed = ("levels",) if column["kind"] == "category" else ("median", "mean", "scale", "flagged", "seasons")
        for key in needed:
            if key not in column:
                raise ReportError(f"{path}: column {column['name']!r} lacks {key}")
        if column["kind"] == "category":
            width += len(column.get("levels", ())) + 2
        else:
            width += 1 + 2 * column.get("seasons", False) + column.get("flagged", False)
    if found["features"] == "columns" and width != inputs["width"]:
        raise ReportError(f"{path}: the columns make {width} features, not {inputs['width']}")
    if found["features"] == "numbers":
        sizes = {len(found.get(key, ())) for key in ("mean", "scale")}
        if math.prod(found.get("shape", ())) != inputs["width"] or not sizes <= {1, inputs["width"]} or len(sizes) > 1:
            raise ReportError(f"{path}: shape, mean and scale do not fit {inputs['width']} features")
    if found["features"] == "pictures" and (len(inputs["shape"]) != 3 or inputs["kind"] != "image"):
        raise ReportError(f"{path}: pictures have height, width and channels, not {inputs['shape']}")
    if "side" in found and inputs["shape"][:2] != [found["side"]] * 2:
        raise ReportError(f"{path}: pictures of {inputs['shape']} are no squares of side {found['side']}")
    if found["features"] == "texts" and {len(found.get(key, ())) for key in ("terms", "weights")} != {inputs["width"]}:
        raise ReportError(f"{path}: terms and weights do not fit {inputs['width']} terms")
