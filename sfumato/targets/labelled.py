"""Targets of one label a position: one-hot, or smoothed by an amount, a class's amount, a prior or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from sfumato._checks import ArgumentError, at_labels, check_over, check_tensor, position, readable
from sfumato.targets.base import Target
from sfumato.targets.checks import check_distribution, checked_eps, checked_labels, checked_support

if TYPE_CHECKING:
    from sfumato.theory import Over


def one_hot(labels: Tensor, num_classes: int, *, ignore_index: int = -100) -> Target:
    """All mass on the label.

    Args:
        labels: (P…) int64, any shape; each in 0..K−1 or ``ignore_index``.
        num_classes: K, at least 1.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position; on the CPU only, elsewhere it costs a sync).
        TypeError: labels that are not integers.

    >>> import torch
    >>> one_hot(torch.tensor([2, 0]), 3).probs()
    tensor([[0., 0., 1.],
            [1., 0., 0.]])

    Source: the note, section 1. It has no finite optimum: see :func:`sfumato.theory.optimal_gap` at ε = 0.
    """
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    return Target(num_classes, labels, valid)


def smooth(
    labels: Tensor,
    num_classes: int,
    eps: float | Tensor,
    *,
    over: Over,
    support: Tensor | None = None,
    ignore_index: int = -100,
) -> Target:
    r"""A share ε of the mass taken from the label and spread evenly.

    .. math:: q_y = 1-\varepsilon,\; q_k = \frac{\varepsilon}{K-1} \quad\text{(others)}, \qquad
              q_y = 1-\varepsilon+\frac{\varepsilon}{K},\; q_k = \frac{\varepsilon}{K} \quad\text{(all)}

    Args:
        labels: (P…) int64, any shape.
        num_classes: K, at least 2.
        eps: strength ε in [0, 1], a number or a tensor that broadcasts from the left with ``labels``.
        over: ``"others"`` or ``"all"``; required, because frameworks differ.
        support: classes that may receive mass, bool, (K,) or per position with classes on axis 1; K is then the number
            supported.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position).
        ValueError: ε outside [0, 1] or NaN (names the first position and the value), a label outside its support,
            ``"others"`` where one class is supported, or an unknown ``over``.

    >>> import torch
    >>> smooth(torch.tensor([0]), 5, 0.2, over="others").probs()
    tensor([[0.8000, 0.0500, 0.0500, 0.0500, 0.0500]])

    Source: the note, eq. 4 (``"others"``); Szegedy et al. 2016, section 7 (``"all"``).
    """
    check_over(over)
    eps = checked_eps(eps, labels, ignore_index)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to smooth, got {num_classes}")
    if support is not None:
        support = checked_support(support, labels, valid, num_classes, spare=over == "others")
    return Target(num_classes, labels, valid, eps, over, support=support)


def smooth_by_class(labels: Tensor, eps_by_class: Tensor, *, over: Over, ignore_index: int = -100) -> Target:
    r"""As :func:`smooth` with one strength a class: :math:`\varepsilon = \varepsilon_y`.

    Args:
        labels: (P…) int64, any shape.
        eps_by_class: (K,) floating, each in [0, 1].
        over: ``"others"`` or ``"all"``.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position).
        ValueError: a strength outside [0, 1] or NaN (names the class and the value), or an unknown ``over``.

    >>> import torch
    >>> smooth_by_class(torch.tensor([0, 1]), torch.tensor([0.0, 0.5]), over="all").probs()
    tensor([[1.0000, 0.0000],
            [0.2500, 0.7500]])

    Source: label-aware smoothing, Zhong et al. 2021 (MiSLAS), section 3.
    """
    check_over(over)
    check_tensor(eps_by_class, "eps_by_class")
    if eps_by_class.dim() != 1 or not eps_by_class.is_floating_point():
        raise ValueError(
            f"eps_by_class must be floating and (K,), got {eps_by_class.dtype} {tuple(eps_by_class.shape)}"
        )
    if readable(eps_by_class):
        bad = ~((eps_by_class >= 0) & (eps_by_class <= 1))
        if bool(bad.any()):
            (index,), _ = position(bad)
            raise ArgumentError(f"eps_by_class must be in [0, 1], got {float(eps_by_class[index]):g} for class {index}")
    num_classes = len(eps_by_class)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if num_classes < 2:
        raise ValueError(f"eps_by_class must have at least 2 classes to smooth, got {num_classes}")
    return Target(num_classes, labels, valid, at_labels(eps_by_class, labels), over)


def smooth_prior(
    labels: Tensor,
    prior: Tensor,
    eps: float | Tensor,
    *,
    support: Tensor | None = None,
    ignore_index: int = -100,
) -> Target:
    r"""A share ε of the mass given to a prior, the label's own class included.

    .. math:: q = (1-\varepsilon)\,e_y + \varepsilon\,\pi

    Args:
        labels: (P…) int64, any shape.
        prior: π, (K,) floating, at least 0, sums to 1; for example the class frequencies (unigram smoothing). A zero in
            it is a class that the optimum still pushes to minus infinity.
        eps: strength ε in [0, 1], a number or a tensor that broadcasts from the left with ``labels``.
        support: classes that may receive mass; the prior is renormalised within it.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position).
        ValueError: ε outside [0, 1] or NaN, a prior entry that is negative or not finite (names the class and the
            value), a prior that does not sum to 1 (names the sum), or no prior mass within a support.

    >>> import torch
    >>> smooth_prior(torch.tensor([0]), torch.tensor([0.5, 0.25, 0.25]), 0.4).probs()
    tensor([[0.8000, 0.1000, 0.1000]])

    Source: Szegedy et al. 2016, section 7, with u(k) any distribution; Pereyra et al. 2017, section 3.2 (unigram).
    """
    check_tensor(prior, "prior")
    eps = checked_eps(eps, labels, ignore_index)
    if prior.dim() != 1 or not prior.is_floating_point():
        raise ValueError(f"prior must be floating and (K,), got {prior.dtype} {tuple(prior.shape)}")
    check_distribution(prior.unsqueeze(0), None, "prior", of_class=True)
    num_classes = len(prior)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if support is not None:
        support = checked_support(support, labels, valid, num_classes, spare=False)
        if readable(support, prior):
            axis = 0 if support.dim() == 1 else 1
            along = prior if support.dim() == 1 else prior.reshape((1, -1) + (1,) * (support.dim() - 2))
            empty = (along * support).sum(axis) <= 0
            if bool(empty.any()):
                where = "support" if support.dim() == 1 else f"support of {position(empty)[1]}"
                raise ValueError(f"the prior has no mass within the {where}")
    return Target(num_classes, labels, valid, eps, "prior", prior, support)


def smooth_rows(labels: Tensor, rows: Tensor, *, ignore_index: int = -100) -> Target:
    r"""The whole target of each class given as a row of a table.

    .. math:: q = R_{y,\cdot}

    Args:
        labels: (P…) int64, any shape.
        rows: R, (K, K) floating; row y is what label y is trained towards, at least 0, sums to 1: for example how often
            annotators confuse the classes, or distances in a hierarchy turned into shares.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position).
        ValueError: a table that is not square, an entry that is negative or not finite, or a row that does not sum to 1
            (names the row).

    >>> import torch
    >>> smooth_rows(torch.tensor([1]), torch.tensor([[0.9, 0.1], [0.3, 0.7]])).probs()
    tensor([[0.3000, 0.7000]])

    Source: class-dependent smoothing by a confusion matrix; Bertinetto et al. 2020, section 3.2 (a hierarchy).
    """
    check_tensor(rows, "rows")
    if rows.dim() != 2 or rows.shape[0] != rows.shape[1] or not rows.is_floating_point():
        raise ValueError(f"rows must be floating and (K, K), got {rows.dtype} {tuple(rows.shape)}")
    check_distribution(rows, None, "rows")
    labels, valid = checked_labels(labels, len(rows), ignore_index)
    return Target(len(rows), labels, valid, 1.0, "rows", rows)
