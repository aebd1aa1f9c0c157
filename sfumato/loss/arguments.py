"""One call of the loss in canonical form: arguments checked in torch's order, axes in place, all targets a Target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sfumato._checks import ArgumentError, check_over, check_strength, check_tensor
from sfumato.targets import Target
from sfumato.targets.checks import checked_labels

if TYPE_CHECKING:
    from sfumato.theory import Over

Reduction = Literal["none", "mean", "sum"]
WeightOn = Literal["class", "sample"]


@dataclass(frozen=True)
class Call:
    """What a loss is asked for.

    Attributes:
        logits: (N, K, …), as given except for a batch axis where there was none.
        target: positions (N, …).
        weight: (K,) or None; on classes or on samples as ``weight_on`` says.
        sample_weight: (N, …) or None.
        dtype: of the arithmetic: that of the logits, promoted with plain probabilities as torch does; at least float32.
        result_dtype: of what is returned.
        unbatched: there was no batch axis.
        ignore_index: of plain labels that nobody has looked at yet, see :meth:`checked`; else None.
    """

    logits: Tensor
    target: Target
    weight: Tensor | None
    weight_on: WeightOn
    sample_weight: Tensor | None
    reduction: Reduction
    dtype: torch.dtype
    result_dtype: torch.dtype
    unbatched: bool
    ignore_index: int | None = None

    def with_logits(self, logits: Tensor) -> Call:
        """The same call on other logits; what dataclasses.replace does, at a tenth of its cost on a tiny batch."""
        other = object.__new__(Call)
        other.__dict__.update(self.__dict__, logits=logits)
        return other

    def checked(self) -> Call:
        """The call with plain labels checked and their ignored rows set apart.

        The kernel does both while it reads them; everything else asks for this first.

        Raises:
            IndexError: a label that is no class.
        """
        if self.ignore_index is None:
            return self
        raw, target = self.target.labels, self.target
        assert raw is not None, "only labels are left unchecked"
        shape = raw.squeeze(0) if self.unbatched else raw
        labels, valid = checked_labels(shape, target.num_classes, self.ignore_index, "logits have")
        target = replace(target, labels=labels, valid=valid)
        return replace(self, target=target.batched() if self.unbatched else target, ignore_index=None)


def resolve(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    over: Over,
    weight_on: str,
    sample_weight: Tensor | None,
    out_dtype: torch.dtype | None,
) -> Call:
    """Check the arguments of a loss and bring them into one form."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f'{reduction} is not a valid value for reduction: "none", "mean" or "sum"')
    check_strength(label_smoothing)
    check_over(over)
    if weight_on not in ("class", "sample"):
        raise ValueError(f'weight_on must be "class" (torch\'s rule) or "sample" (by the label\'s), got {weight_on!r}')
    check_tensor(input, "logits")
    if not isinstance(target, Target):
        check_tensor(target, "target")
    for name, value in (("weight", weight), ("sample_weight", sample_weight)):
        if value is not None:
            check_tensor(value, name)
    if not input.is_floating_point():
        raise ArgumentError(f"logits must be floating, got {input.dtype}")
    if input.dim() == 0 or input.shape[0 if input.dim() == 1 else 1] == 0:
        raise ArgumentError(f"logits must have a class axis with a class on it, (K,) or (N, K, …), got {input.shape}")
    if out_dtype is not None and not out_dtype.is_floating_point:
        raise ArgumentError(f"out_dtype must be floating, got {out_dtype}")

    plain_probs = False
    unchecked: int | None = None
    promoted = input.dtype
    if isinstance(target, Target):
        if label_smoothing != 0:
            raise ArgumentError(
                f"label_smoothing is {label_smoothing:g} but the target is a Target already ({target.describe()}); "
                "smooth once, in one of the two places"
            )
        if ignore_index != -100:
            raise ArgumentError(f"ignore_index is {ignore_index}, but a Target knows its ignored rows: give it there")
    elif target.shape == input.shape:
        if not target.is_floating_point():
            raise ArgumentError(f"Expected floating point type for target with class probabilities, got {target.dtype}")
        if ignore_index >= 0:
            raise ArgumentError(
                f"ignore_index is not supported for floating point target, got {ignore_index}; "
                "use sf.from_probs(probs, mask=…)"
            )
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
    positions = torch.Size((logits.shape[0], *logits.shape[2:]))
    given_positions = torch.Size(()) if unbatched else positions

    if isinstance(target, Target):
        if target.num_classes == 0:
            target = target.with_classes(num_classes)
        if target.num_classes != num_classes:
            raise ArgumentError(f"the target has {target.num_classes} classes, the logits have {num_classes}")
        if target.shape != given_positions:
            raise ArgumentError(f"the target has positions {tuple(target.shape)}, the logits {tuple(given_positions)}")
        target = target.batched() if unbatched else target
    elif plain_probs:
        target = _plain_probabilities(target.unsqueeze(0) if unbatched else target, label_smoothing, over)
    else:
        target = _plain_labels(target, given_positions, num_classes, eps=label_smoothing, over=over)
        target = target.batched() if unbatched else target
        unchecked = ignore_index

    if sample_weight is not None:
        if sample_weight.shape != given_positions:
            raise ArgumentError(
                f"sample_weight must be one number a row, {tuple(given_positions)}, got {tuple(sample_weight.shape)}"
            )
        sample_weight = sample_weight.unsqueeze(0) if unbatched else sample_weight

    low = promoted in (torch.float16, torch.bfloat16)
    kind = input.device.type
    autocast = low and torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return Call(
        logits=logits,
        target=target,
        weight=weight,
        weight_on="class" if weight_on == "class" else "sample",
        sample_weight=sample_weight,
        reduction="none" if reduction == "none" else "mean" if reduction == "mean" else "sum",
        dtype=torch.float32 if low else promoted,
        result_dtype=out_dtype if out_dtype is not None else torch.float32 if autocast else promoted,
        unbatched=unbatched,
        ignore_index=unchecked,
    )


def _plain_labels(labels: Tensor, positions: torch.Size, num_classes: int, *, eps: float, over: Over) -> Target:
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
    if over == "others" and eps > 0 and num_classes < 2:
        raise ArgumentError(f'label_smoothing over="others" needs at least 2 classes, got {num_classes}')
    return Target(num_classes, labels.long(), None, float(eps), over)


def _plain_probabilities(probs: Tensor, eps: float, over: Over) -> Target:
    """Probabilities as torch takes them, unchecked, and smoothed on top if asked."""
    num_classes = probs.shape[1]
    if over == "others" and eps > 0 and num_classes < 2:
        raise ArgumentError(f'label_smoothing over="others" needs at least 2 classes, got {num_classes}')
    affine = (1.0, 0.0)
    if eps > 0:
        # (1 − ε)q + ε/K, and (1 − ε)q + ε(1 − q)/(K − 1)
        share = eps / (num_classes if over == "all" else num_classes - 1)
        affine = (1 - eps if over == "all" else 1 - eps - share, share)
    return Target(num_classes, None, form="dense", dense=probs, affine=affine)
