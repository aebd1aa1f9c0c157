"""Cross entropy towards any target: check, dispatch to the kernel or to torch, reduce.

Every target is q_y on its label and r·u_k on each other class, or a sum of such parts, so a row's loss needs three
numbers a part: lse, z_y and ⟨u, z⟩ without the label. ``eager.py`` and ``kernel/row.hpp`` say how they are taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sfumato._checks import ArgumentError, check_over, check_strength, readable
from sfumato.loss import autograd, eager, operators
from sfumato.loss.arguments import Call, resolve
from sfumato.targets import Target, from_probs

if TYPE_CHECKING:
    from sfumato.theory import Over


def cross_entropy(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    over: Over = "all",
    weight_on: str = "class",
    sample_weight: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    overwrite_logits: bool = False,
) -> Tensor:
    r"""Cross entropy of softmax(input) against labels, probabilities or a :class:`Target`.

    .. math:: L = \sum_k w_k q_k\,(\mathrm{lse}(z) - z_k), \qquad
              \frac{\partial L}{\partial z} = S\,p - w q, \quad S = \sum_k w_k q_k

    A plain tensor as ``target`` means what it means to :func:`torch.nn.functional.cross_entropy`: the same numbers.

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,); any floating dtype.
        target: class indices (N, …), probabilities (N, K, …), or a Target with those positions. Probabilities are not
            checked, and get a gradient.
        weight: w, one number a class, (K,).
        ignore_index: index of rows that do not count, whatever they hold; their gradient is exactly 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. The mean divides by the rows that count, or by the sum of their
            weights where they have any: their labels' class weights, their sample weights, or the product. Class
            weights on dense probabilities are in the terms and not in the divisor, as torch has it. Over no row the
            mean is NaN with gradient 0.
        label_smoothing: strength ε in [0, 1].
        over: where ε goes: ``"all"`` K classes, as in torch, or the K−1 ``"others"``, as in the note. On probabilities
            they are (1−ε)q + ε/K and (1−ε)q + ε(1−q)/(K−1).
        weight_on: ``"class"`` multiplies each class's term, torch's rule, which moves the optimum to p ∝ w·q;
            ``"sample"`` multiplies each row's loss by its label's weight and leaves the optimum where it was.
        sample_weight: one number a row, (N, …); a row with 0 costs nothing, even at −log p = inf.
        out_dtype: dtype of the result, by default that of the logits (float32 under autocast). In half precision it is
            the float32 value rounded once.
        overwrite_logits: permission to reuse the memory of the logits for their gradient, in backward. Refused for
            leaves and views. The torch path makes no use of it.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``.

    Raises:
        ValueError: a strength outside [0, 1] or NaN, shapes that do not fit, an unknown ``reduction``, ``over`` or
            ``weight_on``, smoothing or another ``ignore_index`` on top of a Target. Those of range and shape are
            RuntimeErrors as well, as torch's.
        IndexError: a label that is no class (names the first row and the label; on the CPU, outside of compiled code
            and vmap only: elsewhere it would cost a sync).

    >>> logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(cross_entropy(logits, labels, label_smoothing=0.1).item(), 4)  # as torch
    0.3729
    >>> round(cross_entropy(logits, labels, label_smoothing=0.1, over="others").item(), 4)  # as the note
    0.4395

    Source: the note, eq. 1 and 4. The definition is :func:`sfumato.reference.cross_entropy`.
    """
    call = resolve(
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        over=over,
        weight_on=weight_on,
        sample_weight=sample_weight,
        out_dtype=out_dtype,
    )
    training = torch.is_grad_enabled() and input.requires_grad and not torch.compiler.is_compiling()
    if overwrite_logits and training and (input.is_leaf or input._is_view()):  # pyright: ignore[reportPrivateUsage]
        what = "a leaf" if input.is_leaf else "a view"
        raise ArgumentError(f"overwrite_logits=True is refused: the logits are {what}, and others may still read them")
    return _loss(call, overwrite=overwrite_logits).to(call.result_dtype)


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
        ignore_index: label of rows that do not count.
        reduction: ``"mean"`` over the rows that count, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: α outside [0, 1], T not above 0 or not finite, shapes that do not fit.
        IndexError: a label that is no class.

    >>> z, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -1.0]])
    >>> round(distillation_loss(z, torch.tensor([0]), t, alpha=0.5, temperature=2.0).item(), 4)
    0.3371

    Source: Hinton et al. 2015, section 2.
    """
    check_strength(alpha, "alpha")
    if not temperature > 0 or math.isinf(temperature):
        raise ArgumentError(f"temperature must be above 0 and finite, got {temperature:g}")
    if teacher_logits.shape != input.shape:
        raise ArgumentError(
            f"teacher_logits {tuple(teacher_logits.shape)} must be shaped as the logits {tuple(input.shape)}"
        )
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
        mask = labels != ignore_index
        entropy = torch.where(mask, -torch.special.xlogy(teacher, teacher).sum(axis), 0.0)
        entropy = entropy if reduction == "none" else entropy.sum() / (mask.sum() if reduction == "mean" else 1)
        q = teacher.to(torch.float32 if low else input.dtype)
    soft = cross_entropy(
        input.float() / temperature if low else input / temperature,
        from_probs(q, check=False, mask=mask),
        reduction=reduction,
    )
    soft = soft - entropy.to(soft.dtype)
    return ((1 - alpha) * hard + alpha * temperature**2 * soft).to(input.dtype)


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """:func:`cross_entropy` as a module: torch's arguments in torch's order, then sfumato's own by name.

    Being a ``torch.nn.CrossEntropyLoss`` it is taken for one wherever code asks, for example to apply softmax to a
    model's output. As torch's, it smooths in evaluation too: report the hard NLL there, with ``label_smoothing=0``.

    Raises:
        ValueError: a strength outside [0, 1] or NaN, an unknown ``over`` or ``weight_on``; at construction.

    >>> loss = CrossEntropyLoss(label_smoothing=0.1, over="others")
    >>> round(loss(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.4395
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        over: Over = "all",
        weight_on: str = "class",
        out_dtype: torch.dtype | None = None,
        overwrite_logits: bool = False,
    ) -> None:
        check_strength(label_smoothing)
        check_over(over)
        if weight_on not in ("class", "sample"):
            raise ValueError(f'weight_on must be "class" or "sample", got {weight_on!r}')
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.over: Over = over
        self.weight_on = weight_on
        self.out_dtype = out_dtype
        self.overwrite_logits = overwrite_logits

    def forward(self, input: Tensor, target: Tensor | Target, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - it takes more than torch's
        """The loss of ``input`` against ``target``; shapes as of :func:`cross_entropy`."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            over=self.over,
            weight_on=self.weight_on,
            sample_weight=sample_weight,
            out_dtype=self.out_dtype,
            overwrite_logits=self.overwrite_logits,
        )

    def extra_repr(self) -> str:
        """What was set, the convention always with the strength."""
        return f'label_smoothing={self.label_smoothing:g}, over="{self.over}", reduction="{self.reduction}"'


class LossParts(NamedTuple):
    """A loss and what it is made of; all but ``loss`` are detached from the graph.

    Attributes:
        loss: as :func:`cross_entropy` gives it.
        nll: −log p_y, the hard loss, with the same weights and reduction; None where rows do not have one label.
        floor: the smallest value that the loss could take, whatever the logits.
        excess: loss − floor = Σ w·q·(log q′ − log p) with q′ = w·q/S, a KL divergence where nothing is weighted.
        gap: z_y − mean of the other logits, in nats and at least float32: a row's own with ``reduction="none"``, else
            the mean over the rows that count; None where rows do not have one label.
    """

    loss: Tensor
    nll: Tensor | None
    floor: Tensor
    excess: Tensor
    gap: Tensor | None


def loss_parts(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    over: Over = "all",
    weight_on: str = "class",
    sample_weight: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> LossParts:
    r"""The loss together with its hard part, its floor, its excess and the logit gap.

    .. math:: \text{loss} = \text{floor} + \text{excess}, \qquad
              \text{excess} = \sum_k w_k q_k \Bigl(\log\frac{w_k q_k}{S} - \log p_k\Bigr)

    Curves of different strengths can be compared by ``excess`` and by ``nll``, never by ``loss``: each strength has
    another floor.

    The arguments are those of :func:`cross_entropy`.

    Returns:
        :class:`LossParts`. The excess is summed directly, never as a difference, so that it keeps its digits near the
        optimum.

    Raises:
        ValueError, IndexError: as :func:`cross_entropy`. A negative class weight has no floor: its parts are NaN.

    >>> parts = loss_parts(
    ...     torch.tensor([[4.3944, 0, 0, 0, 0, 0, 0, 0, 0, 0]]), torch.tensor([0]), label_smoothing=0.1, over="others"
    ... )
    >>> [round(x.item(), 3) + 0.0 for x in parts]
    [0.545, 0.105, 0.545, 0.0, 4.394]

    Source: Gibbs' inequality applied to w·q/S.
    """
    call = resolve(
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        over=over,
        weight_on=weight_on,
        sample_weight=sample_weight,
        out_dtype=out_dtype,
    )
    loss = _loss(call).to(call.result_dtype)
    with torch.no_grad():
        call = call.checked()
        rows = eager.Rows(call)
        floor, excess = (rows.reduce(part).to(call.result_dtype) for part in rows.floor_and_excess())
        nll = gap = None
        if call.target.labels is not None:
            nll = rows.reduce(rows.hard()).to(call.result_dtype)
            gap = rows.mean_gap().to(call.dtype)
        if any(w is not None and readable(w) and bool((w < 0).any()) for w in (weight, sample_weight)):
            floor, excess = floor * torch.nan, excess * torch.nan
    return LossParts(loss, nll, floor, excess, gap)


def _loss(call: Call, *, overwrite: bool = False) -> Tensor:
    """The reduced loss in the dtype of the arithmetic: on the kernel where it serves the call, else in torch."""
    if torch.compiler.is_compiling():
        return operators.loss(call) if operators.served(call) else eager.loss(call.checked())
    if autograd.served(call):
        return autograd.loss(call, eager.loss, overwrite=overwrite)
    return eager.loss(call.checked())
