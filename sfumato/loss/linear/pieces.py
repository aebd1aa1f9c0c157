"""A linear layer and its loss, piece by piece: some rows at some classes at a time.

The first pass makes the logits of each piece and keeps a few numbers a row. The second pass makes them again, turns
them into their gradient, and gives each piece's part to the gradients of the input and of the weight. That is four
matrix products where an unfused layer has three, and none of them is small. A product is rounded to the type of the
layer; parts are added up in the type of the arithmetic, which is float32 for half precision, and rounded once.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel.job import FlatTarget, WholeRows
from sfumato.loss.flatten import take_rows
from sfumato.loss.linear import engine
from sfumato.loss.row_numbers import RowNumbers, SliceNumbers

_FEW = 1 << 20  # logits that are copied at a time


class RowParts(NamedTuple):
    """Numbers of rows that trainers log, (n,) each: −log p_y, H(p), whether p_y is largest, and log Σ e^z."""

    nll: Tensor | None
    entropy: Tensor
    correct: Tensor | None
    lse: Tensor


class PartSums(NamedTuple):
    """What some classes add to the parts of each row."""

    top: Tensor  # m, the largest of their logits
    spread: Tensor  # Σ e^(z−m)·(m − z)
    label: Tensor  # z_y, or −inf where the label is another class

    @classmethod
    def of_piece(cls, z: Tensor, found: SliceNumbers, labels: Tensor | None, *, start: int) -> Self:
        """The sums of a piece (n, C) that begins at class ``start``; ``labels`` (n,) are counted over all classes."""
        spread = torch.empty_like(found.rest)
        label = torch.full_like(found.rest, -torch.inf)
        few = max(1, _FEW // z.shape[1])
        for at in range(0, len(z), few):
            rows = slice(at, at + few)
            d = z[rows].to(torch.promote_types(z.dtype, torch.float32))
            d = d - found.of(rows).base().to(d.dtype).unsqueeze(1)
            e = d.exp()
            spread[rows] = -(e * d.masked_fill(e == 0, 0.0)).sum(1, dtype=spread.dtype)
        if labels is not None:
            here = ((labels >= start) & (labels < start + z.shape[1])).nonzero().squeeze(1)
            label[here] = z[here, labels[here] - start].to(label.dtype)
        return cls(found.top.to(spread.dtype), spread, label)

    def joined(self, after: Self, mine: SliceNumbers, others: SliceNumbers) -> Self:
        """The sums of these classes and others; with the numbers of both."""
        top = torch.maximum(self.top, after.top)
        return type(self)(
            top, self._against(top, mine) + after._against(top, others), torch.maximum(self.label, after.label)
        )

    def _against(self, top: Tensor, found: SliceNumbers) -> Tensor:
        """Σ e^(z−top)·(top − z): every term is at least 0."""
        further = top - self.top
        moved = (-further).exp() * (self.spread + further * (1 + found.rest))
        return torch.where(self.top == -torch.inf, 0.0, moved)

    def of_rows(self, at: Tensor, rows: RowNumbers, labels: Tensor | None) -> RowParts:
        """The parts, once the sums are those of all classes; ``at`` is each row's class of the largest logit."""
        lse = rows.rest.log1p()
        entropy = lse + self.spread / (1 + rows.rest)
        if labels is None:
            return RowParts(None, entropy, None, self.top + lse)
        return RowParts((self.top - self.label) + lse, entropy, at == labels, self.top + lse)


# A piece is so many rows, or all of them, and as many classes as its memory has room for. With fewer of either, the
# products would wait for memory.
_ROWS, _MIN_CLASSES = 4096, 64
_ROWS_AT_ONCE = 1024  # of a product in half precision, which is added to float32


class Head(NamedTuple):
    """A linear layer, and everything of the call but its target."""

    x: Tensor  # (n, D), the inputs of the rows that count
    weight: Tensor  # (V, D)
    bias: Tensor | None  # (V,) or None
    call: Call  # says the dtype of the arithmetic
    softcap: float  # c of c·tanh(z/c), or 0
    z_loss: float  # λ of λ·lse², or 0

    def logits(self, rows: slice, classes: slice, to: Tensor) -> Tensor:
        """The logits of some rows and classes in the memory of ``to``, which is flat."""
        x, weight = self.x[rows], self.weight[classes]
        z = to[: len(x) * len(weight)].view(len(x), len(weight))
        if self.bias is None:
            torch.mm(x, weight.t(), out=z)
        else:
            torch.addmm(self.bias[classes], x, weight.t(), out=z)
        if self.softcap:
            z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z

    def memory(self, classes: list[slice], rows: list[slice]) -> Tensor:
        """Room for the logits of one piece."""
        return self.x.new_empty(max((_length(a) * _length(b) for a in classes[:1] for b in rows), default=0))


class Pass(NamedTuple):
    """What the first pass finds of each row: the numbers of all classes, and the parts if they are wanted."""

    numbers: SliceNumbers
    parts: PartSums | None


def pieces(head: Head) -> tuple[list[slice], list[slice]]:
    """The classes and the rows of the pieces: every range of classes is worked on with every range of rows."""
    n, classes = len(head.x), len(head.weight)
    rows = _even(n, _ROWS)
    fit = engine.piece_bytes(head.x, head.call) // (max(map(_length, rows), default=1) * head.x.element_size())
    step = max(_MIN_CLASSES, fit // 64 * 64)
    return [slice(at, min(at + step, classes)) for at in range(0, classes, step)], rows


def _length(part: slice) -> int:
    return part.stop - part.start


def _even(count: int, most: int) -> list[slice]:
    """Ranges of nearly the same length, none of more than ``most``."""
    parts = -(-count // most)
    return [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def measure(
    head: Head, target: FlatTarget, *, start: int = 0, labels: Tensor | None = None, parts: bool = False
) -> Pass:
    """The first pass."""
    numbers = SliceNumbers.of_no_classes((len(head.x),), head.call, head.x.device)
    sums = PartSums(numbers.top, numbers.rest, numbers.top) if parts else None
    ranges, blocks = pieces(head)
    memory = head.memory(ranges, blocks)
    for classes in ranges if blocks else []:
        first = start + classes.start
        found: list[SliceNumbers] = []
        told: list[PartSums] = []
        for rows in blocks:
            z = head.logits(rows, classes, memory)
            found.append(engine.measure(z, take_rows(target, rows), head.call, start=first))
            if parts:
                told.append(PartSums.of_piece(z, found[-1], None if labels is None else labels[rows], start=first))
        more = SliceNumbers.of_blocks(found)
        if sums is not None:
            sums = sums.joined(PartSums(*(torch.cat(each) for each in zip(*told, strict=True))), numbers, more)
        numbers = numbers.joined(more)
    return Pass(numbers, sums)


class Gradients(NamedTuple):
    """Those that were asked for."""

    input: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def gradients(
    head: Head,
    target: FlatTarget,
    whole: WholeRows,
    factor: Tensor,
    wanted: tuple[bool, bool, bool],
    *,
    start: int = 0,
    more_to_add: bool = False,
) -> Gradients:
    """The second pass: the gradients of the input, the weight and the bias."""
    ranges, blocks = pieces(head)
    wide = head.call.dtype
    of_x = of_weight = of_bias = None
    if wanted[0]:
        of_x = _Sum(torch.zeros_like(head.x, dtype=wide if more_to_add else None), wide, len(ranges))
    if wanted[1]:
        of_weight = torch.zeros_like(head.weight, memory_format=torch.contiguous_format)
    if wanted[2] and head.bias is not None:
        of_bias = torch.zeros_like(head.bias)
    memory = head.memory(ranges, blocks)
    for classes in ranges if blocks else []:
        mine = None if of_weight is None else _Sum(of_weight[classes], wide, len(blocks))
        beside = head.x.new_zeros(classes.stop - classes.start, dtype=wide)
        for rows in blocks:
            z = head.logits(rows, classes, memory)
            of_rows, numbers = take_rows(target, rows), whole.of(rows)
            at = start + classes.start
            engine.to_gradient(z, of_rows, head.call, numbers, z, start=at, factor=factor[rows], softcap=head.softcap)
            if of_x is not None:
                of_x.add(z, head.weight[classes], rows)
            if mine is not None:
                mine.add(z.t(), head.x[rows])
            if of_bias is not None:
                beside += z.sum(0, dtype=wide)
        if mine is not None:
            mine.finished()
        if of_bias is not None:
            of_bias[classes] = beside
    return Gradients(None if of_x is None else of_x.finished(), of_weight, of_bias)


class _Sum:
    """Matrix products that are added up, in the dtype of the arithmetic, and rounded once."""

    def __init__(self, to: Tensor, wide: torch.dtype, products: int):
        self.to = to
        self.total = to if products == 1 or to.dtype == wide else torch.zeros_like(to, dtype=wide)

    def add(self, a: Tensor, b: Tensor, rows: slice = slice(None)) -> None:
        """Add a·b to some rows."""
        total = self.total[rows]
        if total.dtype == a.dtype:
            total.addmm_(a, b)
            return
        for at in range(0, len(a), _ROWS_AT_ONCE):
            total[at : at + _ROWS_AT_ONCE] += a[at : at + _ROWS_AT_ONCE] @ b

    def finished(self) -> Tensor:
        """The sum, where it is wanted and in its type."""
        return self.to if self.total is self.to else self.to.copy_(self.total)


def add_z_loss(rows: RowNumbers, whole: WholeRows, strength: float) -> Tensor:
    """The losses with λ·lse² on top: its gradient is 2λ·lse·p, which moves what the exponentials are multiplied by."""
    lse = rows.top + rows.rest.log1p()
    more = 2 * strength * lse
    whole.mass.add_(more)
    whole.at_top.add_(more / (1 + rows.rest))
    return rows.loss + strength * lse**2
