"""Training, validation and test rows, chosen by what the rows hold.

Each row is known by a hash of its features, and rows with equal features form one group that is dealt as a whole. So
the order of rows in a file cannot matter, and no test row was ever seen in training.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from sfumato.lab.data.table import PARTS, DataError, Table, plural, short

_CHUNK = 2**14  # rows hashed at a time


@dataclass(frozen=True)
class Split:
    """Row numbers of a table, in three parts.

    Attributes:
        train: rows to train on, ordered by content hash, then by label.
        validation: rows to choose by, in the same order.
        test: rows to report on, in the same order.
        duplicates: rows whose features equal an earlier row's.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    duplicates: int


def split(table: Table, *, validation: float = 0.2, test: float = 0.2) -> Split:
    """Split a table by class and by content.

    Within each class, groups of rows with equal features go, the largest first and then in the order of their hash, to
    the part that is furthest below its share. A group whose rows disagree on the label counts for the label that most
    of them carry, or where that leaves a class out of a part, for the rarest of its labels.

    Args:
        table: what to split.
        validation: share of the validation rows, above 0.
        test: share of the test rows, above 0; what is left, above 0 too, is for training.

    Returns:
        Row numbers; every class is in every part, and rows with equal features are in the same part.

    Raises:
        ValueError: shares that leave a part empty.
        DataError: a class with too few distinct rows to be in every part.

    >>> from sfumato.lab.data import load
    >>> parts = split(load("digits"))
    >>> len(parts.train), len(parts.validation), len(parts.test), parts.duplicates
    (1078, 360, 359, 0)
    """
    return split_by_content(table, hash_rows(table.features), validation, test)


def hash_rows(features: np.ndarray) -> np.ndarray:
    """BLAKE2b of each row's float64 little-endian bytes, −0 taken as 0.

    Args:
        features: (N, D) float64.

    Returns:
        (N, 2) uint64: 128 bits a row; equal rows have equal hashes, and others, for all practical purposes, do not.
    """
    width = 8 * features.shape[1]
    digests: list[bytes] = []
    for start in range(0, len(features), _CHUNK):
        block = (features[start : start + _CHUNK] + 0.0).astype("<f8", order="C").tobytes()
        digests += [hashlib.blake2b(block[i : i + width], digest_size=16).digest() for i in range(0, len(block), width)]
    return np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)


def order_by_content(hashes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) row numbers, by hash and then by label: an order that the file's own order cannot change."""
    return np.lexsort((labels, hashes[:, 1], hashes[:, 0]))


def split_by_content(table: Table, hashes: np.ndarray, validation: float, test: float) -> Split:
    """:func:`split`, for rows already hashed."""
    shares = (1 - validation - test, validation, test)
    if not all(0 < share < 1 for share in shares):
        raise ValueError(
            f"validation and test must be above 0 and leave rows to train on, got {validation} and {test}; "
            "for instance 0.2 and 0.2"
        )
    classes = len(table.class_names)
    order = order_by_content(hashes, table.labels)
    labels = table.labels[order]
    starts = _changes(hashes[order])  # first row of each group
    group = np.cumsum(starts) - 1
    sizes = np.bincount(group)

    # Within a group rows are sorted by label, so each (group, label) that occurs is one run of rows.
    runs = np.flatnonzero(starts | _changes(labels[:, None]))
    run_group, run_label = group[runs], labels[runs]
    run_size = np.diff(np.append(runs, len(labels)))
    distinct = np.bincount(run_label, minlength=classes)
    if distinct.min(initial=3) < 3:
        _refuse(table, distinct)

    for preference in (-run_size, distinct[run_label]):
        by_preference = np.lexsort((run_label, preference, run_group))
        owner = run_label[by_preference][_changes(run_group[:, None])]
        side = _deal_classes(owner, sizes, shares)
        present = np.zeros((classes, 3), bool)
        present[run_label, side[run_group]] = True
        if present.all():
            train, held, last = (order[side[group] == part] for part in range(3))
            return Split(train, held, last, duplicates=len(order) - len(sizes))
    name = short(table.class_names[int(np.argmin(present.all(axis=1)))])
    raise DataError(
        f'{table.name}: class "{name}" shares so many of its rows with other classes that it cannot be in training, '
        "validation and test at once; add rows, or merge or drop the class"
    )


def _changes(rows: np.ndarray) -> np.ndarray:
    """(N,) whether each row differs from the one before it; the first one does."""
    changed = np.ones(len(rows), bool)
    changed[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return changed


def _refuse(table: Table, distinct: np.ndarray) -> None:
    k = int(np.argmax(distinct < 3))
    rows = int(np.count_nonzero(table.labels == k))
    raise DataError(
        f'{table.name}: class "{short(table.class_names[k])}" has {plural(rows, "row")}, '
        f"{distinct[k]} of them distinct; each class needs at least 3 distinct rows, "
        "one each for training, validation and test; add rows, or merge or drop the class"
    )


def _deal_classes(owner: np.ndarray, sizes: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """(G,) the part of each group, dealt class by class, the largest groups first."""
    order = np.lexsort((np.arange(len(sizes)), -sizes, owner))
    side = np.empty(len(sizes), np.int64)
    spare = [0.0] * len(PARTS)
    for groups in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        side[groups] = _deal(sizes[groups].tolist(), shares, spare)
    return side


def _deal(sizes: list[int], shares: tuple[float, ...], spare: list[float]) -> list[int]:
    """The part of each group of one class: always the part that lacks most, the last groups for parts still empty.

    Of parts that lack as much, the one that got less than its share of the classes before; ``spare`` keeps count.
    """
    lacking = [share * sum(sizes) for share in shares]
    empty = list(range(len(PARTS)))
    sides: list[int] = []
    for left, size in zip(range(len(sizes), 0, -1), sizes, strict=True):
        part = max(empty if left <= len(empty) else range(len(PARTS)), key=lambda k: (lacking[k], spare[k]))
        lacking[part] -= size
        if part in empty:
            empty.remove(part)
        sides.append(part)
    spare[:] = [a + b for a, b in zip(spare, lacking, strict=True)]
    return sides
