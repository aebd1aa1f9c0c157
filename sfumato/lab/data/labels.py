"""Classes, soft labels, weights and given parts: the checks that are the same for every source.

The same classes get the same indices, whatever the order of the rows.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sfumato.lab.data.table import DataError, DataWarning
from sfumato.text import joined, listing, plural, short

_TOLERANCE = 1e-3 + 1e-9  # how far soft labels may be from a sum of 1; nearer ones are divided by their sum
_MANY_CLASSES = 1000  # classes from which on a person is told how few rows each has
_MAX_NAMED = 4  # groups of classes written alike that a warning names
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?")
_PARTS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "val", "valid", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}


def order_classes(codes: np.ndarray, values: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) int64 labels and the K classes, sorted as numbers if all are integers, else as text.

    ``codes`` are indices into ``values``, distinct names in any order.
    """
    numeric = all(_INTEGER.fullmatch(value) for value in values)
    order = sorted(range(len(values)), key=lambda i: (int(values[i]) if numeric else 0, values[i]))
    position = np.empty(len(values), np.int64)
    position[order] = np.arange(len(values))
    return position[codes], tuple(values[i] for i in order)


def check_classes(
    file: str, labels: np.ndarray, class_names: Sequence[str], *, where: str, way_out: str, least: int = 3
) -> None:
    """Refuse labels that cannot be split in three: one class only, or a class of fewer rows than ``least``."""
    if len(class_names) < 2:
        raise DataError(
            f'{file}: {where} holds one class only, "{short(class_names[0])}"; at least 2 are needed. {way_out}'
        )
    counts = np.bincount(labels, minlength=len(class_names))
    small = int(np.argmin(counts >= least))  # the first class that is too small, or 0 where none is
    if counts[small] < least:
        parts = ", one each for training, validation and test" if least == 3 else ""
        raise DataError(
            f'{file}: class "{short(class_names[small])}" of {where} has {plural(int(counts[small]), "row")}; '
            f"each class needs at least {least}{parts}. {way_out}"
        )


def refuse_numbers(file: str, column: str, codes: np.ndarray, values: Sequence[str], least: int) -> None:
    """Refuse labels that are measured: numbers with decimals, or so many different ones that some are hardly there."""
    if len(values) <= 20 or not all(_NUMBER.fullmatch(value) for value in values):
        return
    if all(_INTEGER.fullmatch(value) for value in values) and np.bincount(codes).min() >= least:
        return
    numbers = sorted(values, key=lambda value: float(value.replace(",", ".")))
    raise DataError(
        f'{file}: column "{short(column)}" looks like a number to predict, with {len(values):,} different values from '
        f"{numbers[0]} to {numbers[-1]}; sfumato compares classifiers: choose a column of classes with --label, or "
        "cut the numbers into a few classes first"
    )


def warn_of_classes(labels: np.ndarray, class_names: Sequence[str], column: str) -> tuple[DataWarning, ...]:
    """What may be wrong with the classes of a column: there are thousands, or some are written alike.

    They are alike where they are numbers of one value, or words that differ in capitals, spaces or dashes alone.
    """
    found: list[DataWarning] = []
    if len(class_names) >= _MANY_CLASSES:
        counts = np.bincount(labels)
        each = f"{counts.min():,} rows each"
        if counts.min() < counts.max():
            each = f"{counts.min():,} to {counts.max():,} rows each (the median is {np.median(counts):,.0f})"
        text = (
            f"`{column}` has {len(class_names):,} classes with {each}: is it the column of classes? If not, name that "
            "with --label."
        )
        found.append(DataWarning("many-classes", column, text))
    groups: dict[Any, list[str]] = {}
    for name in class_names:
        key = name  # a class may well be the letter a, and another one A
        if len(name) > 1:
            key = float(name.replace(",", ".")) if _NUMBER.fullmatch(name) else re.sub(r"[\s_-]+", " ", name).casefold()
        elif _NUMBER.fullmatch(name):
            key = float(name)
        groups.setdefault(key, []).append(name)
    if alike := [joined([f'"{short(name)}"' for name in names]) for names in groups.values() if len(names) > 1]:
        more = f"; and {len(alike) - _MAX_NAMED} more" if len(alike) > _MAX_NAMED else ""
        text = f"Classes of `{column}` are written alike: {'; '.join(alike[:_MAX_NAMED])}{more}."
        found.append(DataWarning("classes-alike", column, f"{text} If these are the same, write them the same way."))
    return tuple(found)


def part_number(name: str) -> int | None:
    """The index in ``PARTS`` that a name stands for, in upper or lower case; None if it is none."""
    return _PARTS.get(name.lower())


def parts_of(codes: np.ndarray, values: Sequence[str], where: Callable[[int], str], column: str) -> np.ndarray:
    """(N,) indices into ``PARTS`` from the codes and distinct values of a column."""
    numbers = [part_number(value) for value in values]
    for code, number in enumerate(numbers):
        if number is None:
            row = int(np.argmax(codes == code))
            raise DataError(
                f'{where(row)}: column "{short(column)}" holds "{short(values[code])}"; '
                "it must say train, validation or test"
            )
    part = np.array([number or 0 for number in numbers], np.int64)[codes]
    if not (part == 0).any():
        found = listing([f'"{value}"' for value in values])
        raise DataError(f'column "{short(column)}" marks no row as train; it holds {found}')
    if (part == 0).all():
        raise DataError(
            f'column "{short(column)}" marks every row as train; mark some as test, or leave --split out and '
            "they are split by content"
        )
    return part


def weights_of(values: np.ndarray, where: Callable[[int], str], column: str) -> np.ndarray:
    """(N,) weights, checked."""
    if len(bad := np.flatnonzero(~(np.isfinite(values) & (values > 0)))):
        row = int(bad[0])
        raise DataError(
            f'{where(row)}: weight "{short(column)}" is {values[row]:g}; weights are above 0: drop a row that is to '
            "count for nothing"
        )
    return values


def check_soft(probs: np.ndarray, where: Callable[[int], str], names: Sequence[str]) -> np.ndarray:
    """Soft labels, (N, K), divided by their sums, which are 1 but for rounding."""
    probs = probs.astype(np.float64)
    good = np.isfinite(probs) & (probs >= 0)
    if not good.all():
        row, k = (int(place[0]) for place in np.nonzero(~good))
        raise DataError(f"{where(row)}: soft label {names[k]} is {probs[row, k]:g}; probabilities are from 0 to 1")
    sums = probs.sum(axis=1)
    if len(bad := np.flatnonzero(np.abs(sums - 1) > _TOLERANCE)):
        row = int(bad[0])
        whole = bool((probs[row] == np.rint(probs[row])).all())
        hint = "divide votes by their number" if whole else "divide each row by its sum"
        raise DataError(
            f"{where(row)}: soft labels {names[0]} to {names[-1]} sum to {sums[row]:.6g}, not to 1"
            f"{more(len(bad) - 1)}; {hint if sums[row] else 'drop the row'}"
        )
    return probs / sums[:, None]


def more(count: int) -> str:
    """That other rows are like the one that is named; nothing where none is."""
    return f" (as in {plural(count, 'more row')})" if count else ""


def soft_class_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes from those of their columns, without what all begin with up to a mark."""
    low, high = min(columns), max(columns)  # what these two share at the start, all share
    prefix = low[: next((i for i, c in enumerate(low) if high[i : i + 1] != c), len(low))]
    end = max(prefix.rfind(mark) for mark in "_-. ") + 1
    names = tuple(column[end:] for column in columns)
    return tuple(columns) if "" in names else names


def merge_labels(
    codes: np.ndarray, values: Sequence[str], names: Sequence[str], where: Callable[[int], str], column: str
) -> np.ndarray:
    """Hard labels given beside soft ones, as indices into the soft labels' classes."""
    place = {name: k for k, name in enumerate(names)}
    for code, value in enumerate(values):
        if value not in place:
            row = int(np.argmax(codes == code))
            raise DataError(
                f'{where(row)}: label "{short(value)}" of column "{short(column)}" is none of the classes of '
                f"--label-probs: {listing(names)}"
            )
    return np.array([place[value] for value in values], np.int64)[codes]
