r"""The definition, in plain float64 torch: every faster path is tested against it.

.. math:: L = \sum_k w_k q_k\,(\mathrm{lse}(z) - z_k), \qquad \frac{\partial L}{\partial z} = S\,p - w q,
          \qquad S = \sum_k w_k q_k

It keeps every digit: :math:`z_k - \max z` is split into its rounded value and the rounding error, and the maximum stays
out of the sum of exponentials, which goes through ``log1p``.
"""

from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from sfumato.arguments import Call, LossOptions, resolve, with_loss_options
from sfumato.targets import Target


class _Rows(NamedTuple):
    """Row by row: −log p, p, and the weighted target w·q, each (N, K, …); factors and weights (N, …)."""

    surprisal: Tensor
    p: Tensor
    wq: Tensor
    factor: Tensor  # what each row's loss is multiplied by
    mass: Tensor  # what each row adds to the mean's denominator
    top: Tensor  # index of each row's largest logit, (N, 1, …)


@with_loss_options
def cross_entropy(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    overwrite_logits: bool = False,
    **options: Unpack[LossOptions],
) -> Tensor:
    """The loss by its definition; arguments as of :func:`sfumato.cross_entropy`.

    It is float64 unless ``out_dtype`` says otherwise, within 1e-14 relative of the exact value for logits to ±1e4 and K
    to 1e6, differentiable, and slow. ``overwrite_logits`` is taken and changes nothing.

    >>> cross_entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), label_smoothing=0.1).item()  # log 2
    0.6931471805599453

    Source: the note, section 1.
    """
    z, call = resolve(input, target, weight, **options)
    rows = _rows(z, call)
    # A class without mass costs nothing, however impossible the model holds it: 0·inf is 0 here.
    surprisal = rows.surprisal.masked_fill((rows.wq == 0) & rows.surprisal.isinf(), 0.0)
    loss = (rows.wq * surprisal).sum(1)
    loss = loss.masked_fill((rows.factor == 0) & ~loss.isfinite(), 0.0) * rows.factor
    if (valid := call.target().valid) is not None:
        loss = torch.where(valid, loss, 0.0)
    if call.reduction == "mean":
        divisor = _divisor(rows.mass)
        loss = torch.where(divisor.isnan(), divisor, loss.sum() / divisor.nan_to_num(1.0))
    elif call.reduction == "sum":
        loss = loss.sum()
    elif call.unbatched:
        loss = loss.squeeze(0)
    return loss.to(options.get("out_dtype") or torch.float64)


@with_loss_options
def gradient(
    input: Tensor, target: Tensor | Target, weight: Tensor | None = None, **options: Unpack[LossOptions]
) -> Tensor:
    """The gradient of :func:`cross_entropy` in its logits, by the formula S·p − w·q, with the same arguments.

    It is float64, within 1e-14 of the exact value before reduction, and exactly 0 on ignored rows. With
    ``reduction="none"`` each row holds the gradient of its own loss.

    >>> gradient(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).tolist()
    [[0.5, -0.5]]

    Source: the note, eq. 1.
    """
    z, call = resolve(input, target, weight, **options)
    rows = _rows(z, call)
    scale = rows.factor / _divisor(rows.mass) if call.reduction == "mean" else rows.factor
    each = rows.wq.sum(1, keepdim=True) * rows.p - rows.wq
    # The entries sum to 0. At the maximum 1 − p has no digits left where the row is confident, the others' sum has.
    others = each.scatter(1, rows.top, 0.0).sum(1, keepdim=True)
    grad = torch.where(scale == 0, 0.0, scale).unsqueeze(1) * each.scatter(1, rows.top, -others)
    if (valid := call.target().valid) is not None:
        grad = torch.where(valid.unsqueeze(1), grad, 0.0)
    return grad.squeeze(0) if call.unbatched else grad


def _rows(z: Tensor, call: Call) -> _Rows:
    target = call.target()
    z, q, valid = z.double(), target.to_dense(torch.float64), target.valid
    if valid is not None:
        z = torch.where(valid.unsqueeze(1), z, 0.0)  # before any arithmetic: a NaN in an ignored row must not spread

    top, index = z.max(1, keepdim=True)
    low, rounding = _difference(z, top)
    e = low.exp()
    e = (e + e * rounding).scatter(1, index, 0.0)
    s = e.sum(1, keepdim=True)
    surprisal = (s.log1p() - rounding) - low + (top - top).detach()  # NaN where the maximum is infinite
    p = e.scatter(1, index, 1.0) / (1 + s)

    factor = mass = torch.ones_like(surprisal.select(1, 0))
    if call.weight is not None:
        w = call.weight.double()
        along = w.reshape((1, -1) + (1,) * (z.dim() - 2))
        of_label = target.of_label(w)
        of_row = (along * q).sum(1) if of_label is None else of_label  # without a label: the mean over the target
        if call.weight_on == "class":
            q = along * q
            mass = mass if of_label is None else of_label  # torch divides by N where the target is dense
        else:
            factor = mass = of_row
    if call.sample_weight is not None:
        factor, mass = factor * call.sample_weight.double(), mass * call.sample_weight.double()
    if valid is not None:
        mass = torch.where(valid, mass, 0.0)
    return _Rows(surprisal, p, q, factor, mass, index)


def _divisor(mass: Tensor) -> Tensor:
    """Of the mean; over nothing the mean is NaN, never inf."""
    total = mass.sum()
    return torch.where(total == 0, torch.nan, total)


def _difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The difference as its rounded value and the rounding error, whose sum is exact (Knuth's TwoSum)."""
    d = a - b
    with torch.no_grad():
        minus_b = d - a
        error = (a - (d - minus_b)) + (-b - minus_b)
        error = torch.where(d.isfinite(), error, 0.0)
    return d, error
