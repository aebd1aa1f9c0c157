r"""Rows that vary together: copies of one row, the sentences of a document, the images of a patient.

With :math:`m_g` rows in group g, N rows in all and :math:`h_g = m_g/N`, the mean of a metric is
:math:`\sum_g h_g \bar v_g`. Each group is one piece of evidence, of the value :math:`G\,h_g \bar v_g`, and the variance
of the mean is the sum of the squared contributions :math:`e_g = h_g(\bar v_g - \bar v)`, each raised for its own share:

.. math:: V = \sum_g \frac{e_g^2}{1 - h_g}, \qquad G_{eff} = 1 \Big/ \sum_g h_g^2

With groups of one size this is the t interval of the G group means. With uneven groups, :math:`G_{eff}` takes the place
of G in the degrees of freedom, because a few large groups then carry most of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column


@dataclass(frozen=True)
class RowGroups:
    """Which rows vary together.

    Attributes:
        number: group of each row, 0 to G − 1, (N,).
        sizes: rows of each group, (G,).

    Source: Bell and McCaffrey 2002, Survey Methodology 28:169 (the raised contributions); Carter, Schnepel and
    Steigerwald 2017, Review of Economics and Statistics 99:698 (the effective number of clusters).
    """

    number: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, group: npt.NDArray[Any]) -> RowGroups:
        """Groups from a column whose values are equal within one group.

        >>> RowGroups.of(np.array(["b", "a", "b"])).sizes.tolist()
        [1, 2]
        """
        _, number, sizes = np.unique(group, return_inverse=True, return_counts=True)
        return cls(number.reshape(-1), sizes)

    @classmethod
    def each_row(cls, rows: int) -> RowGroups:
        """Every row a group of its own."""
        return cls(np.arange(rows), np.ones(rows, np.int64))

    @property
    def single(self) -> bool:
        """Whether every row is a group of its own."""
        return len(self.sizes) == len(self.number)

    @property
    def effective(self) -> float:
        """As many groups of one size as would carry the mean as evenly; G where all have one size."""
        return float(len(self.number) ** 2 / np.square(self.sizes.astype(np.float64)).sum())

    def collapse(self, values: Column) -> Column:
        """One value a group, (G,), whose mean is the rows' mean and whose spread gives the mean's error.

        >>> groups = RowGroups.of(np.array([0, 0, 1, 1]))
        >>> groups.collapse(np.array([1.0, 3.0, 5.0, 7.0])).tolist()
        [2.0, 6.0]
        """
        if self.single:
            return values
        mean, count, rows = values.mean(), len(self.sizes), len(self.number)
        with np.errstate(invalid="ignore"):  # rows of an infinite mean have no spread: NaN
            off = np.bincount(self.number, weights=values - mean) * (count / rows)
        share = self.sizes / rows
        if count > 1:
            off *= np.sqrt((1 - 1 / count) / (1 - share))
            off -= off.mean()
        return mean + off
