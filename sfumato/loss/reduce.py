"""From each row's loss to what was asked for: the weights of rows, the rows that do not count, and the reduction."""

from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call, Reduction
from sfumato.targets.checks import ArgumentError, readable
from sfumato.targets.terms import along_classes


class RowWeights(NamedTuple):
    """What the rows of a call weigh, (N, …); 0 where a row does not count, whatever its weight was."""

    factor: Tensor | None = None  # what each row's loss is multiplied by; None for 1
    mass: Tensor | None = None  # what each row adds to the divisor of a mean; None for 1 a row that counts


def weigh(call: Call, dtype: torch.dtype) -> RowWeights:
    """The weights of a call's rows, in ``dtype``."""
    factor = mass = None
    if call.weight is not None:
        weight = call.weight.to(dtype)
        mass = call.target().of_label(weight)
        if call.weight_on == "sample":
            if mass is None:  # without a label: the mean over the target
                q = call.target().to_dense(call.dtype)
                mass = (along_classes(weight, q.dim() - 1) * q).sum(1, dtype=dtype)
            factor = mass
        # On classes a mean over dense targets is divided by its rows, as torch's is.
    if call.sample_weight is not None:
        given = call.sample_weight.to(dtype)
        factor = given if factor is None else factor * given
        mass = given if mass is None else mass * given
    if mass is None:
        return RowWeights()
    valid = call.target().valid
    if valid is not None:
        mass = torch.where(valid, mass, 0.0)
        factor = None if factor is None else torch.where(valid, factor, 0.0)
    return RowWeights(factor, mass)


def reduce(call: Call, each: Tensor, weights: RowWeights, reduction: Reduction | None = None) -> Tensor:
    """The losses of rows, (N, …), reduced as the call asks, or by ``reduction``; in torch operations."""
    each = weighed(call, each, weights)
    reduction = reduction or call.reduction
    if reduction == "none":
        return each.squeeze(0) if call.unbatched else each
    if reduction == "sum":
        return each.sum()
    valid = call.target().valid
    if weights.mass is None:
        return each.sum() / (each.numel() if valid is None else valid.sum())
    total = weights.mass.sum()
    nothing = total == 0  # over which the mean is NaN, never inf, and its gradient 0
    return torch.where(nothing, torch.nan, each.sum() / torch.where(nothing, 1.0, total))


def reduced(call: Call, each: Tensor, num_items: float | Tensor | None = None) -> Tensor:
    """The losses of rows, weighed, reduced in their own dtype, a sum over ``num_items`` if given; then rounded."""
    weights = weigh(call, each.dtype)
    loss = reduce(call, each, weights) if num_items is None else reduce(call, each, weights, "sum") / num_items
    return loss.to(call.dtype)


def check_num_items(num_items: object, reduction: str) -> None:
    """Refuse a number of items that is none, or beside a reduction that divides by nothing."""
    if num_items is None:
        return
    if reduction != "mean":
        raise ArgumentError(f'num_items is what a mean divides by, and reduction is "{reduction}"')
    if isinstance(num_items, Tensor):
        if num_items.dim():
            raise ArgumentError(f"num_items must be one number, got a tensor of shape {tuple(num_items.shape)}")
        if not readable(num_items):
            return
    elif not isinstance(num_items, Real):
        raise TypeError(f"num_items must be a number, got {num_items!r}")
    if not float(num_items) >= 0:
        raise ArgumentError(f"num_items must be at least 0, got {float(num_items):g}")


def checked_numbers(softcap: float | None, z_loss: float) -> tuple[float, float]:
    """The cap and the strength of the z-loss, 0 where there is none; refused if they are out of range."""
    for name, value in (("softcap", softcap), ("z_loss", z_loss)):
        if isinstance(value, str):
            raise TypeError(f"{name} must be a number, got {value!r}")
    if softcap is not None and not 0 < softcap < float("inf"):
        raise ArgumentError(f"softcap must be above 0 and finite, got {softcap:g}")
    if not 0 <= z_loss < float("inf"):
        raise ArgumentError(f"z_loss must be at least 0 and finite, got {z_loss:g}")
    return softcap or 0.0, float(z_loss)


def unweighed_share(call: Call, num_items: object = None) -> float | Tensor:
    """What a row's penalty is multiplied by, so that its part of a mean is not divided by the sum of class weights."""
    factor, mass = weigh(call, call.dtype)
    if call.reduction != "mean" or num_items is not None or mass is None:
        return 1.0
    rows = weighed(call, torch.ones_like(mass), RowWeights(factor)).sum()
    return torch.where(rows == 0, 1.0, mass.sum() / rows)


def weighed(call: Call, each: Tensor, weights: RowWeights) -> Tensor:
    """Each row's loss times its weight, 0 where the row does not count."""
    if weights.factor is not None:
        each = times(weights.factor, each)
    valid = call.target().valid
    return each if valid is None else torch.where(valid, each, 0.0)


def times(mass: float | Tensor, surprisal: Tensor) -> Tensor:
    """Mass times −log p, where no mass costs nothing even at −log p = inf."""
    if not isinstance(mass, Tensor):
        return mass * surprisal if mass != 0.0 else torch.zeros_like(surprisal)
    return mass * costless(mass, surprisal)


def costless(mass: Tensor, surprisal: Tensor) -> Tensor:
    """−log p with 0 where it is not finite and there is no mass; elsewhere a mass of 0 keeps its derivative, −log p."""
    return torch.where((mass == 0) & ~surprisal.isfinite(), 0.0, surprisal)
