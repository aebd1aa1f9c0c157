r"""The temperature that fits the labels best. The log loss is convex in β = 1/T, so its slope g has a single root.

.. math:: g(\beta) = \frac{1}{N} \sum_i \psi_i, \quad \psi_i = E_{p}[z_i] - z_{iy}, \qquad
          g'(\beta) = \frac{1}{N} \sum_i \mathrm{Var}_{p}(z_i) \ge 0, \qquad p = \mathrm{softmax}(\beta z_i)

Soft labels q put ⟨q, z⟩ in the place of z_y.
Rows are shifted by their largest logit, so ψ of a confident right row is a sum of small terms and loses no digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.score_matrix import Column, Labels, RowError, ScoreMatrix, Scores, check_labels
from sfumato.evaluate.scores.soft_labels import Truth

LOWEST, HIGHEST = 1e-3, 1e3  # the temperatures searched

_KEEP_ELEMENTS = 1 << 23  # up to so many shifted logits (64 MB) are kept between passes
_WARM_ELEMENTS = 1 << 24  # for more logits, the search starts where a search on a part of the rows ends
SMALLEST = -1e150  # stands for −inf where 0·(−inf) would be NaN; its square is still finite


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T; probabilities are softmax(z/T), sharper for T below 1 and softer for T above 1.
        at_bound: whether the NLL still falls at the end of the range searched, so that ``value`` is only that end.
        pseudo_row: whether ``small`` added a row of uniform label, without which no T is optimal.
    """

    value: float
    at_bound: bool
    pseudo_row: bool = False


def fit_temperature(*, logits: Scores, labels: Labels, small: bool = False) -> Temperature:
    r"""The temperature of least log loss.

    .. math:: T^* = \arg\min_{10^{-3} \le T \le 10^3} \frac{1}{N} \sum_i -\log \mathrm{softmax}(z_i / T)_{y_i}

    The root of the slope of the NLL is found by Newton steps in log(1/T), inside a bracket that is halved where they
    stall. The arithmetic is float64, and the relative error of T is below 1e-10.

    Args:
        logits: :math:`z`, (N, K), torch or numpy, any float type.
        labels: class indices :math:`y`, (N,) integers.
        small: whether T is to be finite also where no row is wrong, as in a small validation set: in that case only,
            one row is added to the sum whose label is uniform over the classes (those at −inf aside).

    Returns:
        :class:`Temperature`. If every label has the largest logit of its row, any smaller T is better, so the result
        is the lower bound, ``at_bound``, or with ``small`` that of the row added, ``pseudo_row``. If all logits of
        every row are equal, T changes nothing and is 1.

    Raises:
        TypeError, ValueError, IndexError: as :func:`sfumato.evaluate.per_row`; ValueError also for a label whose logit
            is −inf, since no temperature makes its NLL finite (names the first row).

    >>> import numpy as np
    >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
    >>> fit = fit_temperature(logits=logits, labels=labels)
    >>> round(fit.value, 4), fit.at_bound  # 2 / log 3: probabilities 3/4 and 1/4
    (1.8205, False)

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2; one pseudo-observation, as in Laplace's rule of succession.
    """
    return fit(NllSlope(logits, labels), small=small)


def influence_on_temperature(value: float, psi: Column, bend: float) -> Column:
    """What each row adds to the fitted T = 1/β, (N,): infinitesimal-jackknife values; T where the NLL is straight.

    Without row i, the root of the slope moves by ψ_i/(N·g'); see Jaeckel 1972 and Efron 1982, section 6.
    """
    return value + (value * value * psi / bend if bend > 0 else np.zeros_like(psi))


def jackknife(objective: NllSlope, temperature: float) -> Column:
    """:func:`influence_on_temperature` of the rows of an objective, at its fitted temperature."""
    psi, variance = objective.at(1 / temperature)
    return influence_on_temperature(temperature, psi, float(variance.mean()))


class NllSlope:
    """ψ and its derivatives for every row at any β, in one pass over the logits.

    ``label_deficit`` is z_top − z_y of every row, or z_top − ⟨q, z⟩: 0 where the label has the largest logit.
    ``centre`` is the mean of the shifted logits of every row, without the classes at −inf.
    """

    def __init__(self, logits: Scores, labels: Labels | Truth) -> None:
        self.source = ScoreMatrix(logits=logits)
        self.truth = (
            labels if isinstance(labels, Truth) else Truth(check_labels(labels, self.source.rows, self.source.classes))
        )
        self.label_deficit, self.centre = np.empty(self.source.rows), np.empty(self.source.rows)
        self._kept: list[tuple[slice, Column]] = []
        kept: list[tuple[slice, Column]] = []
        for rows, z in self._chunks():
            self.label_deficit[rows] = self._label_deficit(rows, z)
            self.centre[rows] = mean_of_possible(z)
            if self.source.rows * self.source.classes <= _KEEP_ELEMENTS:
                kept.append((rows, z))
        self._kept = kept
        lost = np.flatnonzero(self.label_deficit >= -SMALLEST)
        if len(lost):
            raise RowError(
                "the label's logit is −inf in row {row}: no temperature makes its NLL finite", [int(lost[0])]
            )

    def _label_deficit(self, rows: slice, z: Column) -> Column:
        if self.truth.soft is None:
            return -z[np.arange(len(z)), self.truth.labels[rows]]
        q = self.truth.soft.block(rows)
        lost = ((z <= SMALLEST) & (q > 0)).any(axis=1)  # however little of q is there
        return np.where(lost, -SMALLEST, -np.einsum("ij,ij->i", q, z))

    def at(self, beta: float) -> tuple[Column, Column]:
        """ψ and Var_p(z) of every row, each (N,)."""
        psi, variance = np.empty(self.source.rows), np.empty(self.source.rows)
        for rows, z in self._chunks():
            e = np.exp(z * beta)
            total = e.sum(axis=1)
            e *= z
            expected = e.sum(axis=1) / total
            psi[rows] = expected
            variance[rows] = np.maximum(np.einsum("ij,ij->i", e, z) / total - np.square(expected), 0.0)
        return psi + self.label_deficit, variance

    def cumulants(self, beta: float) -> tuple[Column, Column, Column, Column]:
        """ψ and the second, third and fourth cumulants of z under p, each (N,): the derivatives of ψ in β."""
        columns = np.empty((4, self.source.rows))
        for rows, z in self._chunks():
            p = np.exp(z * beta)
            p /= p.sum(axis=1)[:, None]
            columns[:, rows] = cumulants_under(p, z)
        return columns[0] + self.label_deficit, columns[1], columns[2], columns[3]

    def _chunks(self) -> Iterator[tuple[slice, Column]]:
        if self._kept:
            yield from self._kept
            return
        for rows, shifted in self.source:
            yield rows, np.maximum(shifted, SMALLEST, out=shifted)


def mean_of_possible(z: Column) -> Column:
    """Mean of each row of shifted logits, (N,), without the classes that are ruled out (:data:`SMALLEST`)."""
    there = z > SMALLEST
    return np.where(there, z, 0.0).sum(axis=1) / there.sum(axis=1)


def cumulants_under(p: Column, z: Column) -> tuple[Column, Column, Column, Column]:
    """Mean and second to fourth cumulants of each row of logits under its probabilities; ``p`` is overwritten."""
    expected = np.einsum("ij,ij->i", p, z)
    off = z - expected[:, None]
    p *= off
    p *= off
    second = p.sum(axis=1)
    third = np.einsum("ij,ij->i", p, off)
    p *= off
    return expected, second, third, np.einsum("ij,ij->i", p, off) - 3 * np.square(second)


def fit(
    objective: NllSlope, keep: npt.NDArray[np.bool_] | None = None, *, small: bool = False, start: float | None = None
) -> Temperature:
    """Fit on the rows in ``keep``, by default all; ``small`` as :func:`fit_temperature`."""
    rows = np.ones(objective.source.rows, dtype=np.bool_) if keep is None else keep
    deficit, centre = objective.label_deficit[rows], objective.centre[rows]
    size = len(deficit)
    all_right = not deficit.any()
    if all_right and not centre.any():
        return Temperature(1.0, at_bound=False)
    if all_right and not small:
        return Temperature(LOWEST, at_bound=True)

    def slope(beta: float) -> tuple[float, float]:
        g, bend = (float(np.mean(column[rows])) for column in objective.at(beta))
        if not all_right:
            return g, bend
        # Deficits are 0, so psi is E_p[z], and the slope of the pseudo-row is the mean of psi less that of the centres
        return g + (g - float(np.mean(centre))) / size, bend * (1 + 1 / size)

    if start is None:
        elements = objective.source.rows * objective.source.classes
        start = 1.0
        if keep is None and elements > _WARM_ELEMENTS:
            part = slice(None, None, 1 + 4 * elements // _WARM_ELEMENTS)
            start = fit(NllSlope(objective.source.part(part.step), objective.truth.part(part)), small=small).value
    beta, at_bound = _root(slope, 1 / start)
    value = {1 / LOWEST: LOWEST, 1 / HIGHEST: HIGHEST}.get(beta, 1 / beta)
    return Temperature(value, at_bound=at_bound, pseudo_row=all_right)


def fit_without_each(
    objective: NllSlope, fold: npt.NDArray[np.int64], whole: Temperature, columns: Sequence[Column]
) -> dict[int, Temperature]:
    """For every fold, the ``small`` temperature of the rows outside it; ``whole`` is the fit on all rows."""
    # Without a fold, β moves little, so the cumulants at the β of all rows give the slope of the other folds as a
    # Taylor series. Where its last two orders differ by more than 1e-7 of β, these folds are fitted anew; elsewhere the
    # last order is good to about 1e-9, far less than the chance in T.
    beta = 1 / whole.value
    found: dict[int, Temperature] = {}
    for f in np.unique(fold).tolist():
        others, start = fold != f, None
        if objective.label_deficit[others].any():
            moved, known = from_series(beta, columns, others)
            if known:
                found[f] = Temperature(1 / moved, at_bound=False)
                continue
            start = 1 / moved if 1 / HIGHEST < moved < 1 / LOWEST else whole.value
        found[f] = fit(objective, others, small=True, start=start)
    return found


def from_series(
    beta: float,
    columns: Sequence[Column],
    keep: npt.NDArray[np.bool_] | slice,
    centre: Column | None = None,
) -> tuple[float, bool]:
    """The optimal β of some rows, from cumulants at a ``beta`` near it, and whether it is good to 1e-7.

    ``centre`` adds the row of a ``small`` :func:`fit_temperature`.
    """
    series = [float(np.mean(column[keep])) for column in columns]
    if centre is not None:
        size, middle = len(columns[0][keep]), float(np.mean(centre[keep]))
        series = [s + (s - (middle if order == 0 else 0.0)) / size for order, s in enumerate(series)]
    lower, upper = _series_root(series[:3]), _series_root(series)
    moved = beta + upper
    known = 1 / HIGHEST < moved < 1 / LOWEST and abs(upper - lower) <= 1e-7 * beta
    return moved, known


def _series_root(derivatives: list[float]) -> float:
    """The root δ near 0 of Σ_j d_j·δ^j / j!, by Newton steps; NaN where these do not settle."""
    series = np.polynomial.Polynomial([d / f for d, f in zip(derivatives, (1.0, 1.0, 2.0, 6.0), strict=False)])
    slope, delta = series.deriv(), 0.0
    for _ in range(20):
        bend = float(slope(delta))
        if not bend > 0:
            return np.nan
        step = float(series(delta)) / bend
        delta -= step
        if abs(step) <= 1e-12 * abs(delta):
            return delta
    return np.nan


def _root(slope: Callable[[float], tuple[float, float]], start: float) -> tuple[float, bool]:
    """The root of an increasing slope(β) in [1/HIGHEST, 1/LOWEST], and whether an end of that range cuts it off."""
    ends = (1 / HIGHEST, 1 / LOWEST)
    low, high = float(np.log(ends[0])), float(np.log(ends[1]))
    seen_low = seen_high = False
    u, earlier = float(np.log(start)), np.inf
    while True:
        beta = ends[0] if u == low and not seen_low else ends[1] if u == high and not seen_high else float(np.exp(u))
        g, bend = slope(beta)
        if (g >= 0 and beta == ends[0]) or (g <= 0 and beta == ends[1]):
            return beta, True
        if g == 0:
            return beta, False
        if g < 0:
            low, seen_low = u, True
        else:
            high, seen_high = u, True
        step = -g / (beta * bend) if beta * bend > 0 else -np.copysign(np.inf, g)
        # the error after a Newton step is of the size of its square, here far below 1e-10
        if abs(step) < 1e-8 and low <= u + step <= high:
            return float(np.exp(u + step)), False
        if high - low < 1e-13:
            return float(np.exp((low + high) / 2)), False
        target = u + step
        if target <= low and not seen_low:
            target = low
        elif target >= high and not seen_high:
            target = high
        elif not low < target < high or abs(step) > earlier / 2:
            target = (low + high) / 2
        earlier, u = abs(target - u), target
