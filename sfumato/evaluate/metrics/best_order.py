r"""The area that the best order of rows reaches, which the E-AURC is counted from.

Rows answered in the order of their risks ρ have the least area under the risk–coverage curve. In the limit of many rows

.. math:: B = \int_0^1 \rho(s) (-\ln s) \, ds

with ρ(s) the risks in rising order, as a function of the coverage s. Risks of 0 and 1 make it r + (1 − r)·ln(1 − r), r
the error rate. A soft label q gives a row the risk 1 − q of its predicted class.
"""

from __future__ import annotations

import numpy as np

from sfumato.evaluate.scores.column_checks import Column, mean


def best_area(error_rate: Column) -> Column:
    """AURC of the best order at an error rate r, of risks that are 0 or 1: r + (1 − r)·ln(1 − r)."""
    kept = 1 - error_rate
    return error_rate + kept * np.log(np.where(kept > 0, kept, 1.0))


def best_area_of(risk: Column, weights: Column | None = None) -> float:
    """AURC of the best order of these risks, (N,), each from 0 to 1."""
    order = np.argsort(risk, kind="stable")
    steps = np.arange(1, len(risk) + 1) / len(risk) if weights is None else np.cumsum(weights[order]) / weights.sum()
    return float(risk[order] @ _shares(steps))


def best_area_part(risk: Column, weights: Column | None = None) -> Column:
    """What each row adds to :func:`best_area_of`, (N,): infinitesimal-jackknife values, whose mean is the area."""
    values, place = np.unique(risk, return_inverse=True)
    mass = np.bincount(place, weights=weights).astype(np.float64)
    below = np.cumsum(mass)[:-1] / mass.sum()  # of the rows up to each value but the largest
    with np.errstate(divide="ignore"):  # rows of weight 0 may have the smallest risk
        pull = np.diff(values) * np.where(below > 0, -np.log(below), 0.0)
    part = -np.append(np.cumsum(pull[::-1])[::-1], 0.0)[place]
    return part - mean(part, weights) + best_area_of(risk, weights)


def best_area_without_each(risk: Column) -> Column:
    """:func:`best_area_of` with each row left out in turn, (N,), of at least 2 rows."""
    n = len(risk)
    order = np.argsort(risk, kind="stable")
    ordered, shares = risk[order], _shares(np.arange(1, n) / (n - 1))
    before = np.concatenate([[0.0], np.cumsum(ordered[:-1] * shares)])
    after = np.concatenate([np.cumsum((ordered[1:] * shares)[::-1])[::-1], [0.0]])
    without = np.empty(n)
    without[order] = before + after
    return without


def _shares(steps: Column) -> Column:
    """∫ −ln s ds over each step of a rising coverage that begins at 0."""
    return np.diff(steps - steps * np.log(np.where(steps > 0, steps, 1.0)), prepend=0.0)
