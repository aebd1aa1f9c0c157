"""Cross entropy of a linear layer whose classes are split over ranks, without the logits of any rank.

Each rank makes its own logits in pieces and keeps five numbers a row. The ranks exchange these as they do for logits
that are there. In backward each rank makes the pieces again, for the gradients of its own weight and its part of the
input's gradient, which the ranks then add up.
"""

from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor, distributed
from torch.autograd import Function

from sfumato.arguments import Call, LossOptions, with_loss_options
from sfumato.loss.linear import pieces
from sfumato.loss.linear.autograd import HeadPlan, flat_rows
from sfumato.loss.linear.functional import checked_layer, checked_numbers
from sfumato.loss.reduce import reduced
from sfumato.loss.row_numbers import RowNumbers, SliceNumbers, together
from sfumato.parallel.functional import agreed
from sfumato.parallel.layout import Place, RankGroup, local_part, place_of
from sfumato.parallel.request import Request
from sfumato.parallel.row_slices import ClassRange
from sfumato.targets import Target


@with_loss_options
def linear_cross_entropy(
    input: Tensor,
    local_weight: Tensor,
    target: Tensor | Target,
    group: "distributed.ProcessGroup | None" = None,
    *,
    local_bias: Tensor | None = None,
    start: int | None = None,
    num_classes: int | None = None,
    weight: Tensor | None = None,
    softcap: float | None = None,
    z_loss: float = 0.0,
    num_items: float | Tensor | None = None,
    **options: Unpack[LossOptions],
) -> Tensor:
    r"""Cross entropy of a linear layer whose classes are split over the ranks of a group, without its logits.

    .. math:: z = W x + b, \qquad L = \sum_k w_k q_k\,(\mathrm{lse}(z) - z_k) + \lambda\,\mathrm{lse}(z)^2

    It is :func:`sfumato.linear_cross_entropy` with the rows of W on several ranks, and
    :func:`sfumato.parallel.cross_entropy` without the N×n logits of each rank. Five numbers a row are sent forward. In
    backward the ranks add up the gradient of the input, (N, D); the gradients of weights need no exchange.

    Args:
        input: x, (…, D), the same on all ranks.
        local_weight: this rank's rows of W, (n, D); a DTensor that is sharded on its first axis brings its group and
            its place.
        target: class indices (…), counted over all ranks, or a :class:`Target` whose rows are not dense; the same on
            all ranks.
        group: the ranks that the classes are split over; by default all ranks.
        local_bias: this rank's part of b, (n,).
        start: the first class of this rank. By default ranks have consecutive slices in rank order.
        num_classes: K, by default the rows of all ranks' weights. Rows from class K on are padding.
        weight: w, one number for each of the K classes; all of them on every rank.
        softcap: c where the logits are c·tanh(z/c).
        z_loss: λ.
        num_items: what the mean divides by in place of the rows of this call; see :func:`count_items`.
        **options: ``ignore_index``, ``reduction``, ``label_smoothing``, ``over``, ``weight_on``, ``sample_weight`` and
            ``out_dtype``, as for :func:`sfumato.cross_entropy`.

    Returns:
        A scalar, or one number a position with ``reduction="none"``, the same on every rank. It is differentiable once,
        and the gradient that comes back to it must be the same on every rank, too.

    Raises:
        RuntimeError: a gradient with ``create_graph=True``.
        ValueError, IndexError, TypeError: as :func:`sfumato.linear_cross_entropy` and
            :func:`sfumato.parallel.cross_entropy`, on every rank.

    >>> import torch, sfumato as sf
    >>> from torch import distributed
    >>> distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    >>> x, w = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> round(sf.parallel.linear_cross_entropy(x, w, torch.tensor([0]), label_smoothing=0.1).item(), 4)
    0.3729
    >>> distributed.destroy_process_group()

    Source: as of :func:`sfumato.linear_cross_entropy`; Shoeybi et al. 2019 (Megatron-LM), section 3, for the split.
    """
    place = place_of(local_weight, Place(group, start, num_classes), name="local_weight", axis=0)
    ranks = RankGroup(place.group)
    x, local, bias = input, local_part(local_weight), local_part(local_bias)
    request = Request(x, local_part(target), local_part(weight), num_items, options, sparse=True)
    layer = _Layer(x, local, bias, 0.0, 0.0)
    try:
        x, local, bias = checked_layer(x, local, bias)
        cap, strength = checked_numbers(softcap, z_loss)
    except Exception as problem:  # whatever it is, the other ranks must not wait for this one
        request = request._replace(problem=problem)
    else:
        shape = (*x.shape[:1], len(local), *x.shape[1:-1]) if x.dim() > 1 else (len(local),)
        stand_in = x.detach().new_empty(()).expand(shape)  # logits are asked for shape, dtype and device alone
        # Backward adds up the input's gradient over the ranks: either all of them want one, or none.
        wanted = ("a gradient for the input", "wanted" if torch.is_grad_enabled() and x.requires_grad else "not wanted")
        request = request._replace(logits=stand_in, more=(("softcap", cap), ("z_loss", strength), wanted))
        layer = _Layer(x.reshape(-1, x.shape[-1]), local, bias, cap, strength)
    found = agreed(ranks, request, place, layer.numbers)
    call = found.call
    split = _Split(layer.plan(call), found.classes, ranks)
    rows = together(found.mine, ranks.largest, ranks.added)
    each: Tensor = _RowLoss.apply(layer.x, local, bias, split, found.mine, rows)  # pyright: ignore[reportAssignmentType]
    return reduced(call, each.reshape(call.target().shape), num_items).to(call.result_dtype)


class _Layer(NamedTuple):
    """The layer of this rank: (N, D) rows, (n, D) weight with padding, and what is done to its logits."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    softcap: float
    z_loss: float

    def plan(self, call: Call) -> HeadPlan:
        """The call on the rows that count."""
        flat, kept = flat_rows(self.x, call)
        return HeadPlan(call, flat, kept, None, self.softcap, self.z_loss, parts=False)

    def numbers(self, call: Call, classes: ClassRange) -> SliceNumbers:
        """Each row's numbers from this rank's own classes, piece by piece; of the rows that count."""
        plan = self.plan(call)
        head = _own_head(plan, classes, self.x, self.weight, self.bias)
        return pieces.measure(head, plan.target, start=classes.start).numbers


def _own_head(plan: HeadPlan, classes: ClassRange, x: Tensor, weight: Tensor, bias: Tensor | None) -> pieces.Head:
    """The layer on the rows that count and the classes that are no padding."""
    own = slice(classes.stop - classes.start)
    return plan.head(x.detach(), weight.detach()[own], None if bias is None else bias.detach()[own])


class _Split(NamedTuple):
    """A call that all ranks agree on, the classes of this rank, and the ranks."""

    plan: HeadPlan
    classes: ClassRange
    ranks: RankGroup


class _RowLoss(Function):
    """The loss of each row as a function of the input, and of a rank's own weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        split: _Split,
        mine: SliceNumbers,
        rows: RowNumbers,
    ) -> Tensor:
        loss, whole = rows.loss.clone(), rows.whole(mine)
        if split.plan.z_loss:
            loss = pieces.add_z_loss(rows, whole, split.plan.z_loss)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, weight, bias, *split.plan.target.watched())
            ctx.split, ctx.whole = split, whole
        return split.plan.spread(loss, len(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("a split loss is differentiable once: leave out create_graph=True")
        x, weight, bias, *_ = ctx.saved_tensors  # raises if they were changed since
        plan, classes, ranks = ctx.split
        head = _own_head(plan, classes, x, weight, bias)
        of_x, of_weight, of_bias = pieces.gradients(
            head,
            plan.target,
            ctx.whole,
            plan.of_kept(grads[0]),
            ctx.needs_input_grad[:3],
            start=classes.start,
            more_to_add=True,
        )
        if of_x is not None:
            of_x = plan.spread(ranks.added(of_x).to(x.dtype), len(x))
        return of_x, _padded(of_weight, weight), _padded(of_bias, bias), None, None, None


def _padded(gradient: Tensor | None, like: Tensor | None) -> Tensor | None:
    """With 0 for the rows that are padding."""
    if gradient is None or like is None or gradient.shape == like.shape:
        return gradient
    whole = torch.zeros_like(like)
    whole[: len(gradient)] = gradient
    return whole
