"""The loss of a linear layer as one differentiable step, from its input, weight and bias to each row's loss."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel.job import FlatTarget
from sfumato.loss.flatten import flatten, take_rows
from sfumato.loss.linear import pieces
from sfumato.loss.linear.pieces import RowParts
from sfumato.loss.paths import has_tangent
from sfumato.loss.row_numbers import together
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError


class HeadPlan(NamedTuple):
    """What a call asks for, apart from the tensors that may get a gradient."""

    call: Call  # says the dtype of the arithmetic
    target: FlatTarget  # of the rows that count
    kept: Tensor | None  # (n,) which rows these are; None for all
    labels: Tensor | None  # (n,) labels of the rows that count, for the parts; or None
    softcap: float  # c of c·tanh(z/c), or 0
    z_loss: float  # λ of λ·lse², or 0
    parts: bool  # whether the parts of each row are wanted

    def head(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> pieces.Head:
        """The layer on the rows that count."""
        x = x if self.kept is None else x.index_select(0, self.kept)
        return pieces.Head(x, weight, bias, self.call, self.softcap, self.z_loss)

    def of_kept(self, upstream: Tensor) -> Tensor:
        """The gradient of each row's loss, (N,), at the rows that count, as the kernel reads it."""
        upstream = upstream.double().resolve_neg()
        return (upstream if self.kept is None else upstream.index_select(0, self.kept)).contiguous()

    def spread(self, of_kept: Tensor, count: int) -> Tensor:
        """Numbers of the rows that count among all rows, 0 for the others."""
        if self.kept is None:
            return of_kept
        return of_kept.new_zeros((count, *of_kept.shape[1:])).index_copy_(0, self.kept, of_kept)


def loss_of_rows(x: Tensor, weight: Tensor, bias: Tensor | None, plan: HeadPlan) -> tuple[Tensor, RowParts | None]:
    """Each row's loss, (N,) float64 and 0 where it does not count, and its parts if they are wanted."""
    loss, *parts = _Head.apply(x, weight, bias, plan)  # pyright: ignore[reportGeneralTypeIssues]
    return loss, RowParts(*parts) if plan.parts else None


class _Head(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, plan: HeadPlan) -> tuple[Any, ...]:
        head = plan.head(x.detach(), weight.detach(), None if bias is None else bias.detach())
        found = pieces.measure(head, plan.target, labels=plan.labels, parts=plan.parts)
        rows = together(found.numbers, _alone, _alone)
        whole, loss = rows.whole(found.numbers), rows.loss
        if plan.z_loss:
            loss = pieces.add_z_loss(rows, whole, plan.z_loss)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, weight, bias, *plan.target.watched())
            ctx.plan, ctx.whole = plan, whole
        if found.parts is None:
            return (plan.spread(loss, len(x)),)
        parts = found.parts.of_rows(found.numbers.at, rows, plan.labels)
        told = [None if each is None else plan.spread(each, len(x)) for each in parts]
        ctx.mark_non_differentiable(*(each for each in told if each is not None))
        return plan.spread(loss, len(x)), *told

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "linear_cross_entropy has no second derivatives: they would need all logits at once. Use "
                "sf.cross_entropy(torch.nn.functional.linear(input, linear_weight, linear_bias), target)"
            )
        x, weight, bias, *_ = ctx.saved_tensors  # raises if they were changed since
        plan: HeadPlan = ctx.plan
        head = plan.head(x.detach(), weight.detach(), None if bias is None else bias.detach())
        wanted = ctx.needs_input_grad[:3]
        of_x, of_weight, of_bias = pieces.gradients(head, plan.target, ctx.whole, plan.of_kept(grads[0]), wanted)
        return None if of_x is None else plan.spread(of_x, len(x)), of_weight, of_bias, None


def _alone(numbers: Tensor) -> Tensor:
    """The numbers of all slices, where there is one."""
    return numbers


def flat_rows(x: Tensor, call: Call) -> tuple[FlatTarget, Tensor | None]:
    """The target of the rows that count, one axis long, and which rows these are; None for all."""
    flat = flatten(x, call._replace(given=call.target()))  # with labels that are checked
    assert flat is not None, "without dense arrays the kernel's form has a place for every term"
    if flat.valid is None:
        return flat, None
    kept = flat.valid.nonzero().squeeze(1)
    return take_rows(flat, kept)._replace(valid=None), kept


def check_sparse(target: Target) -> None:
    """Refuse a target that holds a number for every row and class."""
    terms = target.terms(torch.float64)
    if terms.dense is not None or any(back.support is not None for back in terms.backs):
        raise ArgumentError(
            f"the target holds a number for every row and class ({target.describe()}), which linear_cross_entropy is "
            "there to avoid. Use sf.distil_top for the largest of a teacher's, or sf.cross_entropy of the logits"
        )


def check_constant(tensors: list[Tensor], message: str) -> None:
    """Refuse tensors that a derivative is asked for, where the layer's input, weight and bias alone get one."""
    if has_tangent(*tensors) or (torch.is_grad_enabled() and any(each.requires_grad for each in tensors)):
        raise ArgumentError(message)


def check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Refuse what is no linear layer's input, weight and bias."""
    if not x.is_floating_point() or x.dim() == 0:
        raise ArgumentError(f"input must be floating and (…, D), got {x.dtype} {tuple(x.shape)}")
    if weight.dim() != 2:
        raise ArgumentError(f"linear_weight must be (V, D), got {tuple(weight.shape)}")
    if weight.shape[1] != x.shape[-1]:
        raise ArgumentError(
            f"input has {x.shape[-1]} features and linear_weight {weight.shape[1]}: "
            f"{tuple(x.shape)} does not fit {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ArgumentError(f"linear_bias must be ({len(weight)},), one number a class, got {tuple(bias.shape)}")
    others = [("linear_weight", weight)] + ([] if bias is None else [("linear_bias", bias)])
    for name, tensor in others:
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise ArgumentError(
                f"input is {x.dtype} on {x.device} and {name} {tensor.dtype} on {tensor.device}: bring them together, "
                "as torch.autocast does with types"
            )
