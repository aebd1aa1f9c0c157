"""Cross entropy of a linear layer whose classes are split over ranks, without the logits of any rank.

Each rank makes its own logits in pieces and keeps five numbers a row, which the ranks exchange as they do for logits.
In backward the ranks add up their parts of the input's gradient.
"""

from typing import Unpack

import torch
from torch import Tensor, distributed

from sfumato.arguments import Call, LossOptions, with_loss_options
from sfumato.loss.linear.functional import checked_layer, logits_without_memory
from sfumato.loss.linear.pieces import Head, HeadLoss, HeadPlan, measure
from sfumato.loss.reduce import checked_numbers, reduced, unweighed_share
from sfumato.loss.slices import SliceNumbers
from sfumato.parallel.layout import Place, RankGroup, local_part, place_of
from sfumato.parallel.rank import ClassRange, Request
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
        target: class indices (…) over all ranks, or a :class:`Target` whose rows are not dense; the same on all ranks.
        local_bias: this rank's part of b, (n,).
        softcap, z_loss: as of :func:`sfumato.linear_cross_entropy`.
        group, start, num_classes, weight, num_items: as of :func:`sfumato.parallel.cross_entropy`, whose results and
            errors these are as well; a gradient with ``create_graph=True`` is a RuntimeError.
        **options: as there.

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
    cap = strength = 0.0
    try:
        x, local, bias = checked_layer(x, local, bias)
        cap, strength = checked_numbers(softcap, z_loss)
    except Exception as problem:  # whatever it is, the other ranks must not wait for this one
        request = request._replace(problem=problem)
    else:
        # Backward adds up the input's gradient over the ranks: either all of them want one, or none.
        wanted = ("a gradient for the input", "wanted" if torch.is_grad_enabled() and x.requires_grad else "not wanted")
        more = (("softcap", cap), ("z_loss", strength), wanted)
        request = request._replace(logits=logits_without_memory(x, local), more=more)
        x = x.reshape(-1, x.shape[-1])

    def plan_of(call: Call, classes: ClassRange) -> HeadPlan:
        own = classes.stop - classes.start
        z_loss = strength and strength * unweighed_share(call, num_items)
        return HeadPlan.of(x, call, cap, z_loss)._replace(start=classes.start, own=own, added=ranks.added)

    def find(call: Call, classes: ClassRange) -> SliceNumbers:
        return measure(Head(plan_of(call, classes), x, local, bias))[0]

    call, classes, mine = ranks.agree(request, place, find)
    each: Tensor = HeadLoss.apply(x, local, bias, plan_of(call, classes), mine, ranks.rows(mine))  # pyright: ignore[reportAssignmentType]
    return reduced(call, each.reshape(call.target().shape), num_items).to(call.result_dtype)
