r"""A smoothing over a prior, read off the targets: q[y, k] = (1−ε)·[y = k] + ε·π_k.

Off the diagonal column k is one number, ε·π_k, and these numbers sum to ε. The diagonal must exceed them by 1−ε.
"""

from dataclasses import dataclass

import numpy as np

from sfumato.conventions.batch import own_class
from sfumato.probe.findings import in_figures
from sfumato.probe.read.gradients import Reading
from sfumato.probe.read.levels import as_typed


@dataclass(frozen=True)
class Prior:
    """A target spread over a prior.

    Attributes:
        eps: strength ε.
        distribution: π, (K,), summing to 1.
    """

    eps: float
    distribution: tuple[float, ...]

    @property
    def told(self) -> str:
        """In words."""
        return f"(1−ε)·e_y + ε·π with ε = {self.eps:g} and π = {in_figures(self.distribution)}"


def prior_of(reading: Reading) -> Prior | None:
    """The prior that the targets of a softmax are spread over; None where they have another form, or too few labels."""
    k = reading.classes
    if reading.kind != "softmax" or not reading.alive.all() or len(reading.labels) < 3:
        return None
    q = reading.optima
    own = own_class(reading.labels, k)
    columns = np.asarray(np.ma.masked_array(q, own).mean(axis=0))
    eps = float(columns.sum())
    left = q - np.where(own, 1 - eps, 0.0) - columns
    if np.abs(left).max() > 1e-5 or not 1e-6 < eps <= 1 + 1e-9 or columns.min() < -1e-9:
        return None
    shares = np.where(np.abs(columns) < 1e-11, 0.0, columns / eps)
    shares = np.array([as_typed(float(each), coarse=reading.coarse) for each in shares])
    return Prior(as_typed(eps, coarse=reading.coarse), tuple(float(f"{each:.12g}") for each in shares / shares.sum()))
