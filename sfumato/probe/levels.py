"""The levels of a target: two, for the label and for every other class, or one for each class: by weights, or a prior.

A probe looks for them in the targets that it fitted to each label, and a watcher in the gradients of rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from sfumato.conventions.row_losses import own_class
from sfumato.probe.call import Array
from sfumato.probe.gradients import Reading


@dataclass(frozen=True)
class Levels:
    """The two levels of a target at one K."""

    classes: int  # K
    kind: str  # "softmax", "softmax without padding" or "sigmoid", as the space of a convention
    true: float  # q of the label; for sigmoids divided by S
    other: float  # q of each other class
    mass: float  # Σq
    pad: int | None = None  # the class without mass, if there is one
    factor: float = 1.0  # S, the number that p is multiplied by. For a softmax S must be Σq
    coarse: bool = False  # whether the levels were read from differences of values with float32's digits

    @property
    def optimum(self) -> tuple[float, float]:
        """The probabilities at the optimum: q over its sum, or q itself for sigmoids."""
        total = 1.0 if self.kind == "sigmoid" or self.mass == 0 else self.mass
        return self.true / total, self.other / total

    @property
    def is_hard(self) -> bool:
        """Whether all mass is on the label, up to what a guard such as log(p + 1e-7) leaves."""
        if self.kind == "sigmoid" and abs(self.true - 1) > (2e-5 if self.coarse else 2e-6):
            return False
        return abs(self.other) <= least_share(self.classes, coarse=self.coarse) * max(abs(self.true), 1e-9)

    @property
    def drifts(self) -> bool:
        """Whether no logits make the gradient 0: Σq is not S, so that it does not sum to 0. Sigmoids need not."""
        return self.kind != "sigmoid" and abs(self.mass - self.factor) > 1e-5 * abs(self.factor)


def least_share(classes: int, *, coarse: bool = False) -> float:
    """The share of another class up to which it counts as none: far less than ε/K, of however many classes."""
    return (2e-5 if coarse else 2e-6) * min(1.0, 25 / classes)


def in_figures(numbers: Iterable[float], most: int = 6, *, digits: int = 4) -> str:
    """The first numbers of a distribution, without the rounding of a fit."""
    figures = [f"{round(float(each), 9) + 0.0:.{digits}g}" for each in numbers]
    return f"({', '.join(figures[:most])}{', …' if len(figures) > most else ''})"


def levels(reading: Reading) -> Levels | None:
    """The two levels of a reading; None where targets have more than two, or differ between labels."""
    alive = np.flatnonzero(reading.alive)
    masses = reading.masses[alive]
    if reading.kind == "other" or len(alive) == 0 or np.ptp(masses) > 1e-4 * np.abs(masses).max():
        return None
    factor, k = float(masses.mean()), reading.classes
    q, labels = reading.targets[alive], reading.live_labels
    own = q[np.arange(len(alive)), labels]
    rest: Any = np.ma.masked_array(q, own_class(labels, k))
    pad = None  # the only class to which no other label gives mass, while the other classes get some
    size = float(np.ma.max(np.ma.abs(rest))) if rest.count() else 0.0
    if reading.kind == "softmax" and k >= 4 and size >= 1e-9:
        (empty,) = np.nonzero(np.ma.abs(rest).max(axis=0).filled(np.inf) < 1e-7 * size)
        pad = int(empty[0]) if len(empty) == 1 else None
    if pad is not None:
        rest = np.ma.masked_array(rest, np.broadcast_to(np.arange(k) == pad, rest.shape))
    close = 1e-4 * max(abs(factor), float(np.abs(own).max()))
    if np.ptp(own) > close or (rest.count() and float(np.ma.max(rest) - np.ma.min(rest)) > close):
        return None
    unit = factor if reading.kind == "sigmoid" else 1.0
    # Without the rounding of the fit.
    both = (float(own.mean()) / unit, float(rest.mean()) / unit if rest.count() else 0.0)
    true, other = (0.0 if abs(each) < 1e-11 else float(f"{each:.12g}") for each in both)
    mass = float(f"{true + (k - 1 - (pad is not None)) * other:.12g}")
    kind = reading.kind if pad is None else "softmax without padding"
    return Levels(k, kind, true, other, mass, pad, factor, reading.coarse)


def as_typed(value: float, *, coarse: bool = False) -> float:
    """The number that a person typed: 0.10000000149 was 0.1 in float32, and 0.3000000000000001 was 0.3."""
    if value == 0 or not np.isfinite(value):
        return value + 0.0
    near = 1e-5 if coarse else 2e-7
    for digits, close in ((1, near), (2, near), (3, near), (4, near), (9, 1e-11)):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= close * abs(value):
            return short
    return value


@dataclass(frozen=True)
class Weighted:
    """A reading with its class weights taken out."""

    reading: Reading  # the reading with the two levels that the target has without weights; their sum is 1
    classes: Array  # b, the weight of each class's term over the mean of all; ones where the classes have no weights

    @property
    def description(self) -> str:
        """In words."""
        if np.ptp(self.classes) < 1e-4:
            return "rows are weighted by their label; the optimum stays"
        shown = in_figures(self.classes, digits=3)[1:-1]
        return f"every class's term is weighted ({shown} of their mean): the optimum moves to p ∝ w·q"


def without_weights(reading: Reading) -> Weighted | None:
    """The class weights, if they alone make the targets differ between labels; None otherwise."""
    k = reading.classes
    if reading.kind != "softmax" or reading.labels != tuple(range(k)) or k < 3 or not reading.alive.all():
        return None
    q, own = reading.targets, np.eye(k, dtype=bool)
    base, weights = np.eye(k), np.ones(k)
    if np.abs(q[~own]).max() >= 1e-9:
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
    return Weighted(replace(reading, targets=base, masses=np.ones(k), offset=float("nan")), weights)


class Prior(NamedTuple):
    """A target spread over a prior."""

    eps: float  # strength ε
    distribution: tuple[float, ...]  # π, (K,), summing to 1

    @property
    def description(self) -> str:
        """In words."""
        return f"(1−ε)·e_y + ε·π with ε = {self.eps:g} and π = {in_figures(self.distribution)}"


def prior_of(reading: Reading) -> Prior | None:
    """The prior that the targets of a softmax are spread over; None where they have another form, or too few labels."""
    if reading.kind != "softmax" or not reading.alive.all() or len(reading.labels) < 3:
        return None
    q, own = reading.optima, own_class(reading.labels, reading.classes)
    columns = np.asarray(np.ma.masked_array(q, own).mean(axis=0))
    eps = float(columns.sum())
    left = q - np.where(own, 1 - eps, 0.0) - columns
    if np.abs(left).max() > 1e-5 or not 1e-6 < eps <= 1 + 1e-9 or columns.min() < -1e-9:
        return None
    shares = np.where(np.abs(columns) < 1e-11, 0.0, columns / eps)
    shares = np.array([as_typed(float(each), coarse=reading.coarse) for each in shares])
    return Prior(as_typed(eps, coarse=reading.coarse), tuple(float(f"{each:.12g}") for each in shares / shares.sum()))


MAX_CLASSES, MAX_ROWS = 64, 512
"""Classes and rows up to which levels of single classes are looked for in the gradients of rows."""

CLOSE = 1e-3  # what may be left of the gradients, in parts of them


class ClassSpread(Enum):
    """Why each class has a level of its own."""

    WEIGHTS = auto()
    PRIOR = auto()


class ClassLevels(NamedTuple):
    """What rows say whose classes have levels of their own."""

    spread: ClassSpread
    eps: float  # over all classes
    factor: Array  # c of the rows of each label, (K,)
    misfit: float


def class_levels(p: Tensor, g: Tensor, label: Tensor) -> ClassLevels | None:
    r"""The levels of the classes, of probabilities and gradients (R, K) and labels (R,); None where none fit.

    For a row with label y, ∂L/∂z_k = S_y·p_k − β_k for every other class k. All rows together give S and β by least
    squares. With class weights w, as torch multiplies them in, β_k = c·w_k·ε/K and S_y = c·w_y·(1 − ε) + Σβ. Towards a
    prior π, β_k = c·ε·π_k and all S_y are c.
    """
    rows, k = p.shape
    if not 3 <= k <= MAX_CLASSES or rows < 2 * k:
        return None
    x, y = (each[:MAX_ROWS].double().cpu().numpy() for each in (p, g))
    own = own_class(label[:MAX_ROWS].cpu().numpy(), k)
    there = own.any(axis=0)
    of_classes = np.broadcast_to(-np.eye(k), (len(x), k, k))
    design = np.concatenate([x[:, :, None] * own[:, None, there], of_classes], axis=2)[~own]
    solution = np.linalg.lstsq(design, y[~own], rcond=None)[0]
    misfit = float(np.linalg.norm(design @ solution - y[~own]) / max(np.linalg.norm(y[~own]), 1e-300))
    slope, beta = np.split(solution, [int(there.sum())])
    whole, factor = float(beta.sum()), np.zeros(k)
    if misfit > CLOSE or whole <= 0 or slope.min() <= 0:
        return None
    factor[there] = slope
    if np.ptp(slope) < 1e-3 * slope.mean():
        return ClassLevels(ClassSpread.PRIOR, whole / float(slope.mean()), factor, misfit)
    hard, level = slope - whole, beta[there]
    ratio = float(hard @ level / (level @ level))
    if np.linalg.norm(hard - ratio * level) > 10 * CLOSE * np.linalg.norm(hard) or ratio <= 0:
        return None
    eps = k / (k + ratio)
    return ClassLevels(ClassSpread.WEIGHTS, eps, (factor - whole) / (1 - eps), misfit)
