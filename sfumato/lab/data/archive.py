"""NumPy archives: ``X`` (N, …) numbers and ``y`` (N,) labels or (N, K) soft ones, never a pickle.

Soft labels may also be an array ``label_probs`` or ``label_counts`` (N, K), alone or beside the class indices ``y``.

The archive comes from anywhere, so its declared sizes are looked at before anything is unpacked.
"""

import numpy as np

from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels
from sfumato.io.npz import Archive, ArchiveError
from sfumato.lab.data.arrays import from_arrays
from sfumato.lab.data.column_roles import Roles
from sfumato.lab.data.table import MOST_BYTES, DataError, Table
from sfumato.text import did_you_mean, listing


def read_npz(path: str, *, file: str, name: str, roles: Roles) -> Table:
    """Read an ``.npz`` file; label, weight, group and split of ``roles`` are names of arrays.

    Raises:
        DataError: anything that keeps the arrays from being a table.
    """
    asked = {"weight": roles.weight, "group": roles.group, "split": roles.split}
    try:
        with Archive(path) as archive:
            roles.refuse(file, "names columns, but {file} has arrays: save soft labels as y (N, K)", "--label-probs")
            roles.refuse(file, "names a column, but {file} has arrays: save texts as X (N,)", "--text")
            roles.refuse(file, "names columns, but {file} has arrays; leave it out", "--drop", "--keep")
            x = _member(archive, file, "X")
            soft = _soft(archive, file)
            if soft is not None and roles.label is None and not {"y", "Y"} & archive.sizes.keys():
                y = soft
            else:
                y = _member(archive, file, "y") if roles.label is None else _named(archive, file, roles.label)
            extra = {role: _named(archive, file, key) for role, key in asked.items() if key is not None}
    except ArchiveError as error:
        raise DataError(_refusal(file, error)) from error
    return from_arrays(x, y, extra, file=file, name=name, kind="npz", tokenizer=roles.tokenizer, soft=soft)


def _soft(archive: Archive, file: str) -> np.ndarray | None:
    """The soft labels that an archive calls so, each row with a sum of 1."""
    there = [name for name in SOFT if name in archive.sizes]
    if len(there) > 1:
        raise DataError(f"{file} has {there[0]} and {there[1]}; keep one of them")
    if not there:
        return None
    try:
        soft = SoftLabels(archive.read(there[0], most_bytes=MOST_BYTES), there[0])
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: {error}") from None
    if not soft.all_count:
        row = int(soft.has_any.argmin())
        raise DataError(f"{file}: label_counts in row {row} are all 0; leave out rows that no annotator has seen")
    return soft.block(slice(None))


def _named(archive: Archive, file: str, key: str) -> np.ndarray:
    if key not in archive.sizes:
        hint = did_you_mean(key, archive.sizes)
        raise DataError(f'{file} has no array "{key}".{hint} Arrays: {listing(sorted(archive.sizes)) or "none"}')
    return archive.read(key, most_bytes=MOST_BYTES)


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
