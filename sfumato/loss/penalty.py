"""Penalties and rival losses: plain functions with the arguments of the cross entropy that they add to or replace.

All arguments but the strengths, and all else that is not said here, are as of :func:`sfumato.cross_entropy`; with a
strength of 0 each is that, to the bit. A row's penalty weighs as its label does. A strength out of range or not finite,
or a single class, is a ValueError.
"""

import math
from collections.abc import Callable
from typing import Unpack

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sfumato.arguments import Call, LossOptions, resolve, with_loss_options
from sfumato.loss import eager, functional
from sfumato.loss.reduce import RowWeights, costless, reduce, weigh
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError
from sfumato.targets.labelled import Labelled

__all__ = ["confidence", "focal", "logit_l2", "margin", "maxsup", "negative_smoothing", "relaxation"]


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

    ``beta`` is β, at least 0, and ``threshold`` Γ in nats, at least 0; None is the form without a hinge, which may be
    negative.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(confidence(z, y, beta=0.1).item(), 4), round(confidence(z, y, beta=0.1, threshold=0.5).item(), 4)
    (0.173, 0.2395)

    Source: Pereyra et al. 2017, section 3. Its optimum is :func:`sfumato.theory.confidence_optimum`.
    """
    _check_strength(beta, "beta")
    if threshold is not None:
        _check_strength(threshold, "threshold")
    z, call = resolve(input, target, weight, **options)

    def penalty(x: Tensor, wide: torch.dtype) -> Tensor:
        surprisal = eager.shifted(x.to(wide), wide)[0].surprisal()
        p = (-surprisal).exp()
        # A class at −∞ has probability 0 and adds nothing.
        entropy = (p * torch.where(surprisal.isinf(), 0.0, surprisal)).sum(1)
        return -entropy if threshold is None else torch.relu(threshold - entropy)

    return _with_penalty(z, call, beta, penalty)


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

    ``margin`` is m in nats, at least 0 (at 0 this is :func:`maxsup`), and ``alpha`` α, at least 0.

    >>> z, y = torch.tensor([[12.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(margin(z, y, margin=10, alpha=0.1).item(), 4)
    0.1333

    Source: Liu et al. 2022, "The Devil is in the Margin", and the defaults of its code. Its optimum is
    :func:`sfumato.theory.margin_optimum`.
    """
    _check_strength(margin, "margin")
    _check_strength(alpha, "alpha")
    z, call = resolve(input, target, weight, **options)
    return _with_penalty(z, call, alpha, lambda x, wide: _mean(torch.relu(_below_top(x) - margin), wide))


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

    ``alpha`` is α, at least 0; from 1 on, equal logits are the optimum and nothing is learnt.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(maxsup(z, y, alpha=0.1).item(), 4)  # the label has the largest logit: as label_smoothing=0.1
    0.3729

    Source: Zhou et al. 2025, "MaxSup". Its optimum is :func:`sfumato.theory.maxsup_optimum`.
    """
    _check_strength(alpha, "alpha")
    z, call = resolve(input, target, weight, **options)
    # The mean of positive terms, of which nothing cancels.
    return _with_penalty(z, call, alpha, lambda x, wide: _mean(_below_top(x), wide))


@with_loss_options
def logit_l2(
    input: Tensor, target: Tensor | Target, weight: Tensor | None = None, *, beta: float, **options: Unpack[LossOptions]
) -> Tensor:
    r"""Cross entropy, and a penalty on the squared norm of the logits.

    .. math:: L = \mathrm{CE} + \frac{\beta}{2}\sum_k z_k^2, \qquad
              \frac{\partial L}{\partial z} = p - q + \beta z

    Unlike all other penalties here it sees a shift of all logits, and it is a sum over the classes: with more classes
    the same β weighs more.

    ``beta`` is β, at least 0.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(logit_l2(z, y, beta=0.1).item(), 4)
    0.4395

    Source: the code of Zhou et al. 2025, where β = 0.002. Its optimum is :func:`sfumato.theory.l2_optimum`.
    """
    _check_strength(beta, "beta")
    z, call = resolve(input, target, weight, **options)
    return _with_penalty(z, call, beta, lambda x, wide: x.to(wide).square().sum(1) / 2)


@with_loss_options
def negative_smoothing(
    input: Tensor, target: Tensor | Target, weight: Tensor | None = None, *, rate: float, **options: Unpack[LossOptions]
) -> Tensor:
    r"""Smoothing over all by a negative rate: away from the even distribution.

    .. math:: L = \sum_k q'_k(\mathrm{lse}(z) - z_k), \quad q' = (1-r)\,q + \frac rK, \quad r \le 0, \qquad
              L = \mathrm{CE} - |r|\,\bigl(\langle q, z\rangle - \bar z\bigr)

    The weights q′ sum to 1, but those of the wrong classes are negative.

    .. warning:: Below r = 0 the loss has no lower bound: it falls without limit as the gap grows, by −r·(K−1)/K per
       nat, and its gradient never fades. Training does not converge; stop it early, or begin with r = 0. It is meant
       for labels of which many are wrong: symmetric flips by a rate ρ smooth by ρK/(K−1) over all, which
       r = −ρK/(K−1−ρK) takes off again on average.

    ``rate`` is r, at most 0; above 0 it is refused, because that is ``label_smoothing``.

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

    def penalty(x: Tensor, wide: torch.dtype) -> Tensor:
        x = x.to(wide)
        return _over_target(call, x.mean(1, keepdim=True) - x)

    return _with_penalty(z, call, -rate, penalty)


@with_loss_options
def relaxation(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    alpha: float,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Label relaxation: no loss from p_y = 1 − α on, and below that the divergence from the nearest such prediction.

    .. math:: L = \begin{cases} 0 & p_y \ge 1-\alpha \\
              (1-\alpha)\log\frac{1-\alpha}{p_y} + \alpha\log\frac{\alpha}{1-p_y} & \text{otherwise} \end{cases}

    The slope in the gap is p_y − (1 − α), that of smoothing by α over the others, until it is 0 and stays so.

    ``target`` is class indices or one-hot labels as a Target; a softened one is refused. ``alpha`` is α, at least 0 and
    below 1; at 0 this is the cross entropy.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.tensor([0, 0])
    >>> relaxation(z, y, alpha=0.1, reduction="none")
    tensor([0.0451, 0.0000])

    Source: Lienen and Hüllermeier 2021, "From Label Smoothing to Label Relaxation", and its code. The smallest gap
    without loss is :func:`sfumato.theory.relaxation_optimum`.
    """
    if not 0 <= alpha < 1:
        raise ArgumentError(f"alpha must be at least 0 and below 1, got {alpha:g}")
    z, call = resolve(input, target, weight, **options)
    _check_two_classes(z)
    labels = _plain_labels(call)
    if labels is None:
        raise ArgumentError(f"relaxation takes one-hot labels, got {call.target().describe()}; alpha softens them")
    if alpha == 0:
        return functional.path_loss(z, call).to(call.result_dtype)
    wide, label = eager.wide_type(z, call), labels.unsqueeze(1)
    x = eager.counted(z, call).to(wide)
    logit = x.gather(1, label).squeeze(1) - _lse_of_others(x, label).squeeze(1)  # of p_y against all others
    true, others = -logsigmoid(logit), -logsigmoid(-logit)  # −log p_y and −log(1 − p_y)
    far = (1 - alpha) * (math.log1p(-alpha) + true) + alpha * (math.log(alpha) + others)
    each = torch.where(true <= -math.log1p(-alpha), 0.0, far)
    mass = weigh(call, wide).mass
    return reduce(call, each, RowWeights(mass, mass)).to(call.dtype).to(call.result_dtype)


@with_loss_options
def focal(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    gamma: float,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Focal loss with one γ: each class's term counts the less, the more confident the model is of that class.

    .. math:: L = -\sum_k w_k q_k\,(1-p_k)^\gamma \log p_k, \qquad
              L = -(1-p_y)^\gamma \log p_y \quad\text{for a label } y

    The mean is over rows; code that divides by the sum of the factors (1 − p)^γ, or by nothing, has another number.

    ``gamma`` is γ, at least 0; at 0 this is the cross entropy.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(focal(z, y, gamma=3).item(), 6)
    0.002315

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection"; Mukhoti et al. 2020, for calibration.
    """
    _check_strength(gamma, "gamma")
    z, call = resolve(input, target, weight, **options)
    _check_two_classes(z)
    if gamma == 0:
        return functional.path_loss(z, call).to(call.result_dtype)
    wide = eager.wide_type(z, call)
    rows, _, top = eager.shifted(eager.counted(z, call).to(wide), wide)
    surprisal = rows.surprisal()
    impossible = surprisal.isinf()
    # log(1 − p) of the largest class is taken from the others: 1 − p itself has no digits where the row is confident.
    others = _lse_of_others(rows.d, top) - rows.lse.unsqueeze(1)
    log_rest = eager.put(torch.log1p(-eager.put((-surprisal).exp(), top, 0.0)), top, others)
    each = (gamma * log_rest).exp() * torch.where(impossible, 0.0, surprisal)
    each = torch.where(impossible, torch.inf, each)  # a class without mass counts nothing, even here
    each = _over_target(call, each, eager.class_weight(call, wide))
    return reduce(call, each, weigh(call, wide)).to(call.dtype).to(call.result_dtype)


def _with_penalty(z: Tensor, call: Call, strength: float, penalty: Callable[[Tensor, torch.dtype], Tensor]) -> Tensor:
    """The cross entropy of a call plus a strength times a penalty, rounded once.

    The penalty makes a number a row, in the wide dtype, of logits (N, K, …) that are 0 in rows that do not count.
    """
    _check_two_classes(z)
    loss = functional.path_loss(z, call)
    if strength == 0:  # and not 0 times a penalty, which may be infinite
        return loss.to(call.result_dtype)
    wide = eager.wide_type(z, call)
    each = penalty(eager.counted(z, call), wide)
    mass = weigh(call, wide).mass
    return (loss + reduce(call, strength * each, RowWeights(mass, mass)).to(call.dtype)).to(call.result_dtype)


def _below_top(x: Tensor) -> Tensor:
    """How far each logit is below the largest; the gradient of the maximum is shared among equals."""
    return x.amax(1, keepdim=True) - x


def _mean(x: Tensor, wide: torch.dtype) -> Tensor:
    return x.sum(1, dtype=wide) / x.shape[1]


def _lse_of_others(x: Tensor, index: Tensor) -> Tensor:
    """The logarithm of Σ e^x over all classes but one, (N, 1, …); −∞ with gradient 0 where no other has any mass."""
    others = eager.put(x, index, -torch.inf)
    none = others.amax(1, keepdim=True) == -torch.inf  # where logsumexp has the gradient NaN
    return torch.where(none, -torch.inf, torch.where(none, 0.0, others).logsumexp(1, keepdim=True))


def _over_target(call: Call, each: Tensor, weight: Tensor | None = None) -> Tensor:
    """Σ w_k q_k·each_k over the classes of numbers (N, K, …), in their dtype; a class without mass counts nothing."""
    labels = _plain_labels(call)
    if labels is not None:
        found = each.gather(1, labels.unsqueeze(1)).squeeze(1)
        return found if weight is None else found * weight.gather(0, labels.reshape(-1)).reshape(labels.shape)
    q = call.target().to_dense(call.dtype).to(each.dtype)
    if weight is not None:
        q = q * weight.reshape((1, -1) + (1,) * (q.dim() - 2))
    return (q * costless(q, each)).sum(1)


def _plain_labels(call: Call) -> Tensor | None:
    """The labels of a call whose target is one-hot, (N, …), 0 where a row does not count; None for another target."""
    target = call.target()
    plain = isinstance(target, Labelled) and not isinstance(target.eps, Tensor) and target.eps == 0
    return target.labels if plain else None


def _check_two_classes(z: Tensor) -> None:
    if z.shape[1] < 2:
        raise ArgumentError(f"a penalty on logits needs at least 2 classes, got {z.shape[1]}")


def _check_strength(value: float, name: str) -> None:
    if isinstance(value, Tensor):
        raise TypeError(f"{name} must be a number, got a tensor of shape {tuple(value.shape)}")
    if not (value >= 0 and math.isfinite(value)):
        raise ArgumentError(f"{name} must be a finite number, at least 0, got {value:g}")
