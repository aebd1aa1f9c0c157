"""Targets with a probability for every class: as they are, with a label, of several labels, or of two targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from sfumato.targets.base import FIELDS, Axes, Fields, Target, mixed_in_words
from sfumato.targets.checks import (
    ArgumentError,
    both,
    check_distribution,
    check_entries,
    check_strength,
    check_tensor,
    checked_labels,
    checked_mask,
    checked_share,
    class_axis,
    positions_of,
)
from sfumato.targets.terms import AtLabel, Back, Entries, Scaled, Terms

Spread = Literal["count", "half"]
"""What each class of several labels gets of ε: its part of the labels' count, or half."""


def smooth_multilabel(present: Tensor, eps: float, *, spread: Spread, mask: Tensor | None = None) -> Target:
    r"""Several labels a position, each smoothed.

    .. math:: q_k = (1-\varepsilon)\,y_k + \frac{\varepsilon}{K}\sum_j y_j \quad\text{(count)}, \qquad
              q_k = (1-\varepsilon)\,y_k + \frac{\varepsilon}{2} \quad\text{(half)}

    ``present`` is y, (N, K, …) with the classes on axis 1, or (K,); bool, integers or floating, each in [0, 1].
    ``mask``, bool, has the shape of the positions; False marks a position without a target.

    ``"count"`` keeps the mass, Σq = Σy, so that a class is not made likelier than classes are on average.
    ``"half"`` is what ``keras.losses.BinaryCrossentropy(label_smoothing=ε)`` means, and the usual form in detection:
    each class is a question of its own with two answers. Where K is large and labels are few it adds Kε/2 labels to
    each position: at K = 80 and ε = 0.1 those are four.

    *Binary* cross entropy, ``F.binary_cross_entropy_with_logits(z, target.probs())``, has its optimum at sigmoid(z_k) =
    q_k: an absent class goes to logit(εΣy/K), or to logit(ε/2). *Softmax* cross entropy, :func:`sfumato.cross_entropy`,
    has its optimum at p = q/Σq, and a position counts as often as its mass Σq says; its gradient is Σq·p − q.
    ``"half"`` is not meant for a softmax, where it makes positions with few labels nearly uniform.

    TypeError: what is no tensor, or a mask that is not bool. ValueError: an entry outside [0, 1] (names the first
    position), ε outside [0, 1], an unknown ``spread``.

    >>> present = torch.tensor([[1, 1, 0, 0]])
    >>> smooth_multilabel(present, 0.1, spread="count").probs()
    tensor([[0.9500, 0.9500, 0.0500, 0.0500]])
    >>> smooth_multilabel(torch.eye(8)[:1], 0.1, spread="half").total()  # of one label among eight
    tensor([1.3000])

    Source: linear in y as Szegedy et al. 2016, section 7, is: each label is smoothed over all classes and the targets
    are added (count); Keras, ``losses.binary_crossentropy`` (half).
    """
    check_tensor(present, "present")
    if present.dim() == 0 or present.is_complex():
        raise ArgumentError(f"present must be (N, K, …) or (K,), got {present.dtype} {tuple(present.shape)}")
    check_strength(eps, "eps")
    if spread not in get_args(Spread):
        raise ArgumentError(f'spread must be "count" (the mass is kept) or "half" (ε/2 for each class), got {spread!r}')
    axis = class_axis(present.dim() - 1)
    valid = checked_mask(mask, positions_of(present), "the labels")
    dtype = present.dtype if present.is_floating_point() else torch.get_default_dtype()
    y = present.double() if valid is None else torch.where(valid.unsqueeze(axis), present.double(), 0.0)
    check_entries(y, (y >= 0) & (y <= 1), axis, "present must be in [0, 1]")
    added = eps * y.mean(axis, keepdim=True) if spread == "count" else 0.5 * eps
    return Dense(present.shape[axis], None, valid, ((1 - eps) * y + added).to(dtype))


def from_probs(probs: Tensor, *, check: bool = True, mask: Tensor | None = None) -> Target:
    """A dense target: any distribution for each position, floating, (N, K, …) with the classes on axis 1, or (K,).

    ``check=False`` takes the numbers as they are. ``mask``, bool, has the shape of the positions; False marks a
    position without a target, whatever its numbers are.

    ValueError: a probability that is negative or not finite, or a position that does not sum to 1 (names the first
    position and the value); a mask of another shape. Values are looked at on the CPU only. TypeError: probabilities
    that are not floating, a mask that is not bool.

    >>> from_probs(torch.tensor([[0.7, 0.2, 0.1]])).entropy()
    tensor([0.8018], dtype=torch.float64)

    Source: any; the loss is S·logsumexp(z) − ⟨q, z⟩.
    """
    check_tensor(probs, "probs")
    if not probs.is_floating_point():
        raise TypeError(f"probs must be floating, got {probs.dtype}; for labels use sf.one_hot or sf.smooth")
    if probs.dim() == 0:
        raise ValueError("probs must have a class axis: (K,) or (N, K, …)")
    valid = checked_mask(mask, positions_of(probs), "the probabilities")
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
    r"""A teacher's probabilities next to the label, as one target.

    .. math:: q = (1-\alpha)\,e_y + \alpha\,p_{\text{teacher}}

    A temperature other than 1 makes two losses, not one target: see :func:`sfumato.distillation_loss`.

    ``labels`` are (P…) int64, ``ignore_index`` where a position does not count, or False in ``mask``, bool like the
    labels. ``teacher_probs`` are floating, (N, K, …) with classes on axis 1, or (K,) for one label; ``alpha`` is α in
    [0, 1], a number or a tensor that broadcasts from the left with ``labels``.

    IndexError: a label that is no class. ValueError: α outside [0, 1] or NaN, probabilities that are no distribution,
    shapes that do not fit.

    >>> distil(torch.tensor([0]), torch.tensor([[0.5, 0.5]]), 0.5).probs()
    tensor([[0.7500, 0.2500]])

    Source: Hinton et al. 2015, section 2, at temperature 1.
    """
    check_tensor(teacher_probs, "teacher_probs")
    mask = checked_mask(mask, labels.shape, "the labels")
    if (given := positions_of(teacher_probs)) != labels.shape:
        raise ArgumentError(f"teacher_probs has positions {tuple(given)}, the labels {tuple(labels.shape)}")
    alpha = checked_share(alpha, labels.shape, "alpha")
    num_classes = teacher_probs.shape[class_axis(labels.dim())]
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    valid = both(valid, mask)
    from_probs(teacher_probs, mask=valid)  # which refuses what is no distribution
    return Dense(num_classes, labels, valid, teacher_probs, alpha)


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Target):
    """A·x + B over the classes, and 1 − A of the label where positions have labels."""

    FIELDS: ClassVar[Fields] = (
        *FIELDS,
        ("x", "positions and classes"),
        ("scale", "first positions"),
        ("shift", "nothing"),
    )

    x: Tensor  # floating, classes on axis 1 (axis 0 if there is one position)
    scale: float | Tensor = 1.0  # A, a number or a tensor that broadcasts from the left with the positions
    shift: float = 0.0  # B

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
