"""The parts that most formulas share: the loss of each row, and how the rows become one number."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from sfumato.conventions.batch import Array, Batch, own_class
from sfumato.conventions.spread import Convention

RowLoss: TypeAlias = Callable[[Batch], Array]
Reduction: TypeAlias = Callable[[Batch, Array], float]


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
