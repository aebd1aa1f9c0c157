"""Penalties and rival losses: plain functions with the arguments of the cross entropy that they add to or replace.

With a strength of 0 each of them is :func:`sfumato.cross_entropy` of the same arguments, to the bit.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Unpack

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sfumato.arguments import Call, LossOptions, resolve, with_loss_options
from sfumato.loss import eager, paths
from sfumato.loss.reduce import RowWeights, reduce, weigh
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
    beta = _checked_at_least_0(beta, "beta")
    threshold = None if threshold is None else _checked_at_least_0(threshold, "threshold")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: _Logits) -> Tensor:
        surprisal = eager.shifted(logits.z.to(logits.wide), logits.wide)[0].surprisal()
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
    width, alpha = _checked_at_least_0(margin, "margin"), _checked_at_least_0(alpha, "alpha")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: _Logits) -> Tensor:
        return torch.relu(logits.below_top() - width).sum(1, dtype=logits.wide) / z.shape[1]

    return _with_penalty(z, call, alpha, penalty)


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
    alpha = _checked_at_least_0(alpha, "alpha")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: _Logits) -> Tensor:
        return logits.below_top().sum(1, dtype=logits.wide) / z.shape[1]  # positive terms: nothing cancels

    return _with_penalty(z, call, alpha, penalty)


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
    beta = _checked_at_least_0(beta, "beta")
    z, call = resolve(input, target, weight, **options)

    def penalty(logits: _Logits) -> Tensor:
        return logits.z.to(logits.wide).square().sum(1) / 2

    return _with_penalty(z, call, beta, penalty)


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

    def penalty(logits: _Logits) -> Tensor:
        wide = logits.z.to(logits.wide)
        return _over_target(call, wide.mean(1, keepdim=True) - wide)

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

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,).
        target: class indices, (N, …), or one-hot labels as a Target. A softened target is refused: α softens.
        weight: one number a class, (K,).
        alpha: α, at least 0 and below 1; at 0 this is the cross entropy.
        options: as of :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``.

    Raises:
        ValueError: α outside its range, a target that is not one-hot, a single class, or as
            :func:`sfumato.cross_entropy`.
        IndexError: a label that is no class.

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
        return paths.loss(z, call).to(call.result_dtype)
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
    r"""Focal loss with one γ: each class's term counts the less, the surer the model is of that class.

    .. math:: L = -\sum_k w_k q_k\,(1-p_k)^\gamma \log p_k, \qquad
              L = -(1-p_y)^\gamma \log p_y \quad\text{for a label } y

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,).
        target: class indices, probabilities or a Target, as of :func:`sfumato.cross_entropy`.
        weight: w, one number a class, (K,), as of :func:`sfumato.cross_entropy`.
        gamma: γ, at least 0; at 0 this is the cross entropy.
        options: as of :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``. The mean is over rows; code that divides by the sum of the
        factors (1 − p)^γ, or by nothing, has another number.

    Raises:
        ValueError: γ negative or not finite, a single class, or as :func:`sfumato.cross_entropy`.
        IndexError: a label that is no class.

    >>> z, y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(focal(z, y, gamma=3).item(), 6)
    0.002315

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection"; Mukhoti et al. 2020, for calibration.
    """
    gamma = _checked_at_least_0(gamma, "gamma")
    z, call = resolve(input, target, weight, **options)
    _check_two_classes(z)
    if gamma == 0:
        return paths.loss(z, call).to(call.result_dtype)
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


def _lse_of_others(x: Tensor, index: Tensor) -> Tensor:
    """The logarithm of Σ e^x over all classes but one, (N, 1, …); −∞ with gradient 0 where no other has any mass."""
    others = eager.put(x, index, -torch.inf)
    none = others.amax(1, keepdim=True) == -torch.inf  # where logsumexp has the gradient NaN
    return torch.where(none, -torch.inf, torch.where(none, 0.0, others).logsumexp(1, keepdim=True))


class _Logits(NamedTuple):
    """The logits of a call, of which a penalty is made."""

    z: Tensor  # (N, K, …) in the dtype of the arithmetic, 0 in rows that do not count
    wide: torch.dtype  # the dtype for sums over classes

    def below_top(self) -> Tensor:
        """How far each logit is below the largest, (N, K, …); the gradient of the maximum is shared among equals."""
        return self.z.amax(1, keepdim=True) - self.z


def _with_penalty(z: Tensor, call: Call, strength: float, penalty: Callable[[_Logits], Tensor]) -> Tensor:
    """The cross entropy of a call plus a strength times a penalty, rounded once.

    The penalty gives a number a row, (N, …), in the wide dtype. It counts as much as the row does in the divisor of a
    mean: by its label's class weight, its sample weight, or the product.
    """
    _check_two_classes(z)
    loss = paths.loss(z, call)
    if strength == 0:  # and not 0 times a penalty, which may be infinite
        return loss.to(call.result_dtype)
    wide = eager.wide_type(z, call)
    each = penalty(_Logits(eager.counted(z, call), wide))
    mass = weigh(call, wide).mass
    return (loss + reduce(call, strength * each, RowWeights(mass, mass)).to(call.dtype)).to(call.result_dtype)


def _over_target(call: Call, each: Tensor, weight: Tensor | None = None) -> Tensor:
    """Σ w_k q_k·each_k over the classes of numbers (N, K, …), in their dtype; a class without mass counts nothing."""
    labels = _plain_labels(call)
    if labels is not None:
        found = each.gather(1, labels.unsqueeze(1)).squeeze(1)
        return found if weight is None else found * weight.gather(0, labels.reshape(-1)).reshape(labels.shape)
    q = call.target().to_dense(call.dtype).to(each.dtype)
    if weight is not None:
        q = q * weight.reshape((1, -1) + (1,) * (q.dim() - 2))
    return (q * torch.where(q == 0, 0.0, each)).sum(1)


def _plain_labels(call: Call) -> Tensor | None:
    """The labels of a call whose target is one-hot, (N, …), 0 where a row does not count; None for another target."""
    target = call.target()
    if isinstance(target, Labelled) and not isinstance(target.eps, Tensor) and target.eps == 0:
        return target.labels
    return None


def _check_two_classes(z: Tensor) -> None:
    """Refuse a single class, whose logit has nothing to be compared with."""
    if z.shape[1] < 2:
        raise ArgumentError(f"a penalty on logits needs at least 2 classes, got {z.shape[1]}")


def _checked_at_least_0(value: float, name: str) -> float:
    """A number of a penalty that must be finite and not negative."""
    if isinstance(value, Tensor):
        raise TypeError(f"{name} must be a number, got a tensor of shape {tuple(value.shape)}")
    if not (value >= 0 and math.isfinite(value)):
        raise ArgumentError(f"{name} must be a finite number, at least 0, got {value:g}")
    return value
