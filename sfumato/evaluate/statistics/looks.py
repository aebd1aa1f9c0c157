"""Testing again after more models were trained: all looks together declare a false difference in at most 5 %.

Models that are added make the standard error smaller. The z-values of the looks then behave like a Brownian motion at
the times 1/se² (Jennison and Turnbull 2000, chapter 11), so that the boundary of each look follows from the error that
it may spend (Lan and DeMets 1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sfumato.extras import lab_imports

SPENT = (0.8, 1 / 15, 1 / 15, 1 / 15)
"""The part of the error that each look spends: most at the first, after which most comparisons end."""

MAX_LOOKS = len(SPENT)

_LEVEL = 0.05 / 3  # of one of three tests; the factor at this level is a little too strict for a test at 5 %
_NODES = 96


def adjustment(earlier: Sequence[float], now: float, spent: Sequence[float] = SPENT) -> float:
    """The factor for the p-value of a look: p · factor < 0.05 in any look then has a probability of at most 5 %.

    ``earlier`` are the standard errors of the difference at the looks before, ``now`` that at this look, and ``spent``
    the part of the error of each look.

    >>> round(adjustment([], 1.0), 3), round(adjustment([1.0], 0.9), 1), round(adjustment([1.0, 0.9], 0.85), 1)
    (1.25, 3.7, 3.8)
    """
    with lab_imports("a comparison"):
        from scipy.optimize import root_scalar
        from scipy.stats import norm

    errors = np.array([*earlier, now])
    if not (errors > 0).all():  # nothing varied, so the looks are not known to belong together
        return 1 / spent[len(earlier)]
    information = np.maximum.accumulate((errors[0] / errors) ** 2)
    times = information + 4e-3 * np.arange(len(errors))  # a look that adds nothing repeats the one before
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edge = float(norm.isf(_LEVEL * spent[0] / 2))
    at, density = edge * nodes, edge * weights * norm.pdf(edge * nodes)  # of the paths that crossed no boundary so far
    for step, part in zip(np.sqrt(np.diff(times)), spent[1:], strict=False):

        def excess(edge: float, step: float = step, at: Any = at, paths: Any = density, part: float = part) -> float:
            return float(paths @ (norm.sf((edge - at) / step) + norm.cdf((-edge - at) / step))) - _LEVEL * part

        here = at
        edge = float(root_scalar(excess, bracket=(0.0, 12 * np.sqrt(times[-1])), method="brentq").root)
        at = edge * nodes
        density = edge * weights * (norm.pdf((at[:, None] - here) / step) @ density) / step
    return float(_LEVEL / (2 * norm.sf(edge / np.sqrt(times[-1]))))
