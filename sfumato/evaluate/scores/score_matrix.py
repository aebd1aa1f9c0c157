"""Logits or probabilities of any float type, checked and handed out as float64 chunks of rows.

Every number in this package starts from a row of log probabilities up to a constant, shifted so that its largest entry
is 0. A chunk is about a megabyte, so memory stays bounded however many rows a file has. Scores may be a numpy array, a
torch tensor, or anything :class:`Stored`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column as Column
from sfumato.evaluate.scores.column_checks import as_numpy, is_tensor
from sfumato.io.arrays import spool
from sfumato.text import plural

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Stored(Protocol):
    """A matrix (N, K) of float16, bfloat16, float32 or float64 that is read in blocks of rows, as files are."""

    shape: tuple[int, ...]
    type_name: str

    def read(self, start: int, stop: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Rows from ``start`` to ``stop``, into ``out`` if given; bfloat16 as the uint16 of its bits. Thread-safe."""
        ...


Scores: TypeAlias = "torch.Tensor | npt.NDArray[Any] | Stored"
Labels: TypeAlias = "torch.Tensor | npt.NDArray[Any]"

IGNORED = -100
"""The label of rows that do not count, as torch and Transformers have it."""

CHUNK_ELEMENTS = 1 << 17  # 1 MB of float64: a pass and its temporaries then mostly stay in the cache
SHORT_ROW = 64  # shorter rows are kept class by class, so that sums over classes run along the rows
SUM_TOLERANCE = 1e-4
RESOLUTION = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}
_LOOKED_AT = 4096  # rows that are looked at to tell logits from probabilities
_NAMED = 8  # the number of bad rows that an error names


class RowError(ValueError):
    """Rows that cannot be used; :meth:`numbered` calls them by their numbers in the table they were taken from.

    >>> error = RowError("probs in row {row} are negative{others}", [0, 2])
    >>> print(error.numbered(np.array([5, 6, 9])))
    probs in row 5 are negative; 2 rows are so (5, 9)
    """

    def __init__(self, text: str, rows: Sequence[int]) -> None:
        """``text`` has ``{row}`` where the first row stands, and may have ``{others}`` where all rows do."""
        super().__init__(text.replace("{row}", str(rows[0])).replace("{others}", others(rows)))
        self.text, self.rows = text, rows

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.rows)

    def numbered(self, numbers: npt.NDArray[np.int64] | None) -> RowError:
        """The same error with other numbers of rows: row i is called ``numbers[i]``."""
        return self if numbers is None else type(self)(self.text, numbers[list(self.rows)].tolist())


class RowIndexError(RowError, IndexError):
    """Labels that are no classes."""


@dataclass(frozen=True)
class Chunk:
    """Rows from ``start`` on: shifted log probabilities (n, K), and the first place of the largest entry, 0, (n,)."""

    start: int
    shifted: Column
    top: npt.NDArray[np.int64]

    @property
    def rows(self) -> slice:
        """The rows of the chunk as a slice of all rows."""
        return slice(self.start, self.start + len(self.top))


class ScoreMatrix:
    """Checked (N, K) scores; iterating yields :class:`Chunk`. Values are checked as they are read, on every pass."""

    def __init__(self, *, logits: Scores | None = None, probs: Scores | None = None) -> None:
        scores = probs if logits is None else logits
        if scores is None or (logits is not None and probs is not None):
            raise TypeError("give exactly one of logits= and probs=: they are never guessed from the values")
        self.name = "logits" if probs is None else "probs"
        values = scores if is_tensor(scores) or isinstance(scores, Stored) else np.asarray(scores)
        shape = tuple(int(size) for size in values.shape)
        if len(shape) != 2:
            raise ValueError(f"{self.name} must be (N, K), got shape {shape}")
        self.values: Any = values
        self._stored = values if isinstance(values, Stored) else None  # tested once: a protocol is slow
        self.type_name = str(values.type_name if isinstance(values, Stored) else values.dtype).removeprefix("torch.")
        if not self.type_name.lstrip("b").startswith(("float", "longdouble")):
            whole = self.type_name.lstrip("u").startswith("int")
            how = "float()" if is_tensor(values) else 'astype("float32")'
            way_out = f"; give {self.name}.{how}" if whole else ""
            raise TypeError(f"{self.name} must be of a float type, got {self.type_name}{way_out}")
        self.rows, self.classes = shape
        if self.rows < 1:
            raise ValueError(f"{self.name} has no rows")
        if self.classes < 2:
            both = "[1 - p, p]" if self.name == "probs" else "[0 * z, z]"
            way_out = f"; of two classes give both, np.column_stack({both})" if self.classes else ""
            raise ValueError(f"{self.name} must have at least 2 classes, got {self.classes}{way_out}")

    def __iter__(self) -> Iterator[Chunk]:
        for start, stop in self.steps():
            yield self.chunk(start, self.raw(start, stop))

    def chunk(self, start: int, raw: npt.NDArray[Any]) -> Chunk:
        """Rows from ``start`` on, as :meth:`raw` gave them, checked and shifted."""
        block = self._floats(raw)
        if self.name == "probs":
            self._check_probs(start, block)
            with np.errstate(divide="ignore"):
                block = np.log(block)
        largest = block.max(axis=1)
        # max propagates NaN, so N numbers show NaN, +inf and rows that are −inf throughout
        if not np.isfinite(largest).all():
            raise self.not_finite(start)
        return Chunk(start, block - largest[:, None], block.argmax(axis=1))

    def buffer(self, rows: int) -> npt.NDArray[Any] | None:
        """Room for so many rows as :meth:`raw` gives them; None for scores that are in memory."""
        return None if self._stored is None else np.empty((rows, self.classes), dtype=self.raw_type)

    @property
    def raw_type(self) -> np.dtype[Any]:
        """The type of what :meth:`raw` gives."""
        return np.dtype(np.uint16 if self.type_name == "bfloat16" else self.type_name)

    def steps(self) -> Iterator[tuple[int, int]]:
        """Bounds of the chunks."""
        step = max(1, CHUNK_ELEMENTS // self.classes)
        for start in range(0, self.rows, step):
            yield start, min(start + step, self.rows)

    def block(self, start: int, stop: int) -> Column:
        """Rows ``start`` to ``stop`` as given, in float64; nobody may write to them."""
        return self._floats(self.raw(start, stop))

    def _floats(self, raw: npt.NDArray[Any]) -> Column:
        order = "F" if self.classes < SHORT_ROW else "C"
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet NaN, which a later check names
            return np.asarray(widen(raw), dtype=np.float64, order=order)

    def raw(self, start: int, stop: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Rows ``start`` to ``stop`` in their own type, bfloat16 as uint16; only stored rows are read into ``out``."""
        if self._stored is not None:
            return self._stored.read(start, stop, out)
        values = self.values[start:stop]
        return plain(values) if is_tensor(values) else np.ascontiguousarray(values)

    def part(self, step: int) -> npt.NDArray[Any]:
        """Every ``step``-th row, in its own type, or float32 for bfloat16."""
        if self._stored is not None:
            return widen(np.concatenate([self._stored.read(i, i + 1) for i in range(0, self.rows, step)]))
        values = self.values[::step]
        return widen(plain(values)) if is_tensor(values) else values

    def not_finite(self, start: int = 0) -> RowError:
        """The error for the rows of logits that are not finite, from the chunk of ``start`` on."""
        bad, first = list[int](), ""
        for begin, stop in self.steps():
            if stop <= start:
                continue
            block = self.block(begin, stop)
            largest = block.max(axis=1)
            rows = np.flatnonzero(~np.isfinite(largest))
            bad += (begin + rows).tolist()
            if len(rows) and not first:
                row = int(rows[0])
                col = int((~(block[row] < np.inf)).argmax())
                none = largest[row] == -np.inf
                what = "−inf for every class" if none else f"not finite: {block[row, col]} at class {col}"
                first = f"{self.name} in row {{row}} are {what}{{others}}"
        return RowError(first, bad)

    def _check_probs(self, start: int, block: Column) -> None:
        odd = np.isnan(block)
        if odd.any():
            row, col = (int(i) for i in np.argwhere(odd)[0])
            rows = np.flatnonzero(odd.any(axis=1)) + start
            raise RowError(f"probs are not a number in row {{row}}, class {col}{{others}}", rows.tolist())
        if (block < 0).any():
            row, col = (int(i) for i in np.argwhere(block < 0)[0])
            rows = np.flatnonzero((block < 0).any(axis=1)) + start
            alike = 2 * len(rows) > len(block)  # of logits, most rows have a negative one
            way_out = "for logits use logits=" if alike else "a probability is in [0, 1]: mend the row or leave it out"
            raise RowError(
                f"probs are negative in row {{row}}: {block[row, col]:.6g} at class {col}"
                f"{'' if alike else '{others}'}; {way_out}",
                rows.tolist(),
            )
        total = block.sum(axis=1)
        # rounding to half precision alone moves the sum of a row so far
        tolerance = max(SUM_TOLERANCE, 4 * RESOLUTION.get(self.type_name, 0.0))
        off = np.flatnonzero(~(np.abs(total - 1) <= tolerance))
        if len(off):
            row = int(off[0])
            other = "save logits" if (block <= 1).all() else "say --kind logits (or logits=) if these are logits"
            raise RowError(
                f"probs in row {{row}} sum to {total[row]:.6g}, not 1; divide each row by its sum, "
                f"probs / probs.sum(axis=1, keepdims=True), or {other}",
                [start + row],
            )


def check_labels(labels: Labels, rows: int, classes: int, name: str = "logits") -> npt.NDArray[np.int64]:
    """Labels (N,) as int64; IndexError names the first label that is no class."""
    values = as_numpy(labels)
    if values.shape == (rows, classes):
        raise ValueError(
            f"labels must be class indices, ({rows},), got shape {values.shape}; give labels.argmax(axis=1)"
        )
    if not np.issubdtype(values.dtype, np.integer):
        way_out = "" if np.issubdtype(values.dtype, np.number) else "; of words: np.searchsorted(classes, labels)"
        if values.dtype == np.bool_:
            way_out = f"; give labels.{'long()' if is_tensor(labels) else 'astype(int)'}"
        raise TypeError(f"labels must be integers, got {values.dtype}{way_out}")
    if values.shape != (rows,):
        raise ValueError(f"labels must be ({rows},), one per row of {name}, got shape {values.shape}")
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if len(wrong):
        row = int(wrong[0])
        ignored = values[row] < 0 and (values[wrong] == values[row]).all()
        way_out = "; if they mark rows that the loss ignored, leave these out" if ignored else ""
        if values.min() == 1 and values.max() == classes:
            way_out = "; if the labels count from 1, give labels - 1"
        raise RowIndexError(
            f"label {values[row]} in row {{row}} is not a class: {name} have {classes} classes (0 to {classes - 1})"
            f"{{others}}{way_out}",
            wrong.tolist(),
        )
    return values.astype(np.int64)


def refuse_probabilities(logits: Scores | None) -> None:
    """Refuse probabilities or percentages given as logits: no logits lie in [0, 1] and sum to 1 in every row."""
    if logits is None:
        return
    source = ScoreMatrix(logits=logits)
    block = source.block(0, min(_LOOKED_AT, source.rows))
    with np.errstate(invalid="ignore"):
        sums = block.sum(axis=1)
        whole = 100 if (sums > 50).all() else 1
        alike = (block >= 0).all() and (block <= whole).all() and (np.abs(sums - whole) <= 2e-2 * whole).all()
    if alike:
        what, way_out = ("probabilities", "as probs=, or with --kind probs")
        if whole == 100:
            what, way_out = "percentages", "divided by 100 as probs=, or with --kind percent"
        raise ValueError(
            f"these look like {what}, not logits: in {plural(len(block), 'row')} every number lies in [0, {whole}] "
            f"and every row sums to {whole} ({sums.min():.4g} to {sums.max():.4g}); give them {way_out}"
        )


def check_temperature(temperature: float) -> float:
    """The temperature as a float; ValueError unless it is positive and finite."""
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    return float(temperature)


def take_rows(scores: Any, rows: npt.NDArray[Any]) -> Any:
    """Rows of scores by their numbers; a matrix in a file stays in one."""
    if isinstance(scores, Stored):
        source = ScoreMatrix(logits=scores)
        return spool(_taken_blocks(source, rows), source.type_name)
    if is_tensor(scores):
        import torch

        return scores[torch.from_numpy(rows)]
    return scores[rows]


def _taken_blocks(source: ScoreMatrix, rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Rows of a matrix in a file, which is read in blocks where they are in the order of the file."""
    if (np.diff(rows) > 0).all():
        for start, stop in source.steps():
            first, last = np.searchsorted(rows, (start, stop))
            if first < last:
                yield source.raw(start, stop)[rows[first:last] - start]
    else:
        for start in range(0, len(rows), 1024):
            yield np.concatenate([source.raw(int(row), int(row) + 1) for row in rows[start : start + 1024]])


def widen(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Raw rows as floats: uint16 is the upper half of a float32."""
    return (raw.astype(np.uint32) << 16).view(np.float32) if raw.dtype == np.uint16 else raw


def others(rows: Sequence[int]) -> str:
    """How many rows are affected, and the first of them, for the end of a sentence on the first; "" for one row."""
    if len(rows) < 2:
        return ""
    named = ", ".join(str(row) for row in rows[:_NAMED])
    return f"; {len(rows)} rows are so ({named}{', …' if len(rows) > _NAMED else ''})"


def plain(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A tensor as numpy; bfloat16 as the uint16 of its bits."""
    import torch

    values = tensor.detach().cpu().contiguous()
    if values.dtype == torch.bfloat16:
        return values.view(torch.int16).numpy().view(np.uint16)
    return (values if values.dtype.itemsize > 1 else values.to(torch.float32)).numpy()
