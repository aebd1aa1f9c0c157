"""A target given as probabilities."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sfumato._checks import check_tensor, class_axis, readable
from sfumato.targets.base import Target
from sfumato.targets.checks import check_distribution


def from_probs(probs: Tensor, *, check: bool = True, mask: Tensor | None = None) -> Target:
    """A dense target: any distribution for each position.

    Args:
        probs: floating, (N, K, …) with the classes on axis 1, or (K,).
        check: refuse what is not a distribution; False takes the numbers as they are.
        mask: bool, shape of the positions; False marks a position without a target, whatever its numbers are.

    Raises:
        ValueError: a probability that is negative or not finite, or a position that does not sum to 1 (names the first
            position and the value); a mask of another shape. Values are looked at on the CPU only.
        TypeError: probabilities that are not floating, a mask that is not bool.

    >>> from_probs(torch.tensor([[0.7, 0.2, 0.1]])).entropy()
    tensor([0.8018], dtype=torch.float64)

    Source: any; the loss is S·logsumexp(z) − ⟨q, z⟩.
    """
    check_tensor(probs, "probs")
    if not probs.is_floating_point():
        raise TypeError(f"probs must be floating, got {probs.dtype}; for labels use sf.one_hot or sf.smooth")
    if probs.dim() == 0:
        raise ValueError("probs must have a class axis: (K,) or (N, K, …)")
    target = Target(probs.shape[class_axis(probs.dim() - 1)], None, form="dense", dense=probs)
    if mask is not None:
        if mask.dtype != torch.bool:
            raise TypeError(f"mask must be bool (True: the position counts), got {mask.dtype}")
        if mask.shape != target.shape:
            raise ValueError(
                f"mask must have the shape of the positions {tuple(target.shape)}, got {tuple(mask.shape)}"
            )
        if not readable(mask) or not bool(mask.all()):
            target = replace(target, valid=mask)
    if check:
        check_distribution(probs.unsqueeze(0) if probs.dim() == 1 else probs, target.valid, "probs")
    return target
