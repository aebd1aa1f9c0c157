"""Classes, soft labels, weights and given parts: the checks that are the same for every source.

The same classes get the same indices, whatever the order of the rows.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.io.tables import read_csv
from sfumato.lab.data.table import DataError, DataWarning
from sfumato.text import did_you_mean, joined, listing, plural, short
from sfumato.theory.noise import distribution_fault

_TOLERANCE = 1e-3 + 1e-9  # how far soft labels may be from a sum of 1; nearer ones are divided by their sum
_MANY_CLASSES = 1000  # classes from which on a person is told how few rows each has
_MAX_NAMED = 4  # groups of classes written alike that a warning names
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]{1,4})?")
_TWINS = str.maketrans("АВЕКМНОРСТУХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο−", "ABEKMHOPCTYXaeopcyxijsABEZHIKMNOPTYXo-")
"""Letters of Cyrillic and Greek, and the minus sign, that look like others."""
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
        held = f'{where} holds one class only, "{short(class_names[0])}"'
        raise DataError(f"{file}: {held}; at least 2 are needed. {way_out}")
    counts = np.bincount(labels, minlength=len(class_names))
    small = int(np.argmin(counts >= least))  # the first class that is too small, or 0 where none is
    if counts[small] < least:
        parts = ", one each for training, validation and test" if least == 3 else ""
        held = f'class "{short(class_names[small])}" of {where} has {plural(int(counts[small]), "row")}'
        raise DataError(f"{file}: {held}; each class needs at least {least}{parts}. {way_out}")


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

    They are alike where they are numbers of one value, or where :func:`_spelling` finds them equal.
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
        plain, key = _spelling(name)
        shown = short(name if name == plain else name.encode("unicode_escape").decode())
        groups.setdefault(key, []).append(f'"{shown}"')
    if alike := [joined(names) for names in groups.values() if len(names) > 1]:
        more = f"; and {len(alike) - _MAX_NAMED} more" if len(alike) > _MAX_NAMED else ""
        text = f"Classes of `{column}` are written alike: {'; '.join(alike[:_MAX_NAMED])}{more}."
        found.append(DataWarning("classes-alike", column, f"{text} If these are the same, write them the same way."))
    return tuple(found)


def _spelling(name: str) -> tuple[str, Any]:
    """The name of a class in characters that can be told apart, and what names that may mean one class share.

    They share the value of a number, or the letters, whatever their case and the marks around and between words. A
    class may well be the letter a, and another one A.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    plain = plain.translate(_TWINS)
    if _NUMBER.fullmatch(plain):
        return plain, Decimal(plain.replace(",", "."))
    words = re.sub(r"(?<=\w)[\s_‐-―-]+(?=\w)", " ", plain.strip(" .,;:!?'\"`‘’“”"))
    return plain, (words.casefold() if len(words) > 1 else words) or plain


def part_number(name: str) -> int | None:
    """The index in ``PARTS`` that a name stands for, in upper or lower case; None if it is none."""
    return _PARTS.get(name.lower())


def parts_of(codes: np.ndarray, values: Sequence[str], where: Callable[[int], str], column: str) -> np.ndarray:
    """(N,) indices into ``PARTS`` from the codes and distinct values of a column."""
    numbers = [part_number(value) for value in values]
    for code, number in enumerate(numbers):
        if number is None:
            held = f'{where(int(np.argmax(codes == code)))}: column "{short(column)}" holds "{short(values[code])}"'
            raise DataError(f"{held}; it must say train, validation or test")
    part = np.array([number or 0 for number in numbers], np.int64)[codes]
    if not (part == 0).any():
        found = listing([f'"{value}"' for value in values])
        raise DataError(f'column "{short(column)}" marks no row as train; it holds {found}')
    if (part == 0).all():
        way_out = "mark some as test, or leave --split out and they are split by content"
        raise DataError(f'column "{short(column)}" marks every row as train; {way_out}')
    return part


def weights_of(values: np.ndarray, where: Callable[[int], str], column: str) -> np.ndarray:
    """(N,) weights, checked."""
    if len(bad := np.flatnonzero(~(np.isfinite(values) & (values > 0)))):
        held = f'{where(int(bad[0]))}: weight "{short(column)}" is {values[bad[0]]:g}'
        raise DataError(f"{held}; weights are above 0: drop a row that is to count for nothing")
    return values


def check_soft(probs: np.ndarray, where: Callable[[int], str], names: Sequence[str]) -> np.ndarray:
    """Soft labels, (N, K), divided by their sums, which are 1 but for rounding."""
    probs = probs.astype(np.float64)
    sums = probs.sum(axis=1)
    if (fault := distribution_fault(probs, _TOLERANCE)) is not None:
        kind, (row, *k), value = fault
        if kind == "entry":
            raise DataError(f"{where(row)}: soft label {names[k[0]]} is {value:g}; probabilities are from 0 to 1")
        whole = (probs[row] == np.rint(probs[row])).all()
        hint = "divide votes by their number" if whole else "divide each row by its sum"
        others = more(int((np.abs(sums - 1) > _TOLERANCE).sum()) - 1)
        raise DataError(
            f"{where(row)}: soft labels {names[0]} to {names[-1]} sum to {value:.6g}, not to 1{others}; "
            f"{hint if value else 'drop the row'}"
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
            held = f'{where(int(np.argmax(codes == code)))}: label "{short(value)}" of column "{short(column)}"'
            raise DataError(f"{held} is none of the classes of the soft labels: {listing(names)}")
    return np.array([place[value] for value in values], np.int64)[codes]


def read_class_table(
    path: Path,
    classes: Sequence[str],
    allowed: Callable[[float], bool],
    wrong: str,
    row: Callable[[list[float], str], list[float]] | None = None,
) -> npt.NDArray[np.float64]:
    """A table of numbers for each two classes (K, K), in the order of ``classes``; ``row`` makes others of a line.

    A CSV file has the names of the classes in its first line, then a line for each class, both in any order.
    """
    try:
        frame = read_csv(str(path), file=str(path), name=path.stem, header=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None

    def place(name: str, where: Callable[[], str]) -> int:
        if name not in classes:
            raise DataError(f'{where()}: "{short(name)}" is not a class.{did_you_mean(name, classes)}')
        return list(classes).index(name)

    places = [place(name, lambda: f"{path}, first line") for name in frame.header[1:]]
    if lacking := [name for k, name in enumerate(classes) if k not in places]:
        raise DataError(f'{path}, first line: the class "{short(lacking[0])}" is missing; name each class once')
    table = np.full((len(classes), len(classes)), np.nan)
    for number, (first, *cells) in enumerate(zip(*(column.to_pylist() for column in frame.columns), strict=True)):
        if not any((first, *cells)):
            continue
        y = place((first or "").strip(), lambda line=number: frame.where(line))
        if not np.isnan(table[y]).any():
            raise DataError(f'{frame.where(number)}: the class "{short(classes[y])}" has a line already')
        values = [_number(cell) for cell in cells]
        if (bad := next((j for j, value in enumerate(values) if not allowed(value)), None)) is not None:
            cell, name = short((cells[bad] or "").strip()), short(classes[places[bad]])
            raise DataError(f'{frame.where(number)}, column "{name}": "{cell}" {wrong}')
        try:
            table[y, places] = values if row is None else row(values, short(classes[y]))
        except ValueError as error:
            raise DataError(f"{frame.where(number)}: {error}") from None
    missing = np.flatnonzero(np.isnan(table).any(axis=1))
    if len(missing):
        raise DataError(f'{path} has no line for the class "{short(classes[int(missing[0])])}"')
    return table


def _number(cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError:
        return math.nan
