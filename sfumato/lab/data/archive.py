"""NumPy archives: ``X`` (N, …) numbers and ``y`` (N,) labels, never a pickle.

The archive comes from anywhere, so its declared sizes are looked at before anything is unpacked.
"""

import zipfile
from collections.abc import Iterable

import numpy as np

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
        with zipfile.ZipFile(path) as archive:
            entries = [(item.filename.removesuffix(".npy"), item.file_size) for item in archive.infolist()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{file} is not an .npz archive; write one with numpy.savez") from error
    sizes = dict(entries)
    if len(sizes) < len(entries):  # "X" and "X.npy" are one name to numpy, and only one of them would be looked at
        raise DataError(f"{file} holds two arrays of one name; write it again with numpy.savez")
    x, y = (_member(path, file, sizes, key) for key in ("X", "y"))
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


def _member(path: str, file: str, sizes: dict[str, int], key: str) -> np.ndarray:
    found = key if key in sizes else key.swapcase()
    if found not in sizes:
        keys = listing(sorted(sizes)) or "none"
        raise DataError(f"{file} has no array {key}; it needs X (examples) and y (labels). Arrays: {keys}")
    if sizes[found] > MOST_BYTES:
        raise DataError(f"{file}: {found} takes {sizes[found] / 1e9:.1f} GB unpacked; at most 8 GB are read")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[found])
    # Damage shows up as any of a dozen types, from zipfile, zlib, struct, ast or numpy; none is worth telling apart.
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{file}: {found} holds Python objects, which are not read because they can run code; "
                f"save plain numbers or text, for instance {found}.astype(str) for labels"
            ) from error
        raise DataError(f"{file}: {found} is damaged ({error}); write the file again with numpy.savez") from error


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
