"""One rank of a split loss: its arguments, the call over all classes, its own numbers and its own gradient."""

import inspect
from collections.abc import Iterator
from numbers import Real
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from sfumato.arguments import Call, LossOptions, check_plain_probabilities, plain_probabilities, resolve
from sfumato.kernel.job import FlatTarget
from sfumato.loss import slices
from sfumato.loss.eager import class_weight, wide_type
from sfumato.loss.flatten import flatten
from sfumato.loss.linear.functional import check_constant, check_sparse
from sfumato.loss.reduce import check_num_items
from sfumato.loss.slices import RowNumbers, SliceNumbers
from sfumato.loss.target_slice import TargetSlice
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError, check_over, check_strength, check_tensor, readable
from sfumato.targets.dense import Dense

_DEFAULTS: dict[str, Any] = {
    each.name: each.default for each in inspect.signature(resolve).parameters.values() if each.kind is each.KEYWORD_ONLY
}
# Logits that are worked on at a time, so that copies of them stay small: in the cache on a CPU.
_BLOCK, _LARGE_BLOCK = 1 << 18, 1 << 26


class ClassRange(NamedTuple):
    """The classes of a rank, ``start`` to ``stop`` − 1, of the ``num_classes`` that all ranks have together."""

    start: int
    stop: int
    num_classes: int

    @classmethod
    def within(cls, start: int, columns: int, num_classes: int) -> Self:
        """The classes of so many columns of logits from ``start`` on; columns beyond all classes are padding."""
        return cls(min(start, num_classes), min(start + columns, num_classes), num_classes)


class Request(NamedTuple):
    """What a rank was called with."""

    logits: Tensor  # those of the rank, (N, n, …) or (n,), with padding
    target: Tensor | Target  # labels over all classes, a Target, or probabilities of the rank's own classes
    weight: Tensor | None  # (K,) or None
    num_items: float | Tensor | None  # what the mean divides by; None for this call's rows
    options: LossOptions  # of the loss, as given
    more: tuple[tuple[str, Any], ...] = ()  # further arguments that must be the same on all ranks, by name
    sparse: bool = False  # whether a target that holds a number for every row and class is refused
    problem: Exception | None = None  # what is wrong with the arguments already

    def given(self) -> dict[str, Any]:
        """The options, with the defaults of those that were not given."""
        return {**_DEFAULTS, **self.options}

    def columns(self) -> int:
        """How many columns of logits the rank has."""
        if self.problem is not None:
            raise self.problem
        check_tensor(self.logits, "logits")
        if self.logits.dim() == 0:
            raise ArgumentError("logits must have a class axis, (n,) or (N, n, …), got a number")
        return self.logits.shape[self._axis()]

    def alike(self) -> tuple[tuple[str, Any], ...]:
        """What must be the same on all ranks, by name."""
        logits, target = self.logits, self.target
        if not isinstance(target, Target):
            check_tensor(target, "target")
        positions = [size for axis, size in enumerate(logits.shape) if axis != self._axis()]
        arrays = target.tensors() if isinstance(target, Target) else [target]
        kind = target.describe() if isinstance(target, Target) else f"a tensor of {target.dtype}"
        return (
            ("the shape of the rows", positions),
            ("the dtype of the logits", str(logits.dtype)),
            ("the target", "probabilities" if isinstance(target, Dense) else kind),
            ("weight", _compared(self.weight)),
            ("num_items", _compared(self.num_items)),
            *((name, _compared(value)) for name, value in self.given().items()),
            *self.more,
            ("labels", [_checksum(each) for each in arrays if not each.is_floating_point() and readable(each)]),
        )

    def over(self, classes: ClassRange) -> Call:
        """The arguments checked and in canonical form, over the classes of all ranks."""
        logits, options, target = self.logits, self.given(), self.target
        shape = list(logits.shape)
        shape[self._axis()] = classes.num_classes
        dtype = logits.dtype
        if isinstance(target, Tensor) and target.is_floating_point():
            check_plain_probabilities(target, options["ignore_index"])
            dtype = torch.promote_types(dtype, target.dtype)
            target = self._probabilities(target, classes)
            options |= {"label_smoothing": 0.0, "ignore_index": -100}
        elif isinstance(target, Dense):
            target = self._own_slice(target, classes)
        # Of the logits only shape, dtype and device are looked at: one number stands for all rows of all classes.
        whole = logits.detach().new_empty((), dtype=dtype).expand(shape)
        _, call = resolve(whole, target, self.weight, **options)
        check_constant(call.tensors(), "with split logits, targets and weights get no gradient: pass them detached")
        if call.weight is not None and call.weight_on == "sample" and isinstance(call.given, Dense):
            raise ArgumentError('weight_on="sample" needs labels, which probabilities do not have: use sample_weight')
        check_num_items(self.num_items, call.reduction)
        target = call.target()  # where labels are checked
        if self.sparse:
            check_sparse(target)
        return call

    def _axis(self) -> int:
        return 0 if self.logits.dim() == 1 else 1

    def _probabilities(self, probs: Tensor, classes: ClassRange) -> Target:
        """Plain probabilities of this rank's classes, smoothed over all classes if asked."""
        if probs.shape != self.logits.shape:
            self._refuse_other_classes(tuple(probs.shape), classes)
        eps, over = self.given()["label_smoothing"], self.given()["over"]
        check_strength(eps)
        check_over(over)
        probs = probs.narrow(self._axis(), 0, classes.stop - classes.start)
        made = plain_probabilities(probs.unsqueeze(0) if probs.dim() == 1 else probs, classes.num_classes, eps, over)
        return made if probs.dim() > 1 else made[0]

    def _own_slice(self, target: Dense, classes: ClassRange) -> Target:
        """A dense target of this rank's classes, as one of all classes whose array holds these."""
        own = classes.stop - classes.start
        if target.num_classes == own == classes.num_classes:
            return target
        if target.num_classes != self.columns():
            self._refuse_other_classes(tuple(target.x.shape), classes)
        if target.labels is not None:
            raise ArgumentError(
                "a teacher's probabilities beside the label are not split: use sf.distil_top, or pass this rank's "
                "slice of (1 − α)·one-hot + α·probabilities as a tensor"
            )
        axis = 0 if target.x.dim() == 1 else 1
        x = target.x.narrow(axis, 0, own)
        return Dense(classes.num_classes, None, target.valid, x, target.scale, target.shift)

    def _refuse_other_classes(self, shape: tuple[int, ...], classes: ClassRange) -> None:
        """Refuse probabilities that are not those of the rank's classes, and say how to cut them."""
        cut = f"probs[{':, ' if self._axis() else ''}{classes.start}:{classes.stop}]"
        raise ArgumentError(
            f"probabilities are split as the logits are: expected {tuple(self.logits.shape)}, got {shape}; pass this "
            f"rank's classes, {cut}, or a target that needs no array of all rows and classes"
        )


def slice_numbers(z: Tensor, call: Call, classes: ClassRange) -> SliceNumbers:
    """Each row's numbers from a rank's own logits."""
    if z.shape[1] == 0 or z.numel() == 0:
        return SliceNumbers.of_no_classes(z, call)
    flat = _for_kernel(z, call)
    if flat is not None:
        return slices.measure(z, flat, call, start=classes.start)
    blocks = _blocks(z, call, classes, wide_type(z, call))
    numbers = [slices.torch_numbers(rows, part, call, start=classes.start) for rows, part in blocks]
    return SliceNumbers.of_blocks(numbers)


def slice_gradient(
    z: Tensor, mine: SliceNumbers, rows: RowNumbers, upstream: Tensor, call: Call, classes: ClassRange
) -> Tensor:
    """The gradient of a rank's own logits, upstream·(S·p − w·q), exactly 0 without upstream; it takes no exchange."""
    wide = rows.rest.dtype
    grad = torch.empty_like(z, memory_format=torch.contiguous_format)
    upstream = upstream.to(wide)
    flat = _for_kernel(z, call)
    if flat is not None:
        factor = upstream.double().contiguous()
        slices.to_gradient(z, flat, call, rows.whole(mine), grad, start=classes.start, factor=factor)
        inert = (upstream == 0).nonzero().squeeze(1)
        return grad if len(inert) == 0 else grad.index_fill_(0, inert, 0.0)  # NaN times 0 is NaN
    scale = upstream * rows.mass / (1 + rows.rest)
    lead = (upstream * rows.at_top(mine)).to(call.dtype)
    at = 0
    for block, part in _blocks(z, call, classes, wide):
        own = slice(at, at + len(block))
        at += len(block)
        into = grad[own] if grad.dtype == call.dtype else torch.empty_like(block, dtype=call.dtype)
        torch.sub(block.to(call.dtype), rows.top[own].unsqueeze(1), out=into).exp_()
        into.mul_(scale[own].unsqueeze(1).to(into.dtype))
        part.subtract(into, upstream[own], wide)
        place = (mine.at[own] - classes.start).unsqueeze(1)
        leads = (mine.top[own] == rows.top[own]).unsqueeze(1)
        into.scatter_(1, place, torch.where(leads, lead[own].unsqueeze(1), into.gather(1, place)))
        inert = (upstream[own] == 0).unsqueeze(1)
        if not readable(inert) or bool(inert.any()):  # a pass over the block is spared where it can be
            into.masked_fill_(inert, 0.0)
        if into.dtype != grad.dtype:
            grad[own] = into
    return grad


def _for_kernel(z: Tensor, call: Call) -> FlatTarget | None:
    """The target over all classes for the kernel; None where it does not serve such logits.

    All rows count there: one that is ignored gets no upstream gradient, and its loss is left out later.
    """
    if z.dim() != 2 or z.numel() == 0 or (z.shape[1] > 1 and z.stride(1) != 1) or not slices.on_kernel(z, call):
        return None
    flat = flatten(z, call._replace(given=call.target()))
    if flat is None or flat.terms.dense is not None or any(each.support is not None for each in flat.terms.backs):
        return None
    return flat._replace(valid=None, ignore_index=None)


def _blocks(z: Tensor, call: Call, classes: ClassRange, wide: torch.dtype) -> Iterator[tuple[Tensor, TargetSlice]]:
    """The rows in blocks, each with its target on the classes of the rank."""
    if z.numel() == 0:
        return
    target = call.target()
    weight = class_weight(call, wide)
    step = max(1, (_BLOCK if z.device.type == "cpu" else _LARGE_BLOCK) // z[0].numel())
    for at in range(0, len(z), step):
        part: Target = target if step >= len(z) else target[at : at + step]
        terms = part.terms(wide)
        yield z[at : at + step], TargetSlice.cut(terms, classes.start, classes.stop, weight, wide)


def _compared(value: Any) -> Any:
    """What an argument is compared by between ranks: a tensor by the sum of its numbers, where it can be looked at."""
    if isinstance(value, Real):
        return f"{float(value):.9g}"
    if not isinstance(value, Tensor):
        return value
    if not readable(value):
        return "a tensor"
    total = f"{float(value.detach().double().sum()):.9g}"  # in as many digits as any order of adding keeps
    return total if value.dim() == 0 else f"a tensor {tuple(value.shape)} with the sum {total}"


def _checksum(values: Tensor) -> int:
    """A number that tells arrays of integers apart, with every place weighing something else."""
    flat = values.reshape(-1).long()
    return int((flat * (torch.arange(1, len(flat) + 1) * 0x9E3779B1)).sum())
