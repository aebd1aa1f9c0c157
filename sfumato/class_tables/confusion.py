"""Rows that smooth towards the classes that a model takes each class for."""

import math

import torch
from torch import Tensor

from sfumato.class_tables.distances import checked_square, like
from sfumato.targets.checks import ArgumentError, check_over, check_strength
from sfumato.theory import Over


def confusion(counts: Tensor, eps: float, *, over: Over, shrinkage: float) -> Tensor:
    r"""Rows that give a share ε to the classes that the label is confused with.

    .. math:: R_y = (1-\varepsilon)\,e_y + \varepsilon\,\pi_y, \qquad
              \pi_{y,k} = \frac{C_{yk} + s/m}{\sum_{j \in O_y} C_{yj} + s} \quad\text{for } k \in O_y

    :math:`O_y` is what ε is spread over: the m = K−1 others, or all m = K classes.

    Count predictions on rows that the model was not trained on. A model that fits its training rows is hardly ever
    wrong on them, so C has nothing off its diagonal there, and what is left is plain smoothing. Rows that count must
    not be test rows: their labels would enter the training targets.

    Args:
        counts: C, (K, K), at least 0: how many rows of label y (row y) were predicted as class k (column k), as
            ``sklearn.metrics.confusion_matrix`` counts them. Sums of probabilities may stand in place of counts.
        eps: strength ε in [0, 1].
        over: ``"others"``: the confusions alone count; ``"all"``: the rows that were right count too.
        shrinkage: s from 0, in rows: how many rows, spread evenly over :math:`O_y`, are added to each row of C. A class
            with few predictions stays near plain smoothing, and with s → ∞ all are :func:`sfumato.smooth`.

    Returns:
        R, (K, K), in the floating dtype of ``counts``, else in the default dtype.

    Raises:
        TypeError: counts that are no tensor.
        ValueError: a table that is not square, a count that is negative or not finite, ε outside [0, 1], an unknown
            ``over``, a shrinkage that is negative or infinite, or a class without counts where the shrinkage is 0.

    >>> confusion(torch.tensor([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), 0.1, over="others", shrinkage=2)
    tensor([[0.9000, 0.0750, 0.0250],
            [0.0667, 0.9000, 0.0333],
            [0.0500, 0.0500, 0.9000]])

    Source: Szegedy et al. 2016, section 7, with a u(k) of each label; s/m is the posterior mean of a Dirichlet prior.
    """
    c = checked_square(counts, "counts").double()
    check_strength(eps, "eps")
    check_over(over)
    if not (shrinkage >= 0 and math.isfinite(shrinkage)):
        raise ArgumentError(f"shrinkage must be at least 0 and finite, got {shrinkage:g}")
    if bool((c < 0).any()):
        y, k = (int(i) for i in (c < 0).nonzero()[0])
        raise ArgumentError(f"counts must be at least 0, got {float(c[y, k]):g} in row {y}, column {k}")
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
    return like((1 - eps) * own + eps * share / total, counts)
