"""Arrays of examples and labels, from an ``.npz`` archive or from Python, as a table.

What X is follows from its type and axes: text is text, bytes with three or four axes are images, all else is numbers,
and numbers with three axes or more are scaled as an image is, as a whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels
from sfumato.io.arrays import MAX_BYTES, Archive, FileError
from sfumato.io.tables import Frame, pa
from sfumato.lab.data.assemble import labelled, table_of
from sfumato.lab.data.encoding import Numbers
from sfumato.lab.data.images import Images
from sfumato.lab.data.labels import check_soft
from sfumato.lab.data.roles import Roles
from sfumato.lab.data.table import DataError, Features, Table
from sfumato.lab.data.text import Texts
from sfumato.messages import Note
from sfumato.text import did_you_mean, listing, plural

CHANNELS = (1, 3, 4)
"""Sizes of an axis that is taken for that of the channels."""


def read_npz(path: str, *, file: str, name: str, roles: Roles, max_bytes: int = MAX_BYTES) -> Table:
    """Read an ``.npz`` file; label, weight, group and split of ``roles`` are names of arrays.

    It holds ``X`` (N, …) numbers or text and ``y`` (N,) labels or (N, K) soft ones. Soft labels may also be an array
    ``label_probs`` or ``label_counts`` (N, K), alone or next to the class indices ``y``.
    """
    asked = {"weight": roles.weight, "group": roles.group, "split": roles.split}
    try:
        with Archive(path, file) as archive:
            roles.refuse(file, "names columns, but {file} has arrays: save soft labels as y (N, K)", "--label-probs")
            roles.refuse(file, "names a column, but {file} has arrays: save texts as X (N,)", "--text")
            roles.refuse(file, "names columns, but {file} has arrays; leave it out", "--drop", "--keep")

            def read(key: str | None, default: str = "") -> np.ndarray:
                if key is None:
                    key = default if default in archive.sizes else default.swapcase()
                if key not in archive.sizes:
                    what = f"array {default}; it needs X (examples) and y (labels)." if default else f'array "{key}".'
                    names = listing(sorted(archive.sizes)) or "none"
                    raise DataError(f"{file} has no {what}{did_you_mean(key, archive.sizes)} Arrays: {names}")
                return archive.read(key, max_bytes=max_bytes)

            x, soft = read(None, "X"), _soft(archive, max_bytes)
            alone = soft is not None and roles.label is None and not {"y", "Y"} & archive.sizes.keys()
            y = None if alone else read(roles.label, "y")
            extra = {role: read(key) for role, key in asked.items() if key is not None}
    except FileError as error:
        raise DataError(str(error)) from error
    return from_arrays(x, y, extra, file=file, name=name, kind="npz", roles=roles, soft=soft)


def from_arrays(
    x: np.ndarray,
    y: np.ndarray | None,
    extra: Mapping[str, np.ndarray],
    *,
    file: str,
    name: str,
    kind: str,
    roles: Roles | None = None,
    notes: Sequence[Note] = (),
    soft: np.ndarray | None = None,
) -> Table:
    """A table from (N, …) numbers or (N,) texts, and (N,) labels of any kind or (N, K) soft ones.

    ``soft`` are soft labels that come by themselves, (N, K); y is then None, or the class indices that one-hot trains
    on. ``extra`` may hold ``"weight"``, ``"group"`` and ``"split"``, (N,) each.
    """
    roles, notes = roles or Roles(), list(notes)
    if x.dtype.kind not in "biufUT":
        raise DataError(f"{file}: X has type {x.dtype}; it must hold numbers, or text of one type")
    if x.ndim == 0 or x.size == 0:
        raise DataError(f"{file}: X has shape {x.shape}; it needs at least one row and one feature")

    def where(row: int) -> str:
        return f"{file}, row {row}"

    if soft is None and y is not None and y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "biuf":
        y, soft = None, check_soft(y, where, [f"y[:,{k}]" for k in range(y.shape[1])])
    arrays = {**({} if y is None else {"y": y}), **extra}
    for key, array in {**({} if soft is None else {"the soft labels": soft}), **arrays}.items():
        if array.ndim == 0 or len(array) != len(x):
            raise DataError(f"{file}: X has {plural(len(x), 'row')} but {key} {array.shape}; they must be as many")
    frame = Frame(file, name, kind, list(arrays), [as_column(file, *each) for each in arrays.items()], where)
    target = None if y is None else 0
    if roles.drop_unlabelled and target is not None and soft is None:
        frame, kept = labelled(frame, target, notes)
        x = x[kept]
    features = _features(file, x, roles.tokenizer)
    classes = () if soft is None else tuple(str(k) for k in range(soft.shape[1]))
    others = {key: place for place, key in enumerate(arrays) if key != "y"}
    return table_of(frame, features, target, others, soft, classes, notes, [])


def as_column(source: str, name: str, values: np.ndarray) -> Any:
    """(N,) or (N, 1) numbers or texts as a column of Arrow."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        way_out = "next to a data frame, soft labels are columns, named by label_probs"
        raise DataError(f"{source}: {name} has shape {values.shape}; it needs one value per row ({way_out})")
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    try:
        return pa.chunked_array([pa.array(values.tolist() if values.dtype.kind in "UT" else values)])
    except pa.ArrowException as error:
        raise DataError(f"{source}: {name} has type {values.dtype}; it must hold numbers, booleans or text") from error


def _features(file: str, x: np.ndarray, tokenizer: str | None) -> Features:
    if x.dtype.kind in "UT":
        if x.ndim != 1:
            raise DataError(f"{file}: X holds text and has shape {x.shape}; it needs one text per row")
        return Texts(x.tolist(), tokenizer)
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        pixels = as_pixels(x)
        if pixels is not None:
            return Images(pixels)
    shape = x.shape[1:] or (1,)
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf, and is refused below
        values = x.reshape(len(x), -1).astype(np.float64, order="C")
    values += 0.0  # −0 becomes 0
    if not (finite := np.isfinite(values)).all():
        row = int(np.argmin(finite.all(axis=1)))
        value, flat = values[row][~finite[row]][0], row * values.shape[1] + int(np.argmin(finite[row]))
        raise DataError(f"{file}: {position(x.shape, flat, 'X')} is {value}; replace it, or drop row {row} of X and y")
    names = tuple(position(shape, j, "X") for j in range(values.shape[1]))
    return Numbers(values, names, shape, image=x.ndim > 2)


def as_pixels(x: np.ndarray) -> np.ndarray | None:
    """(N, H, W, C) of bytes (N, H, W), (N, H, W, C) or (N, C, H, W); None where no axis can be that of channels."""
    if x.ndim == 3:
        return np.ascontiguousarray(x[..., None])
    if x.shape[3] in CHANNELS:
        return np.ascontiguousarray(x)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.shape[1] in CHANNELS else None


def position(shape: tuple[int, ...], flat: int, array: str) -> str:
    """The place of a number in an array: ``"X[3,4]"``."""
    return f"{array}[{','.join(str(i) for i in np.unravel_index(flat, shape))}]"


def _soft(archive: Archive, max_bytes: int) -> np.ndarray | None:
    """The soft labels that an archive calls so, each row with a sum of 1."""
    there = [name for name in SOFT if name in archive.sizes]
    if len(there) > 1:
        raise DataError(f"{archive.called} has {there[0]} and {there[1]}; keep one of them")
    if not there:
        return None
    try:
        soft = SoftLabels(archive.read(there[0], max_bytes=max_bytes), there[0])
    except FileError:
        raise
    except (TypeError, ValueError) as error:
        raise DataError(f"{archive.called}: {error}") from None
    if not soft.all_count:
        row = int(soft.has_any.argmin())
        held = f"{archive.called}: label_counts in row {row} are all 0"
        raise DataError(f"{held}; leave out rows that no annotator has seen")
    return soft.block(slice(None))
