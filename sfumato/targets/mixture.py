"""Weighted pairs of targets of one label each, as mixup and CutMix make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sfumato.targets.base import FIELDS, Axes, Fields, Target, mixed_in_words
from sfumato.targets.checks import ArgumentError, both, checked_share, class_axis
from sfumato.targets.dense import Dense
from sfumato.targets.terms import Back, Entries, Terms


def mix(target_a: Target, target_b: Target, lam: float | Tensor) -> Target:
    r"""A weighted pair of targets, as mixup and CutMix train on.

    .. math:: q = \lambda\,q_a + (1-\lambda)\,q_b

    Two targets of one label each stay in the sparse form, two labels and at most two priors; with probabilities on
    either side the result is probabilities. Both have the same positions and classes; a position ignored in either part
    is ignored. ``lam`` is λ in [0, 1], a number or a tensor that broadcasts from the left with the positions.

    ValueError: λ outside [0, 1] or NaN, parts of different classes or positions, or a part that has neither one label
    nor probabilities, such as a mixture: build its probabilities and use :func:`from_probs`.

    >>> labels = torch.tensor([0, 2])
    >>> from sfumato.targets.labelled import one_hot
    >>> mix(one_hot(labels, 3), one_hot(labels.flip(0), 3), torch.tensor([0.75, 1.0])).probs()
    tensor([[0.7500, 0.0000, 0.2500],
            [0.0000, 0.0000, 1.0000]])

    Source: Zhang et al. 2018 (mixup), eq. 1; Yun et al. 2019 (CutMix), eq. 1.
    """
    if target_a.num_classes != target_b.num_classes:
        raise ArgumentError(f"the targets have {target_a.num_classes} and {target_b.num_classes} classes")
    if target_a.shape != target_b.shape:
        raise ArgumentError(f"the targets have positions {tuple(target_a.shape)} and {tuple(target_b.shape)}")
    lam = checked_share(lam, target_a.shape, "lam")
    valid = both(target_a.valid, target_b.valid)
    if isinstance(target_a, Dense) or isinstance(target_b, Dense):
        dtype = torch.promote_types(target_a.probs_dtype(), target_b.probs_dtype())
        share = target_a.share(lam, dtype)
        share = share.unsqueeze(class_axis(share.dim())) if isinstance(share, Tensor) and share.dim() else share
        dense = share * target_a.to_dense(dtype) + (1 - share) * target_b.to_dense(dtype)
        return Dense(target_a.num_classes, None, valid, dense)
    if not (target_a.ONE_LABEL and target_b.ONE_LABEL):
        name, part = ("target_b", target_b) if target_a.ONE_LABEL else ("target_a", target_a)
        raise ValueError(
            f"mix takes targets of one label each, or probabilities, and {name} is neither ({part.describe()}); "
            "use sf.from_probs(lam * a.probs() + (1 - lam) * b.probs())"
        )
    return Mixture(target_a.num_classes, None, valid, target_a, target_b, lam)


@dataclass(frozen=True, eq=False, repr=False)
class Mixture(Target):
    """λ of one target and 1 − λ of another, each with one label a position: two labels and at most two priors."""

    FIELDS: ClassVar[Fields] = (*FIELDS, ("first", "nothing"), ("second", "nothing"), ("lam", "first positions"))

    first: Target  # the one
    second: Target  # the other, of the same positions and classes
    lam: float | Tensor  # λ, a number or a tensor that broadcasts from the left with the positions

    @property
    def shape(self) -> torch.Size:
        return self.first.shape

    def terms(self, dtype: torch.dtype) -> Terms:
        lam = self.share(self.lam, dtype)
        first, second = self.first.terms(dtype), self.second.terms(dtype)
        halves = [(lam, first), (1 - lam, second)]
        backs = [Back(share * c, u, row, support) for share, part in halves for c, u, row, support in part.backs]
        # A back gives a label what it gives to any other class, so a label with a mass of its own has all of it set.
        entries = _entries(halves, backs, dtype)
        if all(back.u is None and back.support is None for back in backs):
            backs = [Back(backs[0].c + backs[1].c)]
        return Terms(None, tuple(backs), entries)

    def of_label(self, per_class: Tensor) -> Tensor:
        lam = self.share(self.lam, per_class.dtype)
        first, second = self.first.of_label(per_class), self.second.of_label(per_class)
        assert first is not None
        assert second is not None
        return lam * first + (1 - lam) * second

    def describe(self) -> str:
        return mixed_in_words((self.lam, self.first.describe()), (1 - self.lam, self.second.describe()))

    def tensors(self) -> list[Tensor]:
        return [*self.first.tensors(), *self.second.tensors(), *super().tensors()]

    def _mapped(self, change: Callable[[Axes, Tensor], Tensor]) -> Mixture:
        return super()._mapped(change)._changed(first=self.first._mapped(change), second=self.second._mapped(change))

    def _made(self, **fields: Any) -> Mixture:
        return Mixture(**fields)


def _entries(halves: list[tuple[float | Tensor, Terms]], backs: list[Back], dtype: torch.dtype) -> Entries | None:
    """The labels that have a mass of their own, each once, with all the mass that they get."""
    labels = [None if part.label is None else part.label.labels for _, part in halves]
    own = [None if part.label is None else share * part.label.mass for share, part in halves]
    same = labels[0] == labels[1] if labels[0] is not None and labels[1] is not None else None
    classes: list[Tensor] = []
    masses: list[Tensor] = []
    for i in (0, 1):
        mine, mass, others = labels[i], own[i], own[1 - i]
        if mine is None or mass is None:
            continue
        beside = torch.as_tensor(backs[1 - i].at(mine, dtype), dtype=dtype, device=mine.device)
        if same is not None:
            beside = torch.where(same, torch.as_tensor(others, dtype=dtype, device=mine.device), beside)
        total = (mass + beside).expand(mine.shape)
        if classes and same is not None:  # one label: one entry
            mine, total = mine.masked_fill(same, -1), total.masked_fill(same, 0.0)
        classes.append(mine)
        masses.append(total)
    return Entries(torch.stack(classes, 1), torch.stack(masses, 1)) if classes else None
