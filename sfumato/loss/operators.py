"""The kernel as registered torch operators, so that compiled code calls it without a graph break.

Both take the logits and the fields of :class:`sfumato.kernel.job.FlatTarget`, flat. They have no second derivative.
Only compiled code imports this module: registering an operator loads torch's compiler, some 800 modules.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.kernel import job
from sfumato.loss.reduce import reduce, weigh
from sfumato.targets.terms import AtLabel, Back, Entries, Scaled, Terms

_BACK = "float c{0}, Tensor? c{0}_rows, Tensor? u{0}, Tensor? row{0}"
_FIELDS = (
    "Tensor logits, Tensor? valid, Tensor? labels, float mass, Tensor? mass_rows, bool added, "
    "Tensor? dense, float scale, Tensor? scale_rows, float shift, "
    f"int backs, {_BACK.format(1)}, {_BACK.format(2)}, "
    "Tensor? support, Tensor? entry_classes, Tensor? entry_masses, Tensor? weight"
)


@torch.library.custom_op("sfumato::loss_rows", mutates_args=(), schema=f"({_FIELDS}) -> Tensor")
def loss_rows(*fields: Any) -> Tensor:
    """Each row's loss, (N·…) float64."""
    logits, *rest = fields
    loss = torch.zeros(logits.shape.numel() // max(1, logits.shape[1]), dtype=torch.float64)
    job.run(_collapsible(logits.detach()), _target(tuple(rest)), loss, None)
    return loss


@torch.library.custom_op("sfumato::gradient_rows", mutates_args=(), schema=f"(Tensor factor, {_FIELDS}) -> Tensor")
def gradient_rows(factor: Tensor, *fields: Any) -> Tensor:
    """The gradient of each row's loss times its factor, shaped and typed like the logits, contiguous."""
    logits, *rest = fields
    grad = torch.empty(logits.shape, dtype=logits.dtype)
    target = _target(tuple(rest))
    job.run(_collapsible(logits.detach()), target, None, grad, row_scale=factor.double().contiguous())
    return grad


@loss_rows.register_fake
def _(*fields: Any) -> Tensor:
    logits: Tensor = fields[0]
    count = logits.shape[0]
    for size in logits.shape[2:]:
        count = count * size
    return logits.new_empty([count], dtype=torch.float64)


@gradient_rows.register_fake
def _(factor: Tensor, *fields: Any) -> Tensor:
    return fields[0].new_empty(fields[0].shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.fields = inputs[1:]  # nobody changes these between forward and backward by accident
    ctx.save_for_backward(inputs[0])


def _backward(ctx: Any, factor: Tensor) -> tuple[Any, ...]:
    (logits,) = ctx.saved_tensors
    return gradient_rows(factor, logits, *ctx.fields), *(None for _ in ctx.fields)


loss_rows.register_autograd(_backward, setup_context=_save)


@torch._dynamo.assume_constant_result  # pyright: ignore[reportPrivateUsage]
def ready() -> bool:
    """Whether there is a kernel and no transform around; asked while code is traced."""
    in_transform = torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return job.status().library is not None and not in_transform


def loss(z: Tensor, call: Call, target: job.FlatTarget) -> Tensor:
    """The reduced loss in the dtype of the arithmetic, of a call that the kernel serves."""
    each = loss_rows(z, *fields_of(target)).reshape(call.target().shape)
    return reduce(call, each, weigh(call, torch.float64)).to(call.dtype)


def fields_of(target: job.FlatTarget) -> tuple[Any, ...]:
    """A target as the operators take it; absent parts are None, and a label that replaces comes without "added"."""
    (dense, backs, entries, label), valid, _, weight = target
    x, scale, shift = dense or (None, 1.0, 0.0)
    labels, mass, added = label or (None, 0.0, False)
    classes, masses = entries or (None, None)
    support = backs[0].support if len(backs) == 1 else None
    both = [(*_either(back.c), back.u, back.row) for back in backs] + [(0.0, None, None, None)] * (2 - len(backs))
    return (
        *(valid, labels, *_either(mass), added),
        *(x, *_either(scale), shift),
        *(len(backs), *both[0], *both[1]),
        *(support, classes, masses, weight),
    )


def _either(value: float | Tensor) -> tuple[float, Tensor | None]:
    return (0.0, value) if isinstance(value, Tensor) else (value, None)


def _target(fields: tuple[Any, ...]) -> job.FlatTarget:
    valid, labels, mass, mass_rows, added, x, scale, scale_rows, shift, count, *more = fields
    support, classes, masses, weight = more[8:]
    support = None if support is None else _collapsible(support)
    backs = tuple(
        Back(c if c_rows is None else c_rows, u, row, support) for c, c_rows, u, row in (more[:4], more[4:8])[:count]
    )
    terms = Terms(
        None if x is None else Scaled(_collapsible(x.detach()), scale if scale_rows is None else scale_rows, shift),
        backs,
        None if classes is None else Entries(classes, masses),
        None if labels is None else AtLabel(labels, mass if mass_rows is None else mass_rows, added),
    )
    return job.FlatTarget(terms, valid, None, weight)


def _collapsible(tensor: Tensor) -> Tensor:
    return tensor if job.collapse(tensor) is not None else tensor.contiguous()


@torch.compiler.disable
def outside(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A call that is made eagerly, between two graphs."""
    return function(*args, **kwargs)
