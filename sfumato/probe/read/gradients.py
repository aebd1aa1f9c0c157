r"""Read the target off gradients: fit g = S·p − q over several logits, and say how well it fits.

For a softmax :math:`g = S\,p - q`; for sigmoids :math:`g = S\,\sigma(z) - t`. Both are linear in the unknowns, so a
few gradients give S, q and a residual, which says whether the loss is of that kind at all. Where the residual is too
large, ``extra_terms`` tries the gradients of known penalties beside a cross entropy.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.probe.call.caller import Array, Labels, Loss
from sfumato.probe.read.extra_terms import ExtraTerm, Fit, fit, log_partition, softmax, with_extra_term

FITS = 3e-5
"""Relative residual up to which a kind fits: float32 arithmetic and finite differences stay below it."""

POINTS = 6


@dataclass(frozen=True)
class Reading:
    """What a loss trains each label towards, at one K.

    Attributes:
        classes: K.
        labels: the labels asked about, (L,).
        kind: ``"softmax"``, ``"sigmoid"``, or ``"other"`` where neither fits.
        targets: q of each label, (L, K), not divided by S.
        masses: S of each label, (L,).
        offset: value less that of the plain cross entropy of q, averaged over labels and logits; NaN if it varies.
        residual: what the fit leaves of the gradient, relative to its largest entry.
        extra: a term beside the cross entropy and its coefficient, as in ``("z-loss", 1e-4)``.
        coarse: whether gradients are finite differences of values with float32's digits.
        slopes: the largest entry of each label's gradients, (L,).
    """

    classes: int
    labels: tuple[int, ...]
    kind: Literal["softmax", "sigmoid", "other"]
    targets: Array
    masses: Array
    offset: float
    residual: float
    extra: ExtraTerm | None = None
    coarse: bool = False
    slopes: Array | None = None

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which labels have a gradient at all, (L,)."""
        if self.kind == "other" and self.slopes is not None:
            return self.slopes > 1e-9
        return np.abs(self.targets).max(axis=1) > (1e-5 if self.coarse else 1e-9)

    @property
    def live_labels(self) -> list[int]:
        """The labels that have a gradient."""
        return [y for y, lives in zip(self.labels, self.alive, strict=True) if lives]

    @property
    def optima(self) -> Array:
        """q/S of each label, (L, K): the probabilities at which a softmax's loss is smallest."""
        return self.targets / np.where(self.masses == 0, 1.0, self.masses)[:, None]

    def batch(self, rows: int, seed: int) -> tuple[Array, Labels]:
        """Random logits, (rows, K), and in turn the labels that have a gradient, the second first."""
        labels = self.live_labels or [0]
        z = np.random.default_rng(seed).normal(size=(rows, self.classes))
        return z, np.array([labels[(i + 1) % len(labels)] for i in range(rows)])

    @property
    def floors(self) -> Array:
        """The smallest value of the plain cross entropy, for each label."""
        parts = [self.optima, 1 - self.optima] if self.kind == "sigmoid" else [self.optima]
        terms = [np.where(q > 1e-15, -q * np.log(np.where(q > 1e-15, q, 1.0)), 0.0).sum(axis=1) for q in parts]
        return self.masses * sum(terms)


def read(loss: Loss, classes: int, labels: tuple[int, ...] | None = None, *, seed: int = 5) -> Reading:
    """The reading of a loss at one K: a row at a time, at several logits.

    The labels to ask about are by default all, up to 12, or six of them.

    >>> import torch
    >>> from sfumato.probe.call.call_style import understand
    >>> r = read(understand(torch.nn.CrossEntropyLoss(label_smoothing=0.2), 4), 4)
    >>> r.kind, [round(q, 4) for q in r.targets[0].tolist()], round(float(r.masses[0]), 4)
    ('softmax', [0.85, 0.05, 0.05, 0.05], 1.0)

    Source: the note, eq. 1, solved for the target by least squares.
    """
    if labels is None:
        spread = range(classes) if classes <= 12 else np.linspace(0, classes - 1, 6).round().astype(int)
        labels = tuple(int(y) for y in spread)
    z = np.random.default_rng(seed).normal(scale=1.5, size=(POINTS, classes))
    gradients = np.stack([[loss.gradient(row[None], np.array([y]))[0] for row in z] for y in labels])
    values = np.array([[loss.value(row[None], np.array([y])) for row in z] for y in labels])
    empty = np.isnan(gradients).all(axis=(1, 2))  # an ignored label: its mean is over no row
    if not empty.all():
        gradients[empty], values[empty] = 0.0, 0.0
    slopes = np.abs(gradients).max(axis=(1, 2))
    scale = max(float(slopes.max()), 1e-300)
    best, kind = fit(softmax(z), gradients, scale), "softmax"
    if not best.residual < FITS:
        coins = fit(1 / (1 + np.exp(-z)), gradients, scale)
        if coins.residual < best.residual:
            best, kind = coins, "sigmoid"
    extra = None
    if not best.residual < FITS and (slopes > 0).any():  # an ignored label says nothing of the term
        asked = tuple(y for y, slope in zip(labels, slopes, strict=True) if slope > 0)
        found = with_extra_term(z, gradients[slopes > 0], asked, scale, FITS)
        if found is not None:
            live, extra = found
            masses, targets = np.zeros(len(labels)), np.zeros((len(labels), classes))
            masses[slopes > 0], targets[slopes > 0] = live.masses, live.targets
            best, kind = Fit(masses, targets, live.residual), "softmax"
    offset = float("nan") if extra is not None else _offset(z, kind, best, values)
    told = kind if best.residual < FITS else "other"
    coarse = loss.coarse and loss.differences
    return Reading(classes, labels, told, best.targets, best.masses, offset, best.residual, extra, coarse, slopes)


def _offset(z: Array, kind: str, found: Fit, values: Array) -> float:
    """The values less those of the plain cross entropy of the target; NaN if the difference varies."""
    plain = np.einsum("l,i->li", found.masses, log_partition(z, kind)) - np.einsum("lk,ik->li", found.targets, z)
    shifts = (values - plain)[np.abs(found.targets).max(axis=1) > 1e-9]
    if not shifts.size:
        return 0.0
    varies = np.ptp(shifts) > 1e-4 * max(1.0, float(np.abs(values).max()))
    return float("nan") if varies else float(shifts.mean())
