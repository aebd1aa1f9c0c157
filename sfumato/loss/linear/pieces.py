"""A linear layer and its loss as one differentiable step, piece by piece: some rows at some classes at a time.

The first pass makes the logits of each piece and keeps a few numbers a row; the second makes them again and adds each
piece's part to the gradients. Logits and sums of parts are in the type of the arithmetic; the gradient of logits is
rounded to the type of the layer before its products.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel.job import FlatTarget, WholeRows
from sfumato.loss import slices
from sfumato.loss.flatten import flatten, take_rows
from sfumato.loss.slices import RowNumbers, SliceNumbers

# A piece is so many rows, or all of them, and as many classes as its memory has room for. With fewer of either, the
# products would wait for memory.
_ROWS, _MIN_CLASSES = 4096, 64
_ROWS_AT_ONCE = 1024  # of a product in half precision, which is added to float32
_FEW = 1 << 20  # logits that are copied at a time


class HeadPlan(NamedTuple):
    """What a call asks for, apart from the tensors that may get a gradient."""

    call: Call  # says the dtype of the arithmetic
    target: FlatTarget  # of the rows that count
    kept: Tensor | None  # (n,) which rows these are; None for all
    softcap: float  # c of c·tanh(z/c), or 0
    z_loss: float | Tensor  # λ of λ·lse², or 0
    start: int = 0  # the first class of the layer
    own: int | None = None  # how many rows of the weight are classes, where more of them are padding
    added: Callable[[Tensor], Tensor] | None = None  # the sum over the ranks that have the other classes

    @classmethod
    def of(cls, x: Tensor, call: Call, softcap: float, z_loss: float | Tensor) -> Self:
        """The plan of a whole layer, with the target of the rows that count."""
        flat = flatten(x, call._replace(given=call.target()))  # with labels that are checked
        assert flat is not None, "without dense arrays the kernel's form has a place for every term"
        if flat.valid is None:
            return cls(call, flat, None, softcap, z_loss)
        kept = flat.valid.nonzero().squeeze(1)
        return cls(call, take_rows(flat, kept)._replace(valid=None), kept, softcap, z_loss)

    def pick(self, of_all: Tensor) -> Tensor:
        """Of an array of all rows, those that count."""
        return of_all if self.kept is None else of_all.index_select(0, self.kept)

    def spread(self, of_kept: Tensor, count: int) -> Tensor:
        """Numbers of the rows that count among all rows, 0 for the others."""
        if self.kept is None:
            return of_kept
        return of_kept.new_zeros((count, *of_kept.shape[1:])).index_copy_(0, self.kept, of_kept)


class Head:
    """A linear layer on the rows that count; a piece is each range of classes with each range of rows."""

    def __init__(self, plan: HeadPlan, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        self.plan, self.x, self.weight = plan, plan.pick(x.detach()), weight.detach()[: plan.own]
        self.bias = None if bias is None else bias.detach()[: plan.own]
        count, classes = len(self.x), len(self.weight)
        parts = -(-count // _ROWS)
        self.rows = [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
        longest = max((part.stop - part.start for part in self.rows), default=0)
        wide = plan.call.dtype
        # In half precision, rounded products or gradients and their copies need three times as much beside the logits.
        of_each = wide.itemsize * (1 if wide == self.x.dtype else 4)
        fit = piece_bytes(self.x, plan.call) // (max(longest, 1) * of_each)
        step = max(_MIN_CLASSES, fit // 64 * 64)
        self.classes = [slice(at, min(at + step, classes)) for at in range(0, classes, step)] if self.rows else []
        self._memory = self.x.new_empty(longest * min(step, classes), dtype=wide)

    def logits(self, rows: slice, classes: slice) -> Tensor:
        """The logits of one piece in the type of the arithmetic, in memory that the next piece overwrites."""
        x, weight = self.x[rows], self.weight[classes]
        z = self._memory[: len(x) * len(weight)].view(len(x), len(weight))
        _multiply(x, weight.t(), z)
        if self.bias is not None:
            z += self.bias[classes]
        if self.plan.softcap:
            z.div_(self.plan.softcap).tanh_().mul_(self.plan.softcap)
        return z


def _multiply(x: Tensor, y: Tensor, to: Tensor) -> None:
    """Put x·y into ``to``, whose type may be wider: then no product of halves is rounded to half precision."""
    if to.dtype != x.dtype and x.is_cuda and torch.version.cuda and hasattr(torch.ops.aten.mm, "dtype_out"):
        torch.mm(x, y, out_dtype=to.dtype, out=to)
    elif to.dtype != x.dtype and _has_fast_bfloat16(x):
        # What rounding takes from a product is the product less the rounded one, before that is rounded in its turn:
        # two such products have 16 bits, and take less time than one in float32.
        rounded = x @ y
        to.copy_(rounded).add_(torch.addmm(rounded, x, y, beta=-1))
    else:
        torch.mm(x.to(to.dtype), y.to(to.dtype), out=to)


def _has_fast_bfloat16(x: Tensor) -> bool:
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def piece_bytes(x: Tensor, call: Call) -> int:
    """Memory for a piece of the logits; in torch operations a few copies of it are made besides."""
    if x.device.type != "cpu":
        return 256 << 20
    return 24 << 20 if slices.on_kernel(x, call) else 6 << 20


class PartSums(NamedTuple):
    """What some classes add to the parts of each row."""

    top: Tensor  # m, the largest of their logits
    spread: Tensor  # Σ e^(z−m)·(m − z)
    label: Tensor  # z_y, or −inf where the label is another class

    @classmethod
    def of_piece(cls, z: Tensor, numbers: SliceNumbers, labels: Tensor | None, *, start: int) -> Self:
        """The sums of a piece (n, C) that begins at class ``start``; ``labels`` (n,) are counted over all classes."""
        spread = torch.empty_like(numbers.rest)
        label = torch.full_like(numbers.rest, -torch.inf)
        base, few = numbers.base(), max(1, _FEW // z.shape[1])
        for at in range(0, len(z), few):
            rows = slice(at, at + few)
            d = z[rows].to(torch.promote_types(z.dtype, torch.float32))
            d = d - base[rows].to(d.dtype).unsqueeze(1)
            e = d.exp()
            spread[rows] = -(e * d.masked_fill(e == 0, 0.0)).sum(1, dtype=spread.dtype)
        if labels is not None:
            here = ((labels >= start) & (labels < start + z.shape[1])).nonzero().squeeze(1)
            label[here] = z[here, labels[here] - start].to(label.dtype)
        return cls(numbers.top.to(spread.dtype), spread, label)

    def joined(self, after: Self, mine: SliceNumbers, others: SliceNumbers) -> Self:
        """The sums of these classes and others; with the numbers of both."""
        top = torch.maximum(self.top, after.top)
        spread = self._against(top, mine) + after._against(top, others)
        return type(self)(top, spread, torch.maximum(self.label, after.label))

    def _against(self, top: Tensor, numbers: SliceNumbers) -> Tensor:
        """Σ e^(z−top)·(top − z): every term is at least 0."""
        further = top - self.top
        moved = (-further).exp() * (self.spread + further * (1 + numbers.rest))
        return torch.where(self.top == -torch.inf, 0.0, moved)

    def of_rows(
        self, at: Tensor, rows: RowNumbers, labels: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor | None, ...]:
        """−log p_y, H(p), whether the label is ``at``, the class of the largest logit, and log Σ e^z, (n,) each."""
        lse = rows.rest.log1p()
        entropy, of_all = (lse + self.spread / (1 + rows.rest)).to(dtype), (self.top + lse).to(dtype)
        if labels is None:
            return None, entropy, None, of_all
        return ((self.top - self.label) + lse).to(dtype), entropy, at == labels, of_all


def measure(head: Head, labels: Tensor | None = None, *, parts: bool = False) -> tuple[SliceNumbers, PartSums | None]:
    """The first pass: the numbers of each row over all classes of the layer, and the sums of its parts if asked."""
    plan = head.plan
    numbers = SliceNumbers.of_no_classes(head.x, plan.call)
    sums = PartSums(numbers.top, numbers.rest, numbers.top) if parts else None
    for classes in head.classes:
        start = plan.start + classes.start
        of_blocks: list[SliceNumbers] = []
        parts_of_blocks: list[PartSums] = []
        for rows in head.rows:
            z = head.logits(rows, classes)
            of_blocks.append(slices.measure(z, take_rows(plan.target, rows), plan.call, start=start))
            if parts:
                of_labels = None if labels is None else labels[rows]
                parts_of_blocks.append(PartSums.of_piece(z, of_blocks[-1], of_labels, start=start))
        more = SliceNumbers.of_blocks(of_blocks)
        if sums is not None:
            after = PartSums(*(torch.cat(each) for each in zip(*parts_of_blocks, strict=True)))
            sums = sums.joined(after, numbers, more)
        numbers = numbers.joined(more)
    return numbers, sums


def gradients(
    head: Head, whole: WholeRows, factor: Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The second pass: the gradients of the input, the weight and the bias, those that are wanted."""
    plan, wide = head.plan, head.plan.call.dtype
    of_x = of_weight = of_bias = None
    if wanted[0]:
        more_to_add = plan.added is not None
        of_x = _Sum(torch.zeros_like(head.x, dtype=wide if more_to_add else None), wide, len(head.classes))
    if wanted[1]:
        of_weight = torch.zeros_like(head.weight, memory_format=torch.contiguous_format)
    if wanted[2] and head.bias is not None:
        of_bias = torch.zeros_like(head.bias)
    for classes in head.classes:
        start = plan.start + classes.start
        of_classes = None if of_weight is None else _Sum(of_weight[classes], wide, len(head.rows))
        bias_sum = head.x.new_zeros(classes.stop - classes.start, dtype=wide)
        for rows in head.rows:
            z = head.logits(rows, classes)
            target, numbers = take_rows(plan.target, rows), whole.of(rows)
            slices.to_gradient(z, target, plan.call, numbers, z, start=start, factor=factor[rows], softcap=plan.softcap)
            if of_bias is not None:
                bias_sum += z.sum(0)
            rounded = z.to(head.x.dtype)
            if of_x is not None:
                of_x.add(rounded, head.weight[classes], rows)
            if of_classes is not None:
                of_classes.add(rounded.t(), head.x[rows])
        if of_classes is not None:
            of_classes.finished()
        if of_bias is not None:
            of_bias[classes] = bias_sum
    return None if of_x is None else of_x.finished(), of_weight, of_bias


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


class HeadLoss(torch.autograd.Function):
    """The loss of each row, 0 where it does not count, as a function of the layer's input, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        plan: HeadPlan,
        mine: SliceNumbers,
        rows: RowNumbers,
    ) -> Tensor:
        """From the numbers of this layer's classes and of all classes."""
        loss, whole = rows.loss.clone(), rows.whole(mine)
        if isinstance(plan.z_loss, Tensor) or plan.z_loss:
            # The gradient of λ·lse² is 2λ·lse·p, which moves what the exponentials are multiplied by.
            lse = rows.top + rows.rest.log1p()
            more = 2 * plan.z_loss * lse
            whole.mass.add_(more)
            whole.at_top.add_(more / (1 + rows.rest))
            loss = loss + plan.z_loss * lse**2
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, weight, bias, *plan.target.watched())
            ctx.plan, ctx.whole = plan, whole
        return plan.spread(loss, len(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the input, the weight and the bias."""
        plan: HeadPlan = ctx.plan
        if torch.is_grad_enabled():
            raise RuntimeError(
                "linear_cross_entropy has no second derivatives: they would need all logits at once. Use "
                "sf.cross_entropy(torch.nn.functional.linear(input, linear_weight, linear_bias), target)"
                if plan.added is None
                else "a split loss is differentiable once: leave out create_graph=True"
            )
        x, weight, bias, *_ = ctx.saved_tensors  # raises if they were changed since
        factor = plan.pick(grads[0].double().resolve_neg()).contiguous()
        of_x, of_weight, of_bias = gradients(Head(plan, x, weight, bias), ctx.whole, factor, ctx.needs_input_grad[:3])
        if of_x is not None:
            of_x = plan.spread(of_x if plan.added is None else plan.added(of_x).to(x.dtype), len(x))
        return of_x, _padded(of_weight, weight), _padded(of_bias, bias), None, None, None


def _padded(gradient: Tensor | None, like: Tensor | None) -> Tensor | None:
    """With 0 for the rows that are padding."""
    if gradient is None or like is None or gradient.shape == like.shape:
        return gradient
    whole = torch.zeros_like(like)
    whole[: len(gradient)] = gradient
    return whole
