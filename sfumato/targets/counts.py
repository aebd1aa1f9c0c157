"""Targets from the counts of annotators for each row."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.targets.base import Target
from sfumato.targets.checks import (
    ArgumentError,
    check_entries,
    check_prior,
    check_tensor,
    checked_mask,
    class_axis,
    position,
    positions_of,
    readable,
)
from sfumato.targets.dense import Dense


def from_counts(
    counts: Tensor, concentration: float, *, prior: Tensor | None = None, mask: Tensor | None = None
) -> Target:
    r"""What annotators said of each row, drawn towards a prior as far as they are few.

    .. math:: q_k = \frac{n_k + \kappa\,\pi_k}{\sum_j n_j + \kappa}

    This is the mean of what is known about a row's distribution after n answers, if such distributions are spread as a
    Dirichlet distribution of mean π and concentration κ. A row without answers gets π.

    ``counts`` are n, (N, K, …) with the classes on axis 1, or (K,), at least 0. ``concentration`` is κ from 0: how many
    answers the prior counts for. 0 gives the shares as they are, ``inf`` the prior; :func:`fit_concentration` estimates
    it from the counts of all training rows. ``prior`` is π, (K,), sums to 1; None for 1/K. The share of each class
    among all answers is a usual choice. ``mask``, bool, has the shape of the positions; False marks a position without
    a target.

    TypeError: counts or a prior that are no tensor, a mask that is not bool. ValueError: a count that is negative or
    not finite (names the first position), κ that is negative or NaN, a prior that is no distribution over the K
    classes, or a position without answers at κ = 0.

    >>> from_counts(torch.tensor([[3, 1, 0], [0, 0, 0]]), 2.0).probs()
    tensor([[0.6111, 0.2778, 0.1111],
            [0.3333, 0.3333, 0.3333]])

    Source: Gelman et al., "Bayesian Data Analysis", 3rd edition, section 3.4 (the Dirichlet–multinomial posterior
    mean).
    """
    check_tensor(counts, "counts")
    if counts.dim() == 0 or counts.is_complex() or counts.dtype == torch.bool:
        raise ArgumentError(f"counts must be (N, K, …) or (K,), got {counts.dtype} {tuple(counts.shape)}")
    if not concentration >= 0:
        raise ArgumentError(f"concentration must be at least 0, got {concentration:g}")
    axis = class_axis(counts.dim() - 1)
    num_classes = counts.shape[axis]
    dtype = counts.dtype if counts.is_floating_point() else torch.get_default_dtype()
    valid = checked_mask(mask, positions_of(counts), "the counts")
    if prior is None:
        pi = torch.full((num_classes,), 1 / num_classes, dtype=torch.float64, device=counts.device)
    else:
        check_prior(prior, num_classes)
        pi = prior.double()
    n = _checked_counts(counts if valid is None else torch.where(valid.unsqueeze(axis), counts, 0), axis)
    total = n.sum(axis, keepdim=True)
    if concentration == 0 and readable(n):
        empty = (total == 0).squeeze(axis)
        empty = empty if valid is None else empty & valid
        if bool(empty.any()):
            raise ArgumentError(
                f"nobody has annotated {position(empty)[1]}: give a concentration above 0, or mask the position"
            )
    pi = pi.reshape((1,) * axis + (-1,) + (1,) * (n.dim() - 1 - axis))
    q = pi.expand(n.shape) if math.isinf(concentration) else (n + concentration * pi) / (total + concentration)
    return Dense(num_classes, None, valid, q.to(dtype))


def fit_concentration(counts: Tensor, *, prior: Tensor | None = None) -> float:
    r"""How many answers a prior is worth, by how often two annotators of one row agree: κ for :func:`from_counts`.

    .. math:: \kappa = \frac{1 - A}{A - C}, \qquad
              A = \frac{\sum_i\sum_k n_{ik}(n_{ik}-1)}{\sum_i n_i(n_i-1)}, \qquad C = \sum_k \pi_k^2

    A is how often two answers to one row are the same, C how often two answers to any rows would be. If each row's
    distribution is drawn from a Dirichlet distribution of mean π and concentration κ, two answers to it agree with
    chance (1 + κC)/(1 + κ), which is solved for κ: an estimate by moments. Where π are the shares of all answers, this
    is 1/κ_F − 1, κ_F being Fleiss' kappa. 0 where annotators of one row always agree, and ``inf`` where they agree no
    more often than answers to different rows would.

    ``counts`` are n, (N, K), at least 0; rows with one answer tell nothing about A. ``prior`` is π, (K,); None for the
    share of each class among all answers. Errors are those of ``from_counts``; ValueError also where no row has two
    answers.

    >>> fit_concentration(torch.tensor([[2, 0], [2, 0], [0, 2], [1, 1]]))
    1.1428571428571428

    Source: moments of the Dirichlet–multinomial; Fleiss 1971, "Measuring nominal scale agreement among many raters".
    """
    check_tensor(counts, "counts")
    if counts.dim() != 2 or counts.is_complex() or counts.dtype == torch.bool:
        raise ArgumentError(f"counts must be (N, K), got {counts.dtype} {tuple(counts.shape)}")
    n = _checked_counts(counts, 1)
    rows = n.sum(1)
    pairs = float((rows * (rows - 1)).clamp(min=0).sum())
    if pairs == 0:
        raise ArgumentError("no row has two answers, so nothing tells how far annotators agree: give the concentration")
    several = rows > 1
    agree = float((n * (n - 1)).sum(1)[several].sum()) / pairs
    if prior is not None:
        check_prior(prior, n.shape[1])
    pi = n.sum(0) / n.sum() if prior is None else prior.double()
    chance = float((pi * pi).sum())
    return math.inf if agree <= chance else max(0.0, (1 - agree) / (agree - chance))


def _checked_counts(counts: Tensor, axis: int) -> Tensor:
    """In float64; the first that is negative or not finite is refused."""
    n = counts.double()
    check_entries(n, (n >= 0) & n.isfinite(), axis, "counts must be finite and at least 0")
    return n
