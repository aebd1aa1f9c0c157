"""The input of a formula: logits, labels, a strength, and the options that some formulas take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """What a formula is computed from.

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


def own_class(labels: NDArray[Any] | Sequence[int], classes: int) -> NDArray[np.bool_]:
    """Which class of each row is its label, (N, K); an IndexError for a label that no array of K could be asked for.

    Rows of an identity are the same, and K×K numbers first.
    """
    every = np.arange(classes)
    return every == every[np.asarray(labels)][:, None]
