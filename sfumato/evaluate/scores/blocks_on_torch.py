"""A block of rows of :mod:`~sfumato.evaluate.scores.blocks` in torch and numpy, where there is no compiled kernel.

Each step runs over the whole block, so a block is as small as a core's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.classwise import ClasswiseSums
from sfumato.evaluate.scores.row_hash import group_of, row_hash
from sfumato.evaluate.scores.rows import fill
from sfumato.evaluate.scores.source import Chunk, Column, widen

if TYPE_CHECKING:
    from sfumato.evaluate.scores.blocks import Near, Task

BLOCK = 1 << 18  # elements: three float32 buffers of it are 3 MB, near to the second-level cache of a core
_TINY = 2e-22  # e^−50: below, s is computed again in float64
_FARTHEST = -1e6  # what stands for −inf among products; e^(β·that) is 0 for every β searched


class TorchBlock:
    """Buffers of one thread, and the arithmetic on one block of rows."""

    def __init__(self, task: Task, step: int) -> None:
        import torch

        torch.set_num_threads(1)  # of this thread alone
        self._torch, self._task = torch, task
        classes = task.source.classes
        self._z, self._e, self._spare = (torch.empty((step, classes), dtype=torch.float32) for _ in range(3))
        self._flags = np.zeros((step, -(-classes // 8) * 8), dtype=np.uint8)
        self._each = np.arange(step)
        self._raw = task.source.buffer(step)

    def run(self, index: int, start: int, stop: int) -> None:
        """Fill the columns of rows ``start`` to ``stop``, which are block number ``index``."""
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
        y = rows.label[at]
        z_y = z_np[each, y].astype(np.float64)
        right = top == y
        rows.predicted[at], rows.correct[at] = top, right
        second, sums = self._sizes(at, z, z_np, top, z_y, right)

        torch.exp(z, out=e)
        e_y = e_np[each, y].astype(np.float64)
        e_np[each, top] = 0.0
        s = e.sum(dim=1).numpy().astype(np.float64)
        ss = np.einsum("ij,ij->i", e_np, e_np).astype(np.float64)
        one = 1 + s
        log_one = np.log1p(s)
        rows.log_confidence[at] = -log_one
        rows.confidence[at] = 1 / one
        rows.nll[at] = log_one - z_y
        # 1 − p_y, and Σ_{k≠y} p_k²: of the smaller classes alone where the label is the largest
        rest = np.where(right, s, one - e_y) / one
        others = np.where(right, ss, 1 + ss - e_y * e_y) / (one * one)
        rows.brier[at] = rest * rest + others

        rows.slope[at] = self._expected(e_np, z_np) / one - z_y
        if task.by_class is not None:
            self._classes(task.by_class, index, at, e, e_np, second, one, top)
        if result.near is not None:
            self._near(at, z, e, result.near, sums, z_y, top, raw)
        tiny = np.flatnonzero(s < _TINY)
        if len(tiny):
            exact = np.asarray(widen(raw[tiny]), dtype=np.float64)
            shifted = exact - exact.max(axis=1)[:, None]
            fill(rows, start + tiny, Chunk(0, shifted, top[tiny].astype(np.int64)), np.ones(len(tiny)))

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
        result, rows, n = self._task.result, self._task.result.rows, len(top)
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
        odd = np.flatnonzero(~np.isfinite(norm))  # a class at −inf, or so low that its square is no float32
        if len(odd):
            exact = z_np[odd].astype(np.float64)
            with np.errstate(invalid="ignore"):
                off = exact - exact.mean(axis=1)[:, None]
                norm[odd] = np.nan_to_num(np.sqrt(np.einsum("ij,ij->i", off, off)), nan=np.inf)
        rows.norm[at] = norm
        rows.gap[at] = self._gap(z_np, sums, z_y, y, finite)
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
        index: int,
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
        task.add(index, p_sums, held[row], col, p, y[row] == col, mass[row])

    def _near(self, at: slice, z: Any, e: Any, near: Near, sums: Column, z_y: Column, top: Any, raw: Any) -> None:
        """Fill what :class:`Near` holds."""
        if not np.isfinite(sums).all() or sums.min() < _FARTHEST:
            z.clamp_(min=_FARTHEST)
        z_np, e_np, n = z.numpy(), e.numpy(), len(top)
        spare = self._spare[:n]
        self._torch.mul(z, near.beta, out=e)
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
            weight = np.exp(exact * near.beta)
            weight[np.arange(len(tiny)), top[tiny]] = 0.0
            s[tiny] = weight.sum(axis=1)
            for power, moment in enumerate(moments, 1):
                moment[tiny] = (weight * exact**power).sum(axis=1)
            for power, moment in enumerate(squares):
                moment[tiny] = (weight * weight * exact**power).sum(axis=1)
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
