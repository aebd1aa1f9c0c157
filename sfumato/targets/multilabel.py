"""Targets of positions with any number of labels, smoothed with or without keeping their mass."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.targets.base import Target
from sfumato.targets.checks import (
    ArgumentError,
    check_mask,
    check_strength,
    check_tensor,
    class_axis,
    position,
    positions_of,
    readable,
)
from sfumato.targets.dense import Dense

Spread = Literal["count", "half"]
"""What each class of several labels gets of ε: its part of the labels' count, or half."""


def smooth_multilabel(present: Tensor, eps: float, *, spread: Spread, mask: Tensor | None = None) -> Target:
    r"""Several labels a position, each smoothed.

    .. math:: q_k = (1-\varepsilon)\,y_k + \frac{\varepsilon}{K}\sum_j y_j \quad\text{(count)}, \qquad
              q_k = (1-\varepsilon)\,y_k + \frac{\varepsilon}{2} \quad\text{(half)}

    ``"count"`` keeps the mass, Σq = Σy, so that a class is not made likelier than classes are on average.
    ``"half"`` is what ``keras.losses.BinaryCrossentropy(label_smoothing=ε)`` means, and the usual form in detection:
    each class is a question of its own with two answers. Where K is large and labels are few it adds Kε/2 labels to
    each position: at K = 80 and ε = 0.1 those are four.

    What a loss does with the target. *Binary* cross entropy, ``F.binary_cross_entropy_with_logits(z, target.probs())``,
    has its optimum at sigmoid(z_k) = q_k: an absent class goes to logit(εΣy/K), or to logit(ε/2). *Softmax* cross
    entropy, :func:`sfumato.cross_entropy`, has its optimum at p = q/Σq, and a position counts as often as its mass
    Σq says; its gradient is Σq·p − q. ``"half"`` is not meant for a softmax, where it makes positions with few labels
    nearly uniform.

    Args:
        present: y, (N, K, …) with the classes on axis 1, or (K,); bool, integers or floating, each in [0, 1].
        eps: strength ε in [0, 1].
        spread: ``"count"`` or ``"half"``.
        mask: bool, shape of the positions; False marks a position without a target.

    Raises:
        TypeError: what is no tensor, or a mask that is not bool.
        ValueError: an entry outside [0, 1] (names the first position), ε outside [0, 1], an unknown ``spread``.

    >>> present = torch.tensor([[1, 1, 0, 0]])
    >>> smooth_multilabel(present, 0.1, spread="count").probs()
    tensor([[0.9500, 0.9500, 0.0500, 0.0500]])
    >>> smooth_multilabel(present, 0.1, spread="half").probs()
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
    valid: Tensor | None = None
    if mask is not None:
        check_mask(mask)
        if mask.shape != positions_of(present):
            raise ArgumentError(f"mask has positions {tuple(mask.shape)}, the labels {tuple(positions_of(present))}")
        valid = None if readable(mask) and bool(mask.all()) else mask
    dtype = present.dtype if present.is_floating_point() else torch.get_default_dtype()
    y = present.double() if valid is None else torch.where(valid.unsqueeze(axis), present.double(), 0.0)
    if readable(y):
        bad = ~((y >= 0) & (y <= 1))
        if bool(bad.any()):
            at = tuple(int(i) for i in bad.nonzero()[0])
            where = position(bad.any(axis))[1]
            raise ArgumentError(f"present must be in [0, 1], got {float(y[at]):g} for class {at[axis]} in {where}")
    added = eps * y.mean(axis, keepdim=True) if spread == "count" else 0.5 * eps
    return Dense(present.shape[axis], None, valid, ((1 - eps) * y + added).to(dtype))
