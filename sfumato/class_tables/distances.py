"""Rows that fall with the distance of two classes: along an order, or by a measure of likeness.

Each row is a softmax of something that is largest at the label's own class, computed in float64.
"""

import math

import torch
from torch import Tensor

from sfumato.targets.checks import ArgumentError, check_tensor


def ordinal(values: Tensor, tau: float, *, power: float = 1.0) -> Tensor:
    r"""Rows for classes that have an order: the mass falls with the distance from the label.

    .. math:: R_{y,k} = \frac{\exp(-|r_k - r_y|^a/\tau)}{\sum_j \exp(-|r_j - r_y|^a/\tau)}

    Args:
        values: r, (K,): where each class stands, for example ``torch.arange(5)`` for five grades that are numbered in
            their order, or ``torch.tensor([2, 0, 1])`` where class 0 is the last of three. Values need not be evenly
            spaced.
        tau: τ above 0, in units of distance to the power a: the larger it is, the more mass leaves the label.
        power: a above 0: 1 for absolute differences, 2 for squared ones.

    Returns:
        R, (K, K), in the floating dtype of ``values``, else in the default dtype. Masses below 10⁻³⁰ are 0,
        and the optimum pushes such classes to minus infinity.

    Raises:
        TypeError: values that are no tensor.
        ValueError: fewer than two values or values that are not finite, τ or a not above 0 and finite.

    >>> ordinal(torch.arange(3), 1 / torch.log(torch.tensor(2.0)).item())
    tensor([[0.5714, 0.2857, 0.1429],
            [0.2500, 0.5000, 0.2500],
            [0.1429, 0.2857, 0.5714]])

    Source: Díaz and Marathe 2019, "Soft Labels for Ordinal Regression" (SORD).
    """
    check_tensor(values, "values")
    if values.dim() != 1 or len(values) < 2 or values.is_complex() or values.dtype == torch.bool:
        raise ArgumentError(
            f"values must be one real number a class, (K,) with K at least 2, got {values.dtype} {tuple(values.shape)}"
        )
    check_above_zero(tau, "tau")
    check_above_zero(power, "power")
    _check_finite(values.unsqueeze(0), "values")
    r = values.double()
    return like(falling((r - r.unsqueeze(1)).abs() ** power / tau), values)


def similarity(similarities: Tensor, tau: float) -> Tensor:
    r"""Rows for classes that resemble each other: the mass falls with the likeness to the label.

    .. math:: R_{y,k} = \frac{\exp(s_{yk}/\tau)}{\sum_j \exp(s_{yj}/\tau)}

    Args:
        similarities: s, (K, K): how much class k resembles class y, in row y. It need not be symmetric, but no class
            may resemble another class more than itself. :func:`cosine_similarities` makes one of embeddings of the
            classes.
        tau: τ above 0, in units of s.

    Returns:
        R, (K, K), in the floating dtype of ``similarities``, else in the default dtype. ``sf.mix(sf.one_hot(labels, K),
        sf.smooth_rows(labels, R), 1 - eps)`` gives such a row a share ε only.

    Raises:
        TypeError: similarities that are no tensor.
        ValueError: a table that is not square or not finite, a class that resembles another more than itself (names
            both), τ not above 0 and finite.

    >>> similarity(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]), 0.25)
    tensor([[0.8668, 0.1173, 0.0159],
            [0.1173, 0.8668, 0.0159],
            [0.0177, 0.0177, 0.9647]])

    Source: Bertinetto et al. 2020, section 3.2, with −s for the distance.
    """
    s = checked_square(similarities, "similarities").double()
    check_above_zero(tau, "tau")
    if (found := more_like_another(s)) is not None:
        y, k = found
        raise ArgumentError(
            f"class {y} resembles class {k} more than itself: {float(s[y, k]):g} against {float(s[y, y]):g}; its "
            "target would be a target of another class. Distances must be negated first"
        )
    return like(falling(s / -tau), similarities)


def more_like_another(similarities: Tensor) -> tuple[int, int] | None:
    """The first class that resembles another more than itself, and the one it resembles most; None if none does."""
    most = similarities.max(1)
    above = most.values > similarities.diagonal()
    if not bool(above.any()):
        return None
    y = int(above.nonzero()[0, 0])
    return y, int(most.indices[y])


def cosine_similarities(embeddings: Tensor) -> Tensor:
    r"""The cosine of the angle between the embeddings of each two classes.

    .. math:: s_{yk} = \frac{\langle v_y, v_k\rangle}{\lVert v_y\rVert\,\lVert v_k\rVert}

    Args:
        embeddings: v, (K, D) floating, one vector a class: word vectors of the classes' names, means of features of
            another model, or rows of its last layer.

    Returns:
        s, (K, K), in −1 to 1, symmetric, with a diagonal of 1; in the dtype of ``embeddings``.

    Raises:
        TypeError: embeddings that are no floating tensor.
        ValueError: embeddings that are not (K, D) with K at least 2 or not finite, a vector of length 0 (names the
            class).

    >>> cosine_similarities(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([[1.0000, 0.7071],
            [0.7071, 1.0000]])

    Source: the angle between two vectors.
    """
    check_tensor(embeddings, "embeddings")
    if not embeddings.is_floating_point():
        raise TypeError(f"embeddings must be floating, got {embeddings.dtype}")
    if embeddings.dim() != 2 or len(embeddings) < 2 or embeddings.shape[1] == 0:
        raise ArgumentError(f"embeddings must be (K, D), K at least 2, got {tuple(embeddings.shape)}")
    _check_finite(embeddings, "embeddings")
    wide = embeddings.double()
    length = wide.norm(dim=1, keepdim=True)
    if bool((length == 0).any()):
        raise ArgumentError(f"the embedding of class {int((length == 0).nonzero()[0, 0])} is 0: it has no direction")
    unit = wide / length
    cosines = (unit @ unit.T).clamp(-1.0, 1.0)
    cosines = (cosines + cosines.T) / 2
    cosines.fill_diagonal_(1.0)
    return cosines.to(embeddings.dtype)


def checked_square(table: Tensor, name: str) -> Tensor:
    """A finite table (K, K) of real numbers, K at least 2."""
    check_tensor(table, name)
    if table.dim() != 2 or table.shape[0] != table.shape[1] or len(table) < 2 or table.is_complex():
        raise ArgumentError(f"{name} must be (K, K), K at least 2, got {table.dtype} {tuple(table.shape)}")
    _check_finite(table, name)
    return table


def check_above_zero(value: float, name: str) -> None:
    """Refuse a scale that is 0, negative, infinite or NaN."""
    if not (value > 0 and math.isfinite(value)):
        raise ArgumentError(f"{name} must be above 0 and finite, got {value:g}")


def falling(distances: Tensor) -> Tensor:
    """exp(−d) of each row, divided by its sum; 0 below 10⁻³⁰.

    Products of smaller masses with 1/N fall below the smallest normal float32, where common processors are many times
    slower.
    """
    rows = (-distances).softmax(1)
    return torch.where(rows < 1e-30, 0.0, rows)


def like(rows: Tensor, given: Tensor) -> Tensor:
    """Rows in the floating dtype of what they were made from, else in the default dtype."""
    return rows.to(given.dtype if given.is_floating_point() else torch.get_default_dtype())


def _check_finite(table: Tensor, name: str) -> None:
    bad = ~table.isfinite()
    if bool(bad.any()):
        y, k = (int(i) for i in bad.nonzero()[0])
        where = f"of class {k}" if len(table) == 1 else f"in row {y}, column {k}"
        raise ArgumentError(f"{name} must be finite, got {float(table[y, k]):g} {where}")
