"""Targets of one label a position: one-hot, smoothed by an amount or to a prior, or the label's row of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sfumato import theory
from sfumato.targets.base import FIELDS, Fields, Masses, Target
from sfumato.targets.checks import (
    at_labels,
    check_distribution,
    check_entries,
    check_over,
    check_prior,
    check_tensor,
    checked_eps,
    checked_labels,
    checked_support,
    class_axis,
    position,
    readable,
    sum_within,
)
from sfumato.targets.terms import AtLabel, Back, Terms
from sfumato.theory import Over


def one_hot(labels: Tensor, num_classes: int, *, ignore_index: int = -100) -> Target:
    """All mass on the label: of ``labels``, (P…) int64 of any shape, each in 0..K−1 or ``ignore_index`` (no target
    there).

    IndexError names the first label that is no class (on the CPU; elsewhere looking costs a sync). TypeError: labels
    that are not integers. ValueError: K below 1.

    >>> import torch
    >>> one_hot(torch.tensor([2, 0]), 3).probs()
    tensor([[0., 0., 1.],
            [1., 0., 0.]])

    Source: the note, section 1. It has no finite optimum: see :func:`sfumato.theory.optimal_gap` at ε = 0.
    """
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    return Labelled(num_classes, labels, valid)


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

    ``labels`` are those of :func:`one_hot`; ``eps`` is in [0, 1], a number or a tensor that broadcasts from the left
    with the labels. ``over`` is required, because frameworks differ. ``support`` marks the classes that may receive
    mass, bool, (K,) or per position with classes on axis 1; K is then the number supported.

    IndexError as :func:`one_hot`. ValueError names the first ε outside [0, 1] or NaN, a label outside its support,
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
    return Labelled(num_classes, labels, valid, eps, over, support=support)


def smooth_by_class(labels: Tensor, eps_by_class: Tensor, *, over: Over, ignore_index: int = -100) -> Target:
    r"""As :func:`smooth` with one strength per class, (K,) floating: :math:`\varepsilon = \varepsilon_y`.

    ValueError names the first class whose strength is outside [0, 1] or NaN. The other errors are those of ``smooth``.

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
    check_entries(eps_by_class, (eps_by_class >= 0) & (eps_by_class <= 1), 0, "eps_by_class must be in [0, 1]")
    num_classes = len(eps_by_class)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if num_classes < 2:
        raise ValueError(f"eps_by_class must have at least 2 classes to smooth, got {num_classes}")
    return Labelled(num_classes, labels, valid, at_labels(eps_by_class, labels), over)


def smooth_prior(
    labels: Tensor, prior: Tensor, eps: float | Tensor, *, support: Tensor | None = None, ignore_index: int = -100
) -> Target:
    r"""A share ε of the mass given to a prior, the label's own class included.

    .. math:: q = (1-\varepsilon)\,e_y + \varepsilon\,\pi

    ``prior`` is π, (K,) floating, at least 0, sums to 1; for example the class frequencies (unigram smoothing). A zero
    in it is a class that the optimum still pushes to minus infinity. Within a ``support`` it is renormalised. The other
    arguments are those of :func:`smooth`.

    ValueError also for a prior entry that is negative or not finite (names the class and the value), a prior that does
    not sum to 1 (names the sum), or no prior mass within a support.

    >>> import torch
    >>> smooth_prior(torch.tensor([0]), torch.tensor([0.5, 0.25, 0.25]), 0.4).probs()
    tensor([[0.8000, 0.1000, 0.1000]])

    Source: Szegedy et al. 2016, section 7, with u(k) any distribution; Pereyra et al. 2017, section 3.2 (unigram).
    """
    check_prior(prior)
    eps = checked_eps(eps, labels, ignore_index)
    num_classes = len(prior)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if support is not None:
        support = checked_support(support, labels, valid, num_classes, spare=False)
        if readable(support, prior):
            of_all = support.dim() == 1
            empty = ((prior * support).sum() if of_all else sum_within(support, prior)) <= 0
            if valid is not None and not of_all:
                empty = empty & valid
            if bool(empty.any()):
                where = "" if of_all else f" of {position(empty)[1]}"
                raise ValueError(f"the prior has no mass within the support{where}")
    return Labelled(num_classes, labels, valid, eps, "all", prior, support)


@dataclass(frozen=True, eq=False, repr=False)
class Labelled(Target):
    """q_y on the label, and r·u_k on each other class, with u constant, a prior, or a mask of supported classes."""

    FIELDS: ClassVar[Fields] = (
        *FIELDS,
        ("eps", "first positions"),
        ("over", "nothing"),
        ("prior", "classes"),
        ("support", "perhaps positions, classes"),
    )
    ONE_LABEL: ClassVar[bool] = True

    labels: Tensor
    eps: float | Tensor = 0.0  # strength ε, a number or a tensor that broadcasts from the left with ``labels``
    over: Over = "all"  # where ε goes without a prior
    prior: Tensor | None = None  # π, (K,), which ε goes to instead; None without one
    support: Tensor | None = None  # classes that may receive mass, bool, (K,) or per position; None for all

    def terms(self, dtype: torch.dtype) -> Terms:
        true, rest, u = self._numbers(dtype)
        support = self.support if self.support is not None and self.support.dim() > 1 else None
        return Terms(backs=(Back(rest, u, None, support),), label=AtLabel(self.labels, true))

    def masses(self, dtype: torch.dtype) -> Masses:
        true, rest, u = self._numbers(dtype)
        if self.support is not None and self.support.dim() > 1:
            u = Back(rest, u, None, self.support).shares(len(self.shape), dtype)
        return Masses(true, rest, u)

    def _numbers(self, dtype: torch.dtype) -> tuple[float | Tensor, float | Tensor, Tensor | None]:
        """q_y, r and u. u is (K,), or None for 1 everywhere, and leaves out a support of its own a position."""
        eps, support = self.share(self.eps, dtype), self.support
        u = None if self.prior is None else self.prior.to(dtype)
        # What u sums to within the support: r is ε divided by that.
        within: float | Tensor = self.num_classes if u is None else 1.0
        if support is not None and support.dim() == 1:
            u = support.to(dtype) if u is None else u * support
            within = u.sum()
        elif support is not None:
            within = sum_within(support, u).to(dtype)
            if self.valid is not None:  # an ignored position may support nothing: its ε must not divide by 0
                within = torch.where(self.valid, within, 2.0)
        if self.over == "others" and self.prior is None:
            return 1 - eps, eps / (within - 1), u
        rest = eps / within
        if self.prior is None or u is None:
            return (1 - eps) + rest, rest, u
        return (1 - eps) + rest * at_labels(u, self.labels), rest, u

    def entropy(self) -> Tensor:
        xlogy = torch.special.xlogy
        masses = self.masses(torch.float64)
        true, rest = (torch.as_tensor(m, dtype=torch.float64, device=self.device) for m in masses[:2])
        # The other classes hold r·u_k each: −Σ r·u_k (log r + log u_k), label left out.
        count: float | Tensor = self.num_classes - 1.0
        log_part: float | Tensor = 0.0
        if (u := masses.prior) is not None:
            axis = 0 if u.dim() == 1 else class_axis(len(self.shape))
            count = u.sum(axis) - at_labels(u, self.labels)
            log_part = xlogy(u, u).sum(axis) - at_labels(xlogy(u, u), self.labels)
        floor = -xlogy(true, true) - count * xlogy(rest, rest) - rest * log_part
        floor = floor.expand(self.shape)
        return floor + 0.0 if self.valid is None else torch.where(self.valid, floor, 0.0)

    def describe(self) -> str:
        k = self.num_classes
        if isinstance(self.eps, float) and self.eps == 0.0:
            return f"one-hot over {k or 'all'} classes"
        strength = f"{self.eps:g}" if isinstance(self.eps, float) else "one number a position"
        limited = "" if self.support is None else ", within a support"
        if self.prior is not None:
            return f"smoothed, ε = {strength} to a prior over {k} classes{limited}"
        where = f"the {k - 1} others" if self.over == "others" else f"all {k}"
        if not isinstance(self.eps, float) or self.support is not None:
            return f"smoothed, ε = {strength} over {where}{limited}"
        masses = self.masses(torch.float64)
        other: Over = "all" if self.over == "others" else "others"
        try:
            same = f"{theory.convert_eps(self.eps, k, frm=self.over, to=other):g}"
            converted = f"{same} over {'all' if self.over == 'others' else 'the others'}"
        except ValueError:
            converted = "no strength over all is the same"
        return (
            f"smoothed, ε = {strength} over {where} ({converted}): "
            f"{masses.true:g} on the label, {masses.rest:g} on each other class"
        )

    def _made(self, **fields: Any) -> Labelled:
        return Labelled(**fields)


def smooth_rows(labels: Tensor, rows: Tensor, *, ignore_index: int = -100) -> Target:
    r"""The whole target of each class given as a row of a table.

    .. math:: q = R_{y,\cdot}

    ``rows`` is R, (K, K) floating; row y is what label y is trained towards, at least 0, sums to 1: for example how
    often annotators confuse the classes, or distances in a hierarchy turned into shares. Labels are those of
    :func:`one_hot`.

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
    return TableRows(len(rows), labels, valid, rows)


@dataclass(frozen=True, eq=False, repr=False)
class TableRows(Target):
    """The whole target of a position is the row of its label in a table."""

    FIELDS: ClassVar[Fields] = (*FIELDS, ("table", "classes"))
    ONE_LABEL: ClassVar[bool] = True

    labels: Tensor
    table: Tensor  # R, (K, K)

    def terms(self, dtype: torch.dtype) -> Terms:
        return Terms(backs=(Back(1.0, self.table, self.labels),))

    def masses(self, dtype: torch.dtype) -> Masses:
        rows = self.table.to(dtype).index_select(0, self.labels.reshape(-1)).reshape(*self.shape, self.num_classes)
        rows = rows.movedim(-1, class_axis(len(self.shape)))
        return Masses(at_labels(rows, self.labels), 1.0, rows)

    def entropy(self) -> Tensor:
        table = self.table.double()
        floor = at_labels(-torch.special.xlogy(table, table).sum(1) + 0.0, self.labels)
        return floor if self.valid is None else torch.where(self.valid, floor, 0.0)

    def describe(self) -> str:
        return f"each label towards its own row of a table over {self.num_classes} classes"

    def _made(self, **fields: Any) -> TableRows:
        return TableRows(**fields)
