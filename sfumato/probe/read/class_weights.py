r"""Class weights read off the targets: q[y, k] = a_y·b_k·base[y, k], with base the two levels without weights.

Off the diagonal base is one number, so log q[y, k] = log a_y + log b_k there: two vectors, found by alternating means.
The diagonal must exceed that sum by one number too, the logarithm of the ratio of the two levels.
"""

from dataclasses import dataclass, replace

import numpy as np

from sfumato.probe.call.caller import Array
from sfumato.probe.findings import in_figures
from sfumato.probe.read.gradients import Reading


@dataclass(frozen=True)
class Weighted:
    """A reading with its class weights taken out.

    Attributes:
        reading: the reading with the two levels that the target has without weights; their sum is 1.
        classes: b, the weight of each class's term over the mean of all; ones where the classes have no weights.
    """

    reading: Reading
    classes: Array

    @property
    def told(self) -> str:
        """In words."""
        if np.ptp(self.classes) < 1e-4:
            return "rows are weighted by their label; the optimum stays"
        shown = in_figures(self.classes, digits=3)[1:-1]
        return f"every class's term is weighted ({shown} of their mean): the optimum moves to p ∝ w·q"


def without_weights(reading: Reading) -> Weighted | None:
    """The class weights, if they alone make the targets differ between labels; None otherwise.

    The reading is of a softmax, with every class among its labels. Weights of 1, 2 and 3 are found as 0.5, 1 and 1.5.
    """
    k = reading.classes
    if reading.kind != "softmax" or reading.labels != tuple(range(k)) or k < 3 or not reading.alive.all():
        return None
    q, own = reading.targets, np.eye(k, dtype=bool)
    if np.abs(q[~own]).max() < 1e-9:
        base = np.eye(k)
        weights = np.ones(k)
    else:
        if q.min() <= 0:
            return None
        logs = np.ma.masked_array(np.log(q), own)
        a, b = np.zeros(k), np.zeros(k)
        for _ in range(200):  # alternating means of a two-way table whose diagonal is left out
            a = np.asarray((logs - b[None, :]).mean(axis=1))
            b = np.asarray((logs - a[:, None]).mean(axis=0))
            b -= b.mean()
        left = np.asarray(np.ma.filled(np.ma.abs(logs - a[:, None] - b[None, :]), 0.0))
        extra = np.log(np.diag(q)) - a - b
        if left.max() > 1e-3 or np.ptp(extra) > 1e-3:
            return None
        other = 1 / (np.exp(extra.mean()) + k - 1)
        base = np.where(own, 1 - (k - 1) * other, other)
        weights = np.exp(b) / np.exp(b).mean()
    clean = replace(reading, targets=base, masses=np.ones(k), offset=float("nan"))
    return Weighted(clean, weights)
