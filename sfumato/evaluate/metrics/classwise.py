"""Class-wise calibration error, from sums that are filled by chunks and kept by groups of rows."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column, check_bins

SumsOfBlock: TypeAlias = tuple[
    Column, npt.NDArray[np.int64], npt.NDArray[np.int64], Column, npt.NDArray[np.bool_], Column
]
"""What a block of rows adds: the arguments of :meth:`ClasswiseSums.add_parts`."""
_MAX_SUMS = 1 << 22  # sums that are kept at most, 32 MB: more classes leave fewer groups


class ClasswiseSums:
    """Class-wise calibration error, from running sums by groups of rows, over which there is a jackknife.

    It shrinks like 1/K as classes are added, so only errors at the same K can be compared.

    >>> sums = ClasswiseSums(classes=2, bins=15)
    >>> sums.add(np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1]))
    >>> round(sums.ece(), 4)
    0.4

    Source: Kull et al. 2019, arXiv 1910.12656; Nixon et al. 2019, arXiv 1904.01685, "static".
    """

    def __init__(self, classes: int, bins: int, groups: int = 1) -> None:
        self.groups = max(1, min(groups, _MAX_SUMS // (classes * check_bins(bins))))
        self.edges = np.linspace(0.0, 1.0, bins + 1)
        self._classes, self._bins = classes, bins
        self._mass = np.zeros(self.groups)
        self._total = np.zeros((self.groups, classes))
        self._sums = np.zeros((self.groups, classes, bins))

    def add(
        self,
        p: Column,
        label: npt.NDArray[np.int64],
        *,
        weights: Column | None = None,
        group: npt.NDArray[np.int64] | None = None,
        soft: Column | None = None,
    ) -> None:
        """Add rows: probabilities (n, K) and labels (n,), or soft labels (n, K); no array is changed or kept."""
        held = np.zeros(len(label), dtype=np.int64) if group is None else group % self.groups
        mass = np.ones(len(label)) if weights is None else weights
        # At most bins − 1 entries of a row can be above the first edge. Only these are sorted into bins: the sum of
        # the first bin is the total less the sums of the others.
        row, col = np.nonzero(p > self.edges[1])
        if soft is None:
            self.add_labels(held, mass, label)
        else:
            self._mass += np.bincount(held, weights=mass, minlength=self.groups)
            self._total -= self._by_group(soft, mass, held)
        is_label = label[row] == col if soft is None else soft[row, col]
        self.add_parts(self._by_group(p, mass, held), held[row], col, p[row, col], is_label, mass[row])

    def _by_group(self, values: Column, mass: Column, group: npt.NDArray[np.int64]) -> Column:
        """Weighted sums over the rows of each group, (G, K)."""
        sums = np.zeros((self.groups, self._classes))
        for g in np.unique(group):
            held = group == g
            np.einsum("i,ij->j", mass[held], values[held], out=sums[g])
        return sums

    def add_labels(self, group: npt.NDArray[np.int64], mass: Column, label: npt.NDArray[np.int64]) -> None:
        """Add rows' weights and labels."""
        self._mass += np.bincount(group, weights=mass, minlength=self.groups)
        flat = np.bincount(group * self._classes + label, weights=mass, minlength=self._total.size)
        self._total -= flat.reshape(self._total.shape)

    def add_parts(
        self,
        p_sums: Column,
        group: npt.NDArray[np.int64],
        col: npt.NDArray[np.int64],
        p: Column,
        is_label: npt.NDArray[Any],
        mass: Column,
    ) -> None:
        """Add the weighted sums of probabilities of each group, (G, K), and the entries above the first edge."""
        self._total += p_sums
        bin_ = np.minimum(np.searchsorted(self.edges, p, side="left") - 1, self._bins - 1)
        place = (group * self._classes + col) * self._bins + bin_
        np.add.at(self._sums.reshape(-1), place, (p - is_label) * mass)

    def ece(self) -> float:
        """The class-wise error of the rows added so far."""
        return float(self._errors(self._total.sum(axis=0), self._sums.sum(axis=0), self._mass.sum()))

    def without_each(self) -> Column:
        """The error without each group in turn, (groups,)."""
        total, sums, mass = self._total.sum(axis=0), self._sums.sum(axis=0), self._mass.sum()
        parts = zip(self._total, self._sums, self._mass, strict=True)
        return np.array([self._errors(total - t, sums - s, mass - m) for t, s, m in parts if m > 0])

    def _errors(self, total: Column, sums: Column, mass: float) -> float:
        first = total - sums[:, 1:].sum(axis=1)
        whole = np.abs(first).sum() + np.abs(sums[:, 1:]).sum()
        return float(whole / (mass * self._classes)) if mass > 0 else 0.0
