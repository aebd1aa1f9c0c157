"""What formulas are made of: their input, the loss of each row, and how the rows become one number.

First the parts that most formulas share, then what one framework alone computes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.conventions import spread
from sfumato.conventions.spread import Convention

Array: TypeAlias = NDArray[np.float64]


def own_class(labels: NDArray[Any] | Sequence[int], classes: int) -> NDArray[np.bool_]:
    """Which class of each row is its label, (N, K), without an identity of K×K; IndexError for a label that is none."""
    every = np.arange(classes)
    return every == every[np.asarray(labels)][:, None]


@dataclass(frozen=True)
class Batch:
    """What a formula is computed from: logits z (N, K), labels, a strength, and the options that some formulas take.

    Labels are (N,) int64, or (N, K) float64 where a formula takes probabilities. Of the options, ``weight`` is one per
    class, ``ignore_index`` the label of rows that do not count (None: every row does), ``pad`` the padding class,
    ``prior`` π (None: uniform), ``partner`` and ``lam`` the second labels of mixup and the share of the first,
    ``temperature`` T of a distillation, ``alpha`` and ``multiplier`` factors of a second term, ``gamma`` the exponent
    of a focal factor, ``margin`` that of a penalty, ``z_loss`` the coefficient of lse², ``shards`` the ranks that the
    vocabulary is split over, ``rows_table`` one row of targets per class (K, K), ``wa`` and ``wb`` the weights of a
    plain loss and of the smoothed one next to it.
    """

    logits: Array
    labels: NDArray[Any]
    eps: float
    weight: Array | None = None
    ignore_index: int | None = None
    pad: int | None = None
    prior: Array | None = None
    partner: NDArray[np.int64] | None = None
    lam: float = 1.0
    temperature: float = 1.0
    alpha: float = 0.0
    gamma: float = 0.0
    margin: float = 0.0
    z_loss: float = 0.0
    shards: int = 1
    rows_table: Array | None = None
    multiplier: float = 1.0
    wa: float = 0.0
    wb: float = 1.0

    @property
    def classes(self) -> int:
        """K."""
        return self.logits.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which rows count, (N,)."""
        if self.ignore_index is None or self.labels.ndim == 2:
            return np.ones(len(self.logits), dtype=bool)
        return self.labels != self.ignore_index

    @property
    def safe(self) -> NDArray[np.int64]:
        """The labels, with class 0 in place of the ignored one; probabilities are refused."""
        if self.labels.ndim == 2:
            raise ValueError(f"this loss takes labels (N,), the number of a class a row, got {self.labels.shape}")
        return np.where(self.valid, self.labels, 0)

    @property
    def lse(self) -> Array:
        """Log of the sum of exponentials, (N,)."""
        top = self.logits.max(axis=1)
        return top + np.log(np.exp(self.logits - top[:, None]).sum(axis=1))

    @property
    def losses(self) -> Array:
        """−log p of every class, (N, K)."""
        return self.lse[:, None] - self.logits

    @property
    def nll(self) -> Array:
        """−log p of the label, (N,)."""
        return self.losses[np.arange(len(self.logits)), self.safe]

    @property
    def given(self) -> Array:
        """The target before smoothing, (N, K): one-hot, or the probabilities given."""
        if self.labels.ndim == 2:
            return self.labels.astype(np.float64)
        return own_class(self.safe, self.classes).astype(np.float64)

    @property
    def weights(self) -> Array:
        """One weight a class, 1 by default."""
        return np.ones(self.classes) if self.weight is None else self.weight


RowLoss: TypeAlias = Callable[[Batch], Array]
Reduction: TypeAlias = Callable[[Batch, Array], float]
_EPS32 = float(np.finfo(np.float32).eps)


def two_level(convention: Convention) -> RowLoss:
    """Σ q_k w_k (−log p_k) with the convention's pair; a strength out of range is applied as written."""
    return lambda b: (_target(b, convention) * b.weights * b.losses).sum(axis=1) * b.valid


def excess(convention: Convention) -> RowLoss:
    """The cross entropy less the entropy of its target: KL(q‖p)."""

    def rows(b: Batch) -> Array:
        q = _target(b, convention)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.where(q > 0, q * np.log(np.where(q > 0, q, 1.0)), 0.0).sum(axis=1)
        return ((q * b.losses).sum(axis=1) - entropy) * b.valid

    return rows


def mixed(convention: Convention) -> RowLoss:
    """:func:`two_level`, where labels may be probabilities: a class has that share of q_true, the rest of q_other."""
    return lambda b: (_mixture(b, convention) * b.weights * b.losses).sum(axis=1) * b.valid


def sigmoid(convention: Convention) -> RowLoss:
    """The sum of the binary cross entropies of K sigmoids; labels may be K targets a row."""
    return lambda b: binary(b.logits, _mixture(b, convention)) * b.valid


def binary(logits: Array, target: Array) -> Array:
    """Σ_k softplus(z) − t·z, (N,)."""
    return (np.logaddexp(0.0, logits) - target * logits).sum(axis=1)


def dense(b: Batch) -> Array:
    """Σ_k w_k q'_k (−log p_k) with q' = (1−ε)q + ε·π, q one-hot or given."""
    prior = np.full(b.classes, 1 / b.classes) if b.prior is None else b.prior
    q = (1 - b.eps) * b.given + b.eps * prior
    return (q * b.weights * b.losses).sum(axis=1) * b.valid


def label_term_weighted(b: Batch) -> Array:
    """(1−ε)·w_y·n + ε·S/K: class weights are on the label's term alone."""
    return ((1 - b.eps) * b.weights[b.safe] * b.nll + b.eps * b.losses.mean(axis=1)) * b.valid


def off_below_zero(rows: RowLoss) -> RowLoss:
    """The loss of each row; a strength that is not above 0, NaN included, is taken for 0."""
    return lambda b: rows(b if b.eps > 0 else replace(b, eps=0.0))


def with_z_loss(rows: RowLoss) -> RowLoss:
    """The loss of each row and z_loss·lse², which has no class weight."""
    return lambda b: rows(b) + b.z_loss * b.lse**2 * b.valid


def mean_valid(b: Batch, rows: Array) -> float:
    """Over the rows that count."""
    return float(rows.sum() / b.valid.sum())


def mean_all(b: Batch, rows: Array) -> float:
    """Over all rows, the ignored included."""
    return float(rows.sum() / len(rows))


def mean_weight(b: Batch, rows: Array) -> float:
    """Over the sum of the labels' weights."""
    if b.labels.ndim == 2:
        return mean_all(b, rows)
    weight = (b.weights[b.safe] * b.valid).sum()
    return float(rows.sum() / weight) if weight else np.nan  # of labels that all weigh 0 it is no number in torch too


def mean_entries(b: Batch, rows: Array) -> float:
    """Over rows and classes."""
    return float(rows.sum() / b.logits.size)


def total(b: Batch, rows: Array) -> float:
    """The sum."""
    return float(rows.sum())


def of_pairs(b: Batch) -> Array:
    """Mixup: both labels of a pair, each smoothed over all; without partners the batch in reverse order."""
    partner = b.safe[::-1] if b.partner is None else b.partner
    first, second = (two_level(spread.all)(replace(b, labels=labels)) for labels in (b.safe, partner))
    return b.lam * first + (1 - b.lam) * second


def keras_focal(b: Batch) -> Array:
    """The focal factor on a smoothed target, with Keras's clipping of probabilities."""
    q = (1 - b.eps) * b.given + b.eps / b.classes
    losses = np.clip(b.losses, -np.log1p(-1e-7), -np.log(1e-7))
    return (b.alpha * (1 - np.exp(-losses)) ** b.gamma * q * losses).sum(axis=1)


def gaussian(b: Batch) -> Array:
    """Densities of a normal distribution about the label, which are not normalised."""
    confidence = 1 - b.eps
    distance = np.arange(b.classes)[None, :] - b.safe[:, None]
    q = np.exp(-(distance**2) / (2 * confidence**2)) / (confidence * math.sqrt(2 * math.pi))
    low = b.eps / (b.classes - 1)
    constant = -(confidence * math.log(confidence) + (b.classes - 1) * low * math.log(low + 1e-20))
    return ((q * b.losses).sum(axis=1) - constant) * b.valid


def first_shard(b: Batch) -> Array:
    """What rank 0 of a tensor-parallel group computes: K and the mean of log p are those of its own shard."""
    own = b.classes // b.shards
    s = b.eps * own / (own - 1)
    return ((1 - s) * b.nll + s * b.losses[:, :own].mean(axis=1)) * b.valid


def guarded_mean(guard: float) -> Reduction:
    """Over the rows that count, and a small number that keeps the divisor above 0."""
    return lambda b, rows: float(rows.sum() / (b.valid.sum() + guard))


def divided_twice(b: Batch) -> Array:
    """Divided twice by a sum + 1.2e-7; an ignored row is zeroed first, and becomes the uniform target."""
    q = b.given * b.valid[:, None]
    q = q / (_EPS32 + q.sum(axis=1, keepdims=True)) + b.eps / b.classes
    q = q / (_EPS32 + q.sum(axis=1, keepdims=True))
    return (q * b.losses).sum(axis=1)


def fastai_mean(b: Batch, rows: Array) -> float:
    """Two normalisers in one mean: rows for the smoothing term, weights for the label's."""
    w = b.weights[b.safe]
    label_term = (w * b.nll).sum() / w.sum()
    return float((1 - b.eps) * label_term + b.eps * b.losses.mean())


def liger_mean(b: Batch, rows: Array) -> float:
    """Two normalisers in one mean: the labels' weights for the cross entropy, rows for lse²."""
    squares = b.z_loss * b.lse**2 * b.valid
    return mean_weight(b, rows - squares) + mean_valid(b, squares)


def virtual_teacher(b: Batch) -> Array:
    """The cross entropy and the divergence from a teacher that is right by design."""
    design = np.where(own_class(b.safe, b.classes), 0.99, 0.01 / (b.classes - 1)) / b.temperature
    q = np.exp(design) / np.exp(design).sum(axis=1, keepdims=True)
    divergence = (q * (np.log(q) + b.losses)).mean(axis=1)  # KLDivLoss's default mean is over rows and classes
    return (1 - b.alpha) * b.nll + b.alpha * b.multiplier * divergence


def learned_table(b: Batch) -> Array:
    """The cross entropy, and that towards the label's row of a learned table."""
    table = np.full((b.classes, b.classes), 1 / b.classes) if b.rows_table is None else b.rows_table
    return b.nll + (table[b.safe] * b.losses).sum(axis=1)


def max_suppression(b: Batch) -> Array:
    """Smoothing over all and α(max z − mean z)."""
    smoothed = off_below_zero(dense)(b)
    if b.alpha == 0:
        return smoothed
    # The cross entropy is reduced before the penalty of each row is added, of an ignored one too.
    return mean_valid(b, smoothed) + b.alpha * (b.logits.max(axis=1) - b.logits.mean(axis=1))


def _mixture(b: Batch, convention: Convention) -> Array:
    if b.labels.ndim == 1:
        return _target(b, convention)
    true, other = convention.pair(b.eps, b.classes)
    return other + (true - other) * b.given


def _target(b: Batch, convention: Convention) -> Array:
    true, other = convention.pair(b.eps, b.classes)
    q = np.where(own_class(b.safe, b.classes), true, other)
    if convention.space == "softmax without padding" and b.pad is not None:
        q[:, b.pad] = 0.0
    return q
