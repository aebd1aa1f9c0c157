"""Rows by an order of the classes, by how much they resemble each other, or by what a model takes them for."""

import math

import torch
from torch import Tensor

from sfumato.targets.checks import ArgumentError, check_entries, check_over, check_strength, check_tensor
from sfumato.theory import Over


def ordinal(values: Tensor, tau: float, *, power: float = 1.0) -> Tensor:
    r"""Rows R, (K, K), for classes that have an order: the mass falls with the distance from the label.

    .. math:: R_{y,k} = \frac{\exp(-|r_k - r_y|^a/\tau)}{\sum_j \exp(-|r_j - r_y|^a/\tau)}

    ``values`` are r, (K,): where each class is, for example ``torch.arange(5)`` for five grades that are numbered in
    their order, or ``torch.tensor([2, 0, 1])`` where class 0 is the last of three. They need not be evenly spaced.
    τ is above 0, in units of distance to the ``power`` a: the larger it is, the more mass leaves the label. a is above
    0: 1 for absolute differences, 2 for squared ones. Rows have the floating dtype of ``values``, else the default
    dtype. Masses below 10⁻³⁰ are 0, and the optimum pushes such classes to minus infinity.

    TypeError: values that are no tensor. ValueError: fewer than two values or values that are not finite, τ or a not
    above 0 and finite.

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
    check_entries(values, values.isfinite(), 0, "values must be finite")
    r = values.double()
    return _like(falling((r - r.unsqueeze(1)).abs() ** power / tau), values)


def similarity(similarities: Tensor, tau: float) -> Tensor:
    r"""Rows R, (K, K), for classes that resemble each other: the mass falls with the likeness to the label.

    .. math:: R_{y,k} = \frac{\exp(s_{yk}/\tau)}{\sum_j \exp(s_{yj}/\tau)}

    ``similarities`` are s, (K, K): how much class k resembles class y, in row y. They need not be symmetric, but no
    class may resemble another more than itself: cosines of embeddings of the classes, for example. τ is above 0, in
    units of s. Rows have the floating dtype of s, else the default dtype. ``sf.mix(sf.one_hot(labels, K),
    sf.smooth_rows(labels, R), 1 - eps)`` gives such a row a share ε only.

    TypeError: similarities that are no tensor. ValueError: a table that is not square or not finite, a class that
    resembles another more than itself (names both), τ not above 0 and finite.

    >>> similarity(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]), 0.25)
    tensor([[0.8668, 0.1173, 0.0159],
            [0.1173, 0.8668, 0.0159],
            [0.0177, 0.0177, 0.9647]])

    Source: Bertinetto et al. 2020, section 3.2, with −s for the distance.
    """
    s = _checked_square(similarities, "similarities")
    check_above_zero(tau, "tau")
    if (pair := more_like_another(s)) is not None:
        y, k = pair
        raise ArgumentError(
            f"class {y} resembles class {k} more than itself: {float(s[y, k]):g} against {float(s[y, y]):g}; its "
            "target would be a target of another class. Distances must be negated first"
        )
    return _like(falling(s / -tau), similarities)


def more_like_another(similarities: Tensor) -> tuple[int, int] | None:
    """The first class that resembles another more than itself, and the one it resembles most; None if none does."""
    most = similarities.max(1)
    above = most.values > similarities.diagonal()
    if not bool(above.any()):
        return None
    y = int(above.nonzero()[0, 0])
    return y, int(most.indices[y])


def confusion(counts: Tensor, eps: float, *, over: Over, shrinkage: float) -> Tensor:
    r"""Rows R, (K, K), that give a share ε to the classes that the label is confused with.

    .. math:: R_y = (1-\varepsilon)\,e_y + \varepsilon\,\pi_y, \qquad
              \pi_{y,k} = \frac{C_{yk} + s/m}{\sum_{j \in O_y} C_{yj} + s} \quad\text{for } k \in O_y

    :math:`O_y` is what ε is spread over: the m = K−1 ``"others"``, or ``"all"`` m = K classes, where the rows that were
    right count too.

    ``counts`` are C, (K, K), at least 0: how many rows of label y (row y) were predicted as class k (column k), as
    ``sklearn.metrics.confusion_matrix`` counts them, or sums of probabilities. Count predictions on rows that the model
    was not trained on: a model that fits its training rows is hardly ever wrong on them, so C has nothing off its
    diagonal there, and what is left is plain smoothing. They must not be test rows: their labels would enter the
    training targets. ``shrinkage`` is s from 0: how many rows, spread evenly over :math:`O_y`, are added to each row of
    C. A class with few predictions stays near plain smoothing, and with s → ∞ all are :func:`sfumato.smooth`. Rows have
    the floating dtype of ``counts``, else the default dtype.

    TypeError: counts that are no tensor. ValueError: a table that is not square, a count that is negative or not
    finite, ε outside [0, 1], an unknown ``over``, a shrinkage that is negative or infinite, or a class without counts
    where the shrinkage is 0.

    >>> confusion(torch.tensor([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), 0.1, over="others", shrinkage=2)
    tensor([[0.9000, 0.0750, 0.0250],
            [0.0667, 0.9000, 0.0333],
            [0.0500, 0.0500, 0.9000]])

    Source: Szegedy et al. 2016, section 7, with a u(k) of each label; s/m is the posterior mean of a Dirichlet prior.
    """
    c = _checked_square(counts, "counts")
    check_strength(eps, "eps")
    check_over(over)
    if not (shrinkage >= 0 and math.isfinite(shrinkage)):
        raise ArgumentError(f"shrinkage must be at least 0 and finite, got {shrinkage:g}")
    check_entries(c, c >= 0, 1, "counts must be at least 0")
    own = torch.eye(len(c), dtype=torch.float64, device=c.device)
    among = 1 - own if over == "others" else torch.ones_like(own)
    share = among * (c + shrinkage / among.sum(1, keepdim=True))
    total = share.sum(1, keepdim=True)
    if bool((total == 0).any()):
        y = int((total == 0).nonzero()[0, 0])
        raise ArgumentError(
            f"class {y} was never {'taken for another class' if over == 'others' else 'counted'}, so its row has no "
            "prior: give a shrinkage above 0, for example 1"
        )
    return _like((1 - eps) * own + eps * share / total, counts)


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


def _checked_square(table: Tensor, name: str) -> Tensor:
    """A finite table (K, K) of real numbers, K at least 2, in float64."""
    check_tensor(table, name)
    if table.dim() != 2 or table.shape[0] != table.shape[1] or len(table) < 2 or table.is_complex():
        raise ArgumentError(f"{name} must be (K, K), K at least 2, got {table.dtype} {tuple(table.shape)}")
    check_entries(table, table.isfinite(), 1, f"{name} must be finite")
    return table.double()


def _like(rows: Tensor, given: Tensor) -> Tensor:
    return rows.to(given.dtype if given.is_floating_point() else torch.get_default_dtype())
