"""The arguments of one call on one rank: what all ranks must be given alike, and the call over all classes."""

import inspect
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call, LossOptions, check_plain_probabilities, plain_probabilities, resolve
from sfumato.loss.linear.autograd import check_constant, check_sparse
from sfumato.loss.reduce import check_num_items
from sfumato.parallel.row_slices import ClassRange
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError, check_over, check_strength, check_tensor, readable
from sfumato.targets.dense import Dense

_DEFAULTS: dict[str, Any] = {
    each.name: each.default for each in inspect.signature(resolve).parameters.values() if each.kind is each.KEYWORD_ONLY
}


class Request(NamedTuple):
    """What a rank was called with."""

    logits: Tensor  # those of the rank, (N, n, …) or (n,), with padding
    target: Tensor | Target  # labels over all classes, a Target, or probabilities of the rank's own classes
    weight: Tensor | None  # (K,) or None
    num_items: float | Tensor | None  # what the mean divides by; None for this call's rows
    options: LossOptions  # of the loss, as given
    more: tuple[tuple[str, Any], ...] = ()  # further arguments that must be the same on all ranks, by name
    sparse: bool = False  # whether a target that holds a number for every row and class is refused
    problem: Exception | None = None  # what is wrong with the arguments already; the other ranks are told when they ask

    def told(self) -> dict[str, Any]:
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
        told = target.describe() if isinstance(target, Target) else f"a tensor of {target.dtype}"
        return (
            ("the shape of the rows", positions),
            ("the dtype of the logits", str(logits.dtype)),
            ("the target", "probabilities" if isinstance(target, Dense) else told),
            ("weight", _compared(self.weight)),
            ("num_items", _compared(self.num_items)),
            *((name, _compared(value)) for name, value in self.told().items()),
            *self.more,
            ("labels", [_checksum(each) for each in arrays if not each.is_floating_point() and readable(each)]),
        )

    def over(self, classes: ClassRange) -> Call:
        """The arguments checked and in canonical form, over the classes of all ranks."""
        logits, options, target = self.logits, self.told(), self.target
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
        self._check_beyond(call)
        if self.sparse:
            check_sparse(call.target())
        _ = call.target()  # where labels are checked
        return call

    def _axis(self) -> int:
        return 0 if self.logits.dim() == 1 else 1

    def _check_beyond(self, call: Call) -> None:
        """Refuse what one process takes and split logits do not, and a number of items that is none."""
        check_constant(call.tensors(), "with split logits, targets and weights get no gradient: pass them detached")
        if call.weight is not None and call.weight_on == "sample" and isinstance(call.given, Dense):
            raise ArgumentError('weight_on="sample" needs labels, which probabilities do not have: use sample_weight')
        check_num_items(self.num_items, call.reduction)

    def _probabilities(self, probs: Tensor, classes: ClassRange) -> Target:
        """Plain probabilities of this rank's classes, smoothed over all classes if asked."""
        if probs.shape != self.logits.shape:
            self._refuse_other_classes(tuple(probs.shape), classes)
        eps, over = self.told()["label_smoothing"], self.told()["over"]
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
