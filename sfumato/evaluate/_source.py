"""Logits or probabilities of any float type, checked and handed out as float64 chunks of rows.

Every number in this package starts from the same thing: a row of log probabilities up to a constant, shifted so that
its largest entry is 0. A chunk is a few megabytes, so memory stays bounded however many rows a file on disk has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sfumato.evaluate._columns import Column as Column

Scores: TypeAlias = torch.Tensor | npt.NDArray[Any]
Labels: TypeAlias = torch.Tensor | npt.NDArray[Any]

# 4 MB of float64 a chunk: the half dozen temporaries of a pass then stay under 64 MB and mostly in cache.
CHUNK_ELEMENTS = 1 << 19
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Chunk:
    """Rows from ``start`` on: shifted log probabilities (n, K), largest entry 0, and its first place (n,)."""

    start: int
    shifted: torch.Tensor
    top: torch.Tensor

    @property
    def rows(self) -> slice:
        """The chunk's rows as a slice of the whole."""
        return slice(self.start, self.start + len(self.top))


class Source:
    """Checked (N, K) scores; iterating yields :class:`Chunk`. Values are checked as they are read, on every pass."""

    def __init__(self, *, logits: Scores | None = None, probs: Scores | None = None) -> None:
        if (logits is None) == (probs is None):
            raise TypeError("give exactly one of logits= and probs=: they are never guessed from the values")
        self.name = "logits" if probs is None else "probs"
        given = logits if probs is None else probs
        self.values: Scores = given if isinstance(given, torch.Tensor) else np.asarray(given)
        if self.values.ndim != 2:
            raise ValueError(f"{self.name} must be (N, K), got shape {tuple(self.values.shape)}")
        if not _is_float(self.values):
            raise TypeError(f"{self.name} must be of a float type, got {self.values.dtype}")
        self.rows, self.classes = int(self.values.shape[0]), int(self.values.shape[1])
        if self.rows < 1:
            raise ValueError(f"{self.name} has no rows")
        if self.classes < 2:
            raise ValueError(f"{self.name} must have at least 2 classes, got {self.classes}")

    def __iter__(self) -> Iterator[Chunk]:
        step = max(1, CHUNK_ELEMENTS // self.classes)
        for start in range(0, self.rows, step):
            block = self.block(start, start + step)
            if self.name == "probs":
                self._check_probs(start, block)
                block = block.log()
            largest, top = block.max(dim=1)
            # max propagates NaN, so one look at N numbers finds NaN, +inf and rows that are −inf throughout
            if not bool(torch.isfinite(largest).all()):
                raise self._not_finite(start, block, largest)
            yield Chunk(start, block - largest.unsqueeze(1), top)

    def block(self, start: int, stop: int) -> torch.Tensor:
        """Rows ``start`` to ``stop`` as given, in float64 on the CPU; not to be written to."""
        if isinstance(self.values, torch.Tensor):
            return self.values[start:stop].detach().to(device="cpu", dtype=torch.float64)
        return torch.from_numpy(np.array(self.values[start:stop], dtype=np.float64, order="C"))

    def row_bytes(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows ``start`` to ``stop`` as (n, bytes) in their own type: what a row's hash is taken of."""
        if isinstance(self.values, torch.Tensor):
            block = self.values[start:stop].detach().cpu().contiguous()
            return block.view(torch.uint8).numpy()
        return np.ascontiguousarray(self.values[start:stop]).view(np.uint8)

    def _check_probs(self, start: int, block: torch.Tensor) -> None:
        if bool(torch.isnan(block).any()):
            row, col = _first(torch.isnan(block))
            raise ValueError(f"probs are not a number in row {start + row}, class {col}")
        if bool((block < 0).any()):
            row, col = _first(block < 0)
            raise ValueError(
                f"probs are negative in row {start + row}: {block[row, col].item():.6g} at class {col}; "
                "for logits use logits="
            )
        total = block.sum(dim=1)
        # the sum of numbers rounded to half precision is that far off by itself
        tolerance = max(_SUM_TOLERANCE, 4 * _resolution(self.values))
        off = ~((total - 1).abs() <= tolerance)
        if bool(off.any()):
            row = int(off.nonzero()[0, 0])
            raise ValueError(
                f"probs in row {start + row} sum to {total[row].item():.6g}, not 1; for logits use logits="
            )

    def _not_finite(self, start: int, block: torch.Tensor, largest: torch.Tensor) -> ValueError:
        row = int((~torch.isfinite(largest)).nonzero()[0, 0])
        value = largest[row].item()
        if value == -np.inf:
            return ValueError(f"{self.name} in row {start + row} are −inf for every class")
        col = int((~(block[row] < np.inf)).nonzero()[0, 0])
        return ValueError(f"{self.name} in row {start + row} are not finite: {value} at class {col}")


def check_labels(labels: Labels, rows: int, classes: int, name: str = "logits") -> npt.NDArray[np.int64]:
    """Labels (N,) as int64, each a class; IndexError names the first that is not."""
    values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {values.dtype}")
    if values.shape != (rows,):
        raise ValueError(f"labels must be ({rows},), one a row of {name}, got shape {values.shape}")
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if len(wrong):
        row = int(wrong[0])
        raise IndexError(
            f"label {values[row]} in row {row} is not a class: {name} have {classes} classes (0 to {classes - 1})"
        )
    return values.astype(np.int64)


def check_temperature(temperature: float) -> float:
    """A temperature as a float: positive and finite, or ValueError."""
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    return float(temperature)


def _first(mask: torch.Tensor) -> tuple[int, int]:
    row, col = mask.nonzero()[0].tolist()
    return int(row), int(col)


def _is_float(values: Scores) -> bool:
    if isinstance(values, torch.Tensor):
        return values.dtype.is_floating_point
    return bool(np.issubdtype(values.dtype, np.floating))


def _resolution(values: Scores) -> float:
    if isinstance(values, torch.Tensor):
        return torch.finfo(values.dtype).eps
    return float(np.finfo(values.dtype).eps)
