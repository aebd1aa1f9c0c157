"""The loss on the kernel as one differentiable step; whatever the kernel does not serve stays on the torch path."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from sfumato._checks import readable
from sfumato.kernel import buffers, job
from sfumato.loss import flatten

if TYPE_CHECKING:
    from collections.abc import Callable

    from sfumato.loss.arguments import Call


def served(call: Call) -> bool:
    """Whether the kernel takes this call.

    It takes values on the CPU outside of compiled code, transforms and forward-mode differentiation, whose target gets
    no gradient.
    """
    z = call.logits
    if not readable(z, call.weight, call.sample_weight, *flatten.tensors(call.target)):
        return False
    if job.status().library is None or job.collapse(z) is None:
        return False
    if call.dtype != (torch.float64 if z.dtype == torch.float64 else torch.float32) or not flatten.takes(call):
        return False
    return forward_ad._current_level < 0 or forward_ad.unpack_dual(z).tangent is None  # pyright: ignore[reportPrivateUsage]


def loss(call: Call, torch_path: Callable[[Call], Tensor], *, overwrite: bool) -> Tensor:
    """The reduced loss of a call that is :func:`served`, in the dtype of the arithmetic.

    Args:
        call: the call.
        torch_path: the same loss in torch operations, for second derivatives.
        overwrite: the gradient may take the memory of the logits.
    """
    if call.weight is not None or call.sample_weight is not None:
        call = call.checked()  # their look-up by label needs labels that are classes
    batched = replace(call, unbatched=False) if call.unbatched else call
    value: Tensor = _Loss.apply(call.logits, batched, torch_path, overwrite)  # pyright: ignore[reportAssignmentType]
    return value.squeeze(0) if call.unbatched and call.reduction == "none" else value


_NOTHING = torch.empty(0)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: Call, torch_path: Callable[[Call], Tensor], overwrite: bool) -> Tensor:
        rows, weights, divisor = _rows(call)
        scale = 1.0 / divisor
        ready = None
        count = call.target.shape.numel()
        each = buffers.empty(torch.Size([count]), torch.float64)
        if ctx.needs_input_grad[0] and call.reduction != "none" and not overwrite:
            # The upstream gradient of a loss is nearly always 1: with it the gradient costs no second reading.
            ready = buffers.empty(logits.shape, logits.dtype)
        try:
            job.run(rows, each, ready, **_factors(scale, weights))
        except IndexError:
            call.checked()  # raises the same with the position's name
            raise
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(logits)
            # The logits are in the saved tensors alone: those are let go after backward, and looked at for changes.
            ctx.call, ctx.rows = call.with_logits(_NOTHING), rows._replace(logits=_NOTHING)
            ctx.torch_path, ctx.weights, ctx.scale = torch_path, weights, scale
            ctx.ready, ctx.overwrite = ready, overwrite
        if weights is not None:
            each = torch.where(weights == 0, 0.0, each) * weights
        if call.reduction == "none":
            return each.reshape(call.target.shape).to(call.dtype)
        # numpy adds pairwise on one thread: the same bits for any number of torch's.
        total = float(np.add.reduce(each.numpy())) * (scale if call.reduction == "mean" else 1.0)
        return torch.tensor(total, dtype=call.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (upstream,) = grads
        (logits,) = ctx.saved_tensors  # raises if they were changed since
        if torch.is_grad_enabled():
            value = ctx.torch_path(ctx.call.with_logits(logits).checked())
            (grad,) = torch.autograd.grad(value, logits, upstream, create_graph=True)
            return grad, None, None, None
        scale: float = ctx.scale
        weights = cast("Tensor | None", ctx.weights)
        if ctx.call.reduction == "none":
            scale, up = 1.0, upstream.detach().double().reshape(-1).contiguous()
            weights = up if weights is None else weights * up
        else:
            factor = float(upstream)
            ready, ctx.ready = ctx.ready, None
            if factor == 1.0 and ready is not None:
                return ready, None, None, None
            scale *= factor
        if ctx.overwrite:
            grad = logits.detach()
            torch.autograd.graph.increment_version(logits)
        else:
            grad = buffers.empty(logits.shape, logits.dtype)
        job.run(ctx.rows._replace(logits=logits.detach()), None, grad, **_factors(scale, weights))
        return grad, None, None, None


def _rows(call: Call) -> tuple[job.Rows, Tensor | None, float]:
    """The call in the kernel's numbers, the rows' weights, and what the mean divides by (1 for other reductions)."""
    target = call.target
    weight = None if call.weight is None else call.weight.detach().double()
    of_label = None if weight is None else target.of_label(weight)
    on_class = weight if call.weight_on == "class" else None
    weights = of_label if call.weight_on == "sample" else None
    mass = of_label
    if call.sample_weight is not None:
        given = call.sample_weight.detach().double()
        weights = given if weights is None else weights * given
        mass = given if mass is None else mass * given
    if weights is not None and target.valid is not None:
        weights = torch.where(target.valid, weights, 0.0)  # an ignored row is inert, whatever its weight
    divisor = 1.0
    if call.reduction == "mean":
        if mass is None:
            divisor = float(_counted(call))
        else:
            counted = mass if target.valid is None else torch.where(target.valid, mass, 0.0)
            divisor = float(np.add.reduce(counted.reshape(-1).contiguous().numpy()))
        divisor = divisor or float("nan")
    rows = flatten.rows(call, on_class)
    return rows, None if weights is None else weights.reshape(-1).contiguous(), divisor


def _counted(call: Call) -> int:
    """How many rows count."""
    labels, valid = call.target.labels, call.target.valid
    if call.ignore_index is not None and labels is not None:
        return int(np.count_nonzero(labels.numpy() != call.ignore_index))
    return call.target.shape.numel() if valid is None else int(valid.sum())


def _factors(scale: float, weights: Tensor | None) -> dict[str, Any]:
    """What every gradient is multiplied by; a row of weight 0 has gradient 0 even under the NaN of an empty mean."""
    if weights is not None and scale != scale:
        return {"row_scale": weights.masked_fill(weights != 0, scale)}
    return {"scale": scale, "row_scale": weights}
