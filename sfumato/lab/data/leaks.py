"""What makes scores look better, or worse, than they are: columns that give the label away, near copies, odd parts.

A column is named where it closes nearly all of the way from always answering the largest class to being always right;
honest columns seldom do. Copies of a row are never on both sides of a trial. Near copies of rows are on both sides of
the split unless a group ties them, and given parts may hold rows of another kind than the training rows.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from sfumato.lab.data.columns import Column
from sfumato.lab.data.images import Images
from sfumato.lab.data.split import Split
from sfumato.lab.data.table import DataWarning, Table
from sfumato.lab.data.text import Texts
from sfumato.text import listing, share, short

CLOSED = 0.95  # how much of the way to certainty a column closes that is called a leak; iris's petal width closes 0.94
MAX_ROWS = 3000  # rows that are looked at; more would tell no more
MIN_CELLS = 5  # cells with a value, and rows of a class, below which the two are not compared
MIN_TEXTS = 20  # texts with a word, and of a class, as much
MAX_VALUES = 50  # different values of a column of which each is compared with each class
NEAR = 0.01  # how far a near copy is, as a part of the distance to the fifth neighbour
MAX_SHIFT = 0.4  # how far the values of a column in two parts may be apart, from 0 to 1; of labels half of it
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
    return (*named, *_words(table, few, trial), *_sorted_by_label(table, few, trial))


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
        total, right = self.by_code(codes), 0
        for fold in np.unique(self.fold):
            here = self.fold == fold
            seen = total - self.by_code(codes, here, len(total))
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
        return float(self.by_code(codes).max(axis=1).sum()) / len(codes)

    def one_class(self, counts: np.ndarray, least: int = MIN_CELLS) -> tuple[int, int, bool, float] | None:
        """Of (V, K) rows with each value and label, a value that is there just where the label is one class.

        Its place, the class, whether it is there or missing where the label is, and in what share of the rows.
        """
        rows, inside = len(self.labels), counts.sum(axis=1, keepdims=True)
        agree = (2 * counts + rows - inside - self.counts) / rows
        base = np.maximum(self.counts, rows - self.counts) / rows
        enough = (np.minimum(inside, rows - inside) >= least) & (np.minimum(self.counts, rows - self.counts) >= least)
        accuracy = np.maximum(agree, 1 - agree)
        closed = np.where(enough, (accuracy - base) / np.maximum(1 - base, 1 / rows), 0.0)
        place, label = np.unravel_index(np.argmax(closed), closed.shape)
        if closed[place, label] < CLOSED:
            return None
        return int(place), int(label), bool(agree[place, label] >= 0.5), float(accuracy[place, label])

    def by_code(self, codes: np.ndarray, rows: np.ndarray | slice = slice(None), size: int = 0) -> np.ndarray:
        """How often each code has each label, (codes, K)."""
        size = size or int(codes.max()) + 1
        own = codes[rows] * self.classes + self.labels[rows]
        return np.bincount(own, minlength=size * self.classes).reshape(size, self.classes)


def _finding(column: Column, few: np.ndarray, trial: _Trial, table: Table) -> str | None:
    """What a column gives away, as the end of a sentence; None where it is honest."""
    cells, missing = column.values[few], column.missing[few]
    if found := trial.one_class(trial.by_code(missing.astype(np.int64), size=2)[1:]):
        _, label, agrees, accuracy = found
        way = "empty" if agrees else "filled in"
        return f'is {way} just where the label is "{short(table.class_names[label])}", in {share(accuracy)} of the rows'
    values, codes = np.unique(cells, return_inverse=True)
    if len(values) == 1:
        return None
    if trial.closed(trial.bound(codes, ordered=column.kind != "category")) >= 0.9 * CLOSED:
        repeats = column.kind == "category" or len(values) <= len(codes) // 3
        by_value = trial.by_value(codes) if repeats else 0.0
        by_tree = column.kind != "category" and trial.closed(by_value) < CLOSED
        best = max(by_value, trial.by_tree(cells) if by_tree else 0.0)
        if trial.closed(best) >= CLOSED:
            text = f"alone tells the label in {share(best)} of the rows that were tried"
            if by_value == best and len(values) > 3 * trial.classes and table.group is None:
                text += " (where its values name persons or places with several rows each, say --group)"
            return text
    if len(values) > MAX_VALUES or not (found := trial.one_class(trial.by_code(codes))):
        return None
    place, label, agrees, accuracy = found
    value = f"{values[place]:g}" if column.kind != "category" else column.levels[values[place]]
    just = f'is {"" if agrees else "not "}"{short(value)}" just where the label is "{short(table.class_names[label])}"'
    return f"{just}, in {share(accuracy)} of the rows"


def _words(table: Table, few: np.ndarray, trial: _Trial) -> Iterator[DataWarning]:
    """Where a word of the texts, or two, occur just in the texts of one class."""
    features = table.features
    if not isinstance(features, Texts) or not table.kept.isdisjoint(features.columns):
        return
    from sklearn.feature_extraction.text import CountVectorizer

    vectoriser = CountVectorizer(binary=True, ngram_range=(1, 2), min_df=MIN_TEXTS, max_features=MAX_ROWS)
    with suppress(ValueError):  # no word is in so many texts
        words = vectoriser.fit_transform([features.texts[row] for row in few])
        counts = np.stack([np.asarray(words[trial.labels == k].sum(axis=0))[0] for k in range(trial.classes)], axis=1)
        if found := trial.one_class(counts, MIN_TEXTS):
            place, label, agrees, accuracy = found
            word, column = vectoriser.get_feature_names_out()[place], next(iter(features.columns), None)
            text = (
                f'The texts{f" of `{column}`" if column else ""} tell the label: "{word}" is '
                f'{"there" if agrees else "missing"} just where it is "{short(table.class_names[label])}", in '
                f"{share(accuracy)} of the rows: is it written before the outcome? If not, cut it from the texts."
            )
            yield DataWarning("leak", column, text)


def near_copies(table: Table, cluster: np.ndarray) -> Iterator[DataWarning]:
    """A warning where rows are so near another row that they can hardly be rows of their own.

    In D dimensions the nearest neighbour of 5·NEAR^D of the rows is so near by chance; D is estimated from neighbours
    that are further away. Distances are of standardised numbers, and levels of a category have a place of their own.
    """
    if isinstance(table.features, (Images, Texts)) or len(cluster) < 50:
        return
    from sklearn.neighbors import NearestNeighbors

    first = np.unique(cluster, return_index=True)[1]
    rows = first[np.linspace(0, len(first) - 1, min(len(first), 20_000)).astype(np.int64)]
    places: list[np.ndarray] = []
    for column in table.features.raw_columns():
        own = column.values[rows]
        if column.kind == "category":
            own = np.random.default_rng(0).normal(size=len(column.levels) + 1)[own]
        spread = np.nanstd(own) if not np.isnan(own).all() else 0.0
        if spread > 0:
            places.append(np.nan_to_num((own - np.nanmean(own)) / spread, nan=10.0))
    if not places or len(rows) < 50:
        return
    space = np.stack(places, axis=1)
    asked = np.linspace(0, len(rows) - 1, min(len(rows), 1000)).astype(np.int64)
    far, which = NearestNeighbors(n_neighbors=11).fit(space).kneighbors(space[asked])
    with np.errstate(all="ignore"):
        dimensions = np.log(2) / np.log(np.nanmedian(far[:, 10] / far[:, 5]))
        near = far[:, 1] < NEAR * far[:, 5]
    if near.sum() >= MIN_CELLS and near.mean() > max(0.01, 50 * NEAR**dimensions):
        row = int(np.argmax(near))
        text = (
            f"{near.mean():.0%} of the rows that were tried are near copies of another row, such as row "
            f"{rows[asked[row]]:,} of row {rows[which[row, 1]]:,} (the first is row 0): test rows were then seen in "
            "training. Name what they share with --group, or drop the copies."
        )
        yield DataWarning("near-copies", None, text)


def parts_differ(table: Table, split: Split) -> Iterator[DataWarning]:
    """Warnings where the labels, or the values of a column, in a given part are others than in training."""
    if not split.given:
        return
    label = next((line.name for line in table.columns if line.read_as == "label"), "label")
    own = Column(label, "category", table.labels, table.class_names)
    columns = [column for column in table.features.raw_columns() if column.kind != "date"]  # parts may be of two years
    named = 0
    for part in ("validation", "test"):
        for column, most in ((own, MAX_SHIFT / 2), *((column, MAX_SHIFT) for column in columns)):
            text = _shift(column, split.train, getattr(split, part), part, most)
            if text and named < _NAMED:
                named += 1
                advice = (
                    "no score of one holds for the other: deal the rows anew (leave --split out), or say what differs"
                )
                yield DataWarning(
                    "parts-differ", column.name, f"The parts differ in `{column.name}`: {text}; {advice}."
                )


def _shift(column: Column, train: np.ndarray, held: np.ndarray, part: str, most: float) -> str:
    """How a part differs from training in a column, where that is more than ``most`` and more than chance."""
    noise = np.sqrt(1 / len(train) + 1 / len(held))
    here, there = column.values[train], column.values[held]
    if column.kind == "category":
        size = len(column.levels) + 1
        one, two = (np.bincount(values + 1, minlength=size) / len(values) for values in (here, there))
        share_of_all = np.bincount(np.append(here, there) + 1, minlength=size) / (len(here) + len(there))
        apart = 0.5 * np.abs(one - two).sum()
        chance = noise * (0.4 * np.sqrt(share_of_all * (1 - share_of_all)).sum() + 1.5)
        place = int(np.argmax(np.abs(one - two)))
        name = short(column.levels[place - 1]) if place else "(missing)"
        text = f'"{name}" is {one[place]:.0%} of the training rows and {two[place]:.0%} of the {part} rows'
    else:
        from scipy.stats import ks_2samp

        one, two = (np.nan_to_num(each, nan=-1e300) for each in (here, there))
        tested: Any = ks_2samp(one, two, method="asymp")  # only the statistic is used, not the p-value
        apart, chance = float(tested.statistic), 2.5 * noise
        text = f"its median is {_median(here)} in training and {_median(there)} in {part}"
    return text if apart > max(most, chance) else ""


def _median(values: np.ndarray) -> str:
    return "missing" if np.isnan(values).all() else f"{np.nanmedian(values):.4g}"


def _sorted_by_label(table: Table, few: np.ndarray, trial: _Trial) -> Iterator[DataWarning]:
    """Where an id counts the rows of a file that is sorted by label, the id tells the label."""
    # row numbers without a name were written by a program, and say nothing but the order of the file
    ids = [line.name for line in table.columns if line.read_as == "id" and not re.fullmatch(r"column \d+", line.name)]
    if ids and trial.closed(trial.by_tree(few.astype(np.float64))) >= CLOSED:
        named = f'The rows of the file are sorted by label, and "{short(ids[0])}" names the rows'
        text = f"{named}: where it counts them, it tells the label. It is left out."
        yield DataWarning("sorted-by-label", ids[0], text)
