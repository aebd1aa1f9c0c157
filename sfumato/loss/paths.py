"""Which path gives a loss: a compiled kernel, the kernel as registered operators in compiled code, or torch."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sfumato.arguments import Call
from sfumato.kernel import job
from sfumato.loss import autograd, eager, flatten


def loss(z: Tensor, call: Call, *, overwrite: bool = False) -> Tensor:
    """The reduced loss in the dtype of the arithmetic; with ``overwrite`` the gradient may take the logits' memory."""
    if kernel_serves(z, call):
        target = flatten.flatten(z, call)
        if target is not None:
            if not torch.compiler.is_compiling():
                return autograd.loss(z, call, target, overwrite=overwrite)
            from sfumato.loss import operators

            return operators.loss(z, call, target)
    return eager.loss(z, call)


def kernel_serves(z: Tensor, call: Call) -> bool:
    """Whether the kernel computes such losses: on the CPU, outside of transforms, towards what gets no gradient.

    In compiled code the operators copy what lies in memory in no order that the kernel knows. Elsewhere such logits,
    and forward-mode differentiation, are left to torch.
    """
    if call.dtype != (torch.float64 if z.dtype == torch.float64 else torch.float32):
        return False
    tensors = call.tensors()
    for each in tensors:
        if each.requires_grad:
            return False
    if torch.compiler.is_compiling():
        # Registered where code is compiled and nowhere else: registration loads all of torch's compiler.
        from sfumato.loss import operators

        return z.device.type == "cpu" and operators.ready()
    if not job.takes(z, *tensors) or job.collapse(z) is None:
        return False
    return not has_tangent(z, *tensors)


def has_tangent(*tensors: Tensor) -> bool:
    """Whether forward-mode differentiation follows one of some tensors."""
    if forward_ad._current_level < 0:  # pyright: ignore[reportPrivateUsage]
        return False
    return any(forward_ad.unpack_dual(each).tangent is not None for each in tensors)
