"""Arrays of examples and labels, from an ``.npz`` archive or from Python, as a table.

What X is follows from its type and axes: text is text, bytes with three or four axes are images, all else is numbers,
and numbers with three axes or more are scaled as an image is, as a whole.
"""

from collections.abc import Mapping

import numpy as np

from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels
from sfumato.io.arrays import MAX_BYTES, Archive, ArchiveError
from sfumato.lab.data.encoding import Numbers
from sfumato.lab.data.images import Images
from sfumato.lab.data.labels import (
    check_classes,
    check_soft,
    order_classes,
    parts_of,
    unlabelled_note,
    warn_of_classes,
    weights_of,
)
from sfumato.lab.data.roles import Roles
from sfumato.lab.data.table import DataError, Features, Table
from sfumato.lab.data.text import Texts
from sfumato.messages import Note
from sfumato.text import did_you_mean, listing, short

CHANNELS = (1, 3, 4)
"""Sizes of an axis that is taken for that of the channels."""


def read_npz(path: str, *, file: str, name: str, roles: Roles, max_bytes: int = MAX_BYTES) -> Table:
    """Read an ``.npz`` file; label, weight, group and split of ``roles`` are names of arrays.

    It holds ``X`` (N, …) numbers or text and ``y`` (N,) labels or (N, K) soft ones. Soft labels may also be an array
    ``label_probs`` or ``label_counts`` (N, K), alone or next to the class indices ``y``.
    """
    asked = {"weight": roles.weight, "group": roles.group, "split": roles.split}
    try:
        with Archive(path) as archive:
            roles.refuse(file, "names columns, but {file} has arrays: save soft labels as y (N, K)", "--label-probs")
            roles.refuse(file, "names a column, but {file} has arrays: save texts as X (N,)", "--text")
            roles.refuse(file, "names columns, but {file} has arrays; leave it out", "--drop", "--keep")

            def read(key: str | None, default: str = "") -> np.ndarray:
                names = listing(sorted(archive.sizes)) or "none"
                if key is not None:
                    if key not in archive.sizes:
                        hint = did_you_mean(key, archive.sizes)
                        raise DataError(f'{file} has no array "{key}".{hint} Arrays: {names}')
                    return archive.read(key, max_bytes=max_bytes)
                own = default if default in archive.sizes else default.swapcase()
                if own not in archive.sizes:
                    raise DataError(
                        f"{file} has no array {default}; it needs X (examples) and y (labels). Arrays: {names}"
                    )
                return archive.read(own, max_bytes=max_bytes)

            x, soft = read(None, "X"), _soft(archive, file, max_bytes)
            alone = soft is not None and roles.label is None and not {"y", "Y"} & archive.sizes.keys()
            y = soft if soft is not None and alone else read(roles.label, "y")
            extra = {role: read(key) for role, key in asked.items() if key is not None}
    except ArchiveError as error:
        raise DataError(_refusal(file, error)) from error
    return from_arrays(x, y, extra, file=file, name=name, kind="npz", roles=roles, soft=soft)


def from_arrays(
    x: np.ndarray,
    y: np.ndarray,
    extra: Mapping[str, np.ndarray],
    *,
    file: str,
    name: str,
    kind: str,
    roles: Roles | None = None,
    notes: tuple[Note, ...] = (),
    soft: np.ndarray | None = None,
) -> Table:
    """A table from (N, …) numbers or (N,) texts, and (N,) labels of any kind or (N, K) soft ones.

    ``soft`` are soft labels that come by themselves, (N, K); y is then these, or the class indices that one-hot trains
    on. ``extra`` may hold ``"weight"``, ``"group"`` and ``"split"``, (N,) each.
    """
    if x.dtype.kind not in "biufUT":
        raise DataError(f"{file}: X has type {x.dtype}; it must hold numbers, or text of one type")
    if x.ndim == 0 or x.size == 0:
        raise DataError(f"{file}: X has shape {x.shape}; it needs at least one row and one feature")
    if soft is not None and len(soft) != len(x):
        raise DataError(f"{file}: X has {len(x)} rows but the soft labels have {len(soft)}; they must be as many")
    roles = roles or Roles()
    if roles.drop_unlabelled and soft is None and y.ndim and len(y) == len(x) and (missing := _unlabelled(y)).any():
        x, y, extra = x[~missing], y[~missing], {name: values[~missing] for name, values in extra.items()}
        notes += (unlabelled_note(int(missing.sum()), "y"),)
    if soft is not None and y is not soft:
        labels, class_names = _beside(file, y, soft), tuple(str(k) for k in range(soft.shape[1]))
    elif y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "biuf":
        soft = check_soft(y, lambda row: f"{file}: row {row} of y", [f"y[:,{k}]" for k in range(y.shape[1])])
        labels, class_names = soft.argmax(axis=1), tuple(str(k) for k in range(y.shape[1]))
    else:
        labels, class_names = order_classes(*_classes(file, y))
    for key, array in {"y": labels, **extra}.items():
        if array.ndim == 0 or len(array) != len(x):
            raise DataError(f"{file}: X has {len(x)} rows but {key} has {array.size}; they must be as many")
    part = None
    if "split" in extra:
        codes, values = _classes(file, extra["split"], "split")
        part = parts_of(codes, values, lambda row: f"{file}: row {row}", "split")
    group = _classes(file, extra["group"], "group")[0] if "group" in extra else None
    weight = extra.get("weight")
    if weight is not None:
        if weight.ndim != 1 or weight.dtype.kind not in "biuf":
            held = f"has type {weight.dtype} and shape {weight.shape}"
            raise DataError(f"{file}: weight {held}; it needs one number above 0 per row")
        weight = weights_of(weight.astype(np.float64), lambda row: f"{file}: row {row}", "weight")
    way_out = "Add rows, or merge or drop the class"
    check_classes(file, labels, class_names, where="y", way_out=way_out, least=3 if part is None else 1)
    features = _features(file, x, roles.tokenizer)
    many = () if soft is not None else warn_of_classes(labels, class_names, "y")
    return Table(name, kind, features, labels, class_names, soft, weight, group, part, notes, warnings=many, file=file)


def _unlabelled(y: np.ndarray) -> np.ndarray:
    """(N,) which labels are missing: NaN or empty text."""
    if y.dtype.kind == "f":
        return np.asarray(np.isnan(y.reshape(len(y), -1)).all(axis=1))
    texts = y.tolist() if y.dtype.kind in "UT" else ["label"] * len(y)
    return np.array([not (isinstance(text, str) and text.strip()) for text in texts])


def _beside(file: str, y: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """Class indices that are given next to soft labels."""
    if y.ndim != 1 or y.dtype.kind not in "iu":
        held = f"y has shape {y.shape} and type {y.dtype}"
        raise DataError(f"{file}: {held}; next to soft labels it must be class indices")
    if len(odd := np.flatnonzero((y < 0) | (y >= soft.shape[1]))):
        row = int(odd[0])
        raise DataError(f"{file}: y[{row}] is {y[row]}, and the soft labels have the classes 0 to {soft.shape[1] - 1}")
    return y.astype(np.int64)


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


def _classes(file: str, y: np.ndarray, name: str = "y") -> tuple[np.ndarray, list[str]]:
    """Codes and distinct names of any array of labels."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{file}: {name} has shape {y.shape}; it needs one label per row, or K probabilities per row")
    if y.dtype.kind == "T":  # NumPy's text of any length, in which values may be missing
        y = np.array([each if isinstance(each, str) else "" for each in y.tolist()], str)
    if y.dtype.kind == "f":
        if len(odd := np.flatnonzero(~(np.isfinite(y) & (y == np.rint(y))))):
            measured = name == "y" and np.isfinite(y[odd]).any()
            way_out = "; cut numbers to predict into a few classes first" if measured else ""
            way_out = "; --drop-unlabelled leaves out rows without a label" if np.isnan(y[odd[0]]) else way_out
            held = f"{name}[{odd[0]}] is {y[odd[0]]}"
            raise DataError(f"{file}: {held}; labels are whole numbers, booleans or text{way_out}")
    elif y.dtype.kind in "SU":
        y = np.char.strip(y)
        if len(empty := np.flatnonzero(np.char.str_len(y) == 0)):
            way_out = ", or all rows without one with --drop-unlabelled" if name == "y" else ""
            raise DataError(f"{file}: {name}[{empty[0]}] is empty; give it a label or drop the row{way_out}")
    elif y.dtype.kind not in "biu":
        raise DataError(f"{file}: {name} has type {y.dtype}; labels are whole numbers, booleans or text")
    values, codes = np.unique(y, return_inverse=True)
    try:
        names = [each.decode() if isinstance(each, bytes) else each for each in values.tolist()]
    except UnicodeDecodeError as error:
        label = short(repr(error.object))
        raise DataError(f"{file}: the label {label} in {name} is not UTF-8 text; decode it first") from error
    return codes, [str(int(each) if isinstance(each, float) else each) for each in names]


def position(shape: tuple[int, ...], flat: int, array: str) -> str:
    """The place of a number in an array: ``"X[3,4]"``."""
    return f"{array}[{','.join(str(i) for i in np.unravel_index(flat, shape))}]"


def _soft(archive: Archive, file: str, max_bytes: int) -> np.ndarray | None:
    """The soft labels that an archive calls so, each row with a sum of 1."""
    there = [name for name in SOFT if name in archive.sizes]
    if len(there) > 1:
        raise DataError(f"{file} has {there[0]} and {there[1]}; keep one of them")
    if not there:
        return None
    try:
        soft = SoftLabels(archive.read(there[0], max_bytes=max_bytes), there[0])
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: {error}") from None
    if not soft.all_count:
        row = int(soft.has_any.argmin())
        raise DataError(f"{file}: label_counts in row {row} are all 0; leave out rows that no annotator has seen")
    return soft.block(slice(None))


def _refusal(file: str, error: ArchiveError) -> str:
    told = {
        "no archive": f"{file} is not an .npz archive; write one with numpy.savez",
        "two of one name": f"{file} holds two arrays of one name; write it again with numpy.savez",
        "too large": f"{file}: {error.name} takes {error}; at most 8 GB are read",
        "objects": f"{file}: {error.name} holds Python objects, which are not read because they can run code; save "
        f"plain numbers or text, for instance {error.name}.astype(str) for labels",
    }
    damaged = f"{file}: {error.name} is damaged ({error}); write the file again with numpy.savez"
    return told.get(error.reason, damaged)
