"""Soft labels: for each row a distribution q over the classes, from probabilities or from counts of annotators."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column, as_numpy, is_tensor
from sfumato.evaluate.scores.score_matrix import (
    CHUNK_ELEMENTS,
    RESOLUTION,
    SHORT_ROW,
    Labels,
    ScoreMatrix,
    Stored,
    check_labels,
    plain,
    widen,
)
from sfumato.theory.noise import distribution_fault

SOFT = ("label_probs", "label_counts")  # what soft labels are called, in files and as arguments

SOFT_TRUTH = (
    "The labels are soft: the log loss (NLL) is the cross entropy to them, calibration and ranking count a row as "
    "right as far as the annotators agree with the prediction, and accuracy takes the likeliest class."
)

_TOLERANCE = 1e-3  # how far probabilities may be from a sum of 1; nearer ones are divided by their sum
_SHOWN = 8  # classes that a message shows
_MAX_WHOLE = 2.0**53  # every whole number below has a float of its own


class SoftLabels:
    """Soft labels (N, K), checked: an error names the first bad row.

    ``mode`` is the class of the largest q of each row (of equal ones the lowest), and ``counted`` are the rows that
    count: a row whose counts are all 0 does not.
    """

    def __init__(self, values: Any, name: str) -> None:
        self.name = name
        self._values = in_memory(values)
        if self._values.dtype.kind not in "biuf":
            raise TypeError(f"{name} must be numbers, got {self._values.dtype}")
        if self._values.ndim != 2:
            raise ValueError(f"{name} must be (N, K), one number per row and class, got shape {self._values.shape}")
        rows = len(self._values)
        self._totals, self.mode = np.empty(rows), np.empty(rows, dtype=np.int64)
        step = max(1, CHUNK_ELEMENTS // max(self._values.shape[1], 1))
        for start in range(0, rows, step):
            block = self._values[start : start + step].astype(np.float64)
            _validate(block, start, name, self._values.dtype.name)
            self._totals[start : start + step] = block.sum(axis=1)
            self.mode[start : start + step] = block.argmax(axis=1)
        self.counted = np.flatnonzero(self.has_any)
        if not len(self.counted):
            raise ValueError(f"{name} are 0 in every row, so no row counts")

    def __len__(self) -> int:
        return len(self.mode)

    @property
    def classes(self) -> int:
        """K."""
        return self._values.shape[1]

    @property
    def has_any(self) -> npt.NDArray[np.bool_]:
        """Whether each row counts, (N,)."""
        return self._totals > 0

    @property
    def all_count(self) -> bool:
        """Whether every row counts."""
        return len(self.counted) == len(self)

    def block(self, at: slice) -> Column:
        """Distributions q of some rows, (n, K), each row with a sum of 1; laid out as the scores of these rows are."""
        order = "F" if self.classes < SHORT_ROW else "C"
        return np.divide(self._values[at], self._totals[at, None], order=order, dtype=np.float64)

    def take(self, rows: npt.NDArray[Any] | slice) -> SoftLabels:
        """Some of the rows that count, or all in another order."""
        part = object.__new__(SoftLabels)
        part.name = self.name
        part._values, part._totals, part.mode = self._values[rows], self._totals[rows], self.mode[rows]
        part.counted = np.flatnonzero(part.has_any)
        return part

    def describe(self, row: int) -> str:
        """The soft label of a row, for a message."""
        values = self.block(slice(row, row + 1))[0][:_SHOWN]
        return f"({', '.join(f'{value:.3g}' for value in values)}{', …' if self.classes > _SHOWN else ''})"

    def first_unlike(self, other: SoftLabels) -> int | None:
        """The first row in which two soft labels of as many rows differ by more than rounding; None where none does."""
        if self.classes != other.classes:
            return 0
        step = max(1, CHUNK_ELEMENTS // self.classes)
        for start in range(0, len(self), step):
            at = slice(start, start + step)
            with np.errstate(invalid="ignore"):  # a row without counts is not a number in either
                unlike = (np.abs(self.block(at) - other.block(at)) > _TOLERANCE).any(axis=1)
            unlike |= self.has_any[at] != other.has_any[at]
            if unlike.any():
                return start + int(unlike.argmax())
        return None


class Truth(NamedTuple):
    """What rows are judged against: hard labels (N,), and the soft labels (N, K) whose modes these are, or None."""

    labels: npt.NDArray[np.int64]
    soft: SoftLabels | None = None

    def part(self, rows: npt.NDArray[Any] | slice) -> Truth:
        """The truth of some of the rows."""
        return Truth(self.labels[rows], None if self.soft is None else self.soft.take(rows))


def truth_of(
    source: ScoreMatrix, *, labels: Labels | None = None, label_probs: Any = None, label_counts: Any = None
) -> Truth:
    """The truth of the rows of scores, from exactly one of the labels."""
    values = [each for each in (labels, label_probs, label_counts) if each is not None]
    if len(values) != 1:
        raise TypeError("give exactly one of labels=, label_probs= and label_counts=: each of them is the whole truth")
    if labels is not None:
        return Truth(check_labels(labels, source.rows, source.classes, source.name))
    which = SOFT[0] if label_counts is None else SOFT[1]
    soft = values[0] if isinstance(values[0], SoftLabels) else SoftLabels(values[0], which)
    if (len(soft), soft.classes) != (source.rows, source.classes):
        raise ValueError(
            f"{soft.name} must be ({source.rows}, {source.classes}), one number per row and class of {source.name}, "
            f"got shape ({len(soft)}, {soft.classes})"
        )
    return Truth(soft.mode, soft)


def in_memory(values: Any) -> npt.NDArray[Any]:
    """An array, a tensor or a matrix in a file as a numpy array, floats as they are and bfloat16 as float32."""
    if isinstance(values, Stored):
        return widen(values.read(0, values.shape[0]))
    return widen(plain(values)) if is_tensor(values) and values.is_floating_point() else as_numpy(values)


def _validate(block: Column, start: int, name: str, type_name: str) -> None:
    """Refuse a block with a value that is not a count or probability, or with rows that do not sum to 1."""
    if name == "label_counts":
        odd = ~((block >= 0) & (block < _MAX_WHOLE) & (block == np.rint(block)))
        if odd.any():
            row, col = (int(i) for i in np.argwhere(odd)[0])
            what = "counts are whole numbers from 0 on; for probabilities use label_probs"
            raise ValueError(f"{name} in row {start + row} have {block[row, col]:.6g} for class {col}: {what}")
        return
    with np.errstate(invalid="ignore"):
        fault = distribution_fault(block, max(_TOLERANCE, 4 * RESOLUTION.get(type_name, 0.0)))
    if fault is None:
        return
    kind, place, value = fault
    where = f"{name} in row {start + place[0]}"
    if kind == "entry":
        raise ValueError(f"{where} have {value:.6g} for class {place[1]}: probabilities are from 0 to 1")
    way_out = "divide each row by its sum"
    if not value:
        way_out = "leave the row out, or use label_counts, of which a row of zeros does not count"
    elif (block[place] == np.rint(block[place])).all():
        way_out = "for counts of annotators use label_counts"
    raise ValueError(f"{where} sum to {value:.6g}, not to 1; {way_out}")
