"""Training, validation and test rows, chosen by what the rows hold, or as the data say.

Rows of equal content, or of one group, form one cluster, which is dealt as a whole by the hash of its content. So the
order of rows in a file cannot matter, and no test row was ever seen in training. :func:`deal` deals into any parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.lab.data.table import PARTS, DataError, Table
from sfumato.messages import Note
from sfumato.text import plural, short

SHARES = (0.6, 0.2, 0.2)
"""Of training, validation and test, where the data do not say."""


@dataclass(frozen=True)
class Split:
    """Row numbers of a table in three parts, each ordered by content hash, then by label."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    duplicates: int  # rows whose content equals an earlier row's
    disagreeing: int  # rows whose content another row has with another label
    cluster: np.ndarray  # (N,) a number for each row, equal for rows of equal content or of one group
    given: tuple[str, ...] = ()  # parts that were taken as the data give them
    notes: tuple[Note, ...] = ()
    shared: int = 0  # rows of validation and test whose content is in training too; 0 unless parts were given
    across: tuple[str, ...] = ()  # sentences on rows and groups that given parts share


def split(
    table: Table, *, validation: float = SHARES[1], test: float = SHARES[2], hashes: np.ndarray | None = None
) -> Split:
    """Split a table by class and by content; ``validation`` and ``test`` are shares, and the rest is for training.

    Where the data say which rows are for what, they are believed. A missing validation part is cut from the training
    rows; where test is missing, the given validation rows are the test rows, for they were held out. Unless parts were
    given, every class is in every part. ``hashes`` are those of the rows, where they have been made.

    >>> from sfumato.lab.data import load
    >>> parts = split(load("digits"))
    >>> len(parts.train), len(parts.validation), len(parts.test), parts.duplicates
    (1078, 360, 359, 0)
    """
    shares = (1 - validation - test, validation, test)
    if not all(share > 0 for share in shares):
        needed = "validation and test must be above 0 and leave rows to train on"
        raise ValueError(f"{needed}, got {validation} and {test}; for instance 0.2 and 0.2")
    order, content, counts = _clusters(table, hashes)
    if table.part is not None:
        return _as_given(table, order, content, counts, validation)
    side = deal(table, order, counts[2], shares, strict=True)
    train, held, last = (order[side[order] == part] for part in range(3))
    return Split(train, held, last, *counts)


def rotated(table: Table, folds: int, hashes: np.ndarray | None = None) -> tuple[Split, ...]:
    """A split for each fold: each row is in the test part of one, in the validation part of another, and else trains.

    Folds are dealt by class and by content, as the parts of :func:`split`; fold f is tested by models that were trained
    without it and without fold f + 1, on which their temperatures are fitted.
    """
    order, _, counts = _clusters(table, hashes)
    side = deal(table, order, counts[2], [1 / folds] * folds, strict=True)[order]
    return tuple(
        Split(order[(side != fold) & (side != after)], order[side == after], order[side == fold], *counts)
        for fold, after in ((fold, (fold + 1) % folds) for fold in range(folds))
    )


def _clusters(table: Table, hashes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, tuple[int, int, np.ndarray]]:
    """The order of rows by content, the number of each row's content, and what is counted of copies, with clusters."""
    hashes = table.features.hashes() if hashes is None else hashes
    order = order_by_content(hashes, table.labels)
    starts = changes(hashes[order])
    content = np.empty(len(order), np.int64)
    content[order] = np.cumsum(starts) - 1
    cluster = content if table.group is None else _joined(content, table.group)
    ordered, begin = table.labels[order], np.flatnonzero(starts)
    end = np.append(begin[1:], len(order)) - 1  # rows of one content stand in the order of their labels
    differ = ordered[begin] != ordered[end]
    return order, content, (len(order) - len(begin), int((end - begin + 1)[differ].sum()), cluster)


def order_by_content(hashes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) row numbers, by hash and then by label: an order that the file's own order cannot change."""
    return np.lexsort((labels, hashes[:, 1], hashes[:, 0]))


def changes(rows: np.ndarray) -> np.ndarray:
    """(N,) whether each row differs from the one before it; the first one does."""
    changed = np.ones(len(rows), bool)
    changed[1:] = (rows[1:] != rows[:-1]).any(axis=tuple(range(1, rows.ndim)))
    return changed


def _joined(content: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Clusters of rows that equal content or an equal group ties together, numbered by the first content in each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = len(content)  # more than any content or code of a group
    codes = np.unique(group, return_inverse=True)[1]
    ties = coo_array((np.ones(rows, bool), (content, rows + codes)), shape=(rows + rows, rows + rows))
    count, found = connected_components(ties, directed=False)
    lowest = np.full(count, rows)
    np.minimum.at(lowest, found[content], content)
    return lowest[found[content]]


def _as_given(
    table: Table, order: np.ndarray, content: np.ndarray, counts: tuple[int, int, np.ndarray], share: float
) -> Split:
    """The parts of the data, with a missing validation part cut from training."""
    assert table.part is not None
    part = table.part.copy()
    given = tuple(name for k, name in enumerate(PARTS) if (part == k).any())
    notes: list[Note] = []
    if "test" not in given:
        part[part == 1] = 2
        text = "There is no test part: the validation part that was given is the test set."
        notes.append(Note(code="validation-is-test", text=text))
    if not (part == 1).any():
        rows = order[part[order] == 0]
        side = deal(table, rows, counts[2], (1 - share, share), strict=False)
        part[rows] = side[rows]
        cut = np.count_nonzero(part == 1)
        text = f"Validation was cut from the training rows: {cut:,} of {len(rows):,}, by content."
        notes.append(Note(code="validation-cut", text=text))
    if not (part == 1).any():
        rows = plural(int(np.count_nonzero(part == 0)), "training row")
        way_out = "give a validation part, or more rows"
        raise DataError(f"{table.called}: the {rows} cannot be cut in two for validation; {way_out}")
    present = np.zeros((len(table.class_names), 3), bool)
    present[table.labels, part] = True
    if not present[:, 0].all():
        k = int(np.argmin(present[:, 0]))
        held = f'class "{short(table.class_names[k])}" has {plural(int(np.count_nonzero(table.labels == k)), "row")}'
        way_out = "move some to training, or drop the class"
        raise DataError(f"{table.called}: {held} and none of them to train on; {way_out}")
    for k in (1, 2):
        absent = [f'"{short(name)}"' for name, here in zip(table.class_names, present[:, k], strict=True) if not here]
        if absent:
            one, what = len(absent) == 1, "temperatures are fitted" if k == 1 else "metrics are measured"
            named = f"Class {absent[0]} is" if one else f"{len(absent)} classes, such as {absent[0]}, are"
            text = f"{named} missing from {PARTS[k]}: {what} without {'it' if one else 'them'}."
            notes.append(Note(code="classes-missing", text=text))
    shared, across = _across(part, content, "content")
    if table.group is not None:
        across += _across(part, table.group, "group")[1]
    train, held, last = (order[part[order] == k] for k in range(3))
    return Split(train, held, last, *counts, given, tuple(notes), shared, tuple(across))


def _across(part: np.ndarray, key: np.ndarray, what: str) -> tuple[int, list[str]]:
    """Rows of validation and test whose key is in an earlier part: how many are in training, and sentences."""
    sentences: list[str] = []
    in_training = 0
    for k, earlier in ((2, 0), (1, 0), (2, 1)):
        rows = int(np.isin(key[part == k], key[part == earlier]).sum())
        in_training += rows if earlier == 0 else 0
        named, one, where = plural(rows, f"{PARTS[k]} row"), rows == 1, "training" if earlier == 0 else PARTS[earlier]
        if rows and what == "content":
            harm = "scores on them flatter the models" if earlier == 0 else "temperatures were fitted on them"
            sentences.append(
                f"{named} {'is' if one else 'are'} in {where} too, by content: {harm}. The parts are those given; drop "
                "the copies, or leave --split out."
            )
        elif rows:
            verb = "shares its" if one else "share their"
            sentences.append(f"{named} {verb} group with {where} rows: the parts given split groups.")
    return in_training, sentences


def deal(table: Table, order: np.ndarray, cluster: np.ndarray, shares: Sequence[float], *, strict: bool) -> np.ndarray:
    """(N,) for each row in ``order`` the index of its part, of which each has a share of every class.

    Within each class, clusters of rows go, the largest first and then in the order of their hash, to the part that is
    furthest below its share. A cluster whose rows disagree on the label counts for the label that most of them carry,
    or where that leaves a class out of a part, for the rarest of its labels. With ``strict``, a class that is not in
    every part is a DataError.
    """
    classes = len(table.class_names)
    by_cluster = order[np.lexsort((table.labels[order], cluster[order]))]
    labels, key = table.labels[by_cluster], cluster[by_cluster]
    starts = changes(key)
    group = np.cumsum(starts) - 1
    sizes = np.bincount(group)

    # Within a cluster rows are sorted by label, so each (cluster, label) that occurs is one run of rows.
    runs = np.flatnonzero(starts | changes(labels))
    run_group, run_label = group[runs], labels[runs]
    run_size = np.diff(np.append(runs, len(labels)))
    distinct = np.bincount(run_label, minlength=classes)
    if strict and (distinct < len(shares)).any():
        _refuse(table, distinct, len(shares))

    side = np.zeros(len(table.labels), np.int64)
    for preference in (-run_size, distinct[run_label]):
        by_preference = np.lexsort((run_label, preference, run_group))
        owner = run_label[by_preference][changes(run_group)]
        largest_first = np.lexsort((np.arange(len(sizes)), -sizes, owner))
        dealt, spare = np.empty(len(sizes), np.int64), np.zeros(len(shares))
        for own in np.split(largest_first, np.flatnonzero(np.diff(owner[largest_first])) + 1):  # class by class
            dealt[own] = _deal(sizes[own].tolist(), shares, spare)
        present = np.zeros((classes, len(shares)), bool)
        present[run_label, dealt[run_group]] = True
        side[by_cluster] = dealt[group]
        if present.all() or not strict:
            return side
    name = short(table.class_names[int(np.argmin(present.all(axis=1)))])
    what = "rows" if table.group is None else "groups"
    raise DataError(
        f'{table.called}: class "{name}" shares so many of its {what} with other classes that it cannot be in '
        f"{'training, validation and test' if len(shares) == 3 else 'every fold'} at once; add rows, or merge or drop "
        "the class"
    )


def _refuse(table: Table, distinct: np.ndarray, parts: int) -> None:
    k = int(np.argmax(distinct < parts))
    rows = plural(int(np.count_nonzero(table.labels == k)), "row")
    held, needed = f"{rows}, {distinct[k]} of them distinct", "distinct rows"
    if table.group is not None:
        held, needed = f"{rows} in {plural(int(distinct[k]), 'group')}", "groups of distinct rows"
    each = "training, validation and test" if parts == 3 else "each fold (--folds 1 splits the rows once)"
    raise DataError(
        f'{table.called}: class "{short(table.class_names[k])}" has {held}; each class needs at least {parts} '
        f"{needed}, one each for {each}; add rows, or merge or drop the class"
    )


def _deal(sizes: list[int], shares: Sequence[float], spare: np.ndarray) -> list[int]:
    """The part of each cluster of one class: always the part that lacks most, the last ones for parts still empty.

    Of parts that lack as much, the one that got less than its share of the classes before; ``spare`` keeps count.
    """
    lacking = [share * sum(sizes) for share in shares]
    empty = list(range(len(shares)))
    sides: list[int] = []
    for left, size in zip(range(len(sizes), 0, -1), sizes, strict=True):
        part = max(empty if left <= len(empty) else range(len(shares)), key=lambda k: (lacking[k], spare[k]))
        lacking[part] -= size
        if part in empty:
            empty.remove(part)
        sides.append(part)
    spare += lacking
    return sides
