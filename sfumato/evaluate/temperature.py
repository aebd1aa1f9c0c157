r"""The temperature that fits labels best, found exactly: the hard NLL is convex in β = 1/T, so its slope has one root.

.. math:: g(\beta) = \frac{1}{N} \sum_i \psi_i, \quad \psi_i = E_{p}[z_i] - z_{iy}, \qquad
          g'(\beta) = \frac{1}{N} \sum_i \mathrm{Var}_{p}(z_i) \ge 0, \qquad p = \mathrm{softmax}(\beta z_i)

Rows are shifted by their largest logit, so ψ of a confident right row is a sum of small terms and keeps its digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sfumato.evaluate._source import Column, Labels, Scores, Source, check_labels, check_temperature

LOWEST, HIGHEST = 1e-3, 1e3  # the temperatures searched

_KEEP_ELEMENTS = 1 << 23  # shifted logits are kept between passes up to here: 64 MB
_WARM_ELEMENTS = 1 << 24  # above this, a search on a part of the rows gives the place to start
_SMALLEST = -1e150  # stands for −inf where 0·(−inf) would be NaN; its square is still finite


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T; probabilities are softmax(z/T). Below 1 sharpens, above 1 softens.
        at_bound: whether the NLL still falls at the end of the range searched, so that ``value`` is only that end.
        pseudo_row: whether a row of uniform label was added to have an optimum, see :func:`fit_temperature_small`.
    """

    value: float
    at_bound: bool
    pseudo_row: bool = False


def fit_temperature(*, logits: Scores, labels: Labels) -> Temperature:
    r"""The temperature of least hard NLL.

    .. math:: T^* = \arg\min_{10^{-3} \le T \le 10^3}
              \frac{1}{N} \sum_i -\log \mathrm{softmax}(z_i / T)_{y_i}

    Newton steps in log(1/T) on the slope of the NLL, kept inside a bracket that is halved when they stall; float64,
    accurate to 1e-10 relative, deterministic.

    Args:
        logits: :math:`z`, (N, K), torch or numpy, any float type.
        labels: class indices :math:`y`, (N,) integers.

    Returns:
        :class:`Temperature`. If every label has the largest logit of its row, any smaller T is better: the result is
        the lower bound, ``at_bound``. If all logits of every row are equal, T changes nothing and is 1.

    Raises:
        TypeError, ValueError, IndexError: as :func:`sfumato.evaluate.per_row`; ValueError also for a label whose logit
            is −inf, since no temperature makes its NLL finite (names the first row).

    >>> import numpy as np
    >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
    >>> fit = fit_temperature(logits=logits, labels=labels)
    >>> round(fit.value, 4), fit.at_bound  # 2 / log 3: probabilities 3/4 and 1/4
    (1.8205, False)

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2; the search is own.
    """
    return fit(Objective(logits, labels))


def fit_temperature_small(*, logits: Scores, labels: Labels) -> Temperature:
    r"""The temperature of least hard NLL, finite also where no row is wrong.

    A small validation set often has no error. Then the NLL has no finite optimum, T falls to its bound, and the first
    error among new rows costs thousands of nats. In that case, and only then, one row whose label is uniform over the
    classes is added to the sum, as if one more row had been seen with a label that the model knows nothing about:

    .. math:: \sum_i -\log p_{i y_i} + \frac{1}{N} \sum_i \frac{1}{K} \sum_k -\log p_{ik}

    Args:
        logits: :math:`z`, (N, K), torch or numpy, any float type.
        labels: class indices :math:`y`, (N,) integers.

    Returns:
        :class:`Temperature`, ``pseudo_row`` set where the row was added. Classes at −inf take no part in its label.

    Raises:
        TypeError, ValueError, IndexError: as :func:`fit_temperature`.

    >>> import numpy as np
    >>> fit = fit_temperature_small(logits=np.array([[2.0, 0.0]] * 9), labels=np.zeros(9, dtype=int))
    >>> round(fit.value, 4), fit.pseudo_row  # 2 / log 19: probability 9.5/10
    (0.6792, True)

    Source: own; one pseudo-observation, as in Laplace's rule of succession (here p = 9.5 / 10).
    """
    return fit(Objective(logits, labels), small=True)


def temperature_jackknife(*, logits: Scores, labels: Labels, temperature: float) -> Column:
    r"""Infinitesimal-jackknife pseudo-values of the fitted temperature, one a row.

    Leaving a row out moves the root of the slope by :math:`\psi_i / (N g')`, so its pseudo-value is

    .. math:: \beta_i = \beta - \psi_i / g'(\beta), \qquad T_i = T - T^2 (\beta_i - \beta) = T + T^2 \psi_i / g'(\beta)

    Args:
        logits: :math:`z`, (N, K), torch or numpy, any float type.
        labels: class indices :math:`y`, (N,) integers.
        temperature: the fitted :math:`T = 1/\beta`.

    Returns:
        Pseudo-values, (N,). At an optimum inside the bounds their mean is T and their variance over N that of T. All
        are T where the NLL does not bend, :math:`g' = 0`.

    Raises:
        TypeError, ValueError, IndexError: as :func:`fit_temperature`, and a temperature that is not positive.

    >>> import numpy as np
    >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
    >>> temperature = fit_temperature(logits=logits, labels=labels).value
    >>> temperature_jackknife(logits=logits, labels=labels, temperature=temperature).round(3).tolist()
    [-0.389, -0.389, -0.389, 8.449]

    Source: Jaeckel 1972; Efron 1982, section 6.
    """
    beta = 1 / check_temperature(temperature)
    psi, variance = Objective(logits, labels).at(beta)
    bend = float(variance.mean())
    return temperature + (psi / bend if bend > 0 else np.zeros_like(psi)) / beta**2


class Objective:
    """ψ and its derivatives for every row at any β, in one pass over the logits.

    Attributes:
        behind: z_top − z_y of every row: 0 where the label has the largest logit.
        centre: mean of the shifted logits of every row, classes at −inf left out.
    """

    def __init__(self, logits: Scores, labels: Labels) -> None:
        self.source = Source(logits=logits)
        self.labels = check_labels(labels, self.source.rows, self.source.classes)
        self.behind, self.centre = np.empty(self.source.rows), np.empty(self.source.rows)
        self._kept: list[tuple[slice, torch.Tensor]] | None = None
        kept: list[tuple[slice, torch.Tensor]] = []
        small = self.source.rows * self.source.classes <= _KEEP_ELEMENTS
        label = torch.from_numpy(self.labels).unsqueeze(1)
        for rows, z in self._chunks():
            self.behind[rows] = -z.gather(1, label[rows]).squeeze(1).numpy()
            there = z > _SMALLEST
            self.centre[rows] = ((z * there).sum(dim=1) / there.sum(dim=1)).numpy()
            if small:
                kept.append((rows, z))
        lost = np.flatnonzero(self.behind >= -_SMALLEST)
        if len(lost):
            raise ValueError(f"the label's logit is −inf in row {lost[0]}: no temperature makes its NLL finite")
        if small:
            self._kept = kept

    def at(self, beta: float) -> tuple[Column, Column]:
        """ψ and Var_p(z) of every row, each (N,)."""
        psi, variance = np.empty(self.source.rows), np.empty(self.source.rows)
        for rows, z in self._chunks():
            e = (z * beta).exp_()
            total = e.sum(dim=1)
            weighted = e.mul_(z)
            mean = weighted.sum(dim=1) / total
            psi[rows] = mean.numpy()
            variance[rows] = (torch.linalg.vecdot(weighted, z) / total - mean.square()).clamp_(min=0).numpy()
        return psi + self.behind, variance

    def cumulants(self, beta: float) -> tuple[Column, Column, Column, Column]:
        """ψ and the second, third and fourth cumulants of z under p, each (N,): the derivatives of ψ in β."""
        columns = tuple(np.empty(self.source.rows) for _ in range(4))
        for rows, z in self._chunks():
            p = torch.softmax(z * beta, dim=1)
            mean = torch.linalg.vecdot(p, z)
            off = z - mean.unsqueeze(1)
            weighted = p.mul_(off).mul_(off)
            second = weighted.sum(dim=1)
            third = torch.linalg.vecdot(weighted, off)
            fourth = torch.linalg.vecdot(weighted.mul_(off), off) - 3 * second.square()
            for column, value in zip(columns, (mean, second, third, fourth), strict=True):
                column[rows] = value.numpy()
        return columns[0] + self.behind, columns[1], columns[2], columns[3]

    def part(self, step: int) -> Objective:
        """The same for every ``step``-th row."""
        return Objective(self.source.values[::step], self.labels[::step])

    def _chunks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        if self._kept is not None:
            yield from self._kept
            return
        for chunk in self.source:
            yield chunk.rows, chunk.shifted.clamp_(min=_SMALLEST)


def fit(
    objective: Objective, keep: npt.NDArray[np.bool_] | None = None, *, small: bool = False, start: float | None = None
) -> Temperature:
    """Fit on the rows in ``keep`` (all by default); ``small`` as in :func:`fit_temperature_small`; ``start`` a T."""
    rows = np.ones(objective.source.rows, dtype=np.bool_) if keep is None else keep
    behind, centre = objective.behind[rows], objective.centre[rows]
    all_right = not behind.any()
    if all_right and not centre.any():
        return Temperature(1.0, at_bound=False)
    if all_right and not small:
        return Temperature(LOWEST, at_bound=True)

    def slope(beta: float) -> tuple[float, float]:
        psi, variance = (column[rows] for column in objective.at(beta))
        if not all_right:
            return float(psi.mean()), float(variance.mean())
        # all_right: behind is 0, so psi is E_p[z] and the pseudo-row's slope is its mean less that of the centres
        pseudo = float(psi.mean() - centre.mean()) / len(psi)
        return float(psi.mean()) + pseudo, float(variance.mean()) * (1 + 1 / len(psi))

    if start is None:
        size = objective.source.rows * objective.source.classes
        many = keep is None and size > _WARM_ELEMENTS
        start = fit(objective.part(1 + 4 * size // _WARM_ELEMENTS), small=small).value if many else 1.0
    beta, at_bound = _root(slope, 1 / start)
    value = {1 / LOWEST: LOWEST, 1 / HIGHEST: HIGHEST}.get(beta, 1 / beta)
    return Temperature(value, at_bound=at_bound, pseudo_row=all_right)


def fit_without_each(objective: Objective, fold: npt.NDArray[np.int64], whole: Temperature) -> dict[int, Temperature]:
    """For every fold, :func:`fit_temperature_small` on the rows outside it; ``whole`` is the fit on all rows.

    Leaving a fold out moves β little, so the slope of each rest is its Taylor series about the whole's β, from one pass
    for all folds. Where its last two orders differ by more than 1e-7 of β, the rest is fitted anew from there; below
    that the last is good to about 1e-9, far less than chance does to T.
    """
    beta = 1 / whole.value
    columns = objective.cumulants(beta)
    found: dict[int, Temperature] = {}
    for f in np.unique(fold).tolist():
        others = fold != f
        if not objective.behind[others].any():
            found[f] = fit(objective, others, small=True)
            continue
        series = [float(column[others].mean()) for column in columns]
        lower, upper = _series_root(series[:3]), _series_root(series)
        moved = beta + upper
        if not 1 / HIGHEST < moved < 1 / LOWEST:
            found[f] = fit(objective, others, small=True, start=whole.value)
        elif abs(upper - lower) <= 1e-7 * beta:
            found[f] = Temperature(1 / moved, at_bound=False)
        else:
            found[f] = fit(objective, others, small=True, start=1 / moved)
    return found


def _series_root(derivatives: list[float]) -> float:
    """Root δ near 0 of Σ_j d_j·δ^j / j!, by Newton; NaN where it does not settle."""
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
    """Root of an increasing slope(β) in [1/HIGHEST, 1/LOWEST], and whether it is cut off by one of these ends."""
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
        # a Newton step this short leaves an error of its square, far below 1e-10
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
