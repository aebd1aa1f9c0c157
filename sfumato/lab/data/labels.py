"""Labels, soft labels, weights and given parts: the checks that are the same for a table and for arrays."""

from collections.abc import Callable, Sequence

import numpy as np

from sfumato.lab.data.table import DataError
from sfumato.text import listing, short

TOLERANCE = 1e-3
"""How far soft labels may be from a sum of 1; nearer ones are divided by their sum."""

_PARTS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "val", "valid", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}


def part_number(name: str) -> int | None:
    """The index in ``PARTS`` that a name stands for, in upper or lower case; None if it is none.

    >>> part_number("Val"), part_number("holdout")
    (1, None)
    """
    return _PARTS.get(name.lower())


def parts_of(codes: np.ndarray, values: Sequence[str], where: Callable[[int], str], column: str) -> np.ndarray:
    """(N,) indices into ``PARTS`` from the codes and distinct values of a column.

    Raises:
        DataError: a value that is no part, or no rows to train or test on.
    """
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
    """(N,) weights, checked.

    Raises:
        DataError: names the first that is not finite and above 0.
    """
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f'{where(row)}: weight "{short(column)}" is {values[row]:g}; weights are above 0: drop a row that is to '
            "count for nothing"
        )
    return values


def check_soft(probs: np.ndarray, where: Callable[[int], str], names: Sequence[str]) -> np.ndarray:
    """Soft labels, (N, K), divided by their sums, which are 1 but for rounding.

    Raises:
        DataError: names the first row that is no distribution.
    """
    probs = probs.astype(np.float64)
    told = f"{names[0]} to {names[-1]}"
    bad = np.flatnonzero(~(np.isfinite(probs) & (probs >= 0)).all(axis=1))
    if len(bad):
        row = int(bad[0])
        k = int(np.argmin(np.isfinite(probs[row]) & (probs[row] >= 0)))
        raise DataError(f"{where(row)}: soft label {names[k]} is {probs[row, k]:g}; probabilities are from 0 to 1")
    sums = probs.sum(axis=1)
    off = np.abs(sums - 1)
    bad = np.flatnonzero(off > TOLERANCE + 1e-9)
    if len(bad):
        row = int(bad[0])
        votes = bool((probs[row] == np.rint(probs[row])).all()) and sums[row] > 0
        hint = "divide votes by their number" if votes else "divide each row by its sum"
        raise DataError(
            f"{where(row)}: soft labels {told} sum to {sums[row]:.6g}, not to 1{_others(len(bad) - 1)}; {hint}"
        )
    return probs / sums[:, None]


def _others(count: int) -> str:
    return "" if count == 0 else f" (as in {count:,} more row{'' if count == 1 else 's'})"


def soft_class_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes from those of their columns, without what all begin with up to a mark.

    >>> soft_class_names(["p_cat", "p_dog"]), soft_class_names(["cat", "car"])
    (('cat', 'dog'), ('cat', 'car'))
    """
    low, high = min(columns), max(columns)  # what these two share at the start, all share
    prefix = low[: next((i for i, c in enumerate(low) if high[i : i + 1] != c), len(low))]
    end = max(prefix.rfind(mark) for mark in "_-. ") + 1
    names = tuple(column[end:] for column in columns)
    return tuple(columns) if "" in names else names


def merge_labels(
    codes: np.ndarray, values: Sequence[str], names: Sequence[str], where: Callable[[int], str], column: str
) -> np.ndarray:
    """Hard labels given beside soft ones, as indices into the soft labels' classes.

    Raises:
        DataError: a label that names none of the classes.
    """
    place = {name: k for k, name in enumerate(names)}
    for code, value in enumerate(values):
        if value not in place:
            row = int(np.argmax(codes == code))
            raise DataError(
                f'{where(row)}: label "{short(value)}" of column "{short(column)}" is none of the classes of '
                f"--label-probs: {listing(names)}"
            )
    return np.array([place[value] for value in values], np.int64)[codes]
