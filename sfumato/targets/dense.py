"""Targets with a probability for every class: probabilities as they are, and a teacher's beside the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sfumato.targets.base import FIELDS, Fields, Target, mixed_in_words
from sfumato.targets.checks import (
    ArgumentError,
    both,
    check_distribution,
    check_mask,
    check_tensor,
    checked_labels,
    checked_share,
    class_axis,
    positions_of,
    readable,
)
from sfumato.targets.terms import AtLabel, Scaled, Terms


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
    valid: Tensor | None = None
    if mask is not None:
        check_mask(mask)
        if mask.shape != positions_of(probs):
            raise ValueError(
                f"mask must have the shape of the positions {tuple(positions_of(probs))}, got {tuple(mask.shape)}"
            )
        if not readable(mask) or not bool(mask.all()):
            valid = mask
    if check:
        check_distribution(probs.unsqueeze(0) if probs.dim() == 1 else probs, valid, "probs")
    return Dense(probs.shape[class_axis(probs.dim() - 1)], None, valid, probs)


def distil(
    labels: Tensor,
    teacher_probs: Tensor,
    alpha: float | Tensor,
    *,
    mask: Tensor | None = None,
    ignore_index: int = -100,
) -> Target:
    r"""A teacher's probabilities beside the label, as one target.

    .. math:: q = (1-\alpha)\,e_y + \alpha\,p_{\text{teacher}}

    A temperature other than 1 makes two losses, not one target: see :func:`sfumato.distillation_loss`.

    Args:
        labels: (P…) int64, any shape.
        teacher_probs: floating, (N, K, …) with classes on axis 1, or (K,) for one label.
        alpha: α in [0, 1], a number or a tensor that broadcasts from the left with ``labels``.
        mask: bool like ``labels``; False marks a position that does not count.
        ignore_index: the label of positions that do not count.

    Raises:
        IndexError: a label that is no class.
        ValueError: α outside [0, 1] or NaN, probabilities that are no distribution, shapes that do not fit.

    >>> distil(torch.tensor([0]), torch.tensor([[0.5, 0.5]]), 0.5).probs()
    tensor([[0.7500, 0.2500]])

    Source: Hinton et al. 2015, section 2, at temperature 1.
    """
    check_tensor(teacher_probs, "teacher_probs")
    if mask is not None:
        check_mask(mask)
    for name, given in (("teacher_probs", positions_of(teacher_probs)), ("mask", None if mask is None else mask.shape)):
        if given is not None and given != labels.shape:
            raise ArgumentError(f"{name} has positions {tuple(given)}, the labels {tuple(labels.shape)}")
    alpha = checked_share(alpha, labels.shape, "alpha")
    num_classes = teacher_probs.shape[class_axis(labels.dim())]
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    valid = both(valid, mask)
    from_probs(teacher_probs, mask=valid)  # which refuses what is no distribution
    return Dense(num_classes, labels, valid, teacher_probs, alpha)


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Target):
    """A·x + B over the classes, and 1 − A of the label where positions have labels.

    Attributes:
        x: floating, classes on axis 1 (axis 0 if there is one position).
        scale: A, a number or a tensor that broadcasts from the left with the positions.
        shift: B.
    """

    FIELDS: ClassVar[Fields] = (
        *FIELDS,
        ("x", "positions and classes"),
        ("scale", "first positions"),
        ("shift", "nothing"),
    )

    x: Tensor
    scale: float | Tensor = 1.0
    shift: float = 0.0

    @property
    def shape(self) -> torch.Size:
        return positions_of(self.x)

    def terms(self, dtype: torch.dtype) -> Terms:
        scale = self.share(self.scale, dtype)
        dense = Scaled(self.x, scale, self.shift)
        return Terms(dense, label=None if self.labels is None else AtLabel(self.labels, 1 - scale, added=True))

    def describe(self) -> str:
        k = self.num_classes
        if self.labels is None:
            return f"probabilities over {k} classes"
        return mixed_in_words(
            (1 - self.scale, f"one-hot over {k} classes"), (self.scale, f"probabilities over {k} classes")
        )

    def _made(self, **fields: Any) -> Dense:
        return Dense(**fields)
