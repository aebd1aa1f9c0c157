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


def nc2(features: Any, labels: Labels) -> float:
    r"""Distance of the class means from a simplex equiangular tight frame: 0 where they are one.

    .. math:: \mathrm{NC2} = \left\lVert \frac{M M^\top}{\lVert M M^\top \rVert_F}
              - \frac{1}{\sqrt{C-1}} \Bigl(I_C - \tfrac1C 1 1^\top\Bigr) \right\rVert_F,
              \qquad M = (\mu_k - \mu)_k

    The arguments and errors are those of :func:`nc1`, and class means that are all equal are a ValueError too. The
    distance lies in 0 to 2.

    >>> h = np.array([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]])  # an equilateral triangle
    >>> round(nc2(h, np.array([0, 1, 2])), 6)
    0.0

    Source: Papyan, Han and Donoho 2020, arXiv 2008.08186; the form of Zhou et al. 2022, on means instead of weights.
    """
    *_, means = _class_means(features, labels)
    classes, centred = len(means), means - means.mean(axis=0)
    gram = centred @ centred.T
    size = float(np.linalg.norm(gram))
    if size == 0:
        raise ValueError("the means of all classes are equal: there is no angle between them")
    frame = (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)
    return float(np.linalg.norm(gram / size - frame))


def class_separation(features: Any, labels: Labels) -> float:
    r"""Class separation R²: 1 less the mean cosine distance within classes over that between any two rows.

    .. math:: R^2 = 1 - \frac{\frac1C \sum_k \frac{1}{N_k^2} \sum_{i,j \in k} (1 - \cos(h_i, h_j))}
                            {\frac{1}{C^2} \sum_{k,l} \frac{1}{N_k N_l} \sum_{i \in k, j \in l} (1 - \cos(h_i, h_j))}

    The arguments and errors are those of :func:`nc1`, and a row of zeros is a ValueError too. The separation is at most
    1, and every class counts alike. The time is linear in N, since a class needs only the mean of its unit vectors.

    >>> class_separation(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), np.array([0, 0, 1, 1]))
    1.0

    Source: Kornblith et al. 2021, arXiv 2010.16402, section 3.4.
    """
    h, y, count, means = _class_means(features, labels)
    sums = np.zeros_like(means)
    for at, block in _blocks(h):
        size = np.linalg.norm(block, axis=1)
        zero = np.flatnonzero(size == 0)
        if len(zero):
            raise ValueError(f"features are all 0 in row {at.start + int(zero[0])}: such a row has no direction")
        np.add.at(sums, y[at], block / size[:, None])
    unit = sums / count[:, None]
    within = 1 - float(np.mean(np.einsum("kd,kd->k", unit, unit)))
    between = 1 - float(np.sum(np.square(unit.mean(axis=0))))
    return 0.0 if between == 0 else 1 - within / between


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
