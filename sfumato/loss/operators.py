"""The kernel as registered torch operators, so that compiled code calls it without a graph break.

``sfumato::loss_rows`` gives each row's loss, ``sfumato::gradient_rows`` the gradient under a factor a row. Both take
the fields of :class:`sfumato.kernel.job.Rows`, flat. They have fake and autograd implementations and no second
derivative: transforms and whatever else needs one take the torch path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfumato.kernel import job
from sfumato.loss import eager, flatten

if TYPE_CHECKING:
    from sfumato.loss.arguments import Call

_BACK = "float c{0}, Tensor? c{0}_rows, Tensor? u{0}, Tensor? row{0}"
_FIELDS = (
    "Tensor logits, Tensor? labels, Tensor? valid, float true, Tensor? true_rows, float rest, Tensor? rest_rows, "
    "Tensor? prior, Tensor? dense, float scale, Tensor? scale_rows, float shift, "
    f"int backs, {_BACK.format(1)}, {_BACK.format(2)}, "
    "Tensor? support, Tensor? weight, Tensor? entry_classes, Tensor? entry_masses"
)


@torch.library.custom_op("sfumato::loss_rows", mutates_args=(), schema=f"({_FIELDS}) -> Tensor")
def loss_rows(*fields: Any) -> Tensor:
    """Each row's loss, (N·…) float64."""
    rows = _rows(fields)
    loss = torch.zeros(rows.logits.shape.numel() // max(1, rows.logits.shape[1]), dtype=torch.float64)
    job.run(rows, loss, None)
    return loss


@torch.library.custom_op("sfumato::gradient_rows", mutates_args=(), schema=f"(Tensor factor, {_FIELDS}) -> Tensor")
def gradient_rows(factor: Tensor, *fields: Any) -> Tensor:
    """The gradient of each row's loss times its factor, shaped and typed like the logits, contiguous."""
    rows = _rows(fields)
    grad = torch.empty(rows.logits.shape, dtype=rows.logits.dtype)
    job.run(rows, None, grad, row_scale=factor.double().contiguous())
    return grad


@loss_rows.register_fake
def _(*fields: Any) -> Tensor:
    logits: Tensor = fields[0]
    count = logits.shape[0]
    for size in logits.shape[2:]:
        count = count * size
    return logits.new_empty([count], dtype=torch.float64)


@gradient_rows.register_fake
def _(factor: Tensor, *fields: Any) -> Tensor:
    return fields[0].new_empty(fields[0].shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.fields = inputs[1:]  # none of them is changed by anybody between forward and backward but by intent
    ctx.save_for_backward(inputs[0])


def _backward(ctx: Any, factor: Tensor) -> tuple[Any, ...]:
    (logits,) = ctx.saved_tensors
    return gradient_rows(factor, logits, *ctx.fields), *(None for _ in ctx.fields)


loss_rows.register_autograd(_backward, setup_context=_save)


def served(call: Call) -> bool:
    """Whether compiled code calls the kernel: on the CPU, outside of transforms, towards what gets no gradient."""
    z = call.logits
    if z.device.type != "cpu" or not _ready():
        return False
    return call.dtype == (torch.float64 if z.dtype == torch.float64 else torch.float32) and flatten.takes(call)


@torch._dynamo.assume_constant_result  # pyright: ignore[reportPrivateUsage]
def _ready() -> bool:
    """Asked while code is traced: whether there is a kernel, and no transform around."""
    in_transform = torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return job.status().library is not None and not in_transform


def loss(call: Call) -> Tensor:
    """The reduced loss of a call that is :func:`served`, in the dtype of the arithmetic."""
    call = call.checked()
    weight = None if call.weight is None else call.weight.double()
    rows = flatten.rows(call, weight if call.weight_on == "class" else None)
    backs, entries = rows.backs, rows.entries or (None, None)
    each = loss_rows(
        call.logits,
        rows.labels,
        rows.valid,
        *_either(rows.true),
        *_either(rows.rest),
        rows.prior,
        rows.dense,
        *_either(rows.scale),
        rows.shift,
        len(backs),
        *_back(backs[0] if backs else None),
        *_back(backs[1] if len(backs) > 1 else None),
        rows.support,
        rows.weight,
        *entries,
    )
    return eager.reduce(call, each.reshape(call.target.shape), torch.float64).to(call.dtype)


def _either(value: float | Tensor) -> tuple[float, Tensor | None]:
    return (0.0, value) if isinstance(value, Tensor) else (value, None)


def _back(back: job.Back | None) -> tuple[float, Tensor | None, Tensor | None, Tensor | None]:
    return (0.0, None, None, None) if back is None else (*_either(back.c), back.u, back.row)


def _rows(fields: tuple[Any, ...]) -> job.Rows:
    (logits, labels, valid, true, true_rows, rest, rest_rows, prior, dense, scale, scale_rows, shift, *more) = fields
    count, *more = more
    support, weight, entry_classes, entry_masses = more[8:]
    backs = tuple(job.Back(c if many is None else many, u, row) for c, many, u, row in (more[:4], more[4:8])[:count])
    return job.Rows(
        logits=_collapsible(logits.detach()),
        labels=labels,
        valid=valid,
        true=true if true_rows is None else true_rows,
        rest=rest if rest_rows is None else rest_rows,
        prior=prior,
        dense=None if dense is None else _collapsible(dense.detach()),
        scale=scale if scale_rows is None else scale_rows,
        shift=shift,
        backs=backs,
        support=None if support is None else _collapsible(support),
        weight=weight,
        entries=None if entry_classes is None else (entry_classes, entry_masses),
    )


def _collapsible(tensor: Tensor) -> Tensor:
    return tensor if job.collapse(tensor) is not None else tensor.contiguous()
