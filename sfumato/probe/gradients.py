r"""The target of each label from gradients at several logits: fit ∂L/∂z = S·p − q, alone or with one known term beside.

S, q and the coefficient of a penalty are linear, and their residual shows whether the loss is of that kind at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.conventions.row_losses import own_class
from sfumato.probe.call import Array, Labels, Loss
from sfumato.probe.find_loss import attempt

FITS = 3e-5  # relative residual up to which a kind fits: float32 arithmetic and finite differences stay below it
POINTS = 6


@dataclass(frozen=True)
class TermKind:
    """A term that a loss may have beside its cross entropy; its coefficient in a line is its size times ``times``."""

    formula: str
    moves: str = (
        "the term beside the cross entropy moves the optimum"  # why the optimum is elsewhere; "" where it stays
    )
    code: str = ""
    times: float = 1.0
    before: str = ""  # what the line makes of the logits before the loss
    space: Literal["softmax", "sigmoid"] = "softmax"


Z_LOSS = TermKind("z-loss, c·lse²", "", "{logits}.logsumexp(1).square()")  # lse = 0 costs nothing
ENTROPY = "torch.distributions.Categorical(logits={logits}).entropy()"
CONFIDENCE = TermKind("confidence penalty, −β·H(p)", code=ENTROPY, times=-1.0)
DECAY = TermKind("weight decay of logits, c·|z|²/2", code="{logits}.square().sum(1)", times=0.5)
SUPPRESSION = TermKind("max suppression, a·(max z − mean z)", code="({logits}.amax(1) - {logits}.mean(1))")
TEMPERATURE = TermKind("temperature, softmax(z/T)", "")
FOCAL = TermKind("focal, (1−p)^γ", "")  # of one-hot labels
SQUASHED = "the loss squashes its logits first, and cannot reach its target"
TWO_SOFTMAXES = TermKind("a softmax before the softmax", SQUASHED, before="{logits}.softmax(1)")
SIGMOID_FIRST = TermKind("a sigmoid before the softmax", SQUASHED, before="{logits}.sigmoid()")
TANH_FIRST = TermKind("a tanh before the softmax", SQUASHED, before="{logits}.tanh()")
TWO_SIGMOIDS = TermKind("a sigmoid before the sigmoids", SQUASHED, before="{logits}.sigmoid()", space="sigmoid")


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


@dataclass(frozen=True)
class Reading:
    """What a loss trains each label towards, at one K."""

    classes: int  # K
    labels: tuple[int, ...]  # the labels asked about, (L,)
    kind: Literal["softmax", "sigmoid", "other"]  # "other" where neither fits
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
        size = np.maximum(np.abs(self.targets).max(axis=1), np.abs(self.masses))
        return size > (1e-5 if self.coarse else 1e-9)

    @property
    def live_labels(self) -> list[int]:
        """The labels that have a gradient."""
        return [y for y, lives in zip(self.labels, self.alive, strict=True) if lives]

    @property
    def optima(self) -> Array:
        """q/S of each label, (L, K): the probabilities at which a softmax's loss is smallest."""
        return self.targets / np.where(self.masses == 0, 1.0, self.masses)[:, None]

    @property
    def floors(self) -> Array:
        """The smallest value of the plain cross entropy, for each label."""
        parts = [self.optima, 1 - self.optima] if self.kind == "sigmoid" else [self.optima]
        terms = [np.where(q > 1e-15, -q * np.log(np.where(q > 1e-15, q, 1.0)), 0.0).sum(axis=1) for q in parts]
        return self.masses * sum(terms)

    def batch(self, rows: int, seed: int) -> tuple[Array, Labels]:
        """Random logits, (rows, K), and in turn the labels that have a gradient, the second first."""
        labels = self.live_labels or [0]
        z = np.random.default_rng(seed).normal(size=(rows, self.classes))
        return z, np.array([labels[(i + 1) % len(labels)] for i in range(rows)])


def read(loss: Loss, classes: int, labels: tuple[int, ...] | None = None, *, seed: int = 5) -> Reading:
    """The reading of a loss at one K: a row at a time, at several logits."""
    if labels is None:
        spread = range(classes) if classes <= 12 else np.linspace(0, classes - 1, 6).round().astype(int)
        labels = tuple(int(y) for y in spread)
        first = np.zeros((1, classes))
        taken = tuple(y for y in labels if attempt(lambda y=y: loss.value(first, np.array([y]))) is not None)
        labels = taken if len(taken) > 1 else labels
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
    extra, live = None, slopes > 0
    if not best.residual < FITS and live.any():  # an ignored label says nothing of the term
        beside = with_extra_term(z, gradients[live], scale, FITS)
        if beside is not None:
            of_live, extra = beside
            masses, targets = np.zeros(len(labels)), np.zeros((len(labels), classes))
            masses[live], targets[live] = of_live.masses, of_live.targets
            best, kind = Fit(masses, targets, of_live.residual), extra.kind.space
    offset = float("nan")
    if extra is None:
        plain = np.einsum("l,i->li", best.masses, log_partition(z, kind)) - np.einsum("lk,ik->li", best.targets, z)
        shifts = (values - plain)[np.abs(best.targets).max(axis=1) > 1e-9]
        if not shifts.size:
            offset = 0.0
        elif not np.ptp(shifts) > 1e-4 * max(1.0, float(np.abs(values).max())):
            offset = float(shifts.mean())
    fitted = kind if best.residual < FITS else "other"
    coarse = loss.coarse and loss.differences
    return Reading(classes, labels, fitted, best.targets, best.masses, offset, best.residual, extra, coarse, slopes)


def fit(p: Array, gradients: Array, scale: float) -> Fit:
    """S and q of each label by least squares of g = S·p − q, with p (I, K) and gradients (L, I, K)."""
    centred = p - p.mean(axis=0)
    masses = np.einsum("lik,ik->l", gradients - gradients.mean(axis=1, keepdims=True), centred) / (centred**2).sum()
    targets = masses[:, None] * p.mean(axis=0) - gradients.mean(axis=1)
    left = gradients - (masses[:, None, None] * p - targets[:, None, :])
    return Fit(masses, targets, float(np.abs(left).max() / scale))


def with_extra_term(z: Array, gradients: Array, scale: float, close: float) -> tuple[Fit, ExtraTerm] | None:
    """The term that fits best beside a cross entropy; None where none leaves less than ``close``."""
    p = softmax(z)
    lse = log_partition(z, "softmax")[:, None]
    logp = z - lse
    entropy = -(p * logp).sum(axis=1, keepdims=True)
    top = own_class(z.argmax(axis=1), z.shape[1])
    penalties = {Z_LOSS: 2 * lse * p, CONFIDENCE: p * (logp + entropy), DECAY: z, SUPPRESSION: top - 1 / z.shape[1]}
    tried = [_fit_beside(kind, term, p, gradients, scale) for kind, term in penalties.items()]
    for sign in (1.0, -1.0):
        t = minimise(lambda t: fit(softmax(z / t), gradients, scale).residual, sign * np.geomspace(0.01, 100.0, 120))
        cooled = fit(softmax(z / t), gradients, scale)  # g = (S·p − q)/T, with p the softmax of z/T
        tried.append((Fit(cooled.masses * t, cooled.targets * t, cooled.residual), ExtraTerm(TEMPERATURE, t)))
    coins, tanh = 1 / (1 + np.exp(-z)), np.tanh(z)
    by_p = gradients / p  # g = p·(h − ⟨p, h⟩) gives h up to a number, and the sum of h is 0
    for kind, squashed, slopes in (
        (TWO_SOFTMAXES, p, by_p - by_p.mean(axis=2, keepdims=True)),
        (SIGMOID_FIRST, coins, gradients / (coins * (1 - coins))),
        (TWO_SIGMOIDS, coins, gradients / (coins * (1 - coins))),
        (TANH_FIRST, tanh, gradients / (1 - tanh**2)),
    ):
        reached = 1 / (1 + np.exp(-squashed)) if kind is TWO_SIGMOIDS else softmax(squashed)
        tried.append((fit(reached, slopes, float(np.abs(slopes).max())), ExtraTerm(kind, 1.0)))
    labels = tuple(gradients.mean(axis=1).argmin(axis=1).tolist())  # the classes that focal loss would pull
    gamma = minimise(lambda g: _focal(g, p, gradients, labels, scale).residual, np.linspace(0.1, 6, 60))
    tried.append((_focal(gamma, p, gradients, labels, scale), ExtraTerm(FOCAL, gamma)))
    # Where p has no part in the gradient, the loss is no cross entropy with a term beside it: a squared error, say.
    fits = [
        each for each in tried
        if each[0].residual < close
        and np.abs(each[0].masses).max() > 1e-6 * max(scale, np.abs(each[0].targets).max())
    ]  # fmt: skip
    return min(fits, key=lambda each: each[0].residual, default=None)


def _fit_beside(kind: TermKind, term: Array, p: Array, gradients: Array, scale: float) -> tuple[Fit, ExtraTerm]:
    """S and q of each label, and one coefficient of a term that all labels share."""
    design = np.stack([(each - each.mean(axis=0)).ravel() for each in (p, term)], axis=1)
    centred = (gradients - gradients.mean(axis=1, keepdims=True)).reshape(len(gradients), -1)
    masses, coefficients = np.linalg.lstsq(design, centred.T, rcond=None)[0]
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
    left = float(np.abs(gradients - factor * shape).max() / scale)
    return Fit(np.full(len(labels), factor), np.where(hot, factor, 0.0), left)


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
    return np.logaddexp(0.0, z).sum(axis=1) if kind == "sigmoid" else np.logaddexp.reduce(z, axis=1)


class ImpliedTarget(NamedTuple):
    """What one label is trained towards.

    Attributes:
        target: q, (K,) float64.
        mass: S, from the slope of the gradient; for a proper target it is Σq = 1.
    """

    target: Tensor
    mass: float


def implied_target(loss: Callable[[Tensor, Tensor], Tensor], num_classes: int, *, label: int = 0) -> ImpliedTarget:
    r"""The target that ``loss`` implies for one label, from its gradients at two logits.

    .. math:: \frac{\partial L}{\partial z} = S\,p - q

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
    tilted = torch.linspace(-1.0, 1.0, num_classes, dtype=torch.float64)
    z = torch.stack([torch.zeros_like(tilted), tilted])
    gradients: list[Array] = []
    for row in z:
        with torch.enable_grad():
            leaf = row[None].clone().requires_grad_()
            value = loss(leaf, torch.tensor([label])).sum()
        if not value.requires_grad:
            raise ValueError("the loss does not depend on its logits through torch: there is no gradient to read")
        gradients.append(torch.autograd.grad(value, leaf)[0][0].numpy())
    found = fit(z.softmax(1).numpy(), np.stack(gradients)[None], 1.0)
    return ImpliedTarget(torch.from_numpy(found.targets[0]), float(found.masses[0]))
