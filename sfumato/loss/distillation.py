"""The loss of distillation at a temperature: two terms that no single target has the gradient of."""

import math
from typing import Any

import torch
from torch import Tensor

from sfumato.arguments import resolve
from sfumato.loss.functional import cross_entropy
from sfumato.targets.checks import ArgumentError, check_strength, check_tensor, positions_of, readable
from sfumato.targets.dense import from_probs


def distillation_loss(
    input: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    alpha: float,
    temperature: float,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross entropy against labels, and the divergence from a teacher at a temperature.

    .. math:: L = (1-\alpha)\,\mathrm{CE}(y, z) + \alpha\,T^2\,
              \mathrm{KL}\bigl(\mathrm{softmax}(t/T)\,\Vert\,\mathrm{softmax}(z/T)\bigr)

    At T = 1 its gradient is that of :func:`cross_entropy` towards :func:`sfumato.distil`; at any other T it is two
    terms and no single target has its gradient. The factor T² keeps the second term's gradient of one size.

    Args:
        input: the student's logits z, (N, K, …) with classes on axis 1, or (K,).
        labels: class indices (N, …).
        teacher_logits: t, shaped like ``input``; they get no gradient.
        alpha: α in [0, 1], the teacher's share.
        temperature: T, above 0. A teacher trained with label smoothing has little to say at a raised temperature: its
            wrong classes were pulled to one value (Müller et al. 2019, section 4).
        ignore_index, reduction: as of :func:`cross_entropy`, whose results and errors these are as well.

    Raises:
        ValueError: α outside [0, 1], T not above 0 or not finite, shapes that do not fit.

    >>> z, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -1.0]])
    >>> round(distillation_loss(z, torch.tensor([0]), t, alpha=0.5, temperature=2.0).item(), 4)
    0.3371

    Source: Hinton et al. 2015, section 2.
    """
    check_strength(alpha, "alpha")
    if not temperature > 0 or math.isinf(temperature):
        raise ArgumentError(f"temperature must be above 0 and finite, got {temperature:g}")
    for name, tensor in (("logits", input), ("labels", labels), ("teacher_logits", teacher_logits)):
        check_tensor(tensor, name)
    if teacher_logits.shape != input.shape:
        raise ArgumentError(
            f"teacher_logits {tuple(teacher_logits.shape)} must be shaped as the logits {tuple(input.shape)}"
        )
    if labels.shape != positions_of(input):
        raise ArgumentError(f"labels must be {tuple(positions_of(input))}, one a row, got {tuple(labels.shape)}")
    _, call = resolve(input, labels, None, ignore_index=ignore_index, reduction=reduction)
    _ = call.target()  # where labels are checked
    options: dict[str, Any] = {"ignore_index": ignore_index, "reduction": reduction}
    # A term without a share is left out: 0 times it would be NaN where it is infinite.
    if alpha == 0:
        return cross_entropy(input, labels, **options)
    low = input.dtype in (torch.float16, torch.bfloat16)
    out_dtype = torch.float32 if low else None  # rounded once, at the end
    hard = cross_entropy(input, labels, **options, out_dtype=out_dtype) if alpha < 1 else 0.0
    axis = 0 if input.dim() == 1 else 1
    with torch.no_grad():
        wide = teacher_logits.double() if readable(teacher_logits) else teacher_logits.float()
        teacher = (wide / temperature).softmax(axis)
        mask = labels.long() != ignore_index  # of uint8, −100 would be 156
        entropy = torch.where(mask, -torch.special.xlogy(teacher, teacher).sum(axis), 0.0)
        entropy = entropy if reduction == "none" else entropy.sum() / (mask.sum() if reduction == "mean" else 1)
        q = teacher.to(torch.float32 if low else input.dtype)
    soft = cross_entropy(
        input.float() / temperature if low else input / temperature,
        from_probs(q, check=False, mask=mask),
        reduction=reduction,
    )
    soft = soft - entropy.to(soft.dtype)
    return ((1 - alpha) * hard + alpha * temperature**2 * soft).to(call.result_dtype)
