"""One pass over (N, K) logits: everything a metric needs about a row, as columns of length N.

The idea: shift a row by its largest logit and leave that logit out of the sum, s = Σ_{k≠top} exp(z_k − z_top). Then
log p_top = −log1p(s) and −log p_y = log1p(s) + (z_top − z_y) keep their digits where a softmax has saturated at 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sfumato.evaluate._source import Column, Labels, Scores, Source, check_labels, check_temperature


@dataclass(frozen=True)
class Rows:
    r"""What a model said about each row, as columns of length N.

    With :math:`p = \mathrm{softmax}(z/T)`, label :math:`y` and K classes:

    Attributes:
        label: the label, int64.
        predicted: the class of the largest logit, int64; the first of several equal ones.
        rank: number of classes placed before the label (0: right), int64; ties go to the lower class index.
        correct: whether ``predicted == label``, bool.
        confidence: the largest probability, in [1/K, 1]; 1.0 from a logit lead of about 37 on.
        log_confidence: its logarithm, in nats, which still tells rows apart up to a lead of about 745.
        nll: hard negative log likelihood :math:`-\log p_y`, in nats.
        brier: :math:`\sum_k (p_k - 1[k=y])^2`, from 0 to 2.
        gap: :math:`(z_y - \mathrm{mean}_{k \ne y} z_k)/T`, in nats; ±inf where one side is −inf, NaN where both are.
        norm: :math:`\lVert z - \bar z \rVert_2 / T`; the mean is taken out, since no probability depends on it.

    >>> import numpy as np
    >>> rows = per_row(logits=np.array([[2.0, 0.0], [0.0, 50.0]]), labels=np.array([0, 1]))
    >>> rows.confidence.round(4).tolist(), rows.score.tolist()[1] < 0
    ([0.8808, 1.0], True)
    """

    label: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    confidence: Column
    log_confidence: Column
    nll: Column
    brier: Column
    gap: Column
    norm: Column

    @property
    def score(self) -> Column:
        """The column that orders rows by confidence without saturating: ``log_confidence``."""
        return self.log_confidence

    def __len__(self) -> int:
        return len(self.label)


def per_row(
    *, logits: Scores | None = None, probs: Scores | None = None, labels: Labels, temperature: float = 1.0
) -> Rows:
    r"""Confidence, NLL, Brier score, gap and rank of every row, in float64.

    .. math:: s = \sum_{k \ne top} e^{(z_k - z_{top})/T}, \quad \log p_{top} = -\log(1 + s), \quad
              -\log p_y = \log(1 + s) + (z_{top} - z_y)/T

    Args:
        logits: :math:`z`, (N, K), torch or numpy, any float type; −inf is a class that is ruled out.
        probs: probabilities instead, (N, K), rows that sum to 1; used through their logarithms, so that a row is
            normalised and a zero is a logit of −inf.
        labels: class indices, (N,) integers.
        temperature: :math:`T`; probabilities are softmax(z/T).

    Returns:
        :class:`Rows`, columns of length N.

    Raises:
        TypeError: not exactly one of ``logits`` and ``probs``, or not floats, or labels that are not integers.
        ValueError: wrong shapes, fewer than 2 classes, no rows, NaN or +inf, probabilities that are negative or do not
            sum to 1, a temperature that is not positive. Names the first row.
        IndexError: a label that is no class. Names the first row and its value.

    >>> import numpy as np
    >>> rows = per_row(logits=np.array([[1.0, 0.0, 0.0]]), labels=np.array([1]), temperature=0.5)
    >>> [round(float(x[0]), 4) for x in (rows.confidence, rows.nll, rows.gap)]
    [0.787, 2.2395, -1.0]

    Source: Brier 1950 for the score that has its name; log1p without the maximum: Blanchard, Higham and Higham 2021.
    """
    source = Source(logits=logits, probs=probs)
    return scan(source, check_labels(labels, source.rows, source.classes, source.name), check_temperature(temperature))


def scan(
    source: Source,
    labels: npt.NDArray[np.int64],
    temperature: float | Column = 1.0,
    visit: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
) -> Rows:
    """:func:`per_row` on checked input; ``temperature`` may be a column, ``visit`` sees each chunk's probabilities."""
    n, k = source.rows, source.classes
    heat = torch.as_tensor(np.broadcast_to(np.asarray(temperature, dtype=np.float64), (n,)).copy()).unsqueeze(1)
    label = torch.from_numpy(labels)
    predicted, rank = torch.empty(n, dtype=torch.int64), torch.empty(n, dtype=torch.int64)
    log_confidence, nll, brier, gap, norm = (torch.empty(n, dtype=torch.float64) for _ in range(5))
    for chunk in source:
        at, top, y = chunk.rows, chunk.top.unsqueeze(1), label[chunk.rows].unsqueeze(1)
        z = chunk.shifted.div_(heat[at])
        z_y = z.gather(1, y)
        predicted[at] = chunk.top
        rank[at] = _rank(z, z_y, y)
        e = z.exp().scatter_(1, top, 0.0)
        s = e.sum(dim=1)
        log_confidence[at] = -torch.log1p(s)
        nll[at] = torch.log1p(s) - z_y.squeeze(1)
        p = e.scatter_(1, top, 1.0).div_((1 + s).unsqueeze(1))
        if visit is not None:
            visit(p, y.squeeze(1))
        # 1 − p_y summed from the other classes: no digits are lost where p_y is nearly 1
        p.scatter_(1, y, 0.0)
        brier[at] = p.sum(dim=1).square() + torch.linalg.vecdot(p, p)
        norm[at] = z.var(dim=1, correction=0).mul_(k).sqrt_().nan_to_num_(nan=torch.inf)
        gap[at] = z_y.squeeze(1) - z.scatter_(1, y, 0.0).sum(dim=1) / (k - 1)
    return Rows(
        label=labels,
        predicted=predicted.numpy(),
        rank=rank.numpy(),
        correct=predicted.numpy() == labels,
        confidence=log_confidence.exp().numpy(),
        log_confidence=log_confidence.numpy(),
        nll=nll.numpy(),
        brier=brier.numpy(),
        gap=gap.numpy(),
        norm=norm.numpy(),
    )


def _rank(z: torch.Tensor, z_y: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    above = (z > z_y).sum(dim=1)
    level = (z == z_y).sum(dim=1) > 1
    if bool(level.any()):
        before = torch.arange(z.shape[1]) < y[level]
        above[level] += ((z[level] == z_y[level]) & before).sum(dim=1)
    return above
