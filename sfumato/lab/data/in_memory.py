"""Data that are given from Python: a data frame, arrays, or a data set, with their labels beside them or within."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sfumato.lab.data.arrays import from_arrays
from sfumato.lab.data.arrow_table import as_arrow, from_arrow
from sfumato.lab.data.assemble import assemble
from sfumato.lab.data.column_roles import TABLE_OPTIONS, Roles
from sfumato.lab.data.function import as_array, as_arrays
from sfumato.lab.data.table import DataError, Table
from sfumato.text import plural

IN_MEMORY = "(in memory)"
"""What stands for the path of the data in a run whose data were given from Python."""

BESIDE = ("weight", "group", "split")
"""What may be given as an array beside X, where a table would have a column."""

_NAME = "data"


def table_in_memory(x: Any, y: Any, roles: Roles, beside: Mapping[str, Any]) -> Table:
    """A table from what a person has in Python.

    Args:
        x: a data frame of pandas, polars or Arrow, whose columns keep their names; or whatever a function of the
            user's may return: arrays, tensors, texts, a data set or a loader.
        y: (N,) labels or (N, K) soft ones, or the name of a column of ``x``; None where ``x`` has them.
        roles: which column is for what.
        beside: ``"weight"``, ``"group"`` and ``"split"`` as arrays, (N,) each.

    Raises:
        DataError: anything that keeps them from being a table.

    >>> import numpy as np
    >>> table_in_memory(np.eye(6), ["a", "b"] * 3, Roles(), {}).class_names
    ('a', 'b')
    """
    roles.refuse_image_size("X")
    frame = as_arrow(x)
    if frame is not None:
        frame, roles = _with_columns(frame, y, roles, beside)
        return assemble(from_arrow(frame, file="X", name=_NAME, kind="memory"), roles)
    if isinstance(y, str):
        raise DataError(f'y = "{y}" names a column, but X has no columns; give the labels themselves')
    roles.refuse("X", "names a column of a table, but {file} has no columns; leave it out", *TABLE_OPTIONS)
    if y is None and hasattr(x, "ndim"):
        raise DataError("X is an array and has no labels; give them as y, one a row of X")
    told = "the data given"
    features, labels, extra, notes = as_arrays(told, x if y is None else (x, y))
    extra |= {name: as_array(told, value, name) for name, value in beside.items()}
    return from_arrays(
        features,
        labels,
        extra,
        file=told,
        name=_NAME,
        kind="memory",
        tokenizer=roles.tokenizer,
        notes=tuple(notes),
    )


def _with_columns(frame: Any, y: Any, roles: Roles, beside: Mapping[str, Any]) -> tuple[Any, Roles]:
    """The frame with labels and what else was given beside it as columns, and the roles of these."""
    if isinstance(y, str):
        if roles.label not in (None, y):
            raise DataError(f'y = "{y}" and label = "{roles.label}" name two columns of labels; give one of them')
        roles, y = replace(roles, label=y), None
    if y is not None and roles.label is not None:
        raise DataError(f'label = "{roles.label}" names a column of labels, and y gives labels too; give one of them')
    given = {"label": y, **beside} if y is not None else beside
    for role, values in given.items():
        name = _free(str(getattr(values, "name", None) or role), [str(each) for each in frame.column_names])
        frame = frame.append_column(name, _as_column("y" if role == "label" else role, values, frame.num_rows))
        roles = replace(roles, **{role: name})
    return frame, roles


def _free(name: str, taken: list[str]) -> str:
    """The name, or with a number after it where a column has it."""
    wanted, number = name, 2
    while name in taken:
        name, number = f"{wanted} ({number})", number + 1
    return name


def _as_column(name: str, values: Any, rows: int) -> Any:
    import pyarrow as pa

    if hasattr(values, "iloc") and not hasattr(values, "columns"):  # a series of pandas, whose gaps Arrow knows
        column = pa.chunked_array(pa.Array.from_pandas(values))
    else:
        array = as_array("the data given", values, name)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise DataError(
                f"{name} has shape {array.shape}; beside a data frame it needs one value a row. Soft labels are "
                "columns of the frame, named by label_probs"
            )
        column = pa.chunked_array([pa.array(array.tolist() if array.dtype.kind in "UT" else array)])
    if len(column) != rows:
        raise DataError(f"X has {plural(rows, 'row')} but {name} has {len(column):,}; they must be as many")
    return column
