"""New rows for a model that was trained: what a person has becomes the array that the model takes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sfumato.io.npz import Archive, ArchiveError
from sfumato.lab.data.arrays import as_pixels
from sfumato.lab.data.arrow_table import as_arrow, from_arrow
from sfumato.lab.data.assemble import Frame
from sfumato.lab.data.columns import encode_again
from sfumato.lab.data.function import as_array
from sfumato.lab.data.new_pictures import paths_of, pictures_again
from sfumato.lab.data.numbers import standard
from sfumato.lab.data.reread import read_again
from sfumato.lab.data.sources import read_frame
from sfumato.lab.data.table import DataError
from sfumato.lab.data.texts import terms_again, tokens_again
from sfumato.text import did_you_mean, listing, plural, short

if TYPE_CHECKING:
    from sfumato.runs.encoding import StoredEncoding


def encode_new(stored: StoredEncoding, x: Any) -> np.ndarray:
    """(n, …) the array that a model takes, of new rows, encoded as the training rows were.

    Numbers are standardised by the training rows; a gap becomes their median; a word that they do not hold is taken as
    a rare one, as training took those.

    Args:
        stored: how the training rows were encoded.
        x: a data frame, a list of dicts, the path of a table or an ``.npz`` with ``X``, or arrays; the label is not
            needed, and other columns are let be. Pictures may be files: the paths of them, or of a folder.

    Raises:
        DataError: a column is missing, a cell is of another kind than in training, or a picture file is damaged or of
            another form; names the column and the row, or the file.
    """
    if isinstance(x, os.PathLike):
        x = os.fspath(x)
    if isinstance(x, str) and x.lower().endswith(".npz"):
        x = _from_archive(x)
    features = stored["features"]
    if features == "pictures":
        paths = paths_of(x)
        return _pictures(stored, x) if paths is None else pictures_again(stored, paths)
    frame = _frame(x)
    if features == "columns":
        made = _columns(stored, frame, x)
    elif features in ("texts", "tokens"):
        texts = _texts(stored, frame, x)
        if features == "tokens":
            return tokens_again(texts, stored.get("tokenizer", ""))
        made = terms_again(texts, stored.get("terms", []), stored.get("weights", []))
    else:
        made = _numbers(stored, frame, x)
    finite = np.isfinite(made).all(axis=1)
    if not finite.all():
        raise DataError(f"row {int(np.argmin(finite))} of X lies too far from the training rows to be standardised")
    return made


def _frame(x: Any) -> Frame | None:
    """The columns of a table; None for anything else."""
    if isinstance(x, str):
        return read_frame(x)
    if isinstance(x, Mapping):
        x = [x]
    if isinstance(x, (list, tuple)) and len(x) and all(isinstance(row, Mapping) for row in x):  # pyright: ignore
        return _of_dicts(cast("Sequence[Mapping[str, Any]]", x))
    made = as_arrow(x)
    return None if made is None else from_arrow(made, file="X", name="X", kind="memory")


def _of_dicts(rows: Sequence[Mapping[str, Any]]) -> Frame:
    import pyarrow as pa

    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    made: list[Any] = []
    for name in names:
        cells = [None if (cell := row.get(name)) is None or cell != cell else cell for row in rows]
        try:
            made.append(pa.array(cells))
        except (pa.ArrowException, TypeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise DataError(f'X: column "{short(name)}" cannot be read ({short(reason, 120)})') from error
    return from_arrow(pa.Table.from_arrays(made, names=names), file="X", name="X", kind="memory")


def _columns(stored: StoredEncoding, frame: Frame | None, x: Any) -> np.ndarray:
    kept = stored.get("columns", [])
    names = [column["name"] for column in kept]
    if frame is None:
        array = as_array("X", x, "X")
        if any(column["kind"] != "number" for column in kept) or array.dtype.kind not in "biuf":
            raise DataError(
                f"the model reads columns by their names ({listing(names, 8)}); give a data frame, a list of dicts, or "
                "the path of a table"
            )
        if array.ndim != 2 or array.shape[1] != len(kept):
            raise DataError(f"X has shape {array.shape}; it needs the columns {listing(names, 8)}, (n, {len(kept)})")
        frame = _of_array(array, names)
    comma = any(column["written"] == "," and column["kind"] == "number" for column in kept)
    made = [read_again(column, _cells(frame, column["name"]), frame.where, comma=comma) for column in kept]
    for column, told in zip(made, kept, strict=True):
        if told["kind"] != "category" and told.get("median") is None and column.missing.any():
            row = int(np.argmax(column.missing))
            raise DataError(
                f'{frame.where(row)}: column "{short(column.name)}" is missing; the training rows had no gaps, so '
                "nothing says what stands for one: fill in the cell, or leave the row out"
            )
    with np.errstate(all="ignore"):  # what is too large is refused by whoever asked
        return encode_again(made, kept)


def _of_array(array: np.ndarray, names: Sequence[str]) -> Frame:
    import pyarrow as pa

    columns = [pa.array(np.ascontiguousarray(array[:, j])) for j in range(len(names))]
    return from_arrow(pa.Table.from_arrays(columns, names=list(names)), file="X", name="X", kind="memory")


def _cells(frame: Frame, name: str) -> Any:
    if name not in frame.header:
        raise DataError(
            f'{frame.file} has no column "{short(name)}", which the model was trained on.'
            f"{did_you_mean(name, frame.header)} Columns: {listing(frame.header)}"
        )
    return frame.columns[frame.header.index(name)]


def _texts(stored: StoredEncoding, frame: Frame | None, x: Any) -> list[str]:
    """The text of each row; several columns are joined."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if frame is None:
        array = as_array("X", x, "X")
        if array.dtype.kind not in "UT" or array.ndim != 1:
            raise DataError(f"X has type {array.dtype} and shape {array.shape}; the model reads texts, one a row")
        return array.tolist()
    names = stored.get("text_columns") or frame.header
    if not stored.get("text_columns") and len(names) > 1:
        raise DataError(f"{frame.file} has {len(names)} columns, and the model reads one text a row; choose one")
    parts: list[list[str]] = []
    for name in names:
        cells = _cells(frame, name)
        try:
            parts.append(pc.cast(cells, pa.string()).fill_null("").to_pylist())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f'{frame.file}: column "{short(name)}" has type {cells.type}, not text') from error
    return parts[0] if len(parts) == 1 else ["\n".join(cells) for cells in zip(*parts, strict=True)]


def _pictures(stored: StoredEncoding, x: Any) -> np.ndarray:
    """(n, H, W, C) bytes."""
    shape = tuple(stored["inputs"]["shape"])
    array = as_array("X", x, "X")
    if array.dtype != np.uint8:
        raise DataError(
            f"X has type {array.dtype}; the model reads pictures as bytes (uint8, 0 to 255), or picture files by their "
            "paths"
        )
    pixels = as_pixels(array) if array.ndim in (3, 4) else None
    if pixels is None or pixels.shape[1:] != shape:
        raise DataError(f"X has shape {array.shape}; the model reads pictures of (n, {', '.join(map(str, shape))})")
    return pixels


def _numbers(stored: StoredEncoding, frame: Frame | None, x: Any) -> np.ndarray:
    """Numbers by their place."""
    shape, width = tuple(stored.get("shape", ())), stored["inputs"]["width"]
    if frame is not None:
        if len(frame.header) != width:
            raise DataError(
                f"{frame.file} has {plural(len(frame.header), 'column')}; the model was trained on an array of "
                f"{plural(width, 'number')} a row"
            )
        told = ({"name": name, "kind": "number", "written": "", "sign": ""} for name in frame.header)
        columns = [
            read_again(cast("Any", each), _cells(frame, each["name"]), frame.where, comma=False) for each in told
        ]
        array = np.stack([column.values for column in columns], axis=1)
    else:
        array = as_array("X", x, "X")
    if array.dtype.kind not in "biuf":
        raise DataError(f"X has type {array.dtype}; the model reads numbers")
    own = array.shape[1:] or (1,)
    if array.ndim == 0 or own not in (shape, (width,)):
        forms = [f"(n, {', '.join(map(str, each))})" for each in dict.fromkeys((shape, (width,)))]
        raise DataError(f"X has shape {array.shape}; the model reads {' or '.join(forms)}, even of one row")
    with np.errstate(all="ignore"):  # what is too large is refused by whoever asked
        values = array.reshape(len(array), math.prod(shape)).astype(np.float64) + 0.0
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            row, column = int(bad[0]), int(np.argmin(np.isfinite(values[bad[0]])))
            raise DataError(
                f"X: number {column} of row {row} is {values[row, column]}; replace it, or leave the row out"
            )
        mean, scale = np.array(stored.get("mean")), np.array(stored.get("scale"))
        return standard(values, mean, scale).astype(np.float32)


def _from_archive(path: str) -> np.ndarray:
    try:
        with Archive(path) as archive:
            return archive.read("X" if "X" in archive.sizes else "x")
    except FileNotFoundError:
        raise DataError(f'no file "{path}"') from None
    except (ArchiveError, OSError) as error:
        raise DataError(f"{path} has no array X that can be read: {error}") from error
