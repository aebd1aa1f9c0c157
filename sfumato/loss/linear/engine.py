"""What is done with a piece of the logits: by the compiled kernel, or in torch operations.

Both read a piece of all classes of some rows first (:func:`measure`), and turn a piece of any classes into its gradient
afterwards (:func:`to_gradient`), for which the numbers of the whole rows are enough.
"""

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel import job
from sfumato.kernel.job import FlatTarget, WholeRows
from sfumato.loss import eager, flatten
from sfumato.loss.target_slice import TargetSlice
from sfumato.targets.checks import readable


def on_kernel(z: Tensor, call: Call) -> bool:
    """Whether the kernel takes pieces like ``z``."""
    dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
    return call.dtype == dtype and readable(z, *call.tensors()) and job.status().library is not None


def piece_bytes(x: Tensor, call: Call) -> int:
    """Memory for a piece of the logits; in torch operations a few copies of it are made besides."""
    if x.device.type != "cpu":
        return 256 << 20
    return 36 << 20 if on_kernel(x, call) else 6 << 20


def measure(z: Tensor, target: FlatTarget, call: Call, loss: Tensor, whole: WholeRows) -> None:
    """Fill each row's loss and what its gradient needs to know, from all its logits.

    Args:
        z: (n, V), the logits, not changed.
        target: of these rows.
        call: says the dtype of the arithmetic.
        loss: (n,) float64.
        whole: of these rows.
    """
    if on_kernel(z, call):
        job.run(z, target, loss, None, whole=whole)
        return
    wide = torch.float64
    rows, top, index = eager.shifted(z.to(call.dtype), wide)
    lse = rows.lse
    part = TargetSlice.cut(target.terms, 0, z.shape[1], target.weight, wide)
    loss.copy_(eager.towards(rows, target.terms, target.weight))
    mass = part.sums(torch.zeros_like(rows.d), wide)[1]
    own = part.mass_at(index, wide).squeeze(1)
    at_top = (mass - own) - mass * -torch.expm1(-lse)
    for to, value in zip(whole, (index.squeeze(1), top.squeeze(1), lse, mass, at_top), strict=True):
        to.copy_(value)


def to_gradient(
    z: Tensor,
    target: FlatTarget,
    call: Call,
    whole: WholeRows,
    *,
    start: int,
    softcap: float,
    factor: Tensor | None,
) -> None:
    """Put the gradient in the place of the logits of some classes.

    Args:
        z: (n, C), the logits, overwritten.
        target: of these rows, over all classes.
        call: says the dtype of the arithmetic.
        whole: of these rows.
        start: the first of the classes.
        softcap: c where the logits are c·tanh(x/c), whose gradient is that of x; or 0.
        factor: (n,) float64, what each row is multiplied by; None for 1.
    """
    stop = start + z.shape[1]
    if on_kernel(z, call):
        part = flatten.take_classes(target, start, stop)
        job.slice_gradient(z, part, whole, z, start=start, softcap=softcap, row_scale=factor)
        return
    wide, x = torch.float64, z.to(call.dtype)
    slope = (whole.mass * (-whole.lse).exp()).to(x.dtype)
    grad = (x - whole.top.to(x.dtype).unsqueeze(1)).exp_().mul_(slope.unsqueeze(1))
    part = TargetSlice.cut(target.terms, start, stop, target.weight, wide)
    part.subtract(grad, torch.ones_like(whole.lse), wide)
    here = ((whole.top_class >= start) & (whole.top_class < stop)).nonzero().squeeze(1)
    grad[here, whole.top_class[here] - start] = whole.at_top[here].to(x.dtype)
    if softcap:
        grad *= 1 - (x / softcap) ** 2
    z.copy_(grad if factor is None else grad * factor.to(x.dtype).unsqueeze(1))
