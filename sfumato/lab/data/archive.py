"""NumPy archives: ``X`` (N, …) numbers and ``y`` (N,) labels, never a pickle.

The archive comes from anywhere, so its declared sizes are looked at before anything is unpacked.
"""

from collections.abc import Iterable

import numpy as np

from sfumato._npz import Archive, ArchiveError
from sfumato.lab.data.table import DataError, Table, check_classes, listing, order_classes, short

MOST_BYTES = 8 * 10**9


def read_npz(path: str, *, file: str, name: str) -> Table:
    """Read ``X`` and ``y`` from an ``.npz`` file.

    Args:
        path: the file.
        file: what to call it in messages.
        name: name of the table.

    Returns:
        The table; an image table where X has more than two axes.

    Raises:
        DataError: anything that keeps the arrays from being a table.
    """
    try:
        with Archive(path) as archive:
            x, y = (_member(archive, file, key) for key in ("X", "y"))
    except ArchiveError as error:
        raise DataError(_refusal(file, error)) from error
    if x.dtype.kind not in "biuf":
        raise DataError(f"{file}: X has type {x.dtype}; it must hold numbers")
    if x.ndim == 0 or len(x) == 0 or x[0].size == 0:
        raise DataError(f"{file}: X has shape {x.shape}; it needs at least one row and one feature")
    codes, values = _classes(file, y)
    if len(codes) != len(x):
        raise DataError(f"{file}: X has {len(x)} rows but y has {len(codes)}; they must be as many")
    labels, class_names = order_classes(codes, values)
    check_classes(file, labels, class_names, where="y", way_out="Add rows, or merge or drop the class")
    shape = x.shape[1:] or (1,)
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf, and is refused below
        features = x.reshape(len(x), -1).astype(np.float64, order="C")
    features += 0.0  # −0 becomes 0
    _check_finite(file, features, shape if x.ndim > 1 else ())
    return Table(
        name=name,
        kind="npz",
        features=features,
        labels=labels,
        class_names=class_names,
        feature_names=tuple(_position(shape, j, "X") for j in range(features.shape[1])),
        shape=shape,
        image=x.ndim > 2,
    )


def _member(archive: Archive, file: str, key: str) -> np.ndarray:
    found = key if key in archive.sizes else key.swapcase()
    if found not in archive.sizes:
        keys = listing(sorted(archive.sizes)) or "none"
        raise DataError(f"{file} has no array {key}; it needs X (examples) and y (labels). Arrays: {keys}")
    return archive.read(found, most_bytes=MOST_BYTES)


def _refusal(file: str, error: ArchiveError) -> str:
    if error.reason == "no archive":
        return f"{file} is not an .npz archive; write one with numpy.savez"
    if error.reason == "two of one name":
        return f"{file} holds two arrays of one name; write it again with numpy.savez"
    if error.reason == "too large":
        return f"{file}: {error.name} takes {error}; at most 8 GB are read"
    if error.reason == "objects":
        return (
            f"{file}: {error.name} holds Python objects, which are not read because they can run code; "
            f"save plain numbers or text, for instance {error.name}.astype(str) for labels"
        )
    return f"{file}: {error.name} is damaged ({error}); write the file again with numpy.savez"


def _classes(file: str, y: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes and distinct names of any array of labels."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(
            f"{file}: y has shape {y.shape}; one-hot and soft labels are not read yet. "
            f"Save one label a row, for instance y.argmax(axis=1)"
        )
    if y.dtype.kind == "f":
        odd = np.flatnonzero(~(np.isfinite(y) & (y == np.rint(y))))
        if len(odd):
            raise DataError(f"{file}: y[{odd[0]}] is {y[odd[0]]}; labels are whole numbers, booleans or text")
    elif y.dtype.kind in "SU":
        y = np.char.strip(y)
        empty = np.flatnonzero(np.char.str_len(y) == 0)
        if len(empty):
            raise DataError(f"{file}: y[{empty[0]}] is empty; give it a label or drop the row")
    elif y.dtype.kind not in "biu":
        raise DataError(f"{file}: y has type {y.dtype}; labels are whole numbers, booleans or text")
    values, codes = np.unique(y, return_inverse=True)
    return codes, list(_texts(file, values))


def _texts(file: str, values: np.ndarray) -> Iterable[str]:
    for value in values.tolist():
        if isinstance(value, bytes):
            try:
                yield value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{file}: the label {short(repr(value))} in y is not UTF-8 text; decode it first"
                ) from error
        else:
            yield str(int(value)) if isinstance(value, float) else str(value)


def _check_finite(file: str, features: np.ndarray, shape: tuple[int, ...]) -> None:
    finite = np.isfinite(features)
    if not finite.all():
        row, column = np.unravel_index(int(np.argmin(finite)), features.shape)
        where = _position((len(features), *shape), int(row * features.shape[1] + column), "X")
        raise DataError(f"{file}: {where} is {features[row, column]}; replace it, or drop row {row} of X and y")


def _position(shape: tuple[int, ...], flat: int, array: str) -> str:
    return f"{array}[{','.join(str(i) for i in np.unravel_index(flat, shape))}]"
