"""Fit gradients as those of a cross entropy, alone or with one known term beside it.

Each term is tried in turn and the best fit wins. The gradient of a penalty is linear in its coefficient, which least
squares give; a temperature and a focal exponent change the shape of the gradient and are found by search.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sfumato.conventions.row_losses import own_class
from sfumato.probe.call.loss import Array


@dataclass(frozen=True)
class TermKind:
    """A term that a loss may have beside its cross entropy; its coefficient in a line is its size times ``times``."""

    formula: str
    keeps_optimum: bool = False
    code: str = ""
    times: float = 1.0


Z_LOSS = TermKind("z-loss, c·lse²", True, "{logits}.logsumexp(1).square()")  # lse = 0 costs nothing
ENTROPY = "torch.distributions.Categorical(logits={logits}).entropy()"
CONFIDENCE = TermKind("confidence penalty, −β·H(p)", False, ENTROPY, -1.0)
DECAY = TermKind("weight decay of logits, c·|z|²/2", False, "{logits}.square().sum(1)", 0.5)
SUPPRESSION = TermKind("max suppression, a·(max z − mean z)", False, "({logits}.amax(1) - {logits}.mean(1))")
TEMPERATURE = TermKind("temperature, softmax(z/T)", True)
FOCAL = TermKind("focal, (1−p)^γ", True)  # of one-hot labels


class ExtraTerm(NamedTuple):
    """A term beside the cross entropy."""

    kind: TermKind
    size: float  # its coefficient, temperature or exponent

    def code(self, reduction: str, logits: str = "logits") -> str:
        """The term as it is added to a line; "" for a term that has no short line."""
        if not self.kind.code:
            return ""
        coefficient = self.size * self.kind.times
        reduced = {"mean": ".mean()", "sum": ".sum()"}.get(reduction, "")
        code = self.kind.code.format(logits=logits)
        return f" {'-' if coefficient < 0 else '+'} {abs(coefficient):.9g} * {code}{reduced}"


class Fit(NamedTuple):
    """S and q of each label, (L,) and (L, K), and the largest residual relative to the gradient."""

    masses: Array
    targets: Array
    residual: float


def fit(p: Array, gradients: Array, scale: float) -> Fit:
    """S and q of each label by least squares of g = S·p − q, with p (I, K) and gradients (L, I, K)."""
    centred = p - p.mean(axis=0)
    masses = np.einsum("lik,ik->l", gradients - gradients.mean(axis=1, keepdims=True), centred) / (centred**2).sum()
    targets = masses[:, None] * p.mean(axis=0) - gradients.mean(axis=1)
    left = gradients - (masses[:, None, None] * p - targets[:, None, :])
    return Fit(masses, targets, float(np.abs(left).max() / scale))


def with_extra_term(
    z: Array, gradients: Array, labels: tuple[int, ...], scale: float, close: float
) -> tuple[Fit, ExtraTerm] | None:
    """The term that fits best beside a cross entropy; None where none leaves less than ``close``."""
    p = softmax(z)
    lse = log_partition(z, "softmax")[:, None]
    logp = z - lse
    entropy = -(p * logp).sum(axis=1, keepdims=True)
    top = own_class(z.argmax(axis=1), z.shape[1])
    penalties = {Z_LOSS: 2 * lse * p, CONFIDENCE: p * (logp + entropy), DECAY: z, SUPPRESSION: top - 1 / z.shape[1]}
    tried = [_fit_beside(kind, term, p, gradients, scale) for kind, term in penalties.items()]
    t = minimise(lambda t: fit(softmax(z / t), gradients, scale).residual, np.geomspace(0.01, 100.0, 120))
    cooled = fit(softmax(z / t), gradients, scale)  # g = (S·p − q)/T, with p the softmax of z/T
    tried.append((Fit(cooled.masses * t, cooled.targets * t, cooled.residual), ExtraTerm(TEMPERATURE, t)))
    gamma = minimise(lambda g: _focal(g, p, gradients, labels, scale).residual, np.linspace(0.1, 6, 60))
    tried.append((_focal(gamma, p, gradients, labels, scale), ExtraTerm(FOCAL, gamma)))
    # Where p has no part in the gradient, the loss is no cross entropy with a term beside it: a squared error, say.
    sizes = [np.abs(each.masses).max() > 1e-6 * max(scale, np.abs(each.targets).max()) for each, _ in tried]
    fits = [each for each, sized in zip(tried, sizes, strict=True) if sized and each[0].residual < close]
    return min(fits, key=lambda each: each[0].residual, default=None)


def _fit_beside(kind: TermKind, term: Array, p: Array, gradients: Array, scale: float) -> tuple[Fit, ExtraTerm]:
    """S and q of each label, and one coefficient of a term that all labels share."""
    design = np.stack([(each - each.mean(axis=0)).ravel() for each in (p, term)], axis=1)
    centred = (gradients - gradients.mean(axis=1, keepdims=True)).reshape(len(gradients), -1)
    solution, *_ = np.linalg.lstsq(design, centred.T, rcond=None)
    masses, coefficients = solution
    fitted = masses[:, None, None] * p + coefficients[:, None, None] * term
    targets = (fitted - gradients).mean(axis=1)
    left = float(np.abs(gradients - fitted + targets[:, None, :]).max() / scale)
    mean = float(coefficients.mean())
    shared = np.ptp(coefficients) <= 1e-3 * max(abs(mean), 1e-6)
    return Fit(masses, targets, left if shared else np.inf), ExtraTerm(kind, mean)


def _focal(gamma: float, p: Array, gradients: Array, labels: tuple[int, ...], scale: float) -> Fit:
    """(1−p_y)^γ·n, n = −log p_y, times a factor: its gradient is [(1−p_y)^γ + γ·p_y·(1−p_y)^(γ−1)·n]·(p − e_y)."""
    hot = own_class(labels, p.shape[1])
    py = p[:, list(labels)].T  # (L, I)
    slope = (1 - py) ** gamma - gamma * py * (1 - py) ** (gamma - 1) * np.log(py)
    shape = slope[:, :, None] * (p - hot[:, None, :])
    factor = float((shape * gradients).sum() / (shape**2).sum())
    return Fit(
        np.full(len(labels), factor),
        np.where(hot, factor, 0.0),
        float(np.abs(gradients - factor * shape).max() / scale),
    )


def minimise(cost: Callable[[float], float], grid: Array, steps: int = 60) -> float:
    """The smallest of a grid, then golden sections between its neighbours."""
    costs = [cost(float(t)) for t in grid]
    i = 0 if np.isnan(costs).all() else int(np.nanargmin(costs))
    low, high = float(grid[max(i - 1, 0)]), float(grid[min(i + 1, len(grid) - 1)])
    ratio = (5**0.5 - 1) / 2
    for _ in range(steps):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if cost(a) < cost(b) else (a, high)
    return (low + high) / 2


def softmax(z: Array) -> Array:
    """The softmax of each row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_partition(z: Array, kind: str) -> Array:
    """The log-partition of each row: of a softmax log Σ e^z, of sigmoids Σ log(1 + e^z)."""
    if kind == "sigmoid":
        return np.logaddexp(0.0, z).sum(axis=1)
    top = z.max(axis=1)
    return top + np.log(np.exp(z - top[:, None]).sum(axis=1))
