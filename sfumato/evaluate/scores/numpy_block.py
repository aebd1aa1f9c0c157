"""A block of rows in NumPy and float64, for machines without the compiled kernel."""

from __future__ import annotations

import numpy as np

from sfumato.evaluate.metrics.classwise import SumsOfBlock
from sfumato.evaluate.metrics.temperature import SMALLEST, cumulants_under, mean_of_possible
from sfumato.evaluate.scores.row_hash import group_of, row_hash
from sfumato.evaluate.scores.rows import fill
from sfumato.evaluate.scores.scanned import Scan
from sfumato.evaluate.scores.score_matrix import CHUNK_ELEMENTS, Chunk, Column

ELEMENTS = CHUNK_ELEMENTS


class NumpyBlock:
    """What one thread works with, as :class:`~sfumato.evaluate.scores.kernel_block.KernelBlock`."""

    def __init__(self, scan: Scan, step: int) -> None:
        self._scan = scan
        self._raw = scan.source.buffer(step)

    def run(self, start: int, stop: int) -> SumsOfBlock | None:
        """Fill the columns of rows ``start`` to ``stop``, and return what they add to ``by_class``."""
        scan, at = self._scan, slice(start, stop)
        raw = scan.source.raw(start, stop, self._raw)
        if scan.hashes is not None:
            scan.hashes[at] = row_hash(raw)
        chunk = scan.source.chunk(start, raw)
        p = fill(scan.rows, at, chunk, np.ones(stop - start))
        sums: SumsOfBlock | None = None
        if scan.by_class is not None and scan.hashes is not None:
            group = group_of(scan.hashes[at]) % scan.by_class.groups
            weights = None if scan.weights is None else scan.weights[at]
            sums = scan.by_class.parts(p, scan.rows.label[at], weights, group)
        z = np.maximum(chunk.shifted, SMALLEST, out=chunk.shifted)
        scan.behind[at] = -z[np.arange(len(z)), scan.rows.label[at]]
        scan.centre[at] = mean_of_possible(z)
        if scan.expansion is not None:
            self._expand(at, chunk)
        return sums

    def _expand(self, at: slice, chunk: Chunk) -> None:
        expansion, z, first = self._scan.expansion, chunk.shifted, (np.arange(len(chunk.top)), chunk.top)
        assert expansion is not None
        p = np.exp(z * expansion.beta)
        p[first] = 0.0
        s: Column = p.sum(axis=1)
        expansion.lse[at] = np.log1p(s)
        square = np.square(p)
        expansion.squares[0][at] = square.sum(axis=1)
        square *= z
        expansion.squares[1][at] = square.sum(axis=1)
        expansion.squares[2][at] = np.einsum("ij,ij->i", square, z)
        p[first] = 1.0
        p /= (1 + s)[:, None]
        for column, value in zip(expansion.cumulants, cumulants_under(p, z), strict=True):
            column[at] = value
        expansion.cumulants[0][at] += self._scan.behind[at]
