"""Checks of arguments, shared by targets, reference and loss: what was wrong, where, the value, the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


class ArgumentError(ValueError, RuntimeError):
    """An argument outside its legal range. Also a RuntimeError, because that is what torch raises in the same place."""


def check_tensor(value: object, name: str) -> None:
    """Refuse what is not a tensor, and say how to make one."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}; torch.as_tensor makes one")


def readable(*tensors: Tensor | None) -> bool:
    """Whether values can be looked at without a device sync, a graph break, or leaving a transform or a tracer."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:  # pyright: ignore[reportPrivateUsage]
        return False
    for t in tensors:
        if t is None:
            continue
        if type(t) not in (torch.Tensor, torch.nn.Parameter) or t.device.type != "cpu":  # fake, distributed, elsewhere
            return False
        if torch._C._functorch.is_functorch_wrapped_tensor(t):  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
            return False
    return True


def position(bad: Tensor) -> tuple[tuple[int, ...], str]:
    """Index of the first True, and its name in a message: "row 3", or "position (3, 1)" where rows have axes."""
    index = tuple(int(i) for i in bad.nonzero()[0])
    if len(index) == 0:
        return index, "the only row"
    return index, f"row {index[0]}" if len(index) == 1 else f"position {index}"


def check_strength(eps: float, name: str = "label_smoothing") -> None:
    """Refuse a strength outside [0, 1] or NaN; torch takes a negative one and a NaN for 0 without a word."""
    if isinstance(eps, torch.Tensor):
        raise TypeError(
            f"{name} must be a number; for a strength per row use sf.smooth(labels, num_classes, eps, over=…)"
        )
    if not 0.0 <= eps <= 1.0:
        raise ArgumentError(f"{name} must be in [0, 1], got {eps:g}")


def check_over(over: str) -> None:
    """Refuse an unknown convention."""
    if over not in ("others", "all"):
        raise ValueError(f'over must be "others" (the K-1 wrong classes) or "all" (all K), got {over!r}')


def check_labels(labels: Tensor, valid: Tensor | None, num_classes: int, owner: str) -> None:
    """Refuse the first label outside 0..K−1 among the rows that count (IndexError, as torch's)."""
    if labels.numel() == 0 or not readable(labels):
        return
    low, high = labels.aminmax()
    if int(low) >= 0 and int(high) < num_classes:
        return
    bad = (labels < 0) | (labels >= num_classes)
    if valid is not None:
        bad = bad & valid
    if bool(bad.any()):
        index, where = position(bad)
        raise IndexError(
            f"label {int(labels[index])} in {where} is not a class: "
            f"{owner} {num_classes} classes (0 to {num_classes - 1})"
        )


def class_axis(position_dims: int) -> int:
    """The class axis of an array whose positions have so many axes: 1, or 0 where there is one position only."""
    return 1 if position_dims else 0


def spread(per_position: Tensor, labels: Tensor) -> Tensor:
    """ε or λ broadcast from the left: (N,) against labels (N, d) becomes (N, 1)."""
    return per_position.reshape(per_position.shape + (1,) * (labels.dim() - per_position.dim()))


def at_labels(per_class: Tensor, labels: Tensor) -> Tensor:
    """Each position's entry of its label: of (K,), or of an array with classes on axis 1.

    By gather, because indexing with a label without axes reads its value, which vmap and compiled code cannot.
    """
    if per_class.dim() == 1:
        return per_class.gather(0, labels.reshape(-1)).reshape(labels.shape)
    return per_class.gather(1, labels.unsqueeze(1)).squeeze(1)
