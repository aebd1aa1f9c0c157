"""The same columns as :func:`sfumato.evaluate.scores.rows.scan`, for many long rows: float32 in blocks of cache size.

What is exact and what is not. Logits of at most 32 bits are float32 already; z − z_top is rounded once, by half a unit
of its size, exp by one unit, a sum over classes by a few. So s = Σ_{k≠top} e^{z_k − z_top}, kept apart from the 1 of
the largest class as in float64, is known to about (2 + max |z − z_top|)·6e-8 relative, each row with an error of its
own sign; all that comes after the sums (logarithms, ratios, means, bins, ranks) is float64. A mean over N rows is then
good to about 1e-7. Rows whose s float32 would lose (a lead above 50 nats) are computed again in float64.

Blocks are read, hashed and reduced by one thread a core, each with buffers of its own: by the compiled kernel, or where
there is none by torch. A row's numbers depend on that row alone, and sums over rows are taken in their order.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.classwise import ClasswiseSums
from sfumato.evaluate.scores import blocks_on_kernel, blocks_on_torch
from sfumato.evaluate.scores.row_hash import group_of
from sfumato.evaluate.scores.rows import Rows, empty_rows
from sfumato.evaluate.scores.source import SHORT_ROW, Column, Source
from sfumato.kernel import library

LEAST = 1 << 23  # elements from which this path is taken
_MOVED = 1 << 16  # rows moved to another temperature at a time


def suits(source: Source) -> bool:
    """Whether this path takes these scores: logits of at most 32 bits, long rows, and enough of them."""
    wide = source.type_name not in ("float16", "bfloat16", "float32")
    return not (wide or source.name != "logits" or source.classes < SHORT_ROW or source.rows * source.classes < LEAST)


class Near:
    """What rows say at one β, and so near it: enough to move to another without reading them again.

    Attributes:
        beta: the place.
        lse: log Σ_k e^{β(z_k − z_top)} of each row.
        cumulants: ψ and the second to fourth cumulants of z under p: the derivatives of lse, but for ψ's own z_y.
        squares: Σ_{k≠top} z^j e^{2βz} for j = 0, 1, 2.
    """

    def __init__(self, beta: float, rows: int) -> None:
        self.beta = beta
        self.lse = np.empty(rows)
        self.cumulants = tuple(np.empty(rows) for _ in range(4))
        self.squares = tuple(np.empty(rows) for _ in range(3))

    def move(self, rows: Rows, behind: Column, beta: Column) -> Rows:
        """The columns at another β of each row, within some per cent of this one.

        lse by its Taylor series to the fourth order, whose error is δ⁵κ₅/120: with δ = 0.02 and logits that spread by
        10, below 1e-7. Of confident rows lse is one exponential, and moves as that. The sum of squares moves as the
        exponential of a quadratic.
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
            self._move(moved, behind, beta, slice(start, start + _MOVED))
        return moved

    def _move(self, rows: Rows, behind: Column, beta: Column, at: slice) -> None:
        delta, lse_here = beta[at] - self.beta, self.lse[at]
        psi, k2, k3, k4 = (column[at] for column in self.cumulants)
        m1 = psi - behind[at]
        lse = lse_here + delta * (m1 + delta / 2 * (k2 + delta / 3 * (k3 + delta / 4 * k4)))
        sure = lse_here < 1e-6
        lse[sure] = lse_here[sure] * np.exp(delta[sure] * m1[sure] / np.maximum(lse_here[sure], 1e-300))
        q0, q1, q2 = (column[at] for column in self.squares)
        # float32 has no digits for smaller squares, which are nothing to a Brier score
        small = q0 < 1e-30
        mean, square = (np.where(small, 0.0, q / np.where(small, 1.0, q0)) for q in (q1, q2))
        others = q0 * np.exp(2 * delta * mean + 2 * delta**2 * np.maximum(square - mean**2, 0.0) - 2 * lse)
        log_y = -beta[at] * behind[at] - lse
        p_y, right = np.exp(log_y), rows.correct[at]
        rows.confidence[at], rows.log_confidence[at], rows.nll[at] = np.exp(-lse), -lse, -log_y
        # as in the pass itself: of the smaller classes alone where the label is the largest
        rest = np.where(right, -np.expm1(-lse), 1 - p_y)
        rows.brier[at] = rest * rest + np.where(right, others, np.exp(-2 * lse) + others - p_y * p_y)


@dataclass
class Pass:
    """What one pass found.

    Attributes:
        rows: the columns.
        behind: z_top − z_y of every row: 0 where the label has the largest logit.
        centre: mean of the shifted logits of every row, classes at −inf left out.
        near: what the rows say near ``beta``, if asked for.
        hashes: of the rows' content, if asked for.
    """

    rows: Rows
    behind: Column
    centre: Column
    near: Near | None = None
    hashes: npt.NDArray[np.uint64] | None = None


def scan(
    source: Source,
    labels: npt.NDArray[np.int64],
    *,
    beta: float | None = None,
    hashes: bool = False,
    by_class: ClasswiseSums | None = None,
    weights: Column | None = None,
) -> Pass:
    """One pass. With ``beta`` also what rows say near it; ``by_class`` is filled, groups being those of the hash."""
    if beta is not None:
        beta = float(np.float32(beta))  # the place itself is free, and this one needs no rounding
    result = Pass(
        empty_rows(labels),
        np.empty(source.rows),
        np.empty(source.rows),
        None if beta is None else Near(beta, source.rows),
        np.empty(source.rows, dtype=np.uint64) if hashes or by_class is not None else None,
    )
    task = Task(source, result, by_class, weights)
    compiled = library.status().library is not None
    step = max(1, (blocks_on_kernel.BLOCK if compiled else blocks_on_torch.BLOCK) // source.classes)
    starts = iter(enumerate(range(0, source.rows, step)))
    lock = threading.Lock()
    failed: list[tuple[int, BaseException]] = []

    def work() -> None:
        start: int | None = 0
        try:
            block = (blocks_on_kernel.KernelBlock if compiled else blocks_on_torch.TorchBlock)(task, step)
            while not failed:
                with lock:
                    index, start = next(starts, (0, None))
                if start is None:
                    return
                block.run(index, start, min(start + step, source.rows))
        except BaseException as error:  # raised again below, in the thread that asked
            failed.append((start or 0, error))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        # blocks are begun in order and finished, so that the first of these is the first there is
        raise min(failed, key=lambda each: each[0])[1]
    if by_class is not None and result.hashes is not None:
        group = group_of(result.hashes) % by_class.groups
        by_class.add_labels(group, np.ones(source.rows) if weights is None else weights, labels)
    return result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Task:
    """What a pass is about, for every thread."""

    source: Source
    result: Pass
    by_class: ClasswiseSums | None
    weights: Column | None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: dict[int, tuple[Any, ...]] = field(default_factory=dict[int, tuple[Any, ...]])
    _next: int = 0

    def add(self, index: int, p_sums: Column, *high: npt.NDArray[Any]) -> None:
        """Add block ``index`` to ``by_class`` once those before it are there: the same sums whoever is done first."""
        assert self.by_class is not None
        with self._lock:
            self._waiting[index] = (p_sums, *high)
            while (found := self._waiting.pop(self._next, None)) is not None:
                self.by_class.add_sums(found[0])
                self.by_class.add_high(*found[1:])
                self._next += 1
