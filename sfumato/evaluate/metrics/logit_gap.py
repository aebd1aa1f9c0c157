"""The logit gap and the logit norm: the two sizes of a row of logits that a training target determines.

At the optimum of a smoothed target, the gap is the closed form d*, and the norm is d*·sqrt((K−1)/K).
"""

from __future__ import annotations

import numpy as np

from sfumato.evaluate.scores.per_row import scan
from sfumato.evaluate.scores.score_matrix import Column, Labels, ScoreMatrix, Scores, check_labels


def logit_gap(logits: Scores, labels: Labels) -> Column:
    r"""True logit less the mean of the others, for every row.

    .. math:: d_i = z_{iy} - \frac{1}{K-1} \sum_{k \ne y} z_{ik}

    The arguments and errors are those of :func:`sfumato.evaluate.per_row`. The gaps, (N,) float64, are in nats: +inf
    where another class is −inf, −inf where the label is, and NaN where both are.

    >>> import numpy as np
    >>> logit_gap(np.array([[3.0, 1.0, 0.0]]), np.array([0])).tolist()
    [2.5]

    Source: note, eq. 7, whose closed form (``sfumato.theory.optimal_gap``) is this gap at the optimum.
    """
    source = ScoreMatrix(logits=logits)
    return scan(source, check_labels(labels, source.rows, source.classes)).gap


def logit_norm(logits: Scores) -> Column:
    r"""Euclidean norm of every row of logits about its mean.

    .. math:: \lVert z_i - \bar z_i \rVert_2, \qquad \bar z_i = \tfrac{1}{K} \sum_k z_{ik}

    The logits and errors are those of :func:`sfumato.evaluate.per_row`. The norms, (N,) float64, are in nats, and inf
    where a class is −inf. A constant added to a row changes no probability and no norm.

    >>> import numpy as np
    >>> logit_norm(np.array([[10.0, 7.0, 10.0, 7.0]])).tolist()
    [3.0]

    Source: the norm of centred logits, as in Cattelan and Silva 2024, arXiv 2305.15508 (p = 2).
    """
    source = ScoreMatrix(logits=logits)
    # the norm needs no label, so any will do
    return scan(source, np.zeros(source.rows, dtype=np.int64)).norm
