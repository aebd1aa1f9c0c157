"""What the cases of real ranks share: logits and labels, slices of classes, and the comparison with one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from sfumato.parallel.rank import ClassRange
from tests.parallel.simulated import own_target

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


def logits(dtype: torch.dtype = torch.float64, seed: int = 0, rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, CLASSES, generator=generator, dtype=torch.float64) * 4).to(dtype)


def labels(seed: int = 0, rows: int = ROWS) -> Tensor:
    return torch.randint(0, CLASSES, (rows,), generator=torch.Generator().manual_seed(seed + 1))


def compared(
    whole: Tensor,
    target: Any,
    rank: int,
    world: int,
    *,
    weight: Tensor | None = None,
    kind: str = "uneven",
    **options: Any,
) -> dict[str, float]:
    """How far the split loss and this rank's gradient are from those of one process."""
    own = place(rank, world, kind)
    leaf = whole.clone().requires_grad_()
    alone = sf.cross_entropy(leaf, target, weight, **options)
    upstream = torch.linspace(0.5, 2, alone.numel(), dtype=alone.dtype).reshape(alone.shape)
    alone.backward(upstream)
    local = whole[:, own.start : own.stop].clone().requires_grad_()
    loss = sf.parallel.cross_entropy(local, own_target(target, own), weight=weight, **options)
    assert loss.dtype == alone.dtype
    loss.backward(upstream)
    assert leaf.grad is not None
    assert local.grad is not None
    off = local.grad.double() - leaf.grad[:, own.start : own.stop].double()
    return {
        "loss": float(((loss - alone).detach().abs() / alone.detach().abs().clamp(min=1e-300)).max()),
        "gradient": float(off.abs().max()) if off.numel() else 0.0,
    }


def raised(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []
