"""Penalties that are added to the cross entropy: on the entropy of the prediction, and on the logits."""

import math
from typing import Unpack

import torch
from torch import Tensor

from sfumato.arguments import LossOptions, resolve, with_loss_options
from sfumato.loss import eager
from sfumato.loss.penalty.rows import Logits, checked_at_least_0, over_target, with_penalty
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError


@with_loss_options
def confidence(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    beta: float,
    threshold: float | None = None,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Cross entropy less a part of the entropy of the prediction.

    .. math:: L = \mathrm{CE} - \beta H(p), \qquad
              L_\Gamma = \mathrm{CE} + \beta \max(0, \Gamma - H(p)), \qquad
              \frac{\partial L}{\partial z_k} = p_k - q_k + \beta\,p_k(\log p_k + H(p))

    The hinge form with Γ leaves rows alone whose entropy is Γ or more; its gradient where H(p) = Γ is that of the
    cross entropy. The paper prints a minus before the hinge, which would reward low entropy.

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,).
        target: class indices, probabilities or a Target, as of :func:`sfumato.cross_entropy`.
        weight: one number a class, (K,). A row's penalty weighs as its label does.
        beta: β, at least 0.
        threshold: Γ in nats, at least 0; None for the form without a hinge.
        options: as of :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``. It may be negative without a hinge.

    Raises:
        ValueError: β or Γ negative or not finite, a single class, or as :func:`sfumato.cross_entropy`.
        IndexError: a label that is no class.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(confidence(z, y, beta=0.1).item(), 4), round(confidence(z, y, beta=0.1, threshold=0.5).item(), 4)
    (0.173, 0.2395)

    Source: Pereyra et al. 2017, section 3. Its optimum is :func:`sfumato.theory.confidence_optimum`.
    """
    beta = checked_at_least_0(beta, "beta")
    threshold = None if threshold is None else checked_at_least_0(threshold, "threshold")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: Logits) -> Tensor:
        surprisal = eager.shifted(logits.z.to(logits.wide), logits.wide)[0].surprisal()
        p = (-surprisal).exp()
        # A class at −∞ has probability 0 and adds nothing.
        entropy = (p * torch.where(surprisal.isinf(), 0.0, surprisal)).sum(1)
        return -entropy if threshold is None else torch.relu(threshold - entropy)

    return with_penalty(z, call, beta, penalty)


@with_loss_options
def margin(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    margin: float = 10.0,
    alpha: float = 0.1,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Cross entropy, and a penalty on logits that lie more than a margin below the largest (MbLS).

    .. math:: L = \mathrm{CE} + \frac{\alpha}{K}\sum_k \max(0,\; \max_j z_j - z_k - m)

    The gradient of the maximum is shared evenly among equal logits, and a logit that is exactly m below gets none.

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,).
        target: class indices, probabilities or a Target, as of :func:`sfumato.cross_entropy`.
        weight: one number a class, (K,). A row's penalty weighs as its label does.
        margin: m in nats, at least 0. At 0 this is :func:`maxsup`.
        alpha: α, at least 0.
        options: as of :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``.

    Raises:
        ValueError: m or α negative or not finite, a single class, or as :func:`sfumato.cross_entropy`.
        IndexError: a label that is no class.

    >>> z, y = torch.tensor([[12.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(margin(z, y, margin=10, alpha=0.1).item(), 4)
    0.1333

    Source: Liu et al. 2022, "The Devil is in the Margin", and the defaults of its code. Its optimum is
    :func:`sfumato.theory.margin_optimum`.
    """
    width, alpha = checked_at_least_0(margin, "margin"), checked_at_least_0(alpha, "alpha")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: Logits) -> Tensor:
        return torch.relu(logits.below_top() - width).sum(1, dtype=logits.wide) / z.shape[1]

    return with_penalty(z, call, alpha, penalty)


@with_loss_options
def maxsup(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    alpha: float,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Cross entropy, and a penalty on how far the largest logit is above the mean (max suppression, MaxSup).

    .. math:: L = \mathrm{CE} + \alpha\,(\max_k z_k - \bar z)

    Smoothing by α over all is CE + α(z_y − z̄). So where the label has the largest logit, both are the same number with
    the same gradient; they differ on rows that are answered wrongly. The gradient of the maximum is shared evenly among
    equal logits.

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,).
        target: class indices, probabilities or a Target, as of :func:`sfumato.cross_entropy`.
        weight: one number a class, (K,). A row's penalty weighs as its label does.
        alpha: α, at least 0. From 1 on, equal logits are the optimum and nothing is learnt.
        options: as of :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``.

    Raises:
        ValueError: α negative or not finite, a single class, or as :func:`sfumato.cross_entropy`.
        IndexError: a label that is no class.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(maxsup(z, y, alpha=0.1).item(), 4)  # the label has the largest logit: as label_smoothing=0.1
    0.3729

    Source: Zhou et al. 2025, "MaxSup". Its optimum is :func:`sfumato.theory.maxsup_optimum`.
    """
    alpha = checked_at_least_0(alpha, "alpha")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: Logits) -> Tensor:
        return logits.below_top().sum(1, dtype=logits.wide) / z.shape[1]  # positive terms: nothing cancels

    return with_penalty(z, call, alpha, penalty)


@with_loss_options
def logit_l2(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    beta: float,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Cross entropy, and a penalty on the squared norm of the logits.

    .. math:: L = \mathrm{CE} + \frac{\beta}{2}\sum_k z_k^2, \qquad
              \frac{\partial L}{\partial z} = p - q + \beta z

    Unlike all other penalties here it sees a shift of all logits, and it is a sum over the classes: with more classes
    the same β weighs more.

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,).
        target: class indices, probabilities or a Target, as of :func:`sfumato.cross_entropy`.
        weight: one number a class, (K,). A row's penalty weighs as its label does.
        beta: β, at least 0.
        options: as of :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``.

    Raises:
        ValueError: β negative or not finite, a single class, or as :func:`sfumato.cross_entropy`.
        IndexError: a label that is no class.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(logit_l2(z, y, beta=0.1).item(), 4)
    0.4395

    Source: the code of Zhou et al. 2025, where β = 0.002. Its optimum is :func:`sfumato.theory.l2_optimum`.
    """
    beta = checked_at_least_0(beta, "beta")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: Logits) -> Tensor:
        return logits.z.to(logits.wide).square().sum(1) / 2

    return with_penalty(z, call, beta, penalty)


@with_loss_options
def negative_smoothing(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    rate: float,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Smoothing over all by a negative rate: away from the even distribution.

    .. math:: L = \sum_k q'_k(\mathrm{lse}(z) - z_k), \quad q' = (1-r)\,q + \frac rK, \quad r \le 0, \qquad
              L = \mathrm{CE} - |r|\,\bigl(\langle q, z\rangle - \bar z\bigr)

    The weights q′ sum to 1, but those of the wrong classes are negative.

    .. warning:: Below r = 0 the loss has no lower bound: it falls for ever as the gap grows, by −r·(K−1)/K a nat, and
       its gradient never fades. Training does not converge; stop it early, or begin with r = 0. It is meant for labels
       of which many are wrong: symmetric flips by a rate ρ smooth by ρK/(K−1) over all, which r = −ρK/(K−1−ρK) takes
       off again on average.

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,).
        target: class indices, probabilities or a Target, as of :func:`sfumato.cross_entropy`.
        weight: one number a class, (K,). A row's penalty weighs as its label does.
        rate: r, at most 0. A positive rate is refused, because that is ``label_smoothing``.
        options: as of :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``; it may be negative.

    Raises:
        ValueError: r above 0 or not finite, a single class, or as :func:`sfumato.cross_entropy`.
        IndexError: a label that is no class.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.tensor([0, 0])
    >>> negative_smoothing(z, y, rate=-0.5, reduction="none")
    tensor([-0.4271, -2.9998])

    Source: Wei et al. 2022, "To Smooth or Not? When Label Smoothing Meets Noisy Labels". Its floor is
    :func:`sfumato.theory.negative_optimum`.
    """
    if isinstance(rate, Tensor):
        raise TypeError(f"rate must be a number, got a tensor of shape {tuple(rate.shape)}")
    if not (rate <= 0 and math.isfinite(rate)):
        raise ArgumentError(f"rate must be a finite number, at most 0, got {rate:g}; above 0 use label_smoothing")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: Logits) -> Tensor:
        wide = logits.z.to(logits.wide)
        return over_target(call, wide.mean(1, keepdim=True) - wide)

    return with_penalty(z, call, -rate, penalty)
