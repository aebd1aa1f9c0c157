"""One visit to every row of many long rows of logits, in blocks that the kernel reads, hashes and reduces.

The compiled kernel (``kernel/scan.hpp``, which bounds its errors) works in float32. A mean over N rows is good to about
1e-7. The numbers of a row depend on that row alone, and sums over rows are taken in the order of the rows.
"""

from __future__ import annotations

import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.per_row import ClassScores, Rows, empty_rows
from sfumato.evaluate.scores.score_matrix import MANY, SHORT_ROW, Column, ScoreMatrix, multipliers
from sfumato.kernel import library

BLOCK = 1 << 19  # logits that are read at a time: they should still be in the cache of a core when they are used
_MOVED = 1 << 16  # rows moved to another temperature at a time
_TYPES = {"float32": 0, "bfloat16": 2, "float16": 3}
_BAD_LOGITS = 4
_COLUMNS = (
    *("predicted", "rank", "correct", "tied"),
    *("confidence", "log_confidence", "nll", "brier", "gap", "norm", "slope"),
)


def suits(source: ScoreMatrix) -> bool:
    """Whether scores are scanned in blocks: logits of at most 32 bits, long rows, enough of them, and the kernel."""
    wide = source.type_name not in ("float16", "bfloat16", "float32")
    if wide or source.name != "logits" or source.classes < SHORT_ROW or source.rows * source.classes < MANY:
        return False
    return library.status().library is not None


@dataclass
class Scan:
    """The columns of a scan of the logits ``source``; ``label_deficit`` and ``centre`` are as in ``NllSlope``."""

    source: ScoreMatrix
    rows: Rows
    label_deficit: Column
    centre: Column
    expansion: Expansion | None = None
    hashes: npt.NDArray[np.uint64] | None = None


def scan(
    source: ScoreMatrix,
    labels: npt.NDArray[np.int64],
    *,
    beta: float | None = None,
    hashed: bool = False,
) -> Scan:
    """Visit every row once. ``beta`` asks for the expansion about it, ``hashed`` for the hashes of rows."""
    if beta is not None:
        beta = float(np.float32(beta))  # any β near the optimum serves, and the kernel need not round this one
    expansion = None if beta is None else Expansion(beta, source.rows)
    hashes = np.empty(source.rows, dtype=np.uint64) if hashed else None
    deficit, centre = np.empty((2, source.rows))
    rows = empty_rows(labels, of_classes=ClassScores(source, np.broadcast_to(1.0, source.rows)))
    result = Scan(source, rows, deficit, centre, expansion, hashes)
    step = max(1, BLOCK // source.classes)
    own = threading.local()

    def work(start: int) -> None:
        if not hasattr(own, "block"):
            own.block = _KernelBlock(result, step)
        own.block.run(start, min(start + step, source.rows))

    with ThreadPoolExecutor(_cores()) as pool:
        for _ in pool.map(work, range(0, source.rows, step)):  # in order, so the first bad block is the one named
            pass
    return result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Expansion:
    """The log-partition of each row and its derivatives at one inverse temperature β, from which values near β follow.

    ``lse`` is log Σ_k e^{β(z_k − z_top)} of each row; ``cumulants`` are its derivatives, ψ (counted from z_y) and the
    second to fourth cumulants of z under p; ``squares`` are Σ_{k≠top} z^j e^{2βz} for j = 0, 1, 2.
    """

    def __init__(self, beta: float, rows: int) -> None:
        self.beta = beta
        self.lse = np.empty(rows)
        self.cumulants = tuple(np.empty(rows) for _ in range(4))
        self.squares = tuple(np.empty(rows) for _ in range(3))

    def move(self, rows: Rows, label_deficit: Column, beta: Column) -> Rows:
        """The columns at another β of each row, which differs from this β by some per cent.

        lse follows its Taylor series to the fourth order, whose error is δ⁵κ₅/120: below 1e-7 for δ = 0.02 and logits
        that spread by 10. In a confident row lse is a single exponential, and changes as one. The sum of squares
        changes as the exponential of a quadratic.
        """
        moved = replace(
            empty_rows(rows.label),
            predicted=rows.predicted,
            correct=rows.correct,
            rank=rows.rank,
            tied=rows.tied,
            gap=rows.gap * beta,
            norm=rows.norm * beta,
            slope=(self.cumulants[0] + (beta - self.beta) * self.cumulants[1]) * beta,
        )
        for start in range(0, len(rows), _MOVED):
            self._move(moved, label_deficit, beta, slice(start, start + _MOVED))
        return moved

    def _move(self, rows: Rows, label_deficit: Column, beta: Column, at: slice) -> None:
        delta, lse_here = beta[at] - self.beta, self.lse[at]
        psi, k2, k3, k4 = (column[at] for column in self.cumulants)
        m1 = psi - label_deficit[at]
        lse = lse_here + delta * (m1 + delta / 2 * (k2 + delta / 3 * (k3 + delta / 4 * k4)))
        sure = lse_here < 1e-6
        lse[sure] = lse_here[sure] * np.exp(delta[sure] * m1[sure] / np.maximum(lse_here[sure], 1e-300))
        q0, q1, q2 = (column[at] for column in self.squares)
        # float32 has no digits for smaller squares, which do not matter in a Brier score
        small = q0 < 1e-30
        mean, square = (np.where(small, 0.0, q / np.where(small, 1.0, q0)) for q in (q1, q2))
        others = q0 * np.exp(2 * delta * mean + 2 * delta**2 * np.maximum(square - mean**2, 0.0) - 2 * lse)
        log_y = -beta[at] * label_deficit[at] - lse
        p_y, right = np.exp(log_y), rows.correct[at]
        rows.confidence[at], rows.log_confidence[at], rows.nll[at] = np.exp(-lse), -lse, -log_y
        # as in the pass itself: the sum is over the smaller classes alone where the label is the largest
        rest = np.where(right, -np.expm1(-lse), 1 - p_y)
        rows.brier[at] = rest * rest + np.where(right, others, np.exp(-2 * lse) + others - p_y * p_y)


class _Job(ctypes.Structure):
    """``sfumato_scan_job``, field by field."""

    _fields_ = (
        ("abi", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("rows", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("logits", "labels", "odd")),
        *((name, ctypes.c_void_p) for name in (*_COLUMNS, "behind", "centre", "hash")),
        ("beta", ctypes.c_double),
        ("lse", ctypes.c_void_p),
        ("cumulants", ctypes.c_void_p * 4),
        ("squares", ctypes.c_void_p * 3),
        ("class_sums", ctypes.c_void_p),
        ("modulus", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("mass", ctypes.c_void_p),
        ("edge", ctypes.c_double),
        ("most", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("listed_row", "listed_class", "listed_p")),
        ("listed", ctypes.c_int64),
        ("bad_row", ctypes.c_int64),
        ("bad_label", ctypes.c_int64),
    )


class _KernelBlock:
    """The buffers of one thread, which calls the kernel once for each block of rows."""

    def __init__(self, scan: Scan, step: int) -> None:
        kernel = library.status().library
        assert kernel is not None, "suits() asked"
        self._call, self._scan = kernel.sfumato_scan, scan
        source = scan.source
        self._raw = source.buffer(step)
        self._job = job = _Job(abi=library.ABI, type=_TYPES[source.type_name], classes=source.classes)
        # name or (name, index) in the struct → the whole column, in which each block fills its own rows
        self._columns: dict[str | tuple[str, int], npt.NDArray[Any]] = {
            "labels": np.ascontiguousarray(scan.rows.label),
            "behind": scan.label_deficit,
            "centre": scan.centre,
        }
        self._columns |= {name: getattr(scan.rows, name) for name in _COLUMNS}
        if scan.hashes is not None:
            self._odd = multipliers(source.classes * source.raw_type.itemsize)
            job.odd = self._odd.ctypes.data
            self._columns["hash"] = scan.hashes
        if scan.expansion is not None:
            job.beta = scan.expansion.beta
            self._columns["lse"] = scan.expansion.lse
            self._columns |= {("cumulants", i): column for i, column in enumerate(scan.expansion.cumulants)}
            self._columns |= {("squares", i): column for i, column in enumerate(scan.expansion.squares)}
        self._addresses = {name: (column.ctypes.data, column.itemsize) for name, column in self._columns.items()}

    def run(self, start: int, stop: int) -> None:
        """Fill the columns of rows ``start`` to ``stop``."""
        scan, job = self._scan, self._job
        raw = scan.source.raw(start, stop, self._raw)
        job.rows, job.logits = stop - start, raw.ctypes.data
        for name, (address, size) in self._addresses.items():
            if isinstance(name, str):
                setattr(job, name, address + start * size)
            else:
                getattr(job, name[0])[name[1]] = address + start * size
        error = self._call(ctypes.byref(job))
        if error == _BAD_LOGITS:
            raise scan.source.not_finite(start)
        if error == library.NO_MEMORY:
            raise MemoryError("the kernel found no memory to work in")
        if error:
            raise ValueError(f"the kernel refused the call with code {error}")
