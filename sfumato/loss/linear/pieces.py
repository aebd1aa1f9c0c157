"""A linear layer and its loss, piece by piece.

The first pass takes some rows at a time with all their classes. It finds each row's loss, the few numbers that the
gradient needs, and the gradient of the layer's input. The second pass takes some classes at a time with all rows, and
finds the gradient of the weight. So each gradient is summed inside one matrix product, in float32 for half precision,
and rounded once. The logits are made twice: that is a fourth product where an unfused layer has three. In return no
array of the weight's size is added up piece by piece.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel.job import FlatTarget, WholeRows, no_rows_yet
from sfumato.loss.flatten import take_rows
from sfumato.loss.linear import engine

_SMALLEST_ROWS, _SMALLEST_CLASSES = 16, 64


class Head(NamedTuple):
    """A linear layer, and everything of the call but its target.

    Attributes:
        x: (n, D), the inputs of the rows that count.
        weight: (V, D).
        bias: (V,) or None.
        call: says the dtype of the arithmetic.
        softcap: c of c·tanh(z/c), or 0.
        z_loss: λ of λ·lse², or 0.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    call: Call
    softcap: float
    z_loss: float

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


class RowParts(NamedTuple):
    """Numbers of rows that trainers log, (n,) each: −log p_y, H(p), whether p_y is largest, and log Σ e^z."""

    nll: Tensor | None
    entropy: Tensor
    correct: Tensor | None
    lse: Tensor


class FirstPass(NamedTuple):
    """What the first pass finds: (n,) losses in float64, the numbers of the rows, and the gradient of the input."""

    loss: Tensor
    whole: WholeRows
    input_gradient: Tensor | None
    parts: RowParts | None


def measure(
    head: Head, target: FlatTarget, factor: Tensor | None, *, input_gradient: bool, labels: Tensor | None, parts: bool
) -> FirstPass:
    """The first pass.

    Args:
        head: the layer.
        target: of the rows that count.
        factor: (n,) float64, what each row's gradient is multiplied by; None for 1.
        input_gradient: whether to make it.
        labels: (n,) for the parts, or None.
        parts: whether to make them.
    """
    n, classes = len(head.x), len(head.weight)
    step = min(
        max(n, 1), max(_SMALLEST_ROWS, engine.piece_bytes(head.x, head.call) // (classes * head.x.element_size()))
    )
    memory = head.x.new_empty(step * classes)
    loss = torch.zeros(n, dtype=torch.float64, device=head.x.device)
    whole = no_rows_yet(n, head.x.device)
    grad = torch.empty_like(head.x) if input_gradient else None
    found: list[RowParts] = []
    for at in range(0, n, step):
        rows = slice(at, min(at + step, n))
        of_rows, numbers = take_rows(target, rows), whole.of(rows)
        z = head.logits(rows, slice(None), memory)
        engine.measure(z, of_rows, head.call, loss[rows], numbers)
        if parts:
            found.append(_parts(z, numbers, None if labels is None else labels[rows]))
        if head.z_loss:
            add_z_loss(loss[rows], numbers, head.z_loss)
        if grad is not None:
            engine.to_gradient(
                z,
                of_rows,
                head.call,
                numbers,
                start=0,
                softcap=head.softcap,
                factor=None if factor is None else factor[rows],
            )
            torch.mm(z, head.weight, out=grad[rows])
    return FirstPass(loss, whole, grad, _joined(found) if parts else None)


def weight_gradient(
    head: Head,
    target: FlatTarget,
    whole: WholeRows,
    factor: Tensor,
    *,
    bias: bool,
    weight: bool,
    start: int = 0,
    add_input_gradient: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """The second pass: the gradients of the weight and of the bias.

    Args:
        head: the layer.
        target: of the rows that count.
        whole: what the first pass found.
        factor: (n,) float64, what each row's gradient is multiplied by.
        bias: whether to make the bias' gradient.
        weight: whether to make the weight's.
        start: the class of the weight's first row, where the layer has some of the target's classes.
        add_input_gradient: (n, D) in the dtype of the arithmetic, to add the input's gradient to, where no first pass
            made it; or None.
    """
    n, classes = len(head.x), len(head.weight)
    of_weight = torch.empty_like(head.weight, memory_format=torch.contiguous_format) if weight else None
    of_bias = torch.empty_like(head.bias) if bias and head.bias is not None else None
    step = max(
        _SMALLEST_CLASSES, engine.piece_bytes(head.x, head.call) // (max(n, 1) * head.x.element_size()) // 64 * 64
    )
    memory = head.x.new_empty(n * min(step, classes))
    for at in range(0, classes, step):
        some = slice(at, min(at + step, classes))
        z = head.logits(slice(None), some, memory)
        engine.to_gradient(z, target, head.call, whole, start=start + at, softcap=head.softcap, factor=factor)
        if of_weight is not None:
            torch.mm(z.t(), head.x, out=of_weight[some])
        if of_bias is not None:
            of_bias[some] = z.sum(0, dtype=head.call.dtype)
        if add_input_gradient is not None:
            add_input_gradient += z @ head.weight[some]
    return of_weight, of_bias


def add_z_loss(loss: Tensor, whole: WholeRows, strength: float) -> None:
    """λ·lse² on top: its gradient is 2λ·lse·p, so that it moves what the exponentials are multiplied by."""
    lse = whole.top + whole.lse
    loss += strength * lse**2
    more = 2 * strength * lse
    whole.mass.add_(more)
    whole.at_top.add_(more * (-whole.lse).exp())


def _parts(z: Tensor, whole: WholeRows, labels: Tensor | None) -> RowParts:
    """From a piece of whole rows, a few rows at a time so that copies stay small."""
    nll = correct = None
    if labels is not None:
        label = z.gather(1, labels.unsqueeze(1)).squeeze(1).double()
        nll, correct = (whole.top - label) + whole.lse, whole.top_class == labels
    entropy = torch.empty_like(whole.lse)
    few = max(1, (1 << 20) // z.shape[1])
    for at in range(0, len(z), few):
        rows = slice(at, at + few)
        d = z[rows].to(torch.promote_types(z.dtype, torch.float32)) - whole.top[rows].to(z.dtype).unsqueeze(1)
        p = (d - whole.lse[rows].to(d.dtype).unsqueeze(1)).exp()
        entropy[rows] = whole.lse[rows] - (p * d.masked_fill(p == 0, 0.0)).sum(1, dtype=torch.float64)
    return RowParts(nll, entropy, correct, whole.top + whole.lse)


def _joined(found: list[RowParts]) -> RowParts | None:
    if not found:
        return None
    if found[0].nll is None:
        return RowParts(None, torch.cat([each.entropy for each in found]), None, torch.cat([e.lse for e in found]))
    joined: list[Any] = [torch.cat(list(each)) for each in zip(*found, strict=True)]
    return RowParts(*joined)
