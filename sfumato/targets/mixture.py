"""Targets made of others: mixed pairs of examples, and labels with a teacher's probabilities beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from sfumato._checks import ArgumentError, check_strength, check_tensor, class_axis, position, readable
from sfumato.targets.base import Target
from sfumato.targets.checks import checked_labels
from sfumato.targets.dense import from_probs

Rest = Literal["uniform", "renormalise", "drop"]


def mix(target_a: Target, target_b: Target, lam: float | Tensor) -> Target:
    r"""A weighted pair of targets, as mixup and CutMix train on.

    .. math:: q = \lambda\,q_a + (1-\lambda)\,q_b

    Two targets of one label each stay in the sparse form, two labels and at most two priors; with probabilities on
    either side the result is probabilities.

    Args:
        target_a: q_a.
        target_b: q_b, of the same positions and classes.
        lam: λ in [0, 1], a number or a tensor that broadcasts from the left with the positions.

    Returns:
        A Target; a position ignored in either part is ignored.

    Raises:
        ValueError: λ outside [0, 1] or NaN, parts of different classes or positions, or a part that is a mixture
            already: build its probabilities and use :func:`from_probs`.

    >>> labels = torch.tensor([0, 2])
    >>> from sfumato.targets import one_hot
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
    valid = _both(target_a.valid, target_b.valid)
    if target_a.form == "dense" or target_b.form == "dense":
        dtype = torch.promote_types(target_a.probs_dtype(), target_b.probs_dtype())
        axis = class_axis(len(target_a.shape))
        share = target_a.share(lam, dtype, axis)
        dense = share * target_a.to_dense(dtype) + (1 - share) * target_b.to_dense(dtype)
        return Target(target_a.num_classes, None, valid, form="dense", dense=dense)
    if not (target_a.sparse and target_b.sparse):
        raise ValueError(
            "a mixture of mixtures has more labels than the sparse form holds; "
            "use sf.from_probs(lam * a.probs() + (1 - lam) * b.probs())"
        )
    return Target(target_a.num_classes, None, valid, form="mixed", parts=((lam, target_a), (1 - lam, target_b)))


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
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool (True: the position counts), got {mask.dtype}")
    for name, given, expected in (
        ("teacher_probs", _positions(teacher_probs), labels.shape),
        ("mask", labels.shape if mask is None else mask.shape, labels.shape),
    ):
        if given != expected:
            raise ArgumentError(f"{name} has positions {tuple(given)}, the labels {tuple(expected)}")
    alpha = checked_share(alpha, labels.shape, "alpha")
    num_classes = teacher_probs.shape[class_axis(labels.dim())]
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    valid = _both(valid, mask)
    teacher = from_probs(teacher_probs, mask=valid)
    hard = Target(num_classes, labels)
    parts = ((1 - alpha, hard), (alpha, replace(teacher, valid=None)))
    return Target(num_classes, labels, valid, form="mixed", parts=parts)


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

    Source: own, for distillation from stored top-k probabilities; Hinton et al. 2015 for the mixture.
    """
    if rest not in ("uniform", "renormalise", "drop"):
        raise ValueError(f'rest must be "uniform", "renormalise" or "drop", got {rest!r}')
    check_tensor(indices, "indices")
    check_tensor(probs, "probs")
    if indices.shape != probs.shape:
        raise ArgumentError(f"indices {tuple(indices.shape)} and probs {tuple(probs.shape)} must have one shape")
    if _positions(indices) != labels.shape:
        raise ArgumentError(f"indices have positions {tuple(_positions(indices))}, the labels {tuple(labels.shape)}")
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
    teacher = Target(0, None, None, missing, "listed", dense=wide, listed=indices)
    parts = ((1 - alpha, Target(0, labels)), (alpha, teacher))
    target = Target(0, labels, valid, form="mixed", parts=parts)
    return target if num_classes is None else target.with_classes(num_classes)


def checked_share(share: float | Tensor, positions: torch.Size, name: str) -> float | Tensor:
    """λ or α: a number in [0, 1], or a tensor of them that broadcasts from the left.

    Raises:
        ValueError, TypeError: what is no such share, naming the first position.

    >>> checked_share(0.5, torch.Size([3]), "lam")
    0.5
    """
    if not isinstance(share, Tensor):
        check_strength(share, name)
        return float(share)
    if not share.is_floating_point():
        raise TypeError(f"{name} must be floating, got {share.dtype}")
    if share.shape != positions[: share.dim()]:
        raise ArgumentError(f"{name} {tuple(share.shape)} does not broadcast from the left with {tuple(positions)}")
    if readable(share):
        bad = ~((share >= 0) & (share <= 1))
        if bool(bad.any()):
            index, where = position(bad)
            raise ArgumentError(f"{name} must be in [0, 1], got {float(share[index]):g} in {where}")
    return share


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


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a & b


def _positions(with_classes: Tensor) -> torch.Size:
    shape = with_classes.shape
    return torch.Size(()) if len(shape) <= 1 else torch.Size((shape[0], *shape[2:]))
