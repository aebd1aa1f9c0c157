"""Confidence, log loss, Brier score, gap and rank of every row, from one pass over (N, K) logits.

A row is shifted by its largest logit, which is left out of the sum s = Σ_{k≠top} exp(z_k − z_top). Then
log p_top = −log1p(s) and −log p_y = log1p(s) + (z_top − z_y) keep their digits where a softmax has saturated at 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.scores.score_matrix import Labels, ScoreMatrix, Scores, check_labels, check_temperature
from sfumato.evaluate.scores.soft_labels import SoftLabels


@dataclass(eq=False)
class ClassScores:
    """Scores and the temperature of each row, (N,), from which rows can be ranked by one class after another."""

    source: ScoreMatrix
    heat: Column
    ranked: Any = None  # the ranking once it is made: see sfumato.evaluate.metrics.one_class


@dataclass(frozen=True)
class Rows:
    r"""What a model said about each row, as columns of length N.

    With :math:`p = \mathrm{softmax}(z/T)`, label :math:`y` and K classes:

    Attributes:
        label: the label, int64.
        predicted: the class of the largest logit, int64; the first of several equal ones.
        rank: number of classes placed before the label (0: right), int64; ties go to the lower class index.
        correct: whether ``predicted == label``, bool.
        tied: whether another class has the same largest logit, bool.
        confidence: the largest probability, in [1/K, 1]; 1.0 from a lead of about 37 nats on.
        log_confidence: its logarithm, in nats, which still differs between rows up to a lead of about 745 nats.
        nll: hard negative log likelihood :math:`-\log p_y`, in nats.
        brier: :math:`\sum_k (p_k - 1[k=y])^2`, from 0 to 2.
        gap: :math:`(z_y - \mathrm{mean}_{k \ne y} z_k)/T`, in nats; ±inf where one side is −inf, NaN where both are.
        norm: :math:`\lVert z - \bar z \rVert_2 / T`, without the mean, on which no probability depends.
        slope: :math:`(E_p[z] - z_y)/T`, in nats: how fast the NLL rises if all logits grow by a factor; negative where
            larger logits would lower it.

    >>> import numpy as np
    >>> rows = per_row(logits=np.array([[2.0, 0.0], [0.0, 50.0]]), labels=np.array([0, 1]))
    >>> rows.confidence.round(4).tolist(), rows.score.tolist()[1] < 0
    ([0.8808, 1.0], True)
    """

    label: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    tied: npt.NDArray[np.bool_]
    confidence: Column
    log_confidence: Column
    nll: Column
    brier: Column
    gap: Column
    norm: Column
    slope: Column
    of_classes: ClassScores | None = field(default=None, repr=False, compare=False, kw_only=True)

    @property
    def score(self) -> Column:
        """The column that orders rows by confidence without saturating."""
        return self.log_confidence

    @property
    def right(self) -> npt.NDArray[Any]:
        """How far each row is right, which calibration and ranking count."""
        return self.correct

    @property
    def overconfidence(self) -> Column:
        """Confidence minus how far each row is right."""
        return np.subtract(self.confidence, self.right, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class SoftRows(Rows):
    r"""What a model said about rows whose labels are soft, :math:`q`, of which ``label`` is the mode.

    ``nll`` is the cross entropy :math:`-\sum_k q_k \log p_k`, ``brier`` is :math:`\sum_k (p_k - q_k)^2`, and ``slope``
    is :math:`(E_p[z] - \langle q, z \rangle)/T`. ``agreed`` is q of the predicted class, and ``entropy`` is
    :math:`-\sum_k q_k \log q_k`, in nats: the least that ``nll`` can be.
    """

    agreed: Column
    entropy: Column

    @property
    def right(self) -> npt.NDArray[Any]:
        """How far each row is right: the part of its label that the predicted class has."""
        return self.agreed

    @property
    def kl(self) -> Column:
        """The divergence of the probabilities from the soft label, in nats."""
        return np.maximum(self.nll - self.entropy, 0.0)  # below 0 by rounding alone


def per_row(
    *, logits: Scores | None = None, probs: Scores | None = None, labels: Labels, temperature: float = 1.0
) -> Rows:
    r"""Confidence, NLL, Brier score, gap and rank of every row, in float64.

    .. math:: s = \sum_{k \ne top} e^{(z_k - z_{top})/T}, \quad \log p_{top} = -\log(1 + s), \quad
              -\log p_y = \log(1 + s) + (z_{top} - z_y)/T

    Args:
        logits: :math:`z`, (N, K), torch or numpy, any float type; −inf is a class that is ruled out.
        probs: probabilities instead, (N, K), rows that sum to 1. Their logarithms are taken as logits, so a row is
            normalised and a zero is a logit of −inf.
        labels: class indices, (N,) integers.
        temperature: :math:`T`; probabilities are softmax(z/T).

    Raises:
        TypeError: not exactly one of ``logits`` and ``probs``, or not floats, or labels that are not integers.
        ValueError: wrong shapes, fewer than 2 classes, no rows, NaN or +inf, probabilities that are negative or do not
            sum to 1, a temperature that is not positive. Names the first row.
        IndexError: a label that is no class. Names the first row and its value.

    >>> import numpy as np
    >>> rows = per_row(logits=np.array([[1.0, 0.0, 0.0]]), labels=np.array([1]), temperature=0.5)
    >>> [round(float(x[0]), 4) for x in (rows.confidence, rows.nll, rows.gap)]
    [0.787, 2.2395, -1.0]

    Source: Brier 1950 for his score; Blanchard, Higham and Higham 2021 for log1p without the maximum.
    """
    source = ScoreMatrix(logits=logits, probs=probs)
    label = check_labels(labels, source.rows, source.classes, source.name)
    return scan(source, label, check_temperature(temperature))


def logit_gap(logits: Scores, labels: Labels) -> Column:
    r"""True logit less the mean of the others, for every row.

    .. math:: d_i = z_{iy} - \frac{1}{K-1} \sum_{k \ne y} z_{ik}

    This is the column ``gap`` of :func:`sfumato.evaluate.per_row`, (N,), with its arguments and errors.

    >>> logit_gap(np.array([[3.0, 1.0, 0.0]]), np.array([0])).tolist()
    [2.5]

    Source: note, eq. 7, whose closed form (``sfumato.theory.optimal_gap``) is this gap at the optimum.
    """
    return per_row(logits=logits, labels=labels).gap


def empty_rows(label: npt.NDArray[np.int64], *, soft: bool = False, of_classes: ClassScores | None = None) -> Rows:
    """Columns to be filled for these labels, which are the modes where labels are ``soft``."""
    kind = SoftRows if soft else Rows
    types: dict[str, type[Any]] = {"predicted": np.int64, "rank": np.int64, "correct": np.bool_, "tied": np.bool_}
    names = [each.name for each in fields(kind) if not each.kw_only][1:]
    columns = (np.empty(len(label), dtype=types.get(name, np.float64)) for name in names)
    return kind(label, *columns, of_classes=of_classes)


def scan(
    source: ScoreMatrix,
    labels: npt.NDArray[np.int64],
    temperature: float | Column = 1.0,
    soft: SoftLabels | None = None,
) -> Rows:
    """:func:`per_row` on checked input, with a temperature per row and soft labels, which give :class:`SoftRows`."""
    heat = np.broadcast_to(np.asarray(temperature, dtype=np.float64), (source.rows,))
    rows = empty_rows(labels, soft=soft is not None, of_classes=ClassScores(source, heat))
    for at, shifted in source:
        _fill(rows, at, shifted, heat[at], None if soft is None else soft.block(at))
    return rows


def _fill(rows: Rows, at: slice, shifted: Column, heat: Column, q: Column | None) -> None:
    """Fill the rows ``at`` from shifted logits, with soft labels ``q`` or none."""
    y, top, each = rows.label[at], shifted.argmax(axis=1), np.arange(len(shifted))
    z = shifted / heat[:, None]
    k = z.shape[1]
    z_y = z[each, y]
    rows.predicted[at] = top
    rows.correct[at] = top == y
    rows.rank[at] = _rank(z, z_y, y, top)
    rows.tied[at] = np.count_nonzero(z == 0, axis=1) > 1
    e = np.exp(z)
    e[each, top] = 0.0
    s = e.sum(axis=1)
    rows.log_confidence[at] = -np.log1p(s)
    rows.confidence[at] = np.exp(-np.log1p(s))
    rows.nll[at] = np.log1p(s) - z_y
    e[each, top] = 1.0
    p = np.divide(e, (1 + s)[:, None], out=e)
    # a class at −inf adds nothing to the expectation, and 0·(−inf) would be NaN
    rows.slope[at] = np.einsum("ij,ij->i", p, np.maximum(z, -1e300)) - z_y
    # 1 − p_y is summed from the other classes, so no digits are lost where p_y is nearly 1
    p_y = p[each, y]
    p[each, y] = 0.0
    rows.brier[at] = np.square(p.sum(axis=1)) + np.einsum("ij,ij->i", p, p)
    p[each, y] = p_y
    if q is not None and isinstance(rows, SoftRows):
        _fill_soft(rows, at, z, s, p, q)
    with np.errstate(invalid="ignore"):
        mean = z.sum(axis=1) / k
        off = z - mean[:, None]
        rows.norm[at] = np.nan_to_num(np.sqrt(np.einsum("ij,ij->i", off, off)), nan=np.inf)
        z[each, y] = 0.0
        rows.gap[at] = z_y - z.sum(axis=1) / (k - 1)


def _fill_soft(rows: SoftRows, at: slice, z: Column, s: Column, p: Column, q: Column) -> None:
    """The columns that depend on soft labels, from logits, Σ_{k≠top} e^z and probabilities."""
    n = np.arange(len(z))
    # a class at −inf costs nothing without mass, and 0·(−inf) would be NaN
    held = np.einsum("ij,ij->i", q, np.where(q > 0, z, 0.0))
    rows.nll[at] = np.log1p(s) - held
    rows.slope[at] = np.einsum("ij,ij->i", p, np.maximum(z, -1e300)) - held
    rows.agreed[at] = q[n, rows.predicted[at]]
    rows.entropy[at] = 0.0 - np.einsum("ij,ij->i", q, np.log(np.where(q > 0, q, 1.0)))
    # as for hard labels, the difference of the label is summed from those of the other classes
    off = p - q
    off[n, rows.label[at]] = 0.0
    rows.brier[at] = np.square(off.sum(axis=1)) + np.einsum("ij,ij->i", off, off)


def _rank(z: Column, z_y: Column, y: npt.NDArray[np.int64], top: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    rank = np.zeros(len(y), dtype=np.int64)
    wrong = np.flatnonzero(top != y)
    if len(wrong):
        rest, own = z[wrong], z_y[wrong, None]
        rank[wrong] = np.count_nonzero(rest > own, axis=1)
        before = np.arange(z.shape[1]) < y[wrong, None]
        rank[wrong] += np.count_nonzero((rest == own) & before, axis=1)
    return rank
