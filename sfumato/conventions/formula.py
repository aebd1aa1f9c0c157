"""One framework's loss as data and as a function.

A formula is the loss of a row, how rows are reduced, and what the code was seen to do with the cases that nobody
writes down: an ignored row, a strength out of range, a class weight. ``rows`` and ``loss`` compute it in float64 numpy,
as its framework would without rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.conventions.spread import Convention

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """What a formula is computed from: logits, labels, a strength, and the options that some formulas take.

    Attributes:
        logits: z, (N, K) float64.
        labels: y, (N,) int64, or (N, K) float64 where a formula takes probabilities.
        eps: strength ε.
        weight: one weight a class, (K,).
        ignore_index: the label of rows that do not count; None: every row does.
        pad: the padding class of "nopad" formulas.
        prior: π, (K,); uniform if None.
        partner: second labels of mixup, (N,).
        lam: share of the first labels in mixup.
        teacher: teacher logits, (N, K).
        temperature: T of a distillation.
        alpha: weight of a second term.
        gamma: exponent of a focal factor.
        margin: margin of a penalty.
        z_loss: coefficient of lse².
        shards: ranks that the vocabulary is split over.
        rows_table: one row of targets a class, (K, K).
        multiplier: factor of a second term.
        wa: weight of the plain loss beside a smoothed one.
        wb: weight of that smoothed one.
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
    teacher: Array | None = None
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
        """The labels, with class 0 in place of what is ignored."""
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
        return np.eye(self.classes)[self.safe]

    @property
    def weights(self) -> Array:
        """One weight a class, 1 by default."""
        return np.ones(self.classes) if self.weight is None else self.weight


RowLoss: TypeAlias = Callable[[Batch], Array]
Reduction: TypeAlias = Callable[[Batch, Array], float]
Names: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Formula:
    """One framework's loss.

    Attributes:
        key: short name, as in ``"torch.index"``.
        names: what a person may call it; the first is how it is shown.
        call: the function or class.
        argument: its name for ε; "" where it has none.
        convention: how ε is spread; None where the target is not one pair.
        row: the loss of a row as a formula. n is −log p of the label, S the sum of −log p over the classes, V = K.
        mean: what the rows are divided by, unless told otherwise.
        ignore: what happens to ignored rows.
        outside: what happens to ε below 0 or above 1.
        read: the version or commit that was read.
        path: the file, in the repository of the framework.
        evidence: ``"run"``: executed and compared with :meth:`loss`; ``"read"``: read only.
        minus_entropy: whether the target's entropy is subtracted, so that the smallest value is 0.
        scale: what a row's plain cross entropy is multiplied by (1, 1/ln 2, or a function of K).
        defect: what is wrong with it, if anything was found.
        options: the options beside logits, labels and ε.

    >>> import sfumato as sf
    >>> fairseq = sf.conventions.find("fairseq")
    >>> round(fairseq.loss([[2.0, 0.0, 0.0]], [0], 0.1), 6)
    0.439545
    """

    key: str
    names: Names
    call: str
    argument: str
    convention: Convention | None
    row: str
    mean: str
    ignore: str
    outside: str
    read: str
    path: str
    evidence: Literal["run", "read"]
    compute: RowLoss = field(repr=False)
    reduce: Reduction = field(repr=False)
    minus_entropy: bool = False
    scale: float | Callable[[int], float] = 1.0
    defect: str = ""
    options: Names = ()
    ignore_index: int | None = None

    @property
    def name(self) -> str:
        """How it is shown."""
        return self.names[0]

    def rows(self, logits: ArrayLike, labels: ArrayLike, eps: float, **options: Any) -> Array:
        """The loss of each row, (N,), in nats unless ``row`` says otherwise.

        Args:
            logits: z, (N, K).
            labels: y, (N,); or probabilities (N, K), where the framework takes them.
            eps: strength ε.
            options: those named in ``options``; see :class:`Batch`.

        Raises:
            TypeError: an option that this formula has not.
            IndexError: a label that is no class, and not ignored.
            ValueError: shapes that do not fit.
        """
        return self.compute(self._batch(logits, labels, eps, options))

    def loss(self, logits: ArrayLike, labels: ArrayLike, eps: float, **options: Any) -> float:
        """The loss as the framework reduces it unless told otherwise; "no reduction" is taken as the mean.

        Args and errors: as :meth:`rows`.
        """
        batch = self._batch(logits, labels, eps, options)
        return float(self.reduce(batch, self.compute(batch)))

    def factor(self, num_classes: int) -> float:
        """``scale`` as a number."""
        return float(self.scale(num_classes)) if callable(self.scale) else float(self.scale)

    def _batch(self, logits: ArrayLike, labels: ArrayLike, eps: float, options: dict[str, Any]) -> Batch:
        unknown = [name for name in options if name not in self.options]
        if unknown:
            known = f"its options are {', '.join(self.options)}" if self.options else "it has no options"
            raise TypeError(f"{self.name} has no option {unknown[0]!r}; {known}")
        z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
        if z.ndim != 2 or y.shape not in (z.shape[:1], z.shape):
            raise ValueError(
                f"logits must be (N, K) and labels (N,) or (N, K), got {z.shape} and {y.shape}; classes are on axis 1"
            )
        arrays = {
            name: np.asarray(value, dtype=np.float64)
            for name, value in options.items()
            if name in ("weight", "prior", "teacher", "rows_table")
        }
        given: dict[str, Any] = {"ignore_index": self.ignore_index, **options, **arrays}
        if self.convention is not None and self.convention.space == "softmax without padding":
            given["pad"] = given["ignore_index"] = given.get("pad", self.ignore_index)
        batch = Batch(z, y, eps, **given)
        if y.ndim == 1:
            self._check_labels(batch)
        return batch

    def _check_labels(self, batch: Batch) -> None:
        bad = batch.valid & ((batch.labels < 0) | (batch.labels >= batch.classes))
        if self.key == "hf":  # it clamps them; see defect
            bad &= batch.labels >= 0
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise IndexError(
                f"label {batch.labels[row]} in row {row} is not a class: logits have {batch.classes} classes "
                f"(0 to {batch.classes - 1})"
            )


def two_level(convention: Convention) -> RowLoss:
    """Σ q_k w_k (−log p_k) with the convention's pair; strengths out of range are applied as written."""

    def rows(b: Batch) -> Array:
        return (_target(b, convention) * b.weights * b.losses).sum(axis=1) * b.valid

    return rows


def excess(convention: Convention) -> RowLoss:
    """The same less the entropy of the target: KL(q‖p)."""

    def rows(b: Batch) -> Array:
        q = _target(b, convention)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.where(q > 0, q * np.log(np.where(q > 0, q, 1.0)), 0.0).sum(axis=1)
        return ((q * b.losses).sum(axis=1) - entropy) * b.valid

    return rows


def sigmoid(convention: Convention) -> RowLoss:
    """Σ_k of the binary cross entropies of K sigmoids."""

    def rows(b: Batch) -> Array:
        return binary(b.logits, _target(b, convention)) * b.valid

    return rows


def binary(logits: Array, target: Array) -> Array:
    """Σ_k softplus(z) − t·z, (N,)."""
    return (np.logaddexp(0.0, logits) - target * logits).sum(axis=1)


def dense(b: Batch) -> Array:
    """Σ_k w_k q'_k (−log p_k) with q' = (1−ε)q + ε·π, q one-hot or given."""
    prior = np.full(b.classes, 1 / b.classes) if b.prior is None else b.prior
    q = (1 - b.eps) * b.given + b.eps * prior
    return (q * b.weights * b.losses).sum(axis=1) * b.valid


def with_z_loss(rows: RowLoss) -> RowLoss:
    """The same and z_loss·lse² a row, unweighted."""
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
    return float(rows.sum() / (b.weights[b.safe] * b.valid).sum())


def mean_entries(b: Batch, rows: Array) -> float:
    """Over rows and classes."""
    return float(rows.sum() / b.logits.size)


def total(b: Batch, rows: Array) -> float:
    """The sum."""
    return float(rows.sum())


def changed(b: Batch, **fields: Any) -> Batch:
    """A copy of a batch with other fields."""
    return dataclasses.replace(b, **fields)


def _target(b: Batch, convention: Convention) -> Array:
    true, other = convention.pair(b.eps, b.classes)
    q = np.where(np.eye(b.classes, dtype=bool)[b.safe], true, other)
    if convention.space == "softmax without padding" and b.pad is not None:
        q[:, b.pad] = 0.0
    return q
