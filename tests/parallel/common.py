"""What the cases of real ranks share: logits and labels, slices of classes, and the comparison with one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from sfumato.parallel.rank import ClassRange
from sfumato.targets.dense import Dense

CLASSES = 23
ROWS = 7
CASES: dict[str, Callable[[int, int], Any]] = {}


def case(function: Callable[[int, int], Any]) -> Callable[[int, int], Any]:
    CASES[function.__name__] = function
    return function


def cuts(world: int, kind: str = "uneven") -> list[int]:
    """Where slices begin and end: uneven ones, with an empty one where there are more than two ranks."""
    if kind == "even":
        return [CLASSES * rank // world for rank in range(world + 1)]
    inner = {1: [], 2: [9], 3: [9, 9], 4: [9, 9, 10]}[world]
    return [0, *inner, CLASSES]


def place(rank: int, world: int, kind: str = "uneven") -> ClassRange:
    ends = cuts(world, kind)
    return ClassRange(ends[rank], ends[rank + 1], CLASSES)


def padded_place(rank: int, world: int) -> tuple[int, slice]:
    """Slices of one size with columns beyond the last class: the size, and this rank's classes."""
    size = -(-CLASSES // world) + 2
    start = min(rank * size, CLASSES)
    return size, slice(start, min(start + size, CLASSES))


def logits(dtype: torch.dtype = torch.float64, seed: int = 0, rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, CLASSES, generator=generator, dtype=torch.float64) * 4).to(dtype)


def labels(seed: int = 0, rows: int = ROWS) -> Tensor:
    return torch.randint(0, CLASSES, (rows,), generator=torch.Generator().manual_seed(seed + 1))


def own_target(target: Any, classes: ClassRange) -> Any:
    """What a rank is given: the target itself, or its own slice of probabilities."""
    if isinstance(target, Dense):
        dense = target.to_dense(torch.promote_types(target.probs_dtype(), target.x.dtype))
        return sf.from_probs(dense[:, classes.start : classes.stop], check=False, mask=target.valid)
    if isinstance(target, Tensor) and target.is_floating_point():
        return target[:, classes.start : classes.stop]
    return target


def off(found: Tensor, wanted: Tensor) -> float:
    """The largest difference."""
    return float((found.double() - wanted.double()).detach().abs().max()) if found.numel() else 0.0


def with_gradients(loss: Callable[..., Tensor], *leaves: Tensor, scalar: float = 1.0) -> list[Tensor]:
    """A loss and its gradients in what it is given, under an upstream gradient of ``scalar``, or of several numbers."""
    leaves = tuple(each.detach().clone().requires_grad_() for each in leaves)
    value = loss(*leaves)
    upstream = torch.linspace(scalar, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    return [value.detach(), *torch.autograd.grad(value, leaves, upstream)]


def compared(
    whole: Tensor, target: Any, rank: int, world: int, *, kind: str = "uneven", **options: Any
) -> dict[str, float]:
    """How far the split loss and this rank's gradient are from those of one process."""
    own = place(rank, world, kind)
    columns, part = slice(own.start, own.stop), own_target(target, own)
    alone, gradient = with_gradients(lambda z: sf.cross_entropy(z, target, **options), whole, scalar=0.5)
    loss, local = with_gradients(lambda z: sf.parallel.cross_entropy(z, part, **options), whole[:, columns], scalar=0.5)
    assert loss.dtype == alone.dtype
    relative = ((loss - alone).abs() / alone.abs().clamp(min=1e-300)).max()
    return {"loss": float(relative), "gradient": off(local, gradient[:, columns])}


def raised(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []
