"""The same columns as :func:`sfumato.evaluate.rows.scan`, for many long rows: float32 in blocks of cache size.

What is exact and what is not. Logits of at most 32 bits are float32 already; z − z_top is rounded once, by half a unit
of its size, exp by one unit, a sum over classes by a few. So s = Σ_{k≠top} e^{z_k − z_top}, kept apart from the 1 of
the largest class as in float64, is known to about (2 + max |z − z_top|)·6e-8 relative, each row with an error of its
own sign; all that comes after the sums (logarithms, ratios, means, bins, ranks) is float64. A mean over N rows is then
good to about 1e-7. Rows whose s float32 would lose (a lead above 50 nats) are computed again in float64.

Blocks are read, hashed and reduced by one thread a core, each with buffers of its own that stay in its cache; numpy
and torch release the interpreter meanwhile. A row's numbers depend on that row alone.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate._hash import group_of, row_hash
from sfumato.evaluate._source import SHORT_ROW, Chunk, Column, Source, widen
from sfumato.evaluate.classwise import ClasswiseSums
from sfumato.evaluate.rows import Rows, empty_rows, fill

LEAST = 1 << 23  # elements from which this path is worth the import of torch
_BLOCK = 1 << 18  # elements a block: three float32 buffers of it are 3 MB, near to the second-level cache of a core
_TINY = 2e-22  # e^−50: below, s is computed again in float64
_MOVED = 1 << 16  # rows moved to another temperature at a time
_FARTHEST = -1e6  # what stands for −inf among products; e^(β·that) is 0 for every β searched


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
        q0 = np.maximum(q0, 1e-300)
        mean = q1 / q0
        others = q0 * np.exp(2 * delta * mean + 2 * delta**2 * np.maximum(q2 / q0 - mean**2, 0.0) - 2 * lse)
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
    temperature: float | Column = 1.0,
    *,
    beta: float | None = None,
    hashes: bool = False,
    by_class: ClasswiseSums | None = None,
    weights: Column | None = None,
) -> Pass:
    """One pass. With ``beta`` also what rows say near it; ``by_class`` is filled, groups being those of the hash."""
    result = Pass(
        empty_rows(labels),
        np.empty(source.rows),
        np.empty(source.rows),
        None if beta is None else Near(beta, source.rows),
        np.empty(source.rows, dtype=np.uint64) if hashes or by_class is not None else None,
    )
    heat = np.broadcast_to(np.asarray(temperature, dtype=np.float64), (source.rows,))
    step = max(1, _BLOCK // source.classes)
    task = _Task(source, result, heat, beta, by_class, weights, threading.Lock())
    starts = iter(range(0, source.rows, step))
    failed: list[BaseException] = []

    def work() -> None:
        import torch

        torch.set_num_threads(1)  # of this thread alone
        try:
            block = _Block(task, step)
            while not failed:
                with task.lock:
                    start = next(starts, None)
                if start is None:
                    return
                block.run(start, min(start + step, source.rows))
        except BaseException as error:  # raised again below, in the thread that asked
            failed.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    if by_class is not None and result.hashes is not None:
        group = group_of(result.hashes) % by_class.groups
        by_class.add_labels(group, np.ones(source.rows) if weights is None else weights, labels)
    return result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Task:
    """What a pass is about, for every thread."""

    source: Source
    result: Pass
    heat: Column
    beta: float | None
    by_class: ClasswiseSums | None
    weights: Column | None
    lock: threading.Lock


class _Block:
    """Buffers of one thread, and the arithmetic on one block of rows."""

    def __init__(self, task: _Task, step: int) -> None:
        import torch

        self._torch, self._task = torch, task
        classes = task.source.classes
        self._z, self._e, self._spare = (torch.empty((step, classes), dtype=torch.float32) for _ in range(3))
        self._flags = np.zeros((step, -(-classes // 8) * 8), dtype=np.uint8)
        self._each = np.arange(step)
        self._raw = task.source.buffer(step)

    def run(self, start: int, stop: int) -> None:
        """Fill the columns of rows ``start`` to ``stop``."""
        torch, task = self._torch, self._task
        source, result, rows = task.source, task.result, task.result.rows
        at, n = slice(start, stop), stop - start
        z, e, each = self._z[:n], self._e[:n], self._each[:n]
        z_np, e_np = z.numpy(), e.numpy()
        raw = source.raw(start, stop, self._raw)
        if result.hashes is not None:
            result.hashes[at] = row_hash(raw)
        z.copy_(_tensor(raw))
        z_top = z.amax(dim=1)
        if not np.isfinite(z_top.numpy()).all():
            raise source.not_finite(start)
        z.sub_(z_top.unsqueeze(1))
        top = z_np.argmax(axis=1)
        y, heat = rows.label[at], task.heat[at]
        z_y = z_np[each, y].astype(np.float64)
        right = top == y
        rows.predicted[at], rows.correct[at] = top, right
        second, sums = self._sizes(at, z, z_np, top, z_y, right)

        if (heat == 1.0).all():
            torch.exp(z, out=e)
        else:
            torch.mul(z, torch.from_numpy((1 / heat).astype(np.float32)).unsqueeze(1), out=e)
            e.exp_()
        e_y = e_np[each, y].astype(np.float64)
        e_np[each, top] = 0.0
        s = e.sum(dim=1).numpy().astype(np.float64)
        ss = np.einsum("ij,ij->i", e_np, e_np).astype(np.float64)
        one = 1 + s
        log_one = np.log1p(s)
        rows.log_confidence[at] = -log_one
        rows.confidence[at] = 1 / one
        rows.nll[at] = log_one - z_y / heat
        # 1 − p_y, and Σ_{k≠y} p_k²: of the smaller classes alone where the label is the largest
        rest = np.where(right, s, one - e_y) / one
        others = np.where(right, ss, 1 + ss - e_y * e_y) / (one * one)
        rows.brier[at] = rest * rest + others

        rows.slope[at] = (self._expected(e_np, z_np) / one - z_y) / heat
        if task.by_class is not None:
            self._classes(task.by_class, at, e, e_np, second, one, top)
        if task.beta is not None:
            self._near(at, z, e, task.beta, sums, z_y, top, raw)
        tiny = np.flatnonzero(s < _TINY)
        if len(tiny):
            exact = np.asarray(widen(raw[tiny]), dtype=np.float64)
            shifted = exact - exact.max(axis=1)[:, None]
            fill(rows, start + tiny, Chunk(0, shifted, top[tiny].astype(np.int64)), heat[tiny])

    def _expected(self, e: Any, z: Any) -> Column:
        """Σ e·z of each row; a class at −inf has no part in it."""
        total = np.einsum("ij,ij->i", e, z).astype(np.float64)
        odd = np.flatnonzero(np.isnan(total))
        if len(odd):
            total[odd] = np.einsum("ij,ij->i", e[odd], np.maximum(z[odd], _FARTHEST))
        return total

    def _sizes(
        self, at: slice, z: Any, z_np: Any, top: npt.NDArray[np.int64], z_y: Column, right: npt.NDArray[np.bool_]
    ) -> tuple[Any, Column]:
        """Rank, ties, gap and norm; returns the second largest logit and the sum of each row."""
        result, rows, heat, n = self._task.result, self._task.result.rows, self._task.heat[at], len(top)
        y, each, spare = rows.label[at], self._each[:n], self._spare[:n]
        z_np[each, top] = -np.inf
        second = z.amax(dim=1).numpy()
        z_np[each, top] = 0.0
        rows.tied[at] = second == 0
        rows.rank[at] = self._rank(z_np, z_y.astype(np.float32), y, right)
        total = z.sum(dim=1)
        self._torch.sub(z, total.div(z.shape[1]).unsqueeze(1), out=spare)
        sums = total.numpy().astype(np.float64)
        spare_np = spare.numpy()
        norm = np.sqrt(np.einsum("ij,ij->i", spare_np, spare_np).astype(np.float64))
        finite = bool(np.isfinite(sums).all())
        rows.norm[at] = (norm if finite else np.where(np.isnan(norm), np.inf, norm)) / heat
        rows.gap[at] = self._gap(z_np, sums, z_y, y, finite) / heat
        result.behind[at] = -z_y
        result.centre[at] = self._centre(z_np, sums)
        return second, sums

    def _gap(self, z: Any, sums: Column, z_y: Column, y: npt.NDArray[np.int64], finite: bool) -> Column:
        k = z.shape[1]
        if finite:
            return z_y - (sums - z_y) / (k - 1)
        with np.errstate(invalid="ignore"):
            gap = z_y - (sums - z_y) / (k - 1)
            odd = np.flatnonzero(~np.isfinite(gap))  # a class at −inf, perhaps the label itself
            rest = z[odd].astype(np.float64)
            rest[np.arange(len(odd)), y[odd]] = 0.0
            gap[odd] = z_y[odd] - rest.sum(axis=1)  # one of them is infinite, or both
        return gap

    def _centre(self, z: Any, sums: Column) -> Column:
        centre = sums / z.shape[1]
        odd = np.flatnonzero(~np.isfinite(sums))
        if len(odd):
            rest = z[odd].astype(np.float64)
            there = np.isfinite(rest)
            centre[odd] = np.where(there, rest, 0.0).sum(axis=1) / there.sum(axis=1)
        return centre

    def _rank(self, z: Any, z_y: Any, y: npt.NDArray[np.int64], right: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Classes above the label, plus, where these are fewer than five, those level with it and before it."""
        rank = np.zeros(len(z), dtype=np.int64)
        wrong = np.flatnonzero(~right)
        if not len(wrong):
            return rank
        rest = np.take(z, wrong, axis=0, out=self._spare.numpy()[: len(wrong)])
        own, flags = z_y[wrong, None], self._flags[: len(wrong)]
        np.greater(rest, own, out=flags[:, : z.shape[1]].view(np.bool_))
        # flags of one byte, added eight at a time; a byte counts to 255
        words = flags.view(np.uint64)
        above = np.zeros(len(wrong), dtype=np.int64)
        for start in range(0, words.shape[1], 255):
            piece = np.add.reduce(words[:, start : start + 255], axis=1)
            above += piece.view(np.uint8).reshape(len(wrong), 8).sum(axis=1, dtype=np.int64)
        near = np.flatnonzero(above < 5)
        level = rest[near] == own[near]
        level &= np.arange(z.shape[1]) < y[wrong[near], None]
        above[near] += np.count_nonzero(level, axis=1)
        rank[wrong] = above
        return rank

    def _classes(
        self,
        by_class: ClasswiseSums,
        at: slice,
        e: Any,
        e_np: Any,
        second: Any,
        one: Column,
        top: npt.NDArray[np.int64],
    ) -> None:
        """Add to the sums of every class. The largest is known; others above the first edge are taken out of e."""
        task, n = self._task, len(top)
        assert task.result.hashes is not None
        held = group_of(task.result.hashes[at]) % by_class.groups
        y, each, edge = task.result.rows.label[at], self._each[:n], by_class.edges[1]
        mass = np.ones(n) if task.weights is None else task.weights[at]
        member = np.zeros((by_class.groups, n), dtype=np.float32)
        member[held, each] = mass / one
        p_sums = (self._torch.from_numpy(member) @ e).numpy().astype(np.float64)
        np.add.at(p_sums, (held, top), mass / one)
        found = [(each, top, 1 / one)]
        active = np.flatnonzero(np.exp(second.astype(np.float64)) > edge * one * 0.999)
        if len(active):
            col = e_np.argmax(axis=1)[active]  # of all rows, since a copy of some costs more
            found.append((active, col, e_np[active, col] / one[active]))
            e_np[active, col] = 0.0
            # a third class above the edge leaves less to the largest two
            active = active[(1 + e_np[active, col] + np.exp(second[active])) / one[active] < 1 - edge]
        rest = e_np[active]
        while len(active):
            col, here = rest.argmax(axis=1), np.arange(len(active))
            p = rest[here, col] / one[active]
            rest[here, col] = 0.0
            high = p > edge
            found.append((active[high], col[high], p[high]))
            active, rest = active[high], rest[high]
        row, col, p = (np.concatenate(parts) for parts in zip(*found, strict=True))
        above = p > edge
        row, col, p = row[above], col[above], p[above]
        with task.lock:
            by_class.add_sums(p_sums)
            by_class.add_high(held[row], col, p, y[row] == col, mass[row])

    def _near(self, at: slice, z: Any, e: Any, beta: float, sums: Column, z_y: Column, top: Any, raw: Any) -> None:
        """Fill what :class:`Near` holds."""
        if not np.isfinite(sums).all() or sums.min() < _FARTHEST:
            z.clamp_(min=_FARTHEST)
        z_np, e_np, n = z.numpy(), e.numpy(), len(top)
        spare = self._spare[:n]
        self._torch.mul(z, beta, out=e)
        e.exp_()
        e_np[self._each[:n], top] = 0.0  # its z is 0, so that no moment has a part of it
        s = e.sum(dim=1).numpy().astype(np.float64)
        self._torch.mul(e, e, out=spare)
        squares = [spare.sum(dim=1).numpy().astype(np.float64)]
        spare.mul_(z)
        squares += [spare.sum(dim=1).numpy().astype(np.float64)]
        squares += [np.einsum("ij,ij->i", spare.numpy(), z_np).astype(np.float64)]
        moments: list[Column] = []
        for _ in range(3):
            e.mul_(z)
            moments.append(e.sum(dim=1).numpy().astype(np.float64))
        moments.append(np.einsum("ij,ij->i", e_np, z_np).astype(np.float64))
        tiny = np.flatnonzero(s < _TINY)
        if len(tiny):
            exact = np.asarray(widen(raw[tiny]), dtype=np.float64)
            exact = np.maximum(exact - exact.max(axis=1)[:, None], _FARTHEST)
            weight = np.exp(exact * beta)
            weight[np.arange(len(tiny)), top[tiny]] = 0.0
            s[tiny] = weight.sum(axis=1)
            for power, moment in enumerate(moments, 1):
                moment[tiny] = (weight * exact**power).sum(axis=1)
            for power, moment in enumerate(squares):
                moment[tiny] = (weight * weight * exact**power).sum(axis=1)
        near = self._task.result.near
        assert near is not None
        m1, m2, m3, m4 = (moment / (1 + s) for moment in moments)
        near.lse[at] = np.log1p(s)
        near.cumulants[0][at] = m1 - z_y
        near.cumulants[1][at] = np.maximum(m2 - m1 * m1, 0.0)
        near.cumulants[2][at] = m3 - 3 * m1 * m2 + 2 * m1**3
        near.cumulants[3][at] = m4 - 4 * m1 * m3 - 3 * m2 * m2 + 12 * m1 * m1 * m2 - 6 * m1**4
        for column, value in zip(near.squares, squares, strict=True):
            column[at] = value


def _tensor(raw: npt.NDArray[Any]) -> Any:
    import torch

    if raw.dtype == np.uint16:
        return torch.from_numpy(raw.view(np.int16)).view(torch.bfloat16)
    # torch warns of a tensor over memory that must not be written to; a block's copy is cheap
    return torch.from_numpy(raw if raw.flags.writeable else raw.copy())
