r"""Read the target off gradients: fit g = S·p − q over several logits, and say how well it fits.

For a softmax :math:`g = S\,p - q`; for sigmoids :math:`g = S\,\sigma(z) - t`. Both are linear in what is unknown, so a
few gradients give S, q and a residual that says whether the loss is of that kind at all. Where it is not, one extra
term is tried, each the gradient of a known penalty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.probe.call.caller import Array, Loss

FITS = 3e-5
"""Relative residual up to which a kind fits: float32 arithmetic and finite differences stay below it."""

POINTS = 6


@dataclass(frozen=True)
class Reading:
    """What a loss trains each label towards, at one K.

    Attributes:
        classes: K.
        labels: the labels asked about, (L,).
        kind: ``"softmax"``, ``"sigmoid"`` or ``"other"``.
        targets: q of each label, (L, K), not divided by S.
        masses: S of each label, (L,).
        offset: value less that of the plain cross entropy of q, averaged over labels and logits; NaN if it varies.
        residual: what the fit leaves, relative to the gradient.
        extra: an extra term and its coefficient, as in ``("z-loss", 1e-4)``.
        coarse: whether gradients are differences of values with float32's digits.
        slopes: the largest entry of each label's gradients, (L,).
    """

    classes: int
    labels: tuple[int, ...]
    kind: Literal["softmax", "sigmoid", "other"]
    targets: Array
    masses: Array
    offset: float
    residual: float
    extra: tuple[str, float] | None = None
    coarse: bool = False
    slopes: Array | None = None

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which labels have a gradient at all, (L,)."""
        if self.kind == "other" and self.slopes is not None:
            return self.slopes > 1e-9
        return np.abs(self.targets).max(axis=1) > (1e-5 if self.coarse else 1e-9)

    @property
    def floors(self) -> Array:
        """The smallest value of the plain cross entropy, for each label."""
        with np.errstate(all="ignore"):
            q = self.targets / np.where(self.masses == 0, 1, self.masses)[:, None]
            terms = -np.where(q > 1e-15, q * np.log(np.where(q > 1e-15, q, 1.0)), 0.0)
            if self.kind == "sigmoid":
                terms = terms - np.where(q < 1 - 1e-15, (1 - q) * np.log1p(-np.where(q < 1 - 1e-15, q, 0.0)), 0.0)
        return self.masses * terms.sum(axis=1)


def read(loss: Loss, classes: int, labels: tuple[int, ...] | None = None, *, seed: int = 5) -> Reading:
    """The reading of a loss at one K: a row at a time, at several logits.

    Args:
        loss: the loss, see :func:`~sfumato.probe.call.signature.understand`.
        classes: K.
        labels: labels to ask about; by default all up to 12, or six of them.
        seed: of the logits.

    Returns:
        :class:`Reading`; ``kind`` is ``"other"`` where nothing fits.

    >>> import torch
    >>> from sfumato.probe.call.signature import understand
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
    empty = np.isnan(gradients).all(axis=(1, 2))  # a mean over no row that counts: that label is ignored
    if not empty.all():
        gradients[empty], values[empty] = 0.0, 0.0
    scale = max(float(np.abs(gradients).max()), 1e-300)
    softmax, sigmoid = _softmax(z), 1 / (1 + np.exp(-z))
    best: tuple[float, Any] | None = None
    for kind, p in (("softmax", softmax), ("sigmoid", sigmoid)):
        masses, targets, residual = _fit(p, gradients, scale)
        if best is None or residual < best[0]:
            best = (residual, (kind, p, masses, targets))
        if residual < FITS:
            break
    assert best is not None
    residual, (kind, p, masses, targets) = best
    extra = None
    if not residual < FITS:
        live = np.abs(gradients).max(axis=(1, 2)) > 0  # an ignored label knows nothing of the term
        asked = tuple(y for y, lives in zip(labels, live, strict=True) if lives)
        found = _with_extra(z, gradients[live], asked, scale) if asked else None
        if found is not None:
            kind, p, masses[live], targets[live], residual, extra = found
    plain = np.einsum("l,i->li", masses, _log_partition(z, kind)) - np.einsum("lk,ik->li", targets, z)
    shifts = (values - plain)[np.abs(targets).max(axis=1) > 1e-9]
    offset = float(shifts.mean()) if shifts.size else 0.0
    if extra is not None or (shifts.size and np.ptp(shifts) > 1e-4 * max(1.0, float(np.abs(values).max()))):
        offset = float("nan")
    told = kind if residual < FITS else "other"
    if extra is not None and extra[0].startswith("temperature"):  # from z/T, of which p is the softmax, to z
        masses, targets = masses * extra[1], targets * extra[1]
    coarse, slopes = loss.coarse and loss.differences, np.abs(gradients).max(axis=(1, 2))
    return Reading(classes, labels, told, targets, masses, offset, residual, extra, coarse, slopes)


def _fit(p: Array, gradients: Array, scale: float) -> tuple[Array, Array, float]:
    """S and q of each label by least squares, and the relative residual."""
    centred = p - p.mean(axis=0)
    masses = np.einsum("lik,ik->l", gradients - gradients.mean(axis=1, keepdims=True), centred) / (centred**2).sum()
    targets = masses[:, None] * p.mean(axis=0) - gradients.mean(axis=1)
    left = gradients - (masses[:, None, None] * p - targets[:, None, :])
    return masses, targets, float(np.abs(left).max() / scale)


def _with_extra(z: Array, gradients: Array, labels: tuple[int, ...], scale: float) -> Any:
    """One more term, the one that fits best: linear in its coefficient, or a shape parameter found by search."""
    p = _softmax(z)
    lse = _log_partition(z, "softmax")
    logp = z - lse[:, None]
    entropy = -(p * logp).sum(axis=1, keepdims=True)
    top = np.eye(z.shape[1])[z.argmax(axis=1)]
    terms: dict[str, Array] = {
        "z-loss, c·lse²": 2 * lse[:, None] * p,
        "confidence penalty, −β·H(p)": p * (logp + entropy),
        "weight decay of logits, c·|z|²/2": z,
        "max suppression, a·(max z − mean z)": top - 1 / z.shape[1],
    }
    found: list[Any] = []
    for name, term in terms.items():
        masses, targets, coefficient, residual = _fit_two(p, term, gradients, scale)
        found.append(("softmax", p, masses, targets, residual, (name, coefficient)))
    shapes: dict[str, tuple[Callable[[float], tuple[Array, Array, float, Array]], Array]] = {
        "temperature, softmax(z/T)": (lambda t: (*_fit(_softmax(z / t), gradients, scale), _softmax(z / t)), _grid()),
        "focal, (1−p)^γ": (lambda g: _focal(g, p, logp, gradients, labels, scale), np.linspace(0.1, 6, 60)),
    }
    for name, (fit, grid) in shapes.items():
        best = _minimise(lambda t, fit=fit: fit(t)[2], grid)
        masses, targets, residual, shaped = fit(best)
        found.append(("softmax", shaped, masses, targets, residual, (name, best)))
    # Where p has no part in the gradient, it is no cross entropy with a term beside it: a squared error, say.
    found = [each for each in found if np.abs(each[2]).max() > 1e-6 * max(scale, np.abs(each[3]).max())]
    return min((each for each in found if each[4] < FITS), key=lambda each: each[4], default=None)


def _fit_two(p: Array, term: Array, gradients: Array, scale: float) -> tuple[Array, Array, float, float]:
    a, b = p - p.mean(axis=0), term - term.mean(axis=0)
    design = np.stack([a.ravel(), b.ravel()], axis=1)
    centred = (gradients - gradients.mean(axis=1, keepdims=True)).reshape(len(gradients), -1)
    solution, *_ = np.linalg.lstsq(design, centred.T, rcond=None)
    masses, coefficients = solution
    fitted = masses[:, None, None] * p + coefficients[:, None, None] * term
    targets = (fitted - gradients).mean(axis=1)
    left = float(np.abs(gradients - fitted + targets[:, None, :]).max() / scale)
    spread = float(np.ptp(coefficients))
    mean = float(coefficients.mean())
    return masses, targets, mean, left if spread <= 1e-3 * max(abs(mean), 1e-6) else np.inf


def _focal(
    gamma: float, p: Array, logp: Array, gradients: Array, labels: tuple[int, ...], scale: float
) -> tuple[Array, Array, float, Array]:
    """(1−p_y)^γ·n, n = −log p_y, times a factor: its gradient is [(1−p_y)^γ + γ·p_y·(1−p_y)^(γ−1)·n]·(p − e_y)."""
    eye = np.eye(p.shape[1])
    shapes: list[Array] = []
    for y in labels:
        py, ny = p[:, y], -logp[:, y]
        slope = (1 - py) ** gamma + gamma * py * (1 - py) ** (gamma - 1) * ny
        shapes.append(slope[:, None] * (p - eye[y]))
    shape = np.stack(shapes)
    factor = float((shape * gradients).sum() / (shape**2).sum())
    residual = float(np.abs(gradients - factor * shape).max() / scale)
    targets = factor * eye[list(labels)]
    return np.full(len(labels), factor), targets, residual, p


def _minimise(cost: Callable[[float], float], grid: Array) -> float:
    """The smallest of a grid, then golden sections between its neighbours."""
    costs = [cost(float(t)) for t in grid]
    i = int(np.argmin(costs))
    low, high = float(grid[max(i - 1, 0)]), float(grid[min(i + 1, len(grid) - 1)])
    ratio = (5**0.5 - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if cost(a) < cost(b):
            high = b
        else:
            low = a
    return (low + high) / 2


def _grid() -> Array:
    return np.exp(np.linspace(np.log(0.01), np.log(100.0), 120))


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _log_partition(z: Array, kind: str) -> Array:
    if kind == "sigmoid":
        return np.logaddexp(0.0, z).sum(axis=1)
    top = z.max(axis=1)
    return top + np.log(np.exp(z - top[:, None]).sum(axis=1))
