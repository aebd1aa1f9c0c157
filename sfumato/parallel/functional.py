"""Cross entropy towards any target, where each rank has a slice of the classes.

The ranks agree on who has which classes, each finds the numbers of its own slice, and two exchanges make them the
numbers of whole rows. From there on the loss is reduced as in one process, and no gradient is ever sent.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, distributed
from torch.autograd import Function

from sfumato.arguments import Call, LossOptions, with_loss_options
from sfumato.loss.reduce import reduced
from sfumato.loss.slices import RowNumbers, SliceNumbers
from sfumato.parallel.layout import Place, RankGroup, local_part, place_of
from sfumato.parallel.rank import ClassRange, Request, slice_gradient, slice_numbers
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError, at_labels, check_labels, check_tensor
from sfumato.targets.terms import watched


@with_loss_options
def cross_entropy(
    local_logits: Tensor,
    target: Tensor | Target,
    group: "distributed.ProcessGroup | None" = None,
    *,
    start: int | None = None,
    num_classes: int | None = None,
    weight: Tensor | None = None,
    num_items: float | Tensor | None = None,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Cross entropy of logits whose classes are split over the ranks of a group.

    .. math:: L = S\,\log\sum_r s_r\,e^{m_r - m} + \sum_r\bigl(b_r + S_r\,(m - m_r)\bigr), \qquad
              \frac{\partial L}{\partial z_k} = S\,p_k - w_k q_k

    Rank r finds, over its own classes, the largest logit :math:`m_r`, :math:`s_r = \sum e^{z_k - m_r}`,
    :math:`b_r = \sum w_k q_k (m_r - z_k)` and :math:`S_r = \sum w_k q_k`. One exchange gives m, the largest of all; a
    second one adds up the rest. The gradient of a rank's own slice needs no exchange.

    All ranks of the group call this together, with the same rows and targets. Each gets the loss that
    :func:`sfumato.cross_entropy` gives for the whole logits, and the gradient of its own slice.

    Args:
        local_logits: this rank's slice of the logits, (N, n, …) with the classes on axis 1, or (n,). Slices may differ
            in size and may be empty. A DTensor that is sharded on its class axis brings its group and its place.
        target: class indices (N, …), counted over all ranks, or a Target; the same on all ranks. Probabilities alone
            are split as the logits are: a tensor (N, n, …), or :func:`sfumato.from_probs` of one.
        group: the ranks that the classes are split over; by default all ranks.
        start: the first class of this rank. By default ranks have consecutive slices in rank order.
        num_classes: K, by default the columns of all ranks. Columns from class K on are padding, whose gradient is 0.
        weight: w, one number for each of the K classes; all of them on every rank.
        num_items: what the mean divides by in place of the rows of this call: see :func:`count_items`.
        **options: all others of :func:`sfumato.cross_entropy` but ``overwrite_logits``.

    Returns:
        The loss, the same on every rank of the group. It is differentiable once (NotImplementedError), and the gradient
        that comes back to it must be the same on every rank, too.

    Raises:
        ValueError, IndexError, TypeError: as :func:`sfumato.cross_entropy`; slices that overlap or leave out classes;
            other rows, labels or arguments on another rank; probabilities of other classes than the rank's. If one rank
            finds something wrong, every rank raises that error, which names the rank. On an accelerator, ranks that are
            given ``start`` and ``num_classes`` do not look at each other's arguments, which would wait for the device.

    >>> import torch, sfumato as sf
    >>> from torch import distributed
    >>> distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    >>> logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(sf.parallel.cross_entropy(logits, labels, label_smoothing=0.1).item(), 4)  # one rank has all classes
    0.3729
    >>> distributed.destroy_process_group()

    Source: the note, eq. 1 and 4; Shoeybi et al. 2019 (Megatron-LM), section 3, for the split.
    """
    place = place_of(local_logits, Place(group, start, num_classes))
    request = Request(local_part(local_logits), local_part(target), local_part(weight), num_items, options)
    ranks = RankGroup(place.group)

    def find(call: Call, classes: ClassRange) -> SliceNumbers:
        logits = request.logits.detach()
        return slice_numbers(
            _without_padding(logits.unsqueeze(0) if call.unbatched else logits, classes), call, classes
        )

    call, classes, mine = ranks.agree(request, place, find)
    rows = ranks.rows(mine)
    logits = request.logits.unsqueeze(0) if call.unbatched else request.logits
    each: Tensor = _RowLoss.apply(logits, call, classes, mine, rows)  # pyright: ignore[reportAssignmentType]
    return reduced(call, each, num_items).to(call.result_dtype)


def _without_padding(logits: Tensor, classes: ClassRange) -> Tensor:
    return logits[:, : classes.stop - classes.start]


class _RowLoss(Function):
    """The loss of each row as a function of a rank's own logits."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, call: Call, classes: ClassRange, mine: SliceNumbers, rows: RowNumbers
    ) -> Tensor:
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(logits, *watched(*call.target().tensors()))
            ctx.call, ctx.classes, ctx.mine, ctx.rows = call, classes, mine, rows
        return rows.loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise NotImplementedError("a split loss is differentiable once: leave out create_graph=True")
        logits, *_ = ctx.saved_tensors  # raises if they were changed since
        own = _without_padding(logits, ctx.classes)
        grad = slice_gradient(own, ctx.mine, ctx.rows, grads[0], ctx.call, ctx.classes)
        if own.shape != logits.shape:
            whole = logits.new_zeros(logits.shape)
            _without_padding(whole, ctx.classes).copy_(grad)
            grad = whole
        return grad, None, None, None, None


def count_items(
    targets: Tensor | Target | Sequence[Tensor | Target],
    group: "distributed.ProcessGroup | None" = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    r"""How many rows count in all micro-batches of all ranks, or the sum of their labels' weights.

    .. math:: n = \sum_{\text{ranks}} \sum_{\text{micro-batches}} \sum_{\text{rows that count}} w_y

    A mean over each micro-batch, averaged over micro-batches and ranks, weighs a row by how few rows stand beside it.
    Where every loss is a sum over its rows, divided by this number, the gradients add up to those of one large batch.

    Args:
        targets: labels, targets or probabilities of this rank's rows; one, or a sequence of micro-batches, which may be
            empty.
        group: the ranks that have other rows (those of data parallelism), which all call this; by default all ranks.
            Ranks that share rows and split their classes must not be in one group: their rows would count twice.
        weight: (K,), one number a class, where the loss has class weights.
        ignore_index: the label of rows that do not count.

    Returns:
        A number as a float64 tensor, the same on every rank: ``num_items`` of :func:`sfumato.parallel.cross_entropy`;
        in one process divide ``sf.cross_entropy(…, reduction="sum")`` by it. Data parallelism that averages the
        gradients of R ranks (DDP, FSDP) divides by R once more: multiply the loss by R there.

    Raises:
        TypeError: what is neither a tensor nor a Target.
        ValueError: a weight that is not (K,), or a process that is not in ``group``.
        IndexError: a label that ``weight`` has no number for (names the first row).

    >>> import torch
    >>> count_items([torch.tensor([3, -100, 0]), torch.tensor([1])]).item()
    3.0

    Source: the mean of a loss over all rows of a step, written out.
    """
    given = [targets] if isinstance(targets, (Tensor, Target)) else list(targets)
    if weight is not None:
        check_tensor(weight, "weight")
        if weight.dim() != 1:
            raise ArgumentError(f"weight must be one number a class, (K,), got {tuple(weight.shape)}")
    counts = [_counted(each, weight, ignore_index) for each in given]
    device = counts[0].device if counts else None if weight is None else weight.device
    total = torch.stack(counts).sum() if counts else torch.zeros((), dtype=torch.float64, device=device)
    if group is not None or (distributed.is_available() and distributed.is_initialized()):
        return RankGroup(group).added(total)
    return total


def _counted(target: Tensor | Target, weight: Tensor | None, ignore_index: int) -> Tensor:
    """The rows of one target that count, or the sum of their labels' weights."""
    if isinstance(target, Target):
        valid = target.valid
        weights = None if weight is None else target.of_label(weight.double())
        counted = torch.ones(target.shape, dtype=torch.float64, device=target.device) if weights is None else weights
    else:
        check_tensor(target, "targets")
        if target.is_floating_point():
            positions = target.shape[:1] + target.shape[2:] if target.dim() > 1 else ()
            return torch.ones(positions, dtype=torch.float64, device=target.device).sum()
        if target.dtype == torch.bool or target.is_complex():
            raise TypeError(f"targets must be class indices, probabilities or Targets, got {target.dtype}")
        labels = target.long()
        valid = labels != ignore_index
        labels = torch.where(valid, labels, 0)
        if weight is not None:
            check_labels(labels, valid, len(weight), "weight has")
        counted = valid.double() if weight is None else at_labels(weight.double(), labels)
    return (counted if valid is None else torch.where(valid, counted, 0.0)).sum()
