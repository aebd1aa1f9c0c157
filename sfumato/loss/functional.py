"""Cross entropy towards any target, alone or with its parts, by the compiled kernel or by torch."""

from typing import NamedTuple, Unpack

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sfumato.arguments import Call, LossOptions, resolve, with_loss_options
from sfumato.kernel import job
from sfumato.loss import autograd, eager, flatten
from sfumato.loss.reduce import RowWeights, checked_numbers, reduce, weigh
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError, readable
from sfumato.targets.terms import AtLabel, Terms, along_classes
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
    softcap: float | None = None,
    z_loss: float = 0.0,
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
        softcap: c where the logits are c·tanh(z/c).
        z_loss: λ of a term λ·lse(z)² of each row, which keeps the logits' level near 0 (PaLM has 1e-4). It has the
            weights of rows, and no class weights: its mean is over the rows that count.
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

    Source: the note, eq. 1 and 4. The definition is :func:`sfumato.reference.cross_entropy`. The z-loss is that of
    Chowdhery et al. 2022 (PaLM), section 5.
    """
    logits, call = resolve(
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
    softcap, z_loss = checked_numbers(softcap, z_loss)
    training = torch.is_grad_enabled() and input.requires_grad and not torch.compiler.is_compiling()
    if overwrite_logits and training and (input.is_leaf or input._is_view()):  # pyright: ignore[reportPrivateUsage]
        what = "a leaf" if input.is_leaf else "a view"
        raise ArgumentError(f"overwrite_logits=True is refused: the logits are {what}, and others may still read them")
    if softcap:
        logits = softcap * torch.tanh(logits.to(call.dtype) / softcap)
    loss = path_loss(logits, call, overwrite=overwrite_logits and not z_loss)
    if z_loss:
        wide = eager.wide_type(logits, call)
        squares = eager.counted(logits, call).to(wide).logsumexp(1) ** 2
        of_rows = weigh(call, wide).factor
        loss = loss + reduce(call, z_loss * squares, RowWeights(of_rows, of_rows)).to(call.dtype)
    return loss.to(call.result_dtype)


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


@with_loss_options
def loss_parts(
    input: Tensor, target: Tensor | Target, weight: Tensor | None = None, **options: Unpack[LossOptions]
) -> LossParts:
    r"""The loss together with its hard part, its floor, its excess and the logit gap.

    .. math:: \text{loss} = \text{floor} + \text{excess}, \qquad
              \text{excess} = \sum_k w_k q_k \Bigl(\log\frac{w_k q_k}{S} - \log p_k\Bigr)

    Curves of different strengths can be compared by ``excess`` and by ``nll``, never by ``loss``: each strength has
    another floor. The excess is summed directly, never as a difference, so it keeps its digits near the optimum. A
    negative class weight has no floor: its parts are NaN. Arguments and errors are those of :func:`cross_entropy`.

    >>> parts = loss_parts(
    ...     torch.tensor([[4.3944, 0, 0, 0, 0, 0, 0, 0, 0, 0]]), torch.tensor([0]), label_smoothing=0.1, over="others"
    ... )
    >>> [round(x.item(), 3) + 0.0 for x in parts]
    [0.545, 0.105, 0.545, 0.0, 4.394]

    Source: Gibbs' inequality applied to w·q/S.
    """
    z, call = resolve(input, target, weight, **options)
    loss = path_loss(z, call).to(call.result_dtype)
    with torch.no_grad():
        rows = eager.shift(z, call)
        weights, on_class = weigh(call, rows.wide), eager.class_weight(call, rows.wide)
        floor, excess = _floor_and_excess(rows, call, on_class)
        nll = gap = None
        if (labels := call.target().labels) is not None:
            hard = Terms(label=AtLabel(labels, 1.0))
            nll = reduce(call, eager.towards(rows, hard, on_class), weights).to(call.result_dtype)
            unsummed = "none" if call.reduction == "none" else "mean"
            gap = reduce(call, _gap(rows, labels), RowWeights(), unsummed).to(call.dtype)
        floor, excess = (reduce(call, part, weights).to(call.result_dtype) for part in (floor, excess))
        if any(w is not None and readable(w) and bool((w < 0).any()) for w in (call.weight, call.sample_weight)):
            floor, excess = floor * torch.nan, excess * torch.nan
    return LossParts(loss, nll, floor, excess, gap)


def path_loss(z: Tensor, call: Call, *, overwrite: bool = False) -> Tensor:
    """The reduced loss in the dtype of the arithmetic, by the kernel, by its registered operators, or by torch.

    With ``overwrite`` the gradient may take the logits' memory.
    """
    target = flatten.flatten(z, call) if kernel_serves(z, call) else None
    if target is None:
        return eager.loss(z, call)
    if not torch.compiler.is_compiling():
        return autograd.loss(z, call, target, overwrite=overwrite)
    from sfumato.loss import operators

    return operators.loss(z, call, target)


def kernel_serves(z: Tensor, call: Call) -> bool:
    """Whether the kernel computes such losses: on the CPU, outside of transforms, towards what gets no gradient.

    In compiled code the operators copy what lies in memory in no order that the kernel knows. Elsewhere such logits,
    and forward-mode differentiation, are left to torch.
    """
    if call.dtype != (torch.float64 if z.dtype == torch.float64 else torch.float32):
        return False
    tensors = call.tensors()
    for each in tensors:
        if each.requires_grad:
            return False
    if torch.compiler.is_compiling():
        # Registered where code is compiled and nowhere else: registration loads all of torch's compiler.
        from sfumato.loss import operators

        return z.device.type == "cpu" and operators.ready()
    if not job.takes(z, *tensors) or job.collapse(z) is None:
        return False
    return not has_tangent(z, *tensors)


def has_tangent(*tensors: Tensor) -> bool:
    """Whether forward-mode differentiation follows one of some tensors."""
    if forward_ad._current_level < 0:  # pyright: ignore[reportPrivateUsage]
        return False
    return any(forward_ad.unpack_dual(each).tangent is not None for each in tensors)


def _gap(rows: eager.ShiftedRows, labels: Tensor) -> Tensor:
    """Each row's logit of the label less the mean of the others."""
    label = labels.unsqueeze(1)
    others = eager.put(rows.d, label, 0.0).sum(1, dtype=rows.wide)
    return rows.d.gather(1, label).squeeze(1).to(rows.wide) - others / (rows.d.shape[1] - 1)


def _floor_and_excess(rows: eager.ShiftedRows, call: Call, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Each row's S·H(q′) and S·KL(q′‖p), the latter as S·Σ q′(r − 1 + e^−r) with r = log q′ − log p.

    That is Σ q′r, because Σp = Σq′, with every term at least 0: nothing cancels near the optimum.
    """
    xlogy = torch.special.xlogy
    q = call.target().to_dense(call.dtype)
    if weight is not None:
        q = q * along_classes(weight, q.dim() - 1).to(q.dtype)
    total = q.sum(1)
    share = q / total.unsqueeze(1)
    surprisal = rows.surprisal()
    p = (-surprisal).exp()
    r = torch.where(share == 0, 0.0, share.log() + surprisal)
    # r + expm1(−r) keeps digits at small r; at large r the direct form does not overflow.
    near = share * (r + torch.expm1(-r.clamp(min=-1.0)))
    terms = torch.where(r.abs() < 1, near, share * r - share + p)
    terms = torch.where(share == 0, p, terms)
    excess = torch.where(total == 0, 0.0, total * terms.sum(1, dtype=rows.wide))
    return xlogy(total, total) - xlogy(q, q).sum(1), excess
