"""Targets made of classes that were drawn from a teacher, which estimate its distribution without bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from sfumato.targets.base import FIELDS, Fields, Target
from sfumato.targets.checks import ArgumentError, check_mask, check_tensor, class_axis, position, positions_of, readable
from sfumato.targets.terms import Entries, Terms


def distil_sampled(
    indices: Tensor, weights: Tensor | None = None, *, num_classes: int | None = None, mask: Tensor | None = None
) -> Target:
    r"""A teacher's distribution, estimated from classes that were drawn from it.

    .. math:: \hat q = \frac{1}{n}\sum_{j=1}^{n} e_{i_j}, \qquad
              \hat q = \frac{\sum_j w_j\,e_{i_j}}{\sum_j w_j} \text{ with weights}

    With :math:`i_j` drawn from the teacher's p, with replacement, E[q̂] = p, and so the expected loss and its expected
    gradient are those of p itself, however few are drawn. The k largest that :func:`distil_top` stores are not: their
    list leaves out the same classes at every step. Weights are importance weights :math:`p_i/g_i` of classes drawn from
    another distribution g; they are divided by their sum, which has a bias of order 1/n.

    Args:
        indices: (N, n, …) int64 with the draws on axis 1, or (n,); a class may be drawn several times.
        weights: floating, like ``indices``, at least 0; None for 1.
        num_classes: K; if None the loss takes it from the logits, and :meth:`Target.probs` has to wait for it.
        mask: bool, one a position; False marks a position that does not count.

    Raises:
        IndexError: an index that is no class (names the first position).
        ValueError: weights that are negative, not finite, or 0 throughout a position; nothing drawn; shapes that do not
            fit.

    >>> distil_sampled(torch.tensor([[2, 0, 2, 2]]), num_classes=4).probs()
    tensor([[0.2500, 0.0000, 0.7500, 0.0000]])

    Source: Anshumann et al. 2025 (Sparse Logit Sampling), section 4.
    """
    check_tensor(indices, "indices")
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise TypeError(f"indices must be integers, got {indices.dtype}")
    axis = class_axis(indices.dim() - 1)
    if indices.dim() == 0 or indices.shape[axis] == 0:
        raise ArgumentError(f"indices must hold at least one draw a position, (N, n, …), got {tuple(indices.shape)}")
    if weights is not None:
        check_tensor(weights, "weights")
        if weights.shape != indices.shape or not weights.is_floating_point():
            raise ArgumentError(
                f"weights must be floating and like the indices, {tuple(indices.shape)}, got {weights.dtype} "
                f"{tuple(weights.shape)}"
            )
    if mask is not None:
        check_mask(mask)
        if mask.shape != positions_of(indices):
            raise ArgumentError(f"mask has positions {tuple(mask.shape)}, the indices {tuple(positions_of(indices))}")
    if num_classes is not None and (isinstance(num_classes, float) or num_classes < 1):
        raise ArgumentError(f"num_classes must be a whole number from 1, or None, got {num_classes}")
    indices = indices.long()
    share = torch.full(indices.shape, 1 / indices.shape[axis], dtype=torch.float64, device=indices.device)
    if mask is not None:  # a position that does not count is inert, whatever was drawn for it
        indices = torch.where(mask.unsqueeze(axis), indices, 0)
    if weights is not None:
        share = _shares(weights, mask, axis)
    _check_classes(indices, axis, num_classes)
    classes, masses = _merged(indices, share, axis)
    return Sampled(num_classes or 0, None, mask, classes, masses)


@dataclass(frozen=True, eq=False, repr=False)
class Sampled(Target):
    """A few classes a position, each with its share of the draws."""

    FIELDS: ClassVar[Fields] = (
        *FIELDS,
        ("classes", "positions and classes"),
        ("shares", "positions and classes"),
    )

    classes: Tensor  # (N, n, …) int64 (or (n,)), each class once, then −1
    shares: Tensor  # of the draws, like ``classes``, float64; 0 where there is no class

    @property
    def shape(self) -> torch.Size:
        return positions_of(self.classes)

    def terms(self, dtype: torch.dtype) -> Terms:
        return Terms(entries=Entries(self.classes, self.shares.to(dtype)))

    def with_classes(self, num_classes: int) -> Self:
        assert isinstance(self, Sampled), "what was sampled"
        _check_classes(self.classes.clamp(min=0), class_axis(len(self.shape)), num_classes)
        return super().with_classes(num_classes)

    def probs_dtype(self) -> torch.dtype:
        """The default dtype: shares are made in float64 from whole numbers."""
        return torch.get_default_dtype()

    def describe(self) -> str:
        drawn = self.classes.shape[class_axis(len(self.shape))]
        return f"{drawn} draws of a teacher's distribution over {self.num_classes or 'all'} classes"

    def _made(self, **fields: Any) -> Sampled:
        return Sampled(**fields)


def _shares(weights: Tensor, mask: Tensor | None, axis: int) -> Tensor:
    """The weights divided by their sum."""
    wide = weights.double()
    if mask is not None:
        wide = torch.where(mask.unsqueeze(axis), wide, 1.0)
    total = wide.sum(axis, keepdim=True)
    if readable(weights):
        bad = (~((wide >= 0) & wide.isfinite())).any(axis)
        if bool(bad.any()):
            raise ArgumentError(f"weights must be finite and at least 0, which they are not in {position(bad)[1]}")
        empty = (total == 0).squeeze(axis)
        if bool(empty.any()):
            raise ArgumentError(f"weights sum to 0 in {position(empty)[1]}")
    return wide / total


def _check_classes(indices: Tensor, axis: int, num_classes: int | None) -> None:
    if not readable(indices):
        return
    bad = ((indices < 0) | (indices >= (num_classes or 1 << 62))).any(axis)
    if bool(bad.any()):
        known = f"there are {num_classes} (0 to {num_classes - 1})" if num_classes else "it is below 0"
        raise IndexError(f"a drawn class in {position(bad)[1]} is not a class: {known}")


def _merged(indices: Tensor, share: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Each class once with the sum of its shares, then −1 with 0."""
    indices, order = indices.sort(axis)
    share = share.gather(axis, order)
    new = torch.ones_like(indices)
    length = indices.shape[axis]
    new.narrow(axis, 1, length - 1).copy_(indices.narrow(axis, 1, length - 1) != indices.narrow(axis, 0, length - 1))
    place = new.cumsum(axis) - 1
    classes = torch.full_like(indices, -1).scatter(axis, place, indices)
    return classes, torch.zeros_like(share).scatter_add(axis, place, share)
