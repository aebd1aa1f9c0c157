"""The columns that one scan of many long rows fills, and how they move to another temperature without a second scan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.classwise import ClasswiseSums
from sfumato.evaluate.scores.rows import Rows, empty_rows
from sfumato.evaluate.scores.score_matrix import Column, ScoreMatrix

_MOVED = 1 << 16  # rows moved to another temperature at a time


class Expansion:
    """The log-partition of each row and its derivatives at one inverse temperature β, from which values near β follow.

    Attributes:
        beta: the inverse temperature.
        lse: log Σ_k e^{β(z_k − z_top)} of each row.
        cumulants: ψ and the second to fourth cumulants of z under p. They are the derivatives of lse, except that ψ is
            counted from z_y.
        squares: Σ_{k≠top} z^j e^{2βz} for j = 0, 1, 2.
    """

    def __init__(self, beta: float, rows: int) -> None:
        self.beta = beta
        self.lse = np.empty(rows)
        self.cumulants = tuple(np.empty(rows) for _ in range(4))
        self.squares = tuple(np.empty(rows) for _ in range(3))

    def move(self, rows: Rows, behind: Column, beta: Column) -> Rows:
        """The columns at another β of each row, which differs from this β by some per cent.

        lse follows its Taylor series to the fourth order, whose error is δ⁵κ₅/120: below 1e-7 for δ = 0.02 and logits
        that spread by 10. In a confident row lse is a single exponential, and changes as one. The sum of squares
        changes as the exponential of a quadratic.
        """
        moved = replace(
            empty_rows(rows.label),
            predicted=rows.predicted,
            correct=rows.correct,
            rank=rows.rank,
            tied=rows.tied,
            gap=rows.gap * beta,
            norm=rows.norm * beta,
            slope=(self.cumulants[0] + (beta - self.beta) * self.cumulants[1]) * beta,
        )
        for start in range(0, len(rows), _MOVED):
            self._move(moved, behind, beta, slice(start, start + _MOVED))
        return moved

    def _move(self, rows: Rows, behind: Column, beta: Column, at: slice) -> None:
        delta, lse_here = beta[at] - self.beta, self.lse[at]
        psi, k2, k3, k4 = (column[at] for column in self.cumulants)
        m1 = psi - behind[at]
        lse = lse_here + delta * (m1 + delta / 2 * (k2 + delta / 3 * (k3 + delta / 4 * k4)))
        sure = lse_here < 1e-6
        lse[sure] = lse_here[sure] * np.exp(delta[sure] * m1[sure] / np.maximum(lse_here[sure], 1e-300))
        q0, q1, q2 = (column[at] for column in self.squares)
        # float32 has no digits for smaller squares, which do not matter in a Brier score
        small = q0 < 1e-30
        mean, square = (np.where(small, 0.0, q / np.where(small, 1.0, q0)) for q in (q1, q2))
        others = q0 * np.exp(2 * delta * mean + 2 * delta**2 * np.maximum(square - mean**2, 0.0) - 2 * lse)
        log_y = -beta[at] * behind[at] - lse
        p_y, right = np.exp(log_y), rows.correct[at]
        rows.confidence[at], rows.log_confidence[at], rows.nll[at] = np.exp(-lse), -lse, -log_y
        # as in the pass itself: the sum is over the smaller classes alone where the label is the largest
        rest = np.where(right, -np.expm1(-lse), 1 - p_y)
        rows.brier[at] = rest * rest + np.where(right, others, np.exp(-2 * lse) + others - p_y * p_y)


@dataclass
class Scan:
    """What a scan of the logits ``source`` is asked for, and what it found.

    Attributes:
        rows: the columns.
        behind, centre: as in :class:`~sfumato.evaluate.metrics.temperature.NllSlope`.
        expansion: the expansion of every row about one β, if asked for.
        hashes: the hashes of the content of the rows, where ``by_class`` is filled.
        by_class: sums that each block adds to, if asked for.
        weights: weights of the rows, or None.
    """

    source: ScoreMatrix
    rows: Rows
    behind: Column
    centre: Column
    expansion: Expansion | None = None
    hashes: npt.NDArray[np.uint64] | None = None
    by_class: ClasswiseSums | None = None
    weights: Column | None = None
