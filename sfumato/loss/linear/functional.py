"""Cross entropy of a linear layer's output, from the layer's input and weight."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack, cast, overload

import torch
from torch import Tensor

from sfumato.arguments import resolve
from sfumato.loss.functional import has_tangent
from sfumato.loss.linear.pieces import Head, HeadLoss, HeadPlan, measure
from sfumato.loss.reduce import check_num_items, checked_numbers, reduced, unweighed_share
from sfumato.loss.slices import RowNumbers
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError, check_tensor
from sfumato.theory import Over

Function = TypeVar("Function", bound=Callable[..., Any])


def uncompiled(function: Function) -> Function:
    """The function, called eagerly also where compiled code calls it."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            from sfumato.loss import operators

            return operators.outside(function, *args, **kwargs)
        return function(*args, **kwargs)

    return cast("Function", call)


class HeadParts(NamedTuple):
    """A loss and what trainers log beside it; all but ``loss`` are detached, one number a row, 0 where it is ignored.

    Attributes:
        loss: as :func:`linear_cross_entropy` gives it.
        nll: −log p_y, whatever the target was; None where rows do not have one label.
        entropy: H(p) in nats.
        correct: whether the label has the largest logit, the lowest class of equal ones counting; None without labels.
        lse: log Σ e^z.
    """

    loss: Tensor
    nll: Tensor | None
    entropy: Tensor
    correct: Tensor | None
    lse: Tensor


class HeadOptions(TypedDict, total=False):
    """What :func:`linear_cross_entropy` takes by name, apart from ``return_parts``."""

    linear_bias: Tensor | None
    weight: Tensor | None
    sample_weight: Tensor | None
    ignore_index: int
    reduction: str
    label_smoothing: float
    over: Over
    softcap: float | None
    z_loss: float
    shift: bool
    num_items: int | Tensor | None
    out_dtype: torch.dtype | None


@overload
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor | Target,
    *,
    return_parts: Literal[False] = False,
    **options: Unpack[HeadOptions],
) -> Tensor: ...
@overload
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor | Target,
    *,
    return_parts: Literal[True],
    **options: Unpack[HeadOptions],
) -> HeadParts: ...
@uncompiled
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor | Target,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    over: Over = "all",
    softcap: float | None = None,
    z_loss: float = 0.0,
    shift: bool = False,
    num_items: int | Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    return_parts: bool = False,
) -> Tensor | HeadParts:
    r"""Cross entropy of a linear layer's output, whose N×V logits are never in memory at once.

    .. math:: L = \sum_k w_k q_k\,(\mathrm{lse}(z) - z_k) + \lambda\,\mathrm{lse}(z)^2, \qquad z = W x + b

    The same numbers as :func:`sfumato.cross_entropy` of :func:`torch.nn.functional.linear`, with torch's names of
    arguments. Logits are made in pieces of some 24 MB, once forward and once backward. Rows that are ignored cost
    nothing. No row of V numbers is kept from forward to backward.

    Args:
        input: x, (…, D), the layer's input.
        linear_weight: W, (V, D).
        target: class indices (…), or a :class:`Target` with those positions whose rows are not dense: smoothed,
            towards a prior, rows of a table, a teacher's stored largest, mixed. It gets no gradient.
        linear_bias: b, (V,).
        weight: w, one number a class, (V,), on each class's term as torch has it. It gets no gradient.
        sample_weight, ignore_index, reduction, label_smoothing, over, softcap, z_loss, out_dtype: as of
            :func:`sfumato.cross_entropy`.
        shift: whether the position t predicts t+1, along the last axis of the positions, as in causal language models:
            the last input, the first target and its weight are left out.
        num_items: what a sum is divided by in place of the rows that count, where these are counted over micro-batches
            or ranks; with ``reduction="mean"`` only.
        return_parts: whether to give :class:`HeadParts`.

    Raises:
        ValueError: shapes or dtypes that do not fit; a target that is itself an array of N×V; a strength outside
            [0, 1]; a target or class weights that would get a gradient.
        IndexError: a label that is no class (names the first row and the label; on the CPU).
        RuntimeError: a second derivative, which would need all logits.
        NotImplementedError: a forward-mode derivative, or a transform of :mod:`torch.func`.

    >>> x, w = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> round(linear_cross_entropy(x, w, torch.tensor([0]), label_smoothing=0.1).item(), 4)
    0.3729

    Source: the chunking of Wijmans et al. 2025 (Cut Your Losses in Large-Vocabulary Language Models), section 4, with
    every gradient kept; the z-loss of Chowdhery et al. 2022 (PaLM), section 5.
    """
    input, linear_weight, linear_bias = checked_layer(input, linear_weight, linear_bias)
    softcap, z_loss = checked_numbers(softcap, z_loss)
    check_num_items(num_items, reduction)
    if shift:
        if input.dim() < 2 or target.shape != input.shape[:-1]:
            raise ArgumentError(
                f"shift=True moves targets along the last axis of the positions: input {tuple(input.shape)} needs a "
                f"target of {tuple(input.shape[:-1])}, got {tuple(target.shape)}"
            )
        input, target = input[..., :-1, :], target[..., 1:]
        sample_weight = None if sample_weight is None else sample_weight[..., 1:]
    options: dict[str, Any] = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
    if isinstance(target, Tensor) and target.is_floating_point():
        raise ArgumentError(
            f"target must be class indices {tuple(input.shape[:-1])} or a Target, got {target.dtype} "
            f"{tuple(target.shape)}: probabilities would be an array of rows × classes. Use sf.distil_top for the "
            "largest of a teacher's, or sf.cross_entropy of the logits"
        )
    logits = logits_without_memory(input, linear_weight)
    _, call = resolve(logits, target, weight, **options, over=over, sample_weight=sample_weight, out_dtype=out_dtype)
    check_sparse(call.target())
    check_constant(
        call._replace(sample_weight=None).tensors(),
        "targets and class weights get no gradient: pass them detached, or use "
        "sf.cross_entropy(torch.nn.functional.linear(input, linear_weight, linear_bias), target)",
    )
    x = input.reshape(-1, input.shape[-1])
    plan = HeadPlan.of(x, call, softcap, z_loss and z_loss * unweighed_share(call, num_items))
    labels = call.target().labels if return_parts else None
    labels = None if labels is None else plan.pick(labels.reshape(-1))
    numbers, sums = measure(Head(plan, x, linear_weight, linear_bias), labels, parts=return_parts)
    rows = RowNumbers.of(numbers.top, numbers.against(numbers.top))
    each: Tensor = HeadLoss.apply(x, linear_weight, linear_bias, plan, numbers, rows)  # pyright: ignore[reportAssignmentType]
    loss = reduced(call, each.reshape(call.target().shape), num_items).to(call.result_dtype)
    if sums is None:
        return loss
    parts = [
        each if each is None else plan.spread(each, len(x)).reshape(input.shape[:-1])
        for each in sums.of_rows(numbers.at, rows, labels, call.dtype)
    ]
    return HeadParts(loss, *parts)  # pyright: ignore[reportArgumentType] - two of them need no label


def checked_layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """A linear layer's input, weight and bias in the dtype that autocast gives such layers; refused if they are none.

    Autocast leaves float64 and integers as they are.
    """
    named = [("input", x), ("linear_weight", weight)] + ([] if bias is None else [("linear_bias", bias)])
    for name, tensor in named:
        check_tensor(tensor, name)
        if type(tensor).__name__ == "DTensor":
            raise ArgumentError(
                f"{name} is a DTensor, of which this rank may have a part alone: give a plain tensor, such as "
                f"{name}.full_tensor(). Where the classes are split, sf.parallel.linear_cross_entropy takes the weight"
            )
    given = [tensor for _, tensor in named]
    if has_tangent(*given) or any(map(torch._C._functorch.is_functorch_wrapped_tensor, given)):  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        raise NotImplementedError(
            "a layer whose logits are never all there has gradients by backward() alone, no forward-mode derivatives "
            "and no transforms of torch.func: use sf.cross_entropy(torch.nn.functional.linear(…), target) there"
        )
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)

        def cast(tensor: Tensor) -> Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor

        x, weight, bias = cast(x), cast(weight), None if bias is None else cast(bias)
    if not x.is_floating_point() or x.dim() == 0:
        raise ArgumentError(f"input must be floating and (…, D), got {x.dtype} {tuple(x.shape)}")
    if weight.dim() != 2:
        raise ArgumentError(f"linear_weight must be (V, D), got {tuple(weight.shape)}")
    if weight.shape[1] != x.shape[-1]:
        raise ArgumentError(
            f"input has {x.shape[-1]} features and linear_weight {weight.shape[1]}: "
            f"{tuple(x.shape)} does not fit {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ArgumentError(f"linear_bias must be ({len(weight)},), one number a class, got {tuple(bias.shape)}")
    for name, tensor in (("linear_weight", weight), ("linear_bias", bias)):
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise ArgumentError(
                f"input is {x.dtype} on {x.device} and {name} {tensor.dtype} on {tensor.device}: bring them together, "
                "as torch.autocast does with types"
            )
    return x, weight, bias


def check_sparse(target: Target) -> None:
    """Refuse a target that holds a number for every row and class."""
    terms = target.terms(torch.float64)
    if terms.dense is not None or any(back.support is not None for back in terms.backs):
        raise ArgumentError(
            f"the target holds a number for every row and class ({target.describe()}), which linear_cross_entropy is "
            "there to avoid. Use sf.distil_top for the largest of a teacher's, or sf.cross_entropy of the logits"
        )


def check_constant(tensors: list[Tensor], message: str) -> None:
    """Refuse tensors that a derivative is asked for, where the layer's input, weight and bias alone get one."""
    if has_tangent(*tensors) or (torch.is_grad_enabled() and any(each.requires_grad for each in tensors)):
        raise ArgumentError(message)


def logits_without_memory(x: Tensor, weight: Tensor) -> Tensor:
    """Logits of a layer that hold one number, to be asked for shape, dtype and device alone."""
    shape = (*x.shape[:1], len(weight), *x.shape[1:-1]) if x.dim() > 1 else (len(weight),)
    return x.detach().new_empty(()).expand(shape)
