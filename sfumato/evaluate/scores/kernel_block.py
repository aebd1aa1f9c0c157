"""A block of rows on the compiled kernel, in float32: ``kernel/scan.hpp``."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.classwise import SumsOfBlock
from sfumato.evaluate.scores.row_hash import GROUPS, group_of, multipliers
from sfumato.evaluate.scores.scanned import Scan
from sfumato.kernel import library

ELEMENTS = 1 << 19  # logits that are read at a time: they should still be in the cache of a core when they are used
_TYPES = {"float32": 0, "bfloat16": 2, "float16": 3}
_BAD_LOGITS = 4
_COLUMNS = (
    *("predicted", "rank", "correct", "tied"),
    *("confidence", "log_confidence", "nll", "brier", "gap", "norm", "slope"),
)


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


class KernelBlock:
    """The buffers of one thread, which calls the kernel once for each block of rows."""

    def __init__(self, scan: Scan, step: int) -> None:
        found = library.status().library
        assert found is not None, "the caller asked status()"
        self._call, self._scan = found.sfumato_scan, scan
        source, by_class = scan.source, scan.by_class
        self._raw = source.buffer(step)
        self._job = job = _Job(abi=library.ABI, type=_TYPES[source.type_name], classes=source.classes, modulus=GROUPS)
        # name or (name, index) in the struct → the whole column, in which each block fills its own rows
        self._columns: dict[str | tuple[str, int], npt.NDArray[Any]] = {
            "labels": np.ascontiguousarray(scan.rows.label),
            "behind": scan.behind,
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
        if by_class is not None:
            job.groups, job.edge = by_class.groups, by_class.edges[1]
            job.most = step * len(by_class.edges)  # no more entries of a row can be above 1/bins
            self._row, self._class = (np.empty(job.most, dtype=np.int64) for _ in range(2))
            self._p = np.empty(job.most)
            job.listed_row, job.listed_class = self._row.ctypes.data, self._class.ctypes.data
            job.listed_p = self._p.ctypes.data
            if scan.weights is not None:
                self._columns["mass"] = np.ascontiguousarray(scan.weights)
        self._addresses = {name: (column.ctypes.data, column.itemsize) for name, column in self._columns.items()}

    def run(self, start: int, stop: int) -> SumsOfBlock | None:
        """Fill the columns of rows ``start`` to ``stop``, and return what they add to ``by_class``."""
        scan, job = self._scan, self._job
        raw = scan.source.raw(start, stop, self._raw)
        job.rows, job.logits = stop - start, raw.ctypes.data
        for name, (address, size) in self._addresses.items():
            if isinstance(name, str):
                setattr(job, name, address + start * size)
            else:
                getattr(job, name[0])[name[1]] = address + start * size
        sums = np.zeros((scan.by_class.groups, scan.source.classes)) if scan.by_class is not None else np.zeros(0)
        job.class_sums = sums.ctypes.data if scan.by_class is not None else None
        error = self._call(ctypes.byref(job))
        if error == _BAD_LOGITS:
            raise scan.source.not_finite(start)
        if error == library.NO_MEMORY:
            raise MemoryError("the kernel found no memory to work in")
        if error:
            raise ValueError(f"the kernel refused the call with code {error}")
        if scan.by_class is None or scan.hashes is None:
            return None
        row, col, p = self._row[: job.listed], self._class[: job.listed].copy(), self._p[: job.listed].copy()
        held = group_of(scan.hashes[start:stop]) % scan.by_class.groups
        mass = np.ones(len(row)) if scan.weights is None else scan.weights[start:stop][row]
        return sums, held[row], col, p, scan.rows.label[start:stop][row] == col, mass
