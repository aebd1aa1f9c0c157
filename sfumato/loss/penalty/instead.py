"""Losses that take the place of the cross entropy: they let go of rows that are answered well."""

import math
from typing import Unpack

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sfumato.arguments import LossOptions, resolve, with_loss_options
from sfumato.loss import eager, paths
from sfumato.loss.penalty.rows import check_two_classes, checked_at_least_0, over_target, plain_labels
from sfumato.loss.reduce import RowWeights, reduce, weigh
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError


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
    check_two_classes(z)
    labels = plain_labels(call)
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
    gamma = checked_at_least_0(gamma, "gamma")
    z, call = resolve(input, target, weight, **options)
    check_two_classes(z)
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
    each = over_target(call, each, eager.class_weight(call, wide))
    return reduce(call, each, weigh(call, wide)).to(call.dtype).to(call.result_dtype)


def _lse_of_others(x: Tensor, index: Tensor) -> Tensor:
    """The logarithm of Σ e^x over all classes but one, (N, 1, …); −∞ with gradient 0 where no other has any mass."""
    others = eager.put(x, index, -torch.inf)
    none = others.amax(1, keepdim=True) == -torch.inf  # where logsumexp has the gradient NaN
    return torch.where(none, -torch.inf, torch.where(none, 0.0, others).logsumexp(1, keepdim=True))
