"""Columns that give the label away: each is tried alone, before anything trains.

A column is named where it closes nearly all of the way from always answering the largest class to being always right;
honest columns seldom do. Copies of a row are never on both sides of a trial.
"""

import re
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from sfumato.lab.data.columns import Column
from sfumato.lab.data.table import DataWarning, Table
from sfumato.text import listing, share, short

CLOSED = 0.95  # how much of the way to certainty a column closes that is called a leak; iris's petal width closes 0.94
MAX_ROWS = 3000  # rows that are looked at; more would tell no more
MIN_MISSING = 5  # missing values, cells and rows of a class below which a column is not judged by its missing values
_FOLDS = 5
_NAMED = 8  # leaks with a warning of their own


def leaks(table: Table, rows: np.ndarray, cluster: np.ndarray) -> tuple[DataWarning, ...]:
    """Warnings ``"leak"`` and ``"more-leaks"`` of columns that tell the label, then ``"sorted-by-label"``."""
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).astype(np.int64)]
    every = table.features.raw_columns()
    own = cluster if len(every) > 1 or table.group is not None else np.arange(len(cluster))  # equal numbers, no copies
    trial = _Trial(table.labels[few], len(table.class_names), own[few])
    columns = [column for column in every if column.name not in table.kept]
    found = [(column.name, text) for column in columns if (text := _finding(column, few, trial, table))]
    way_out = "" if not table.columns else " Leave it out with --drop, or say with --keep that it is known in time."
    asks = f"does it exist before the outcome?{way_out}"
    named = [DataWarning("leak", name, f'"{short(name)}" {text}: {asks}') for name, text in found[:_NAMED]]
    if found[_NAMED:]:
        others = listing([f'"{short(name)}"' for name, _ in found[_NAMED:]], 20)
        named.append(DataWarning("more-leaks", None, f"These columns alone tell the label too: {others}."))
    return (*named, *_sorted_by_label(table, few, trial))


class _Trial:
    """The labels that a column is to tell, in folds: what is every on four of them is tried on the fifth."""

    def __init__(self, labels: np.ndarray, classes: int, cluster: np.ndarray) -> None:
        self.labels, self.classes = labels, classes
        _, first, own = np.unique(cluster, return_index=True, return_inverse=True)
        self.fold = np.argsort(np.argsort(first))[own] % _FOLDS
        self.counts = np.bincount(labels, minlength=classes)
        self.share = float(self.counts.max()) / len(labels)

    def closed(self, accuracy: float) -> float:
        """The part of the way from the largest class's share to certainty."""
        return (accuracy - self.share) / (1 - self.share) if self.share < 1 else 0.0

    def by_value(self, codes: np.ndarray) -> float:
        """Accuracy of answering for each value with its commonest label in the other folds."""
        total, right = self._by_code(codes), 0
        for fold in np.unique(self.fold):
            here = self.fold == fold
            seen = total - self._by_code(codes, here, len(total))
            answer = np.where(seen.any(axis=1), seen.argmax(axis=1), int(seen.sum(axis=0).argmax()))
            right += int((answer[codes[here]] == self.labels[here]).sum())
        return right / len(codes)

    def by_tree(self, values: np.ndarray) -> float:
        """Accuracy of a small tree; a gap counts as a number below all others."""
        from sklearn.tree import DecisionTreeClassifier

        missing = np.isnan(values)
        column = np.unique(np.where(missing, -np.inf, values), return_inverse=True)[1].reshape(-1, 1).astype(np.float64)
        leaves = max(16, 2 * self.classes)  # and any depth, for of many equal classes each split may part one from all
        right = 0
        for fold in np.unique(self.fold):
            here = self.fold == fold
            tree = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0)
            with warnings.catch_warnings():  # of as many classes as rows, which a warning of ours tells
                warnings.simplefilter("ignore", UserWarning)
                tree.fit(column[~here], self.labels[~here])
            right += int((tree.predict(column[here]) == self.labels[here]).sum())
        return right / len(values)

    def bound(self, codes: np.ndarray, *, ordered: bool) -> float:
        """Accuracy of each bin's commonest label on the rows it was counted on: a quick bound, as trees take time."""
        bins = max(256, 8 * self.classes, len(codes) // 3)
        if ordered and codes.max() >= bins:
            codes = np.argsort(np.argsort(codes, kind="stable"), kind="stable") * bins // len(codes)
        return float(self._by_code(codes).max(axis=1).sum()) / len(codes)

    def _by_code(self, codes: np.ndarray, rows: np.ndarray | slice = slice(None), size: int = 0) -> np.ndarray:
        """How often each code has each label, (codes, K)."""
        size = size or int(codes.max()) + 1
        own = codes[rows] * self.classes + self.labels[rows]
        return np.bincount(own, minlength=size * self.classes).reshape(size, self.classes)


def _finding(column: Column, few: np.ndarray, trial: _Trial, table: Table) -> str | None:
    """What a column gives away, as the end of a sentence; None where it is honest."""
    cells, missing = column.values[few], column.missing[few]
    if text := _by_missing(missing, trial, table.class_names):
        return text
    codes = np.unique(cells, return_inverse=True)[1]
    if codes.max() == 0 or trial.closed(trial.bound(codes, ordered=column.kind != "category")) < 0.9 * CLOSED:
        return None
    tried = [trial.by_value(codes)] if column.kind == "category" or codes.max() < len(codes) // 3 else []
    if column.kind != "category" and (not tried or trial.closed(tried[0]) < CLOSED):
        tried.append(trial.by_tree(cells))
    if trial.closed(best := max(tried)) < CLOSED:
        return None
    text = f"alone tells the label in {share(best)} of the rows that were tried"
    if tried[0] == best and codes.max() >= 3 * trial.classes and table.group is None:
        text += " (where its values name persons or places with several rows each, say --group)"
    return text


def _by_missing(missing: np.ndarray, trial: _Trial, names: Sequence[str]) -> str | None:
    """Whether a column is empty just where the label is one class, or just where it is not."""
    count = int(missing.sum())
    if min(count, len(missing) - count) < MIN_MISSING:
        return None
    inside = np.bincount(trial.labels[missing], minlength=trial.classes)
    for label, rows in enumerate(trial.counts.tolist()):
        if min(rows, len(missing) - rows) < MIN_MISSING:
            continue
        agree = (2 * int(inside[label]) + len(missing) - count - rows) / len(missing)
        base = max(rows, len(missing) - rows) / len(missing)
        for way, accuracy in (("empty", agree), ("filled in", 1 - agree)):
            if (accuracy - base) / (1 - base) >= CLOSED:
                return f'is {way} just where the label is "{short(names[label])}", in {share(accuracy)} of the rows'
    return None


def _sorted_by_label(table: Table, few: np.ndarray, trial: _Trial) -> Iterator[DataWarning]:
    """Where an id counts the rows of a file that is sorted by label, the id tells the label."""
    # row numbers without a name were written by a program, and say nothing but the order of the file
    ids = [line.name for line in table.columns if line.read_as == "id" and not re.fullmatch(r"column \d+", line.name)]
    if ids and trial.closed(trial.by_tree(few.astype(np.float64))) >= CLOSED:
        named = f'The rows of the file are sorted by label, and "{short(ids[0])}" names the rows'
        text = f"{named}: where it counts them, it tells the label. It is left out."
        yield DataWarning("sorted-by-label", ids[0], text)
