r"""How the inputs of the last layer cluster by class, which neural collapse changes.

Let C be the number of classes that occur, :math:`\mu_k` their means, and :math:`\mu` the mean of these means:

.. math:: S_W = \frac1N \sum_i (h_i - \mu_{y_i})(h_i - \mu_{y_i})^\top, \qquad
          S_B = \frac1C \sum_k (\mu_k - \mu)(\mu_k - \mu)^\top
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import Column, as_numpy
from sfumato.evaluate.scores.score_matrix import Labels

_BLOCK = 1 << 14  # rows converted to float64 at a time


def nc1(features: Any, labels: Labels) -> float:
    r"""Within-class scatter against between-class scatter: 0 where every class is one point.

    .. math:: \mathrm{NC1} = \frac1C \operatorname{tr}(S_W S_B^{+})

    Args:
        features: :math:`h`, (N, D), torch or numpy, any float type.
        labels: class indices :math:`y`, (N,) integers.

    Returns:
        The ratio, ≥ 0; :math:`S_B^{+}` is the pseudo-inverse.

    Raises:
        ValueError: shapes that differ, features that are not finite, or fewer than 2 classes.

    >>> h = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> round(nc1(h, np.array([0, 0, 1, 1])), 4)  # S_W = 1, S_B = 25
    0.02

    Source: Papyan, Han and Donoho 2020, arXiv 2008.08186, as in the code of Zhou et al. 2022.
    """
    h, y, count, means = _class_means(features, labels)
    classes, centred = len(means), means - means.mean(axis=0)
    within = np.zeros((h.shape[1], h.shape[1]))
    for at, block in _blocks(h):
        off = block - means[y[at]]
        within += off.T @ off
    between = centred.T @ centred / classes
    return float(np.trace(within / count.sum() @ np.linalg.pinv(between, hermitian=True)) / classes)


def _class_means(features: Any, labels: Labels) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], Column, Column]:
    """The features, the number of each row's class, and the rows (C,) and means (C, D) of the classes."""
    h, y = as_numpy(features), as_numpy(labels)
    if h.ndim != 2 or not len(h):
        raise ValueError(f"features must be (N, D) and not empty, got shape {h.shape}")
    if y.shape != (len(h),):
        raise ValueError(f"labels must be ({len(h)},), one a row of features, got shape {y.shape}")
    numbers, code = np.unique(y, return_inverse=True)
    if len(numbers) < 2:
        raise ValueError(f"features of at least 2 classes are needed, got {len(numbers)}")
    count = np.bincount(code).astype(np.float64)
    sums = np.zeros((len(numbers), h.shape[1]))
    for at, block in _blocks(h):
        odd = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(odd):
            raise ValueError(f"features are not finite in row {at.start + int(odd[0])}")
        np.add.at(sums, code[at], block)
    return h, code.astype(np.int64), count, sums / count[:, None]


def _blocks(h: npt.NDArray[Any]) -> Iterator[tuple[slice, Column]]:
    for start in range(0, len(h), _BLOCK):
        at = slice(start, start + _BLOCK)
        yield at, h[at].astype(np.float64)
