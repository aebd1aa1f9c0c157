"""New rows for a model that was trained: what a person has becomes the array that the model takes.

How a column was written was decided by the whole table that was trained on: its decimal mark, the form of its dates,
whether it holds categories. New rows, which may be few, decide nothing: they are read in that way, or refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sfumato.io import tables
from sfumato.io.arrays import Archive, FileError
from sfumato.io.tables import Frame, pa, pc
from sfumato.lab.data.arrays import as_pixels
from sfumato.lab.data.columns import Column, date_format, days_in, values_of
from sfumato.lab.data.encoding import transform
from sfumato.lab.data.images import image_paths, transform_images
from sfumato.lab.data.python_objects import as_array
from sfumato.lab.data.sources import read_frame
from sfumato.lab.data.table import DataError
from sfumato.lab.data.text import joined_text, transform_terms, transform_tokens
from sfumato.text import did_you_mean, listing, plural, short

if TYPE_CHECKING:
    from sfumato.runs.schema import StoredColumn, StoredEncoding


def encode_new(stored: StoredEncoding, x: Any) -> np.ndarray:
    """(n, …) the array that a model takes, of new rows, encoded as the training rows were."""
    if isinstance(x, os.PathLike):
        x = os.fspath(x)
    if isinstance(x, str) and x.lower().endswith(".npz"):
        x = _from_archive(x)
    features = stored["features"]
    if features == "images":
        paths = image_paths(x)
        return _images(stored, x) if paths is None else transform_images(stored, paths)
    frame = _frame(x)
    texts = _texts(stored, frame, x) if features in ("texts", "tokens") else []
    if features == "tokens":
        return transform_tokens(texts, stored.get("tokenizer", ""))
    with np.errstate(all="ignore"):  # what is too large is refused below
        if features == "texts":
            others = _columns(stored, frame, x) if stored.get("columns") else np.zeros((len(texts), 0), np.float32)
            encoded = transform_terms(texts, stored.get("terms", []), stored.get("weights", []), others)
        else:
            encoded = (_columns if features == "columns" else _numbers)(stored, frame, x)
    finite = np.isfinite(encoded).all(axis=1)
    if not finite.all():
        raise DataError(f"row {int(np.argmin(finite))} of X lies too far from the training rows to be standardised")
    return encoded


def read_as(learned: StoredColumn, cells: Any, where: Callable[[int], str], *, comma: bool = False) -> Column:
    """A column of new rows, of the kind and the spelling that the training rows had."""
    column = tables.plain_type(cells)
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    name, kind = learned["name"], learned["kind"]
    values = _levels(column)
    if kind != "category":
        read_as, values = values_of(column) or (kind, None)
        values = values if read_as in (kind, "") else None
    if values is None and not pa.types.is_string(column.type):
        held = {"category": "text", "date": "dates", "number": "numbers"}[kind]
        raise DataError(f'{where(0)}: column "{short(name)}" has type {column.type}, but held {held} in training')
    if kind == "category":
        encoded = tables.present(column if values is None else values).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
        return Column(name, kind, codes, tuple(encoded.dictionary.to_pylist()))
    if values is None:
        texts = tables.present(column)
        held, rows = texts.drop_null(), np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        found, expected = (_dates_like if kind == "date" else _numbers_like)(learned["written"], held, comma)
        if len(wrong := np.flatnonzero(np.isnan(found))):
            cell = short(held[int(wrong[0])].as_py())
            raise DataError(f'{where(int(rows[wrong[0]]))}: column "{short(name)}" holds "{cell}", which is {expected}')
        values = np.full(len(texts), np.nan)
        values[rows] = found
    if len(infinite := np.flatnonzero(np.isinf(values))):
        place = where(int(infinite[0]))
        raise DataError(f'{place}: column "{short(name)}" is infinite; replace the value, or leave the row out')
    return Column(name, kind, values)


def _levels(column: Any) -> Any:
    """Numbers and booleans as text, as a file would hold them; None for text and for what is no category."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "True", "False")
    if pa.types.is_floating(kind):
        values: list[float | None] = column.to_pylist()  # NaN becomes "nan", which is missing
        texts = [None if x is None else str(int(x)) if x.is_integer() else repr(x) for x in values]
        return pa.array(texts, pa.string())
    return pc.cast(column, pa.string()) if pa.types.is_integer(kind) or pa.types.is_null(kind) else None


def _numbers_like(written: str, held: Any, comma: bool) -> tuple[np.ndarray, str]:
    """Texts as numbers with the decimal mark of training, NaN where they are not; and what was expected."""
    grouped = len(written) > 1
    marks = written[5] if grouped else written or (",." if comma else ".")  # whole numbers may have been of either kind
    plain, values = tables.plainly(held), np.full(len(held), np.nan)
    for mark in reversed(marks):
        good = tables.matching(plain, tables.NUMBER[mark])
        if grouped:
            good |= tables.matching(plain, tables.GROUPED[mark])
        values[good] = tables.as_numbers(plain.filter(pa.array(good)), mark, grouped=grouped)
    return values, f"not a number with a decimal {'comma' if marks[0] == ',' else 'point'}, as in training"


def _dates_like(written: str, held: Any, _: bool) -> tuple[np.ndarray, str]:
    """Texts as dates in the form of training, NaN where they are not; and what was expected."""
    if written:
        return days_in(held, written), f"not a date written as {written}, as in training"
    form, ambiguous = date_format(held)  # training had dates, not text: any unambiguous form will do
    days = np.full(len(held), np.nan) if ambiguous or not form else days_in(held, form)
    return days, "not a date; write 2024-01-31"


def _frame(x: Any) -> Frame | None:
    """The columns of a table; None for anything else."""
    if isinstance(x, str):
        return read_frame(x)
    if isinstance(x, Mapping):
        x = [x]
    if isinstance(x, (list, tuple)) and len(x) and all(isinstance(row, Mapping) for row in x):  # pyright: ignore
        rows = cast("Sequence[Mapping[str, Any]]", x)
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        cells = [[None if (cell := row.get(n)) is None or cell != cell else cell for row in rows] for n in names]
        return _named(names, cells)
    table = tables.as_arrow(x)
    return None if table is None else tables.from_arrow(table, file="X", name="X", kind="memory")


def _named(names: Sequence[str], columns: Sequence[Any]) -> Frame:
    return tables.from_arrow(tables.of_columns("X", names, columns, pa.array), file="X", name="X", kind="memory")


def _columns(stored: StoredEncoding, frame: Frame | None, x: Any) -> np.ndarray:
    learned = stored.get("columns", [])
    names = [column["name"] for column in learned]
    if frame is None:
        array = as_array("X", x, "X")
        if any(column["kind"] != "number" for column in learned) or array.dtype.kind not in "biuf":
            forms = "a data frame, a list of dicts, or the path of a table"
            raise DataError(f"the model reads columns by their names ({listing(names, 8)}); give {forms}")
        if array.ndim != 2 or array.shape[1] != len(learned):
            raise DataError(f"X has shape {array.shape}; it needs the columns {listing(names, 8)}, (n, {len(learned)})")
        frame = _named(names, [np.ascontiguousarray(array[:, j]) for j in range(len(names))])
    comma = any(column["written"] == "," for column in learned)
    columns = [read_as(column, _cells(frame, column["name"]), frame.where, comma=comma) for column in learned]
    for column, own in zip(columns, learned, strict=True):
        if own["kind"] != "category" and own.get("median") is None and column.missing.any():
            held = f'{frame.where(int(np.argmax(column.missing)))}: column "{short(column.name)}" is missing'
            why = "no training row lacked it, so nothing can replace it"
            raise DataError(f"{held}; {why}: fill in the cell, or leave the row out")
    return transform(columns, learned)


def _cells(frame: Frame, name: str) -> Any:
    if name not in frame.header:
        hint = f"{did_you_mean(name, frame.header)} Columns: {listing(frame.header)}"
        raise DataError(f'{frame.file} has no column "{short(name)}", which the model was trained on.{hint}')
    return frame.columns[frame.header.index(name)]


def _texts(stored: StoredEncoding, frame: Frame | None, x: Any) -> list[str]:
    """The text of each row; several columns are joined."""
    if frame is None:
        array = as_array("X", x, "X")
        if array.dtype.kind not in "UT" or array.ndim != 1:
            raise DataError(f"X has type {array.dtype} and shape {array.shape}; the model reads one text per row")
        return array.tolist()
    names = stored.get("text_columns") or frame.header
    if not stored.get("text_columns") and len(names) > 1:
        raise DataError(f"{frame.file} has {len(names)} columns, and the model reads one text per row; choose one")
    return joined_text(frame.file, {name: _cells(frame, name) for name in names})


def _images(stored: StoredEncoding, x: Any) -> np.ndarray:
    """(n, H, W, C) bytes."""
    shape, array = tuple(stored["inputs"]["shape"]), as_array("X", x, "X")
    if array.dtype != np.uint8:
        forms = "bytes (uint8, 0 to 255), or image files by their paths"
        raise DataError(f"X has type {array.dtype}; the model reads images as {forms}")
    pixels = as_pixels(array) if array.ndim in (3, 4) else None
    if pixels is None or pixels.shape[1:] != shape:
        raise DataError(f"X has shape {array.shape}; the model reads images of (n, {', '.join(map(str, shape))})")
    return pixels


def _numbers(stored: StoredEncoding, frame: Frame | None, x: Any) -> np.ndarray:
    """Numbers by their place."""
    shape, width = tuple(stored.get("shape", ())), stored["inputs"]["width"]
    if frame is None:
        array = as_array("X", x, "X")
    elif len(frame.header) == width:
        plain: list[StoredColumn] = [{"name": name, "kind": "number", "written": ""} for name in frame.header]
        columns = [read_as(each, _cells(frame, each["name"]), frame.where) for each in plain]
        array = np.stack([column.values for column in columns], axis=1)
    else:
        needed = f"the model was trained on an array of {plural(width, 'number')} per row"
        raise DataError(f"{frame.file} has {plural(len(frame.header), 'column')}; {needed}")
    if array.dtype.kind not in "biuf":
        raise DataError(f"X has type {array.dtype}; the model reads numbers")
    if array.ndim == 0 or (array.shape[1:] or (1,)) not in (shape, (width,)):
        forms = [f"(n, {', '.join(map(str, each))})" for each in dict.fromkeys((shape, (width,)))]
        raise DataError(f"X has shape {array.shape}; the model reads {' or '.join(forms)}, even of one row")
    values = array.reshape(len(array), math.prod(shape)).astype(np.float64) + 0.0
    if len(bad := np.argwhere(~np.isfinite(values))):
        row, column = bad[0].tolist()
        raise DataError(f"X: number {column} of row {row} is {values[row, column]}; replace it, or leave the row out")
    return ((values - np.array(stored.get("mean"))) / np.array(stored.get("scale"))).astype(np.float32)


def _from_archive(path: str) -> np.ndarray:
    try:
        with Archive(path, path) as archive:
            return archive.read("X" if "X" in archive.sizes or "x" not in archive.sizes else "x")
    except FileNotFoundError:
        raise DataError(f'no file "{path}"') from None
    except (FileError, OSError) as error:
        raise DataError(str(error)) from error
