"""Data that are objects of Python: what a person passes, or what a function ``module:function`` returns.

They may be arrays, a data frame, a data set or loader of torch's kind, or parts of these. All are materialised, and no
torch is imported.
"""

import importlib
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import Any, TypeAlias

import numpy as np

from sfumato.io.arrays import MAX_BYTES
from sfumato.io.tables import as_arrow, from_arrow, pa
from sfumato.lab.data.arrays import as_column, from_arrays
from sfumato.lab.data.assemble import assemble
from sfumato.lab.data.labels import part_number
from sfumato.lab.data.roles import TABLE_OPTIONS, Roles
from sfumato.lab.data.table import PARTS, DataError, Table
from sfumato.messages import Note
from sfumato.text import did_you_mean, listing, plural, short

IN_MEMORY = "(in memory)"  # what replaces the path of the data in a run whose data were passed from Python
EXTRA_COLUMNS = ("weight", "group", "split")  # may be passed as arrays next to X, where a table would have a column
EXPECTED = (
    "expected (X, y), a data frame, a Dataset or DataLoader of (x, y), a dict of these by part "
    '("train", "validation", "test"), or a tuple of two or three of them'
)
Pair: TypeAlias = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]  # X, y, and what else goes with the rows
_NAME = re.compile(r"(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_][\w.]*")


def is_function(source: str) -> bool:
    """Whether a source reads ``module:function`` or ``path/to/module.py:function``."""
    return _NAME.fullmatch(source) is not None


def read_function(source: str, *, roles: Roles) -> Table:
    """Call a function and make a table of what it returns; the current folder is importable."""
    function = find_callable(source)
    try:
        result = function()
    except Exception as error:
        raise DataError(f"{source} raised {said(error)}") from error
    how: dict[str, Any] = {"file": source, "name": source.partition(":")[2], "kind": "function"}
    frame = as_arrow(result)
    if frame is not None:
        return assemble(from_arrow(frame, **how), roles)
    roles.refuse(source, "names a column of a table, but {file} returns arrays; leave it out", *TABLE_OPTIONS)
    x, y, extra, notes = as_arrays(source, result)
    return from_arrays(x, y, extra, **how, roles=roles, notes=notes)


def find_callable(source: str) -> Any:
    """The object that ``module:name``, or ``path/to/module.py:name``, stands for."""
    module_name, _, path = source.rpartition(":")
    folder, file = os.getcwd(), None
    if module_name.endswith(".py") and os.path.isfile(module_name):
        file = os.path.realpath(module_name)
        folder, module_name = os.path.split(os.path.abspath(module_name.removesuffix(".py")))
    if folder not in sys.path and not (folder == os.getcwd() and "" in sys.path):
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        lacking = error.name if isinstance(error, ModuleNotFoundError) else None
        if lacking is None or not f"{module_name}.".startswith(f"{lacking}."):
            raise DataError(f"{module_name} cannot be imported: {said(error)}") from error
        hint = did_you_mean(module_name, [f[:-3] for f in os.listdir(".") if f.endswith(".py")])
        raise DataError(f'no module "{module_name}" here or among the installed packages.{hint}') from error
    other = getattr(found, "__file__", None) or "a part of Python"
    if file is not None and os.path.realpath(other) != file:
        raise DataError(f'{source}: another module is called "{module_name}" already, {other}; rename the file')
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name in dir(found) if not name.startswith("_")]
            raise DataError(f'{module_name} has no "{path}".{did_you_mean(part, names)}')
        found = getattr(found, part)
    if not callable(found):
        raise DataError(f"{source} is {_kind(found)}, not a function; it is called without arguments")
    return found


def said(error: BaseException) -> str:
    """An error of somebody else's code, in one line: kind, text, and the place nearest to its cause."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" (line {frames[-1].lineno} of {os.path.basename(frames[-1].filename)})" if len(frames) > 1 else ""
    return f"{type(error).__name__}{f': {short(text, 200)}' if text else ''}{place}"


def as_arrays(source: str, result: Any) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], list[Note]]:
    """X, y, what else goes with the rows, and notes, of anything that a function may return but a data frame."""
    parts, notes = _parts(source, result), list[Note]()
    if parts is None:
        return (*_pair(source, result, "", notes), notes)
    pairs = {name: _pair(source, value, f" for {name}", notes) for name, value in parts.items()}
    shapes = {name: (x.shape[1:], y.shape[1:]) for name, (x, y, _) in pairs.items()}
    first, (x0, y0) = next(iter(shapes.items()))
    for name, (x, y) in shapes.items():
        if (x, y) != (x0, y0):
            own = f"rows of {first} have shape {x0} and labels {y0}"
            raise DataError(f"{source}: {own}, but those of {name} {x} and {y}")
    if len({x.dtype == np.uint8 for x, _, _ in pairs.values()}) > 1:
        raise DataError(f"{source}: some parts hold bytes (uint8) and others do not; return one type")
    xs, ys, extras = zip(*pairs.values(), strict=True)
    extra = dict[str, np.ndarray]()
    for key in EXTRA_COLUMNS:
        having = {name: each[key] for name, each in zip(pairs, extras, strict=True) if key in each}
        if 0 < len(having) < len(pairs):
            has, lacks = next(iter(having)), next(name for name in pairs if name not in having)
            raise DataError(f"{source}: {has} has a {key} and {lacks} has none; give it to every part or to none")
        if having:
            extra[key] = np.concatenate(list(having.values()))
    if len(pairs) > 1:
        extra["split"] = np.repeat(list(pairs), [len(y) for y in ys])
    return np.concatenate(xs), np.concatenate(ys), extra, notes


def _parts(source: str, result: Any) -> dict[str, Any] | None:
    """Parts by name, or None for one thing without parts."""
    if isinstance(result, Mapping):
        if {str(key).lower() for key in result} >= {"x", "y"}:
            return None
        numbers = {str(key): part_number(str(key)) for key in result}
        if None in numbers.values() or 0 not in numbers.values():
            keys = listing([f'"{key}"' for key in numbers]) or "none"
            raise DataError(f'{source} returned a dict with keys {keys}; {EXPECTED}, or keys "X" and "y"')
        return {PARTS[number or 0]: result[key] for key, number in numbers.items()}
    one = (int, float, str, bool, np.generic, NoneType)
    if (
        isinstance(result, tuple)
        and len(result) in (2, 3)
        and all(
            len(part) == 2 and not isinstance(part[0], one) if isinstance(part, (tuple, list)) else _is_data_set(part)
            for part in result
        )
    ):
        return dict(zip(("train", "test") if len(result) == 2 else PARTS, result, strict=True))
    return None


def _is_data_set(value: Any) -> bool:
    """A loader (iterated) or a map-style data set (asked for its items), but no array."""
    if isinstance(value, (tuple, list, str, bytes, Mapping, np.ndarray)) or hasattr(value, "detach"):
        return False
    return hasattr(value, "__iter__") or (hasattr(value, "__getitem__") and hasattr(value, "__len__"))


def _pair(source: str, value: Any, place: str, notes: list[Note]) -> Pair:
    extra: dict[str, np.ndarray] = {}
    if isinstance(value, Mapping):
        by_name = {str(key).lower(): each for key, each in value.items()}
        if not {"x", "y"} <= set(by_name) <= {"x", "y", *EXTRA_COLUMNS}:
            held = f"a dict with keys {listing(list(by_name)) or 'none'}"
            expected = "expected X and y, and at most weight, group and split next to them"
            raise DataError(f"{source} returned{place} {held}; {expected}")
        extra = {key: as_array(source, by_name[key], key) for key in EXTRA_COLUMNS if key in by_name}
        x, y = by_name["x"], by_name["y"]
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        x, y = value
    elif _is_data_set(value):
        x, y = _items(source, value, place, notes)
    else:
        raise DataError(f"{source} returned {_kind(value)}{place}; {EXPECTED}")
    x, y = as_array(source, x, f"X{place}"), as_array(source, y, f"y{place}")
    if y.ndim == 0 or x.ndim == 0:
        raise DataError(f"{source} returned{place} X of shape {x.shape} and y of shape {y.shape}; {EXPECTED}")
    if len(x) != len(y):
        raise DataError(f"{source}: X{place} has {len(x)} rows but y has {len(y)}; they must be as many")
    return x, y, extra


def _items(source: str, data: Any, place: str, notes: list[Note]) -> tuple[Any, Any]:
    """All rows of a data set or a loader; a loader without a batch size hands over rows one by one."""
    loader = hasattr(data, "dataset")
    batched = loader and getattr(data, "batch_size", None) is not None
    mapped = not loader and hasattr(data, "__getitem__")
    what = f"{source}: the {'DataLoader' if loader else 'data set'}{place}"
    xs, ys, size = list[np.ndarray](), list[np.ndarray](), 0
    try:
        items = (data[i] for i in range(len(data))) if mapped and hasattr(data, "__len__") else data
        for number, item in enumerate(items):
            if not (isinstance(item, (tuple, list)) and len(item) == 2):
                count = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
                raise DataError(f"{what} gives {_kind(item)}{count} at {number}; expected a pair (x, y)")
            x, y = (as_array(source, item[k], f"{name} of item {number}{place}") for k, name in enumerate("xy"))
            size += x.nbytes
            if size > MAX_BYTES:
                raise DataError(f"{what} holds more than 8 GB; return fewer or smaller rows")
            x, y = (x, y) if batched else (x[None], y[None])
            if xs and x.shape[1:] != xs[0].shape[1:]:
                own = f"x of item {number}{place} has shape {x.shape[1:]}, but the first has {xs[0].shape[1:]}"
                raise DataError(f"{source}: {own}; bring all rows to one shape")
            xs.append(x)
            ys.append(y)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{what} raised {said(error)}") from error
    if not xs:
        raise DataError(f"{what} is empty")
    if mapped:
        again, first = as_array(source, data[0][0], "x"), xs[0][0]
        if again.shape != first.shape or not np.array_equal(again, first, equal_nan=again.dtype.kind == "f"):
            drawn = "gives another x each time it is asked (random transforms?): each row was drawn once."
            notes.append(Note(code="random-transforms", text=f"The data set{place} {drawn}"))
    return np.concatenate(xs), np.concatenate(ys)


def as_array(source: str, value: Any, name: str) -> np.ndarray:
    """Any array, tensor, picture, number or list as a NumPy array."""
    if hasattr(value, "detach"):  # a tensor, on any device
        value = value.detach().cpu()
        return np.asarray((value.float() if "bfloat16" in str(value.dtype) else value).numpy())
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        if 8 * value.shape[0] * value.shape[1] > MAX_BYTES:
            raise DataError(f"{source}: {name} is sparse and takes more than 8 GB spread out; keep fewer columns")
        value = value.toarray()
    if isinstance(value, (list, tuple)) and len(value) and hasattr(value[0], "detach"):
        value = [as_array(source, each, name) for each in value]
    inner = value
    while isinstance(inner, (list, tuple)) and len(inner):
        inner = inner[0]
    plain = isinstance(inner, (list, tuple, int, float, complex, str, bytes))
    if not plain and not hasattr(inner, "__array__") and not hasattr(inner, "__array_interface__"):
        raise DataError(f"{source}: {name} holds {_kind(inner)}; expected numbers or texts")  # NumPy would never end
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{source}: {name} has rows of different lengths; bring all rows to one shape") from error
    if array.dtype != object:
        return array
    if array.ndim == 1 and all(isinstance(each, str) for each in array):
        return array.astype(str)
    kinds = listing(list(dict.fromkeys(_kind(each) for each in array.flat)), 3) or "none"
    raise DataError(f"{source}: {name} holds Python objects ({kinds}); make it an array of numbers or of texts")


def _kind(value: Any) -> str:
    """What a value is, in words."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def table_in_memory(x: Any, y: Any, roles: Roles, extra: Mapping[str, Any]) -> Table:
    """A table from what a person has in Python."""
    roles.refuse_image_size("X")
    frame = as_arrow(x)
    if frame is not None:
        frame, roles = _with_columns(frame, y, roles, extra)
        return assemble(from_arrow(frame, file="X", name="data", kind="memory"), roles)
    if isinstance(y, str):
        raise DataError(f'y = "{y}" names a column, but X has no columns; give the labels themselves')
    roles.refuse("X", "names a column of a table, but {file} has no columns; leave it out", *TABLE_OPTIONS)
    if y is None and hasattr(x, "ndim"):
        raise DataError("X is an array and has no labels; give them as y, one per row of X")
    source = "the data given"
    features, labels, more, notes = as_arrays(source, x if y is None else (x, y))
    more |= {name: as_array(source, value, name) for name, value in extra.items()}
    return from_arrays(features, labels, more, file=source, name="data", kind="memory", roles=roles, notes=notes)


def _with_columns(frame: Any, y: Any, roles: Roles, extra: Mapping[str, Any]) -> tuple[Any, Roles]:
    """The frame with labels and the extra arrays as columns, and the roles of these."""
    if isinstance(y, str):
        if roles.label not in (None, y):
            raise DataError(f'y = "{y}" and label = "{roles.label}" name two columns of labels; give one of them')
        roles, y = replace(roles, label=y), None
    if y is not None and roles.label is not None:
        raise DataError(f'label = "{roles.label}" names a column of labels, and y gives labels too; give one of them')
    for role, values in {**({} if y is None else {"label": y}), **extra}.items():
        wanted = name = str(getattr(values, "name", None) or role)
        number = 2
        while name in map(str, frame.column_names):  # a column has it
            name, number = f"{wanted} ({number})", number + 1
        frame = frame.append_column(name, _as_column("y" if role == "label" else role, values, frame.num_rows))
        roles = replace(roles, **{role: name})
    return frame, roles


def _as_column(name: str, values: Any, rows: int) -> Any:
    if hasattr(values, "iloc") and not hasattr(values, "columns"):  # a series of pandas
        column = pa.chunked_array(pa.Array.from_pandas(values))
    else:
        column = as_column("the data given", name, as_array("the data given", values, name))
    if len(column) != rows:
        raise DataError(f"X has {plural(rows, 'row')} but {name} has {len(column):,}; they must be as many")
    return column
