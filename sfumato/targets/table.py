"""Targets that a table has for each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sfumato.targets.base import FIELDS, Fields, Masses, Target
from sfumato.targets.checks import at_labels, check_distribution, check_tensor, checked_labels, class_axis
from sfumato.targets.terms import Back, Terms


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
    return TableRows(len(rows), labels, valid, rows)


@dataclass(frozen=True, eq=False, repr=False)
class TableRows(Target):
    """The whole target of a position is the row of its label in a table.

    Attributes:
        table: R, (K, K).
    """

    FIELDS: ClassVar[Fields] = (*FIELDS, ("table", "classes"))
    ONE_LABEL: ClassVar[bool] = True

    labels: Tensor
    table: Tensor

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
