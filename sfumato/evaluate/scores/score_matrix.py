"""Logits or probabilities of any float type, checked and handed out as float64 chunks of rows of about a megabyte.

Every number in this package starts from a row of log probabilities up to a constant, shifted so that its largest entry
is 0. Scores may be a numpy array, a torch tensor, or anything :class:`Stored`, so memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
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
MANY = 1 << 23  # logits of at most 32 bits that are scanned in blocks, and not row by row in float64
_LOOKED_AT = 4096  # rows that are looked at to tell logits from probabilities
_NAMED = 8  # the number of bad rows that an error names
FOLDS = 5  # of rows by their content


class RowError(ValueError):
    """Rows that cannot be used; ``text`` has ``{row}`` for the first of them, and may have ``{others}`` for all."""

    def __init__(self, text: str, rows: Sequence[int]) -> None:
        super().__init__(text.replace("{row}", str(rows[0])).replace("{others}", others(rows)))
        self.text, self.rows = text, rows

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.rows)

    def numbered(self, numbers: npt.NDArray[np.int64] | None) -> RowError:
        """The same error with the numbers of the rows in the table they were taken from: row i is ``numbers[i]``."""
        return self if numbers is None else type(self)(self.text, numbers[list(self.rows)].tolist())


class RowIndexError(RowError, IndexError):
    """Labels that are no classes."""


class ScoreMatrix:
    """(N, K) scores, whose values are checked as they are read; iterating yields rows and their log probabilities.

    These are shifted by the largest of each row, which is 0 then.
    """

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

    def __iter__(self) -> Iterator[tuple[slice, Column]]:
        for start, stop in self.steps():
            block = self.block(start, stop)
            if self.name == "probs":
                self._check_probs(start, block)
                with np.errstate(divide="ignore"):
                    block = np.log(block)
            largest = block.max(axis=1)
            # max propagates NaN, so N numbers show NaN, +inf and rows that are −inf throughout
            if not np.isfinite(largest).all():
                raise self.not_finite(start)
            yield slice(start, stop), block - largest[:, None]

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
        order = "F" if self.classes < SHORT_ROW else "C"
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet NaN, which a later check names
            return np.asarray(widen(self.raw(start, stop)), dtype=np.float64, order=order)

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

    def not_finite(self, start: int) -> RowError:
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
        for odd in (np.isnan(block), block < 0):
            if not odd.any():
                continue
            row, col = (int(i) for i in np.argwhere(odd)[0])
            rows = (np.flatnonzero(odd.any(axis=1)) + start).tolist()
            if np.isnan(block[row, col]):
                raise RowError(f"probs are not a number in row {{row}}, class {col}{{others}}", rows)
            text = f"probs are negative in row {{row}}: {block[row, col]:.6g} at class {col}"
            if 2 * len(rows) > len(block):  # of logits, most rows have a negative one
                raise RowError(f"{text}; for logits use logits=", rows)
            raise RowError(f"{text}{{others}}; a probability is in [0, 1]: mend the row or leave it out", rows)
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
            f"labels must be class indices, ({rows},), got shape {values.shape}{labels_of_classes(values)}"
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


def labels_of_classes(values: npt.NDArray[Any]) -> str:
    """The way out for labels with one number per row and class, for the end of a sentence."""
    if not np.isin(values, (0, 1)).all():
        return "; give labels that are distributions as label_probs, and counts of annotators as label_counts"
    held = np.count_nonzero(values, axis=-1)
    if (held == 1).all():
        return "; give labels.argmax(axis=-1)"
    return (
        f"; they are multi-label, since a row has {held.min()} to {held.max()} classes. Audit each class k by itself, "
        "with logits=np.column_stack([0 * z[:, k], z[:, k]]) and labels=labels[:, k]"
    )


def logarithms(probs: ScoreMatrix) -> Any:
    """Probabilities as logits, each row of which is checked; those of a file stay in one."""
    blocks = (shifted for _, shifted in probs)
    # the scan of many logits takes at most 32 bits
    type_name = probs.type_name if probs.type_name == "float32" and probs.rows * probs.classes >= MANY else "float64"
    if isinstance(probs.values, Stored):
        return spool(blocks, type_name)
    return np.concatenate([block.astype(type_name, copy=False) for block in blocks])


def logits_of(probs: ScoreMatrix) -> tuple[ScoreMatrix, str]:
    """Probabilities as logits, which their logarithms are but for a constant per row; or as they are, and why.

    A probability of 0 has no logit to go back to, nor has one that rounding moves by more than 5 %.
    """
    logits = ScoreMatrix(logits=logarithms(probs))
    zeros, smallest = 0, 0.0
    for start, stop in logits.steps():
        least = logits.block(start, stop).min(axis=1)
        zeros += int(np.count_nonzero(least == -np.inf))
        smallest = min(smallest, float(least.min()))
    if zeros:
        return probs, f"a probability is exactly 0 in {plural(zeros, 'row')}"
    decimals = _decimals(probs.block(*next(probs.steps())), RESOLUTION.get(probs.type_name, 2.0**-52))
    if decimals is not None and smallest < np.log(10.0 ** (1 - decimals)):
        return probs, f"the probabilities are rounded to {plural(decimals, 'decimal')}"
    return logits, ""


def _decimals(probs: Column, resolution: float) -> int | None:
    """To how many decimals rows without a 0 are rounded, of 6 at most; some may have been divided by their sums."""
    for decimals in range(1, 7):
        units = probs * 10.0**decimals
        slack = max(1e-6, 10.0**decimals * resolution)
        whole = ((np.abs(units - np.rint(units)) <= slack) & (units > 0.5)).all(axis=1)
        if slack < 0.1 and whole.mean() >= 0.05:
            return decimals
    return None


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


def row_hash(raw: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of the bytes of every row of a contiguous (n, K) array: no order of rows and no seed matters.

    It assigns rows to folds, so neither a row nor a copy of it helps to choose the temperature that scores the row. The
    words of 8 bytes times fixed odd random numbers are summed modulo 2^64 (Dietzfelbinger's multilinear hash), and the
    sum is mixed.
    """
    data = np.ascontiguousarray(raw).view(np.uint8)
    words, rest = divmod(data.shape[1], 8)
    odd = multipliers(data.shape[1])
    if rest == 0:
        total = data.view(np.uint64) @ odd[:words]
    else:
        whole = np.ascontiguousarray(data[:, : 8 * words]).view(np.uint64)
        tail = np.zeros((len(data), 8), dtype=np.uint8)
        tail[:, :rest] = data[:, 8 * words :]
        total = whole @ odd[:words] + tail.view(np.uint64)[:, 0] * odd[words]
    total ^= total >> np.uint64(33)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        total *= np.uint64(factor)
        total ^= total >> np.uint64(33)
    return total


def fold_of(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The fold, 0 to 4, of every row."""
    return (hashes % np.uint64(FOLDS)).astype(np.int64)


@lru_cache(maxsize=8)
def multipliers(row_bytes: int) -> npt.NDArray[np.uint64]:
    """The factors of the words of a row, and one for the bytes left over: SplitMix64 from 1 on, made odd."""
    with np.errstate(over="ignore"):
        z = np.arange(1, row_bytes // 8 + 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))) | np.uint64(1)


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
