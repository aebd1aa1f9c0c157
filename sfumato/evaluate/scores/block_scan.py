"""One visit to every row of many long rows of logits, in blocks that are read, hashed and reduced by one thread a core.

The compiled kernel works in float32, which holds logits of at most 32 bits. The difference z − z_top is rounded once,
by half a unit of its size; exp adds one unit and a sum over classes a few. The sum s = Σ_{k≠top} e^{z_k − z_top} is
kept apart from the 1 of the largest class, as in float64, so its relative error is about (2 + max |z − z_top|)·6e-8,
with a random sign for each row. Everything after the sums (logarithms, ratios, means, bins, ranks) is float64. A mean
over N rows is then good to about 1e-7. Rows with a lead above 50 nats, whose s float32 would lose, are computed again
in float64. Without the kernel, every row is read in float64 by :mod:`~sfumato.evaluate.scores.rows`.

The numbers of a row depend on that row alone, and sums over rows are taken in the order of the rows.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.classwise import ClasswiseSums, SumsOfBlock
from sfumato.evaluate.scores import kernel_block
from sfumato.evaluate.scores.row_hash import group_of
from sfumato.evaluate.scores.rows import empty_rows
from sfumato.evaluate.scores.scanned import Expansion, Scan
from sfumato.evaluate.scores.score_matrix import SHORT_ROW, Column, ScoreMatrix
from sfumato.kernel import library

LEAST = 1 << 23  # elements from which scores are scanned in blocks


def suits(source: ScoreMatrix) -> bool:
    """Whether scores are scanned in blocks: logits of at most 32 bits, long rows, enough of them, and the kernel."""
    wide = source.type_name not in ("float16", "bfloat16", "float32")
    if wide or source.name != "logits" or source.classes < SHORT_ROW or source.rows * source.classes < LEAST:
        return False
    return library.status().library is not None


def scan(
    source: ScoreMatrix,
    labels: npt.NDArray[np.int64],
    *,
    beta: float | None = None,
    by_class: ClasswiseSums | None = None,
    weights: Column | None = None,
) -> Scan:
    """Visit every row once. ``beta`` asks for the expansion about it; ``by_class`` is filled by groups of hashes."""
    if beta is not None:
        beta = float(np.float32(beta))  # any β near the optimum serves, and the kernel need not round this one
    expansion = None if beta is None else Expansion(beta, source.rows)
    found = np.empty(source.rows, dtype=np.uint64) if by_class is not None else None
    behind, centre = np.empty((2, source.rows))
    result = Scan(source, empty_rows(labels), behind, centre, expansion, found, by_class, weights)
    step = max(1, kernel_block.ELEMENTS // source.classes)
    own = threading.local()

    def work(start: int) -> SumsOfBlock | None:
        if not hasattr(own, "block"):
            own.block = kernel_block.KernelBlock(result, step)
        return own.block.run(start, min(start + step, source.rows))

    with ThreadPoolExecutor(_cores()) as pool:
        for sums in pool.map(work, range(0, source.rows, step)):  # in order, so the first bad block is the one named
            if by_class is not None and sums is not None:
                by_class.add_parts(*sums)
    if by_class is not None and result.hashes is not None:
        group = group_of(result.hashes) % by_class.groups
        by_class.add_labels(group, np.ones(source.rows) if weights is None else weights, labels)
    return result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
