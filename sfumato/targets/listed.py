"""Targets that know the mass of a few classes: the label, and the largest probabilities of a teacher."""

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
    checked_share,
    class_axis,
    position,
    positions_of,
    readable,
)
from sfumato.targets.terms import AtLabel, Back, Entries, Terms

Rest = Literal["uniform", "renormalise", "drop"]


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
    out of the target, so that Σq < 1 and the loss pulls less where the teacher was spread out.

    Args:
        labels: (P…) int64, any shape.
        indices: (N, k, …) int64 with the list on axis 1, or (k,): the classes that were stored, no class twice.
        probs: floating, like ``indices``: their probabilities, at least 0, summing to at most 1.
        alpha: α in [0, 1], a number or a tensor that broadcasts from the left with ``labels``.
        rest: where the mass goes that was not stored; required, for each choice trains something else.
        num_classes: K; if None the loss takes it from the logits, and :meth:`Target.probs` has to wait for it.
        ignore_index: the label of positions that do not count.

    Raises:
        IndexError: a label or an index that is no class (names the first position).
        ValueError: α outside [0, 1], a class stored twice, a negative probability, a sum above 1 or one that cannot be
            renormalised, shapes that do not fit, an unknown ``rest``.

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
    listed = indices.shape[axis]
    alpha = checked_share(alpha, labels.shape, "alpha")
    labels, valid = checked_labels(labels, num_classes or _MOST_CLASSES, ignore_index)
    indices = indices.long()
    if valid is not None:  # an ignored position is inert, whatever was stored for it
        own = torch.arange(listed).reshape((-1,) + (1,) * (indices.dim() - axis - 1)).to(indices)
        indices = torch.where(valid.unsqueeze(axis), indices, own)
        probs = torch.where(valid.unsqueeze(axis), probs, 0.0)
    _check_listed(indices, probs, axis, rest, valid)
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
        classes = self.classes
        if readable(classes):
            axis = class_axis(self.labels.dim())
            low, high = classes.aminmax() if classes.numel() else (0, 0)
            if low < 0 or high >= num_classes:
                outside = ((classes < 0) | (classes >= num_classes)).any(axis)
                raise IndexError(
                    f"a stored class in {position(outside)[1]} is not a class: "
                    f"there are {num_classes} (0 to {num_classes - 1})"
                )
            left = isinstance(self.missing, Tensor) and bool((self.missing > 1e-6).any())
            if left and classes.shape[axis] >= num_classes:
                raise ArgumentError(f'rest="uniform" needs a class that is not stored: all {num_classes} are')
        return super().with_classes(num_classes)

    def describe(self) -> str:
        known, stored = self.num_classes or "all", self.classes.shape[class_axis(self.labels.dim())]
        of_list = f"probabilities of {stored} classes a position, of {known}"
        return mixed_in_words((1 - self.alpha, f"one-hot over {known} classes"), (self.alpha, of_list))

    def _made(self, **fields: Any) -> Listed:
        return Listed(**fields)


_MOST_CLASSES = 1 << 62  # no limit yet


def _check_listed(indices: Tensor, probs: Tensor, axis: int, rest: Rest, valid: Tensor | None) -> None:
    if not readable(indices, probs) or indices.numel() == 0:
        return
    twice = (indices.sort(axis).values.diff(dim=axis) == 0).any(axis)
    if bool(twice.any()):
        raise ArgumentError(f"a class is stored twice in {position(twice)[1]}")
    bad = (~((probs >= 0) & probs.isfinite())).any(axis)
    if bool(bad.any()):
        raise ArgumentError(f"probs must be finite and at least 0, which they are not in {position(bad)[1]}")
    total = probs.double().sum(axis)
    slack = 4 * torch.finfo(probs.dtype).eps * indices.shape[axis]
    above = total > 1 + slack
    if bool(above.any()):
        index, where = position(above)
        raise ArgumentError(f"probs must sum to at most 1, got {float(total[index]):.9g} in {where}")
    empty = total == 0 if valid is None else (total == 0) & valid
    if rest == "renormalise" and bool(empty.any()):
        raise ArgumentError(f"probs sum to 0 in {position(empty)[1]}: there is nothing to renormalise")
