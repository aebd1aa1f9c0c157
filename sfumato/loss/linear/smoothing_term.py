"""What smoothing adds to a one-hot loss, from a linear layer's input and weight: a few products of vectors a row."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import result_type
from sfumato.loss.linear.functional import check_constant, checked_layer, uncompiled
from sfumato.targets.checks import (
    ArgumentError,
    check_distribution,
    check_over,
    check_reduction,
    check_strength,
    check_tensor,
    checked_labels,
)
from sfumato.targets.terms import watched
from sfumato.theory import Over

_BLOCK = 4096  # classes whose weights are in float64 at a time


@uncompiled
def smoothing_term(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    eps: float,
    *,
    over: Over | None = None,
    prior: Tensor | None = None,
    linear_bias: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    r"""What smoothing adds to the one-hot cross entropy of a linear layer's output, for anyone's fused kernel.

    .. math:: \mathrm{CE}(z, q) - \mathrm{CE}(z, e_y) = c\,(z_y - \langle \pi, z\rangle), \qquad
              c = \varepsilon \ \text{(all, or a prior)}, \quad c = \frac{\varepsilon V}{V-1} \ \text{(others)}

    with π even over all V classes unless a ``prior`` is given. ⟨π, z⟩ is the product of x with ⟨π, W⟩, so the term
    needs neither the logits nor their exponentials: ``kernel(x, W, y) + sf.smoothing_term(x, W, y, 0.1, over="all")``
    is the smoothed loss.

    The two parts cancel where the loss is small: the sum is right to about 1e-7·max|z| in float32, as an absolute
    error. :func:`sfumato.linear_cross_entropy` has no such error.

    A kernel that leaves out small gradients gives a wrong gradient with this term, beside a right value. Cut Cross
    Entropy does so by default: it skips blocks in which every ∂L/∂z is below about 1e-4. The tail of a softmax is such
    a block, and the term's −cπ, which cancels it at a smoothed optimum, stays. Use ``impl="cce_exact"``
    (``filter_eps=None``) there.

    Args:
        input, linear_weight, linear_bias, ignore_index, reduction: as of :func:`sfumato.linear_cross_entropy`.
        target: class indices (…).
        eps: strength ε in [0, 1].
        over: ``"all"`` or ``"others"``; required unless there is a prior.
        prior: π, (V,), which sums to 1, in place of ``over``. It gets no gradient.

    Returns:
        A scalar, or one number a position, which can be below 0; in the dtype of the input (float32 under autocast).

    Raises:
        ValueError: a strength outside [0, 1], neither or both of ``over`` and ``prior``, shapes that do not fit, a
            prior that would get a gradient.
        IndexError: a label that is not a class.

    >>> x, w, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([0])
    >>> hard = torch.nn.functional.cross_entropy(x @ w.t(), y)
    >>> round((hard + smoothing_term(x, w, y, 0.1, over="all")).item(), 4)
    0.3729

    Source: Szegedy et al. 2016, section 7, rearranged.
    """
    check_strength(eps, "eps")
    input, linear_weight, linear_bias = checked_layer(input, linear_weight, linear_bias)
    check_tensor(target, "target")
    classes = len(linear_weight)
    _check_where_to(over, prior, classes)
    if target.shape != input.shape[:-1]:
        raise ArgumentError(f"the target has positions {tuple(target.shape)}, the input {tuple(input.shape[:-1])}")
    check_reduction(reduction)
    labels, valid = checked_labels(target, classes, ignore_index, "linear_weight has")
    share = eps * classes / (classes - 1) if over == "others" else eps
    of_rows = _Rows(labels.reshape(-1), None if valid is None else valid.reshape(-1), share, prior)
    flat = input.reshape(-1, input.shape[-1])
    each: Tensor = _Term.apply(flat, linear_weight, linear_bias, of_rows)  # pyright: ignore[reportAssignmentType]
    dtype = result_type(input.dtype, input.device)
    if reduction == "none":
        return each.reshape(target.shape).to(dtype)
    total = each.sum()
    return (total / (len(each) if valid is None else valid.sum()) if reduction == "mean" else total).to(dtype)


def _check_where_to(over: Over | None, prior: Tensor | None, classes: int) -> None:
    if (over is None) == (prior is None):
        raise ArgumentError('give either over="all" or over="others", or a prior')
    if over is not None:
        check_over(over)
        if over == "others" and classes < 2:
            raise ArgumentError(f'over="others" needs at least 2 classes, got {classes}')
    if prior is not None:
        check_tensor(prior, "prior")
        if prior.shape != (classes,) or not prior.is_floating_point():
            raise ArgumentError(
                f"prior must be floating and ({classes},), one share a class, got {prior.dtype} {tuple(prior.shape)}"
            )
        check_distribution(prior.unsqueeze(0), None, "prior", of_class=True)
        check_constant([prior], "the prior gets no gradient: pass it detached")


class _Rows(NamedTuple):
    labels: Tensor
    valid: Tensor | None
    share: float  # what the term is multiplied by
    prior: Tensor | None  # None: even


class _Term(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: _Rows) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        mean = _mean_weight(weight.detach(), rows.prior)
        apart = weight.detach().index_select(0, rows.labels).to(wide) - mean.to(wide)
        each = (x.detach().to(wide) * apart).sum(1, dtype=torch.float64)
        if bias is not None:
            of_all = bias.detach().double()
            even = of_all.mean() if rows.prior is None else (of_all * rows.prior).sum()
            each = each + (of_all[rows.labels] - even)
        ctx.save_for_backward(x, weight, bias, *watched(rows.labels, rows.prior))
        ctx.rows, ctx.mean = rows, mean
        return rows.share * each if rows.valid is None else torch.where(rows.valid, rows.share * each, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "smoothing_term has no second derivatives: it is bilinear, write it out where they are needed"
            )
        x, weight, bias, *_ = ctx.saved_tensors  # raises if they were changed since
        rows: _Rows = ctx.rows
        wide = torch.promote_types(x.dtype, torch.float32)
        up = grads[0].double() * rows.share
        if rows.valid is not None:
            up = torch.where(rows.valid, up, 0.0)
        factor = up.to(wide).unsqueeze(1)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = factor * (weight.detach().index_select(0, rows.labels).to(wide) - ctx.mean.to(wide))
            of_x = of_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            scaled = factor * x.detach().to(wide)
            if rows.valid is not None:
                scaled.masked_fill_(~rows.valid.unsqueeze(1), 0.0)
            of_weight = _spread(scaled, rows, weight)
        if bias is not None and ctx.needs_input_grad[2]:
            of_bias = _spread(up.unsqueeze(1), rows, bias.unsqueeze(1)).squeeze(1)
        return of_x, of_weight, of_bias, None


def _mean_weight(weight: Tensor, prior: Tensor | None) -> Tensor:
    """⟨π, W⟩, (D,) float64."""
    total = torch.zeros(weight.shape[1], dtype=torch.float64, device=weight.device)
    for at in range(0, len(weight), _BLOCK):
        block = weight[at : at + _BLOCK].double()
        total += block.sum(0) if prior is None else prior[at : at + _BLOCK].double() @ block
    return total / len(weight) if prior is None else total


def _spread(of_rows: Tensor, rows: _Rows, like: Tensor) -> Tensor:
    """Σ of rows at their labels, less π times Σ of all; each class is summed before it is rounded."""
    wide, classes = of_rows.dtype, len(like)
    total = of_rows.sum(0, dtype=torch.float64)
    share = torch.full((), 1 / classes, dtype=torch.float64) if rows.prior is None else rows.prior.double()
    grad = torch.empty_like(like, memory_format=torch.contiguous_format)
    for at in range(0, classes, _BLOCK):
        some = grad[at : at + _BLOCK]
        each = share if rows.prior is None else share[at : at + _BLOCK].unsqueeze(1)
        some.copy_((-each * total).expand_as(some))
    found, which = rows.labels.unique(return_inverse=True)
    sums = of_rows.new_zeros((len(found), of_rows.shape[1])).index_add_(0, which, of_rows)
    each = share if rows.prior is None else share[found].unsqueeze(1)
    grad[found] = (sums - (each * total).to(wide)).to(grad.dtype)
    return grad
