"""What all penalties share: the checks of their numbers, the sum with the cross entropy, and means over a target."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.loss import eager, paths
from sfumato.loss.reduce import RowWeights, reduce, weigh
from sfumato.targets.checks import ArgumentError
from sfumato.targets.labelled import Labelled


class Logits(NamedTuple):
    """The logits of a call, of which a penalty is made.

    Attributes:
        z: (N, K, …) in the dtype of the arithmetic, 0 in rows that do not count.
        wide: the dtype for sums over classes.
    """

    z: Tensor
    wide: torch.dtype

    def below_top(self) -> Tensor:
        """How far each logit is below the largest, (N, K, …); the gradient of the maximum is shared among equals."""
        return self.z.amax(1, keepdim=True) - self.z


def with_penalty(z: Tensor, call: Call, strength: float, penalty: Callable[[Logits], Tensor]) -> Tensor:
    """The cross entropy of a call plus a strength times a penalty, rounded once.

    The penalty gives a number a row, (N, …), in the wide dtype. It counts as much as the row does in the divisor of a
    mean: by its label's class weight, its sample weight, or the product.
    """
    check_two_classes(z)
    loss = paths.loss(z, call)
    if strength == 0:  # and not 0 times a penalty, which may be infinite
        return loss.to(call.result_dtype)
    wide = eager.wide_type(z, call)
    each = penalty(Logits(eager.counted(z, call), wide))
    mass = weigh(call, wide).mass
    return (loss + reduce(call, strength * each, RowWeights(mass, mass)).to(call.dtype)).to(call.result_dtype)


def over_target(call: Call, each: Tensor, weight: Tensor | None = None) -> Tensor:
    """Σ w_k q_k·each_k over the classes of numbers (N, K, …), in their dtype; a class without mass counts nothing."""
    labels = plain_labels(call)
    if labels is not None:
        found = each.gather(1, labels.unsqueeze(1)).squeeze(1)
        return found if weight is None else found * weight.gather(0, labels.reshape(-1)).reshape(labels.shape)
    q = call.target().to_dense(call.dtype).to(each.dtype)
    if weight is not None:
        q = q * weight.reshape((1, -1) + (1,) * (q.dim() - 2))
    return (q * torch.where(q == 0, 0.0, each)).sum(1)


def plain_labels(call: Call) -> Tensor | None:
    """The labels of a call whose target is one-hot, (N, …), 0 where a row does not count; None for another target."""
    target = call.target()
    if isinstance(target, Labelled) and not isinstance(target.eps, Tensor) and target.eps == 0:
        return target.labels
    return None


def check_two_classes(z: Tensor) -> None:
    """Refuse a single class, whose logit has nothing to be compared with."""
    if z.shape[1] < 2:
        raise ArgumentError(f"a penalty on logits needs at least 2 classes, got {z.shape[1]}")


def checked_at_least_0(value: float, name: str) -> float:
    """A number of a penalty that must be finite and not negative.

    >>> checked_at_least_0(-1.0, "beta")
    Traceback (most recent call last):
    ...
    sfumato.targets.checks.ArgumentError: beta must be a finite number, at least 0, got -1
    """
    if isinstance(value, Tensor):
        raise TypeError(f"{name} must be a number, got a tensor of shape {tuple(value.shape)}")
    if not (value >= 0 and math.isfinite(value)):
        raise ArgumentError(f"{name} must be a finite number, at least 0, got {value:g}")
    return value
