"""One call of a loss: its arguments checked in torch's order, axes in place, and every target a Target."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor

from sfumato.targets import Target
from sfumato.targets.checks import (
    ArgumentError,
    check_over,
    check_reduction,
    check_strength,
    check_tensor,
    checked_ignore_index,
    checked_labels,
)
from sfumato.targets.dense import Dense
from sfumato.targets.labelled import Labelled
from sfumato.text import did_you_mean
from sfumato.theory import Over

Reduction = Literal["none", "mean", "sum"]
WeightOn = Literal["class", "sample"]
Told = TypeVar("Told", bound=Callable[..., Any])


class LossOptions(TypedDict, total=False):
    """What :func:`sfumato.cross_entropy` takes by name; :func:`resolve` has the defaults."""

    ignore_index: int
    reduction: str
    label_smoothing: float
    over: Over
    weight_on: str
    sample_weight: Tensor | None
    out_dtype: torch.dtype | None


def with_loss_options(function: Told) -> Told:
    """Name each of the ``**options: Unpack[LossOptions]`` of a function in its signature, for ``help`` and editors."""
    own = inspect.signature(function)
    others = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    named = [each for each in inspect.signature(resolve).parameters.values() if each.kind is each.KEYWORD_ONLY]
    told = own.replace(parameters=sorted([*named, *others], key=lambda each: each.kind))
    function.__signature__ = told  # pyright: ignore[reportFunctionMemberAccess]
    return function


@dataclass(eq=False)
class GivenLabels:
    """Plain labels at whose values nobody has looked yet."""

    target: Labelled  # what they would be as a target, with a batch axis
    ignore_index: int  # the label of rows that do not count
    unbatched: bool  # there was no batch axis

    @cached_property
    def checked(self) -> Labelled:
        """The target with its labels checked and their ignored rows set apart, which :meth:`check` does once."""
        return self.check()

    def check(self) -> Labelled:
        """The same without remembering it."""
        given = self.target
        own = given.labels.squeeze(0) if self.unbatched else given.labels
        labels, valid = checked_labels(own, given.num_classes, self.ignore_index, "logits have")
        if self.unbatched:
            labels, valid = labels.unsqueeze(0), None if valid is None else valid.unsqueeze(0)
        return Labelled(given.num_classes, labels, valid, given.eps, given.over)


class Call(NamedTuple):
    """What a loss is asked for, apart from the logits."""

    given: Target | GivenLabels  # the target, positions (N, …), or plain labels that are not checked yet
    weight: Tensor | None  # (K,) or None; on classes or on samples as ``weight_on`` says
    weight_on: WeightOn
    sample_weight: Tensor | None  # (N, …) or None
    reduction: Reduction
    # of the arithmetic: that of the logits, promoted with plain probabilities as torch does; at least float32
    dtype: torch.dtype
    result_dtype: torch.dtype  # of what is returned
    unbatched: bool  # there was no batch axis

    def target(self) -> Target:
        """The target, its plain labels checked when first asked for; the kernel checks what was ``given`` itself."""
        return self.given.checked if isinstance(self.given, GivenLabels) else self.given

    def tensors(self) -> list[Tensor]:
        """Every tensor of the call."""
        target = self.given.target if isinstance(self.given, GivenLabels) else self.given
        return [*target.tensors(), *(each for each in (self.weight, self.sample_weight) if each is not None)]


def resolve(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    over: Over = "all",
    weight_on: str = "class",
    sample_weight: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    **unknown: object,
) -> tuple[Tensor, Call]:
    """Check the arguments of a loss and bring them into one form."""
    for name in unknown:
        options = [*LossOptions.__annotations__]
        raise TypeError(f"{name} is no option of this loss.{did_you_mean(name, options)} It has {', '.join(options)}")
    check_reduction(reduction)
    check_strength(label_smoothing)
    check_over(over)
    check_weight_on(weight_on)
    ignore_index = checked_ignore_index(ignore_index)
    check_logits(input)
    tensors = {"target": target, "weight": weight, "sample_weight": sample_weight}
    for name, value in tensors.items():
        if not isinstance(value, Target) and (value is not None or name == "target"):
            check_tensor(value, name)
    if out_dtype is not None and not out_dtype.is_floating_point:
        raise ArgumentError(f"out_dtype must be floating, got {out_dtype}")
    promoted = input.dtype
    plain_probs = False
    if isinstance(target, Target):
        if label_smoothing != 0:
            raise ArgumentError(
                f"label_smoothing is {label_smoothing:g} but the target is a Target already ({target.describe()}); "
                "smooth once, in one of the two places"
            )
        if ignore_index != -100:
            raise ArgumentError(f"ignore_index is {ignore_index}, but a Target knows its ignored rows: give it there")
    elif target.shape == input.shape:
        check_plain_probabilities(target, ignore_index)
        plain_probs = True
        promoted = torch.promote_types(promoted, target.dtype)
        promoted = promoted if weight is None else torch.promote_types(promoted, weight.dtype)

    unbatched = input.dim() == 1
    logits = input.unsqueeze(0) if unbatched else input
    num_classes = logits.shape[1]
    if weight is not None and (weight.dim() != 1 or len(weight) != num_classes):
        raise ArgumentError(
            f"weight tensor should be defined either for all {num_classes} classes or no classes "
            f"but got weight tensor of shape: {list(weight.shape)}"
        )
    positions = torch.Size(()) if unbatched else torch.Size((logits.shape[0], *logits.shape[2:]))
    given: Target | GivenLabels
    if isinstance(target, Target):
        given = target.with_classes(num_classes) if target.num_classes == 0 else target
        if given.num_classes != num_classes:
            raise ArgumentError(f"the target has {given.num_classes} classes, the logits have {num_classes}")
        if given.shape != positions:
            raise ArgumentError(f"the target has positions {tuple(given.shape)}, the logits {tuple(positions)}")
        given = given.batched() if unbatched else given
    elif plain_probs:
        given = plain_probabilities(target.unsqueeze(0) if unbatched else target, num_classes, label_smoothing, over)
    else:
        labels = _plain_labels(target, positions, num_classes, eps=label_smoothing, over=over)
        eps, spread = (float(label_smoothing), over) if label_smoothing else (0.0, "all")
        plain = Labelled(num_classes, labels.unsqueeze(0) if unbatched else labels, None, eps, spread)
        given = GivenLabels(plain, ignore_index, unbatched)
        # Compiled code looks at no values, and what a record remembers there becomes an output of the graph.
        given = given.check() if torch.compiler.is_compiling() else given

    if sample_weight is not None:
        if sample_weight.shape != positions:
            raise ArgumentError(
                f"sample_weight must be one number a row, {tuple(positions)}, got {tuple(sample_weight.shape)}"
            )
        sample_weight = sample_weight.unsqueeze(0) if unbatched else sample_weight

    low = promoted in (torch.float16, torch.bfloat16)
    call = Call(
        given=given,
        weight=weight,
        weight_on="class" if weight_on == "class" else "sample",
        sample_weight=sample_weight,
        reduction="none" if reduction == "none" else "mean" if reduction == "mean" else "sum",
        dtype=torch.float32 if low else promoted,
        result_dtype=out_dtype if out_dtype is not None else result_type(promoted, input.device),
        unbatched=unbatched,
    )
    return logits, call


def result_type(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of a loss of numbers in ``dtype``: float32 for half precision under autocast, as torch has it."""
    if dtype not in (torch.float16, torch.bfloat16):
        return dtype
    kind = device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.float32 if autocast else dtype


def check_logits(logits: Tensor) -> None:
    """Refuse what is no floating tensor with classes on axis 1, or on its only axis."""
    check_tensor(logits, "logits")
    if not logits.is_floating_point():
        raise ArgumentError(f"logits must be floating, got {logits.dtype}")
    if logits.dim() == 0 or logits.shape[0 if logits.dim() == 1 else 1] == 0:
        raise ArgumentError(f"logits must have a class axis with a class on it, (K,) or (N, K, …), got {logits.shape}")


def check_weight_on(weight_on: str) -> None:
    """Refuse an unknown place for weights."""
    if weight_on not in ("class", "sample"):
        raise ValueError(f'weight_on must be "class" (torch\'s rule) or "sample" (by the label\'s), got {weight_on!r}')


def check_plain_probabilities(target: Tensor, ignore_index: int) -> None:
    """Refuse probabilities that are not floating, or an ``ignore_index`` that they could hold."""
    if not target.is_floating_point():
        raise ArgumentError(f"Expected floating point type for target with class probabilities, got {target.dtype}")
    if ignore_index >= 0:
        raise ArgumentError(
            f"ignore_index is not supported for floating point target, got {ignore_index}; "
            "use sf.from_probs(probs, mask=…)"
        )


def _plain_labels(labels: Tensor, positions: torch.Size, num_classes: int, *, eps: float, over: Over) -> Tensor:
    """Class indices as torch takes them, int64 or uint8, by type and shape; their values are not looked at yet."""
    if labels.dtype not in (torch.int64, torch.uint8):
        raise ArgumentError(
            f"expected scalar type Long but found {str(labels.dtype).removeprefix('torch.')}: labels must be "
            f"torch.int64 of shape {tuple(positions)}, or probabilities of the logits' shape"
        )
    if labels.shape != positions:
        if labels.dim() and positions and labels.shape[0] != positions[0]:
            raise ArgumentError(
                f"Expected input batch_size ({positions[0]}) to match target batch_size ({labels.shape[0]})."
            )
        raise ArgumentError(f"Expected target size {list(positions)}, got {list(labels.shape)}")
    _check_others(eps, over, num_classes)
    return labels.long()


def plain_probabilities(probs: Tensor, num_classes: int, eps: float, over: Over) -> Target:
    """Probabilities as torch takes them, unchecked, and smoothed on top if asked; perhaps of a rank's classes only."""
    _check_others(eps, over, num_classes)
    affine = (1.0, 0.0)
    if eps > 0:
        # (1 − ε)q + ε/K, and (1 − ε)q + ε(1 − q)/(K − 1)
        share = eps / (num_classes if over == "all" else num_classes - 1)
        affine = (1 - eps if over == "all" else 1 - eps - share, share)
    return Dense(num_classes, None, None, probs, *affine)


def _check_others(eps: float, over: Over, num_classes: int) -> None:
    if over == "others" and eps > 0 and num_classes < 2:
        raise ArgumentError(f'label_smoothing over="others" needs at least 2 classes, got {num_classes}')
