"""Targets that know the mass of a few classes: a teacher's largest probabilities, or classes drawn from a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from sfumato.targets.base import FIELDS, Fields, Target, mixed_in_words
from sfumato.targets.checks import (
    ArgumentError,
    check_tensor,
    checked_labels,
    checked_mask,
    checked_share,
    class_axis,
    position,
    positions_of,
    readable,
)
from sfumato.targets.terms import AtLabel, Back, Entries, Terms

Rest = Literal["uniform", "renormalise", "drop"]
_MAX_CLASSES = 1 << 62  # no limit yet


def distil_top(
    labels: Tensor,
    indices: Tensor,
    probs: Tensor,
    alpha: float | Tensor,
    *,
    rest: Rest,
    num_classes: int | None = None,
    ignore_index: int = -100,
) -> Target:
    r"""As :func:`distil` from the k largest probabilities of a teacher, which is what one stores.

    .. math:: q = (1-\alpha)\,e_y + \alpha\,t, \qquad t_{i_j} = p_j, \quad
              t_{\text{other}} = \frac{1-\sum_j p_j}{K-k} \text{ (uniform)}, \quad 0 \text{ (drop)}

    ``"renormalise"`` divides p by its sum and leaves the others nothing; ``"drop"`` leaves the mass that was not stored
    out of the target, so that Σq < 1 and the loss pulls less where the teacher was spread out. ``rest`` is required,
    for each choice trains something else.

    ``indices``, int64, and ``probs``, floating, are (N, k, …) with the list on axis 1, or (k,): the classes that were
    stored, no class twice, and their probabilities, at least 0, summing to at most 1. Without ``num_classes`` the loss
    takes K from the logits, and :meth:`Target.probs` has to wait for it. The other arguments are those of ``distil``.

    IndexError names the first label or index that is no class. ValueError: α outside [0, 1], a class stored twice, a
    negative probability, a sum above 1 or one that cannot be renormalised, shapes that do not fit, an unknown ``rest``.

    >>> stored = torch.tensor([[0, 2]]), torch.tensor([[0.5, 0.25]])
    >>> distil_top(torch.tensor([0]), *stored, 1.0, rest="uniform", num_classes=4).probs().float()
    tensor([[0.5000, 0.1250, 0.2500, 0.1250]])

    Source: Hinton et al. 2015, section 2, for the mixture.
    """
    if rest not in ("uniform", "renormalise", "drop"):
        raise ValueError(f'rest must be "uniform", "renormalise" or "drop", got {rest!r}')
    for name, tensor in (("labels", labels), ("indices", indices), ("probs", probs)):
        check_tensor(tensor, name)
    if indices.shape != probs.shape:
        raise ArgumentError(f"indices {tuple(indices.shape)} and probs {tuple(probs.shape)} must have one shape")
    if positions_of(indices) != labels.shape:
        raise ArgumentError(f"indices have positions {tuple(positions_of(indices))}, the labels {tuple(labels.shape)}")
    if indices.is_floating_point() or not probs.is_floating_point():
        raise TypeError(f"indices must be integers and probs floating, got {indices.dtype} and {probs.dtype}")
    axis = class_axis(labels.dim())
    alpha = checked_share(alpha, labels.shape, "alpha")
    labels, valid = checked_labels(labels, num_classes or _MAX_CLASSES, ignore_index)
    indices = indices.long()
    if valid is not None:  # an ignored position is inert, whatever was stored for it
        own = torch.arange(indices.shape[axis]).reshape((-1,) + (1,) * (indices.dim() - axis - 1)).to(indices)
        indices = torch.where(valid.unsqueeze(axis), indices, own)
        probs = torch.where(valid.unsqueeze(axis), probs, 0.0)
    _check_stored(indices, probs, axis, rest, valid)
    wide = probs if rest == "drop" else probs.double()
    missing: float | Tensor = 0.0
    if rest == "renormalise":
        total = wide.sum(axis, keepdim=True)
        wide = wide / torch.where(total == 0, 1.0, total)
    elif rest == "uniform":
        missing = (1 - wide.sum(axis)).clamp(min=0.0)
    target = Listed(0, labels, valid, indices, wide, missing, alpha)
    return target if num_classes is None else target.with_classes(num_classes)


@dataclass(frozen=True, eq=False, repr=False)
class Listed(Target):
    """(1 − α) of the label and α of a list: a few classes with masses of their own, and one mass for each other."""

    FIELDS: ClassVar[Fields] = (
        *FIELDS,
        ("classes", "positions and classes"),
        ("listed", "positions and classes"),
        ("missing", "positions"),
        ("alpha", "first positions"),
    )

    labels: Tensor
    classes: Tensor  # (N, m, …) int64 (or (m,)), the classes of the list
    listed: Tensor  # their masses, like ``classes``
    missing: float | Tensor  # what all other classes have together, a number or one a position
    alpha: float | Tensor  # α, a number or a tensor that broadcasts from the left with ``labels``

    def terms(self, dtype: torch.dtype) -> Terms:
        alpha, missing = self.share(self.alpha, dtype), self.share(self.missing, dtype)
        others = self.num_classes - self.classes.shape[1]
        back = Back(alpha * (missing / others) if others else 0.0)
        of_list = alpha.unsqueeze(1) if isinstance(alpha, Tensor) and alpha.dim() else alpha
        entries = Entries(self.classes, of_list * self.listed.to(dtype))
        return Terms(None, (back,), entries, AtLabel(self.labels, 1 - alpha, added=True))

    def with_classes(self, num_classes: int) -> Self:
        assert isinstance(self, Listed), "what is a list"
        axis = class_axis(self.labels.dim())
        _check_classes(self.classes, axis, num_classes, "stored")
        full = readable(self.classes) and self.classes.shape[axis] >= num_classes
        if full and isinstance(self.missing, Tensor) and bool((self.missing > 1e-6).any()):
            raise ArgumentError(f'rest="uniform" needs a class that is not stored: all {num_classes} are')
        return super().with_classes(num_classes)

    def describe(self) -> str:
        known, stored = self.num_classes or "all", self.classes.shape[class_axis(self.labels.dim())]
        of_list = f"probabilities of {stored} classes a position, of {known}"
        return mixed_in_words((1 - self.alpha, f"one-hot over {known} classes"), (self.alpha, of_list))

    def _made(self, **fields: Any) -> Listed:
        return Listed(**fields)


def _check_stored(indices: Tensor, probs: Tensor, axis: int, rest: Rest, valid: Tensor | None) -> None:
    if not readable(indices, probs) or indices.numel() == 0:
        return
    total = probs.double().sum(axis)
    slack = 4 * torch.finfo(probs.dtype).eps * indices.shape[axis]
    empty = (total == 0) if valid is None else (total == 0) & valid
    for bad, message in (
        ((indices.sort(axis).values.diff(dim=axis) == 0).any(axis), "a class is stored twice in {where}"),
        (_not_masses(probs, axis), "probs must be finite and at least 0, which they are not in {where}"),
        (total > 1 + slack, "probs must sum to at most 1, got {total:.9g} in {where}"),
        (empty & (rest == "renormalise"), "probs sum to 0 in {where}: there is nothing to renormalise"),
    ):
        if bool(bad.any()):
            index, where = position(bad)
            raise ArgumentError(message.format(where=where, total=float(total[index])))


def _not_masses(values: Tensor, axis: int) -> Tensor:
    """Which positions hold a number that is negative or not finite."""
    return (~((values >= 0) & values.isfinite())).any(axis)


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

    ``indices`` are (N, n, …) int64 with the draws on axis 1, or (n,); a class may be drawn several times. ``weights``
    are floating and like ``indices``. Without ``num_classes`` the loss takes K from the logits. ``mask`` is bool, one
    per position; False marks a position that does not count.

    IndexError names the first position with an index that is no class. ValueError: weights that are negative, not
    finite, or 0 throughout a position; nothing drawn; shapes that do not fit.

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
    mask = checked_mask(mask, positions_of(indices), "the indices")
    if num_classes is not None and (isinstance(num_classes, float) or num_classes < 1):
        raise ArgumentError(f"num_classes must be a whole number from 1, or None, got {num_classes}")
    indices = indices.long()
    if mask is not None:  # a position that does not count is inert, whatever was drawn for it
        indices = torch.where(mask.unsqueeze(axis), indices, 0)
    if weights is None:
        share = torch.full(indices.shape, 1 / indices.shape[axis], dtype=torch.float64, device=indices.device)
    else:
        share = weights.double() if mask is None else torch.where(mask.unsqueeze(axis), weights.double(), 1.0)
        total = share.sum(axis, keepdim=True)
        if readable(weights):
            if bool((bad := _not_masses(share, axis)).any()):
                raise ArgumentError(f"weights must be finite and at least 0, which they are not in {position(bad)[1]}")
            if bool((empty := (total == 0).squeeze(axis)).any()):
                raise ArgumentError(f"weights sum to 0 in {position(empty)[1]}")
        share = share / total
    _check_classes(indices, axis, num_classes, "drawn")
    return Sampled(num_classes or 0, None, mask, *_merged(indices, share, axis))


@dataclass(frozen=True, eq=False, repr=False)
class Sampled(Target):
    """A few classes a position, each with its share of the draws."""

    FIELDS: ClassVar[Fields] = (*FIELDS, ("classes", "positions and classes"), ("shares", "positions and classes"))

    classes: Tensor  # (N, n, …) int64 (or (n,)), each class once, then −1
    shares: Tensor  # of the draws, like ``classes``, float64; 0 where there is no class

    @property
    def shape(self) -> torch.Size:
        return positions_of(self.classes)

    def terms(self, dtype: torch.dtype) -> Terms:
        return Terms(entries=Entries(self.classes, self.shares.to(dtype)))

    def with_classes(self, num_classes: int) -> Self:
        assert isinstance(self, Sampled), "what was sampled"
        _check_classes(self.classes.clamp(min=0), class_axis(len(self.shape)), num_classes, "drawn")
        return super().with_classes(num_classes)

    def probs_dtype(self) -> torch.dtype:
        """The default dtype: shares are made in float64 from whole numbers."""
        return torch.get_default_dtype()

    def describe(self) -> str:
        drawn = self.classes.shape[class_axis(len(self.shape))]
        return f"{drawn} draws of a teacher's distribution over {self.num_classes or 'all'} classes"

    def _made(self, **fields: Any) -> Sampled:
        return Sampled(**fields)


def _check_classes(classes: Tensor, axis: int, num_classes: int | None, kind: str) -> None:
    if not readable(classes):
        return
    bad = ((classes < 0) | (classes >= (num_classes or _MAX_CLASSES))).any(axis)
    if bool(bad.any()):
        known = f"there are {num_classes} (0 to {num_classes - 1})" if num_classes else "it is below 0"
        raise IndexError(f"a {kind} class in {position(bad)[1]} is not a class: {known}")


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
