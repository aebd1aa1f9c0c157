r"""Read the target off gradients: fit g = S·p − q over several logits, and say how well it fits.

For a softmax :math:`g = S\,p - q`; for sigmoids :math:`g = S\,\sigma(z) - t`. Both are linear in the unknowns, so a
few gradients give S, q and a residual, which says whether the loss is of that kind at all. Where the residual is too
large, ``extra_terms`` tries the gradients of known penalties beside a cross entropy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.probe.call.loss import Array, Labels, Loss
from sfumato.probe.read.extra_terms import ExtraTerm, Fit, fit, log_partition, softmax, with_extra_term

FITS = 3e-5
"""Relative residual up to which a kind fits: float32 arithmetic and finite differences stay below it."""

POINTS = 6


@dataclass(frozen=True)
class Reading:
    """What a loss trains each label towards, at one K."""

    classes: int  # K
    labels: tuple[int, ...]  # the labels asked about, (L,)
    kind: Literal["softmax", "sigmoid", "other"]  # "softmax", "sigmoid", or "other" where neither fits
    targets: Array  # q of each label, (L, K), not divided by S
    masses: Array  # S of each label, (L,)
    offset: float  # value less that of the plain cross entropy of q, averaged over labels and logits; NaN if it varies
    residual: float  # what the fit leaves of the gradient, relative to its largest entry
    extra: ExtraTerm | None = None  # a term beside the cross entropy
    coarse: bool = False  # whether gradients are finite differences of values with float32's digits
    slopes: Array | None = None  # the largest entry of each label's gradients, (L,)

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
    """The reading of a loss at one K: a row at a time, at several logits."""
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
        beside = with_extra_term(z, gradients[slopes > 0], asked, scale, FITS)
        if beside is not None:
            live, extra = beside
            masses, targets = np.zeros(len(labels)), np.zeros((len(labels), classes))
            masses[slopes > 0], targets[slopes > 0] = live.masses, live.targets
            best, kind = Fit(masses, targets, live.residual), "softmax"
    offset = float("nan") if extra is not None else _offset(z, kind, best, values)
    fitted = kind if best.residual < FITS else "other"
    coarse = loss.coarse and loss.differences
    return Reading(classes, labels, fitted, best.targets, best.masses, offset, best.residual, extra, coarse, slopes)


def _offset(z: Array, kind: str, best: Fit, values: Array) -> float:
    """The values less those of the plain cross entropy of the target; NaN if the difference varies."""
    plain = np.einsum("l,i->li", best.masses, log_partition(z, kind)) - np.einsum("lk,ik->li", best.targets, z)
    shifts = (values - plain)[np.abs(best.targets).max(axis=1) > 1e-9]
    if not shifts.size:
        return 0.0
    varies = np.ptp(shifts) > 1e-4 * max(1.0, float(np.abs(values).max()))
    return float("nan") if varies else float(shifts.mean())


class ImpliedTarget(NamedTuple):
    """What one label is trained towards.

    Attributes:
        target: q, (K,) float64.
        mass: S, from the slope of the gradient; for a proper target it is Σq = 1.
    """

    target: Tensor
    mass: float


def implied_target(loss: Callable[[Tensor, Tensor], Tensor], num_classes: int, *, label: int = 0) -> ImpliedTarget:
    r"""The target that ``loss`` implies for one label.

    .. math:: S = \frac{\langle g_1 - g_0,\, p_1 - p_0\rangle}{\lVert p_1 - p_0\rVert^2}, \qquad q = S\,p_0 - g_0

    Args:
        loss: called as ``loss(logits, labels)`` with float64 (1, K) and int64 (1,); it returns one number.
        num_classes: K, at least 2.
        label: the label to ask about.

    Returns:
        :class:`ImpliedTarget`, exact to rounding for every loss that is a cross entropy.

    Raises:
        ValueError: the loss does not depend on the logits through torch, or K is below 2.

    >>> import sfumato as sf
    >>> loss = sf.CrossEntropyLoss(label_smoothing=0.1, over="others")
    >>> [round(q, 4) for q in implied_target(loss, 3).target.tolist()]
    [0.9, 0.05, 0.05]

    Source: the note, eq. 1, solved for the target.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to tell a target, got {num_classes}")
    labels = torch.tensor([label])
    flat = torch.zeros(1, num_classes, dtype=torch.float64)
    tilted = torch.linspace(-1.0, 1.0, num_classes, dtype=torch.float64).unsqueeze(0)
    g0, g1 = (_gradient(loss, z, labels) for z in (flat, tilted))
    p0, p1 = flat.softmax(1), tilted.softmax(1)
    mass = ((g1 - g0) * (p1 - p0)).sum() / (p1 - p0).square().sum()
    return ImpliedTarget((mass * p0 - g0).squeeze(0), mass.item())


def _gradient(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, labels).sum()
    if not value.requires_grad:
        raise ValueError("the loss does not depend on its logits through torch: there is no gradient to read")
    return torch.autograd.grad(value, leaf)[0]
