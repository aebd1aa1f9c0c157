"""The loss on the kernel as one differentiable step."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from sfumato.arguments import Call
from sfumato.kernel import buffers, job
from sfumato.loss import eager
from sfumato.loss.reduce import RowWeights, weigh, weighed


def loss(z: Tensor, call: Call, target: job.FlatTarget, *, overwrite: bool) -> Tensor:
    """The reduced loss in the dtype of the arithmetic, of a call that the kernel serves."""
    if has_torch_function_unary(z):  # a function mode is told of the kernel as it is of torch's own functions
        return handle_torch_function(loss, (z,), z, call, target, overwrite=overwrite)
    value: Tensor = _Loss.apply(z, call, target, overwrite)  # pyright: ignore[reportAssignmentType]
    return value.squeeze(0) if call.unbatched and call.reduction == "none" else value


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, call: Call, target: job.FlatTarget, overwrite: bool) -> Tensor:
        weights = RowWeights()
        if call.weight is not None or call.sample_weight is not None:
            weights = RowWeights(*(None if each is None else each.detach() for each in weigh(call, torch.float64)))
        mean, scale = call.reduction == "mean", 1.0
        if mean and weights.mass is not None:
            mean, scale = False, 1.0 / (job.add(weights.mass) or float("nan"))
        factor = None if weights.factor is None else weights.factor.reshape(-1).contiguous()
        positions = torch.Size((z.shape[0], *z.shape[2:]))
        ready = None
        each = buffers.empty(torch.Size([positions.numel()]), torch.float64)
        if ctx.needs_input_grad[0] and call.reduction != "none" and not overwrite:
            # The upstream gradient of a loss is nearly always 1: with it the gradient costs no second reading.
            ready = buffers.empty(z.shape, z.dtype)
        try:
            counted = job.run(z, target, each, ready, mean=mean, **_factors(scale, factor))
        except IndexError:
            _ = call.target()  # raises the same with the position's name
            raise
        if mean:
            scale = 1.0 / (counted or float("nan"))
        if ctx.needs_input_grad[0]:
            # Saved tensors are looked at for changes, and let go after backward. The logits are there alone.
            ctx.save_for_backward(z, *target.watched())
            ctx.call, ctx.target, ctx.factor, ctx.scale = call, target, factor, scale
            ctx.ready, ctx.overwrite = ready, overwrite
        if weights.factor is not None:
            each = weighed(call, each.reshape(positions), weights)
        if call.reduction == "none":
            return each.reshape(positions).to(call.dtype)
        return torch.scalar_tensor(job.add(each) * scale, dtype=call.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (upstream,) = grads
        z, *_ = ctx.saved_tensors  # raises if they were changed since
        if torch.is_grad_enabled():
            value = eager.loss(z, ctx.call)  # without a batch axis, where the call had none
            (grad,) = torch.autograd.grad(value, z, upstream.reshape(value.shape), create_graph=True)
            return grad, None, None, None
        scale: float = ctx.scale
        factor = cast("Tensor | None", ctx.factor)
        if ctx.call.reduction == "none":
            scale, up = 1.0, upstream.detach().double().reshape(-1).resolve_neg().contiguous()
            factor = up if factor is None else factor * up
        else:
            upstream_factor = float(upstream)
            ready, ctx.ready = ctx.ready, None
            if upstream_factor == 1.0 and ready is not None:
                return ready, None, None, None
            scale *= upstream_factor
        if ctx.overwrite:
            grad = z.detach()
            torch.autograd.graph.increment_version(z)
        else:
            grad = buffers.empty(z.shape, z.dtype)
        job.run(z.detach(), ctx.target, None, grad, **_factors(scale, factor))
        return grad, None, None, None


def _factors(scale: float, factor: Tensor | None) -> dict[str, Any]:
    """What every gradient is multiplied by; a row of weight 0 has gradient 0 even under the NaN of an empty mean."""
    if factor is not None and scale != scale:
        return {"row_scale": factor.masked_fill(factor != 0, scale)}
    return {"scale": scale, "row_scale": factor}
