"""A loss and what it is made of: the hard loss, its smallest possible value, what is above that, and the gap."""

from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from sfumato.arguments import Call, LossOptions, resolve, with_loss_options
from sfumato.loss import eager, paths
from sfumato.loss.reduce import RowWeights, reduce, weigh
from sfumato.targets import Target
from sfumato.targets.checks import readable
from sfumato.targets.terms import AtLabel, Terms, along_classes


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
    another floor.

    The arguments are those of :func:`sfumato.cross_entropy`, except for ``overwrite_logits``.

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
    z, call = resolve(input, target, weight, **options)
    loss = paths.loss(z, call).to(call.result_dtype)
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
