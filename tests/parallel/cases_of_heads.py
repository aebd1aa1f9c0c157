"""Cases of real ranks that have some rows of a last layer's weight, and never its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import sfumato as sf
from sfumato.loss.linear import pieces
from tests.parallel.common import CLASSES, ROWS, case, labels, off, padded_place, place, raised, with_gradients
from tests.targets.registry import EXAMPLES, example

FEATURES = 5


def layer(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Small integers, so that any order of sums gives the same logits."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(-2, 3, (ROWS, FEATURES), generator=generator).to(dtype)
    weight = torch.randint(-2, 3, (CLASSES, FEATURES), generator=generator).to(dtype)
    return x, weight, torch.randint(-3, 4, (CLASSES,), generator=generator).to(dtype)


def heads_compared(
    target: Any, rank: int, world: int, softcap: float | None = None, **options: Any
) -> dict[str, float]:
    """How far the loss and the gradients of this rank are from those of one process."""
    own = slice(*place(rank, world)[:2])

    def whole(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        z = F.linear(x, weight, bias)
        return sf.cross_entropy(z if softcap is None else softcap * torch.tanh(z / softcap), target, **options)

    def split(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return sf.parallel.linear_cross_entropy(x, weight, target, local_bias=bias, softcap=softcap, **options)

    x, weight, bias = layer()
    alone, of_x, of_weight, of_bias = with_gradients(whole, x, weight, bias, scalar=0.5)
    loss, *found = with_gradients(split, x, weight[own], bias[own], scalar=0.5)
    exact = [of_x, of_weight[own], of_bias[own]]
    return {"loss": off(loss, alone), "gradient": max(off(a, b) for a, b in zip(found, exact, strict=True))}


@case
def heads(rank: int, world: int) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:  # many small pieces
        patch.setattr(pieces, "piece_bytes", lambda x, call: 0)
        patch.setattr(pieces, "_ROWS", 2)
        patch.setattr(pieces, "_MIN_CLASSES", 4)
        given = labels()
        given[3] = -100
        found = {}
        for name in EXAMPLES:
            target = example(name, given, CLASSES).build()
            terms = target.terms(torch.float64)
            if terms.dense is None and all(back.support is None for back in terms.backs):
                found[name] = heads_compared(target, rank, world)
        for over in ("all", "others"):
            for reduction in ("mean", "sum", "none"):
                options: dict[str, Any] = {"label_smoothing": 0.1, "over": over, "reduction": reduction}
                found[f"{over} {reduction}"] = heads_compared(given, rank, world, **options)
        found["capped"] = heads_compared(given, rank, world, label_smoothing=0.1, softcap=4.0)
        found["nothing counts"] = heads_compared(torch.full((ROWS,), -100), rank, world, reduction="sum")
        return found


def split(x: Tensor, weight: Tensor, **options: Any) -> Tensor:
    return sf.parallel.linear_cross_entropy(x, weight, labels(), **options)


@case
def heads_beyond(rank: int, world: int) -> dict[str, float]:
    """z-loss, padding, and a DTensor."""
    own = slice(*place(rank, world)[:2])
    x, weight, _ = layer()
    z = x @ weight.T
    options: dict[str, Any] = {"label_smoothing": 0.1, "z_loss": 0.2}
    alone = sf.cross_entropy(z, labels(), label_smoothing=0.1) + 0.2 * (z.logsumexp(1) ** 2).mean()
    loss, mine = with_gradients(lambda w: split(x, w, **options), weight[own])
    _, wanted = with_gradients(lambda w: sf.linear_cross_entropy(x, w, labels(), **options), weight)
    size, part = padded_place(rank, world)
    padded = torch.full((size, FEATURES), torch.nan, dtype=torch.float64)
    padded[: part.stop - part.start] = weight[part]
    of_padded, padding = with_gradients(lambda w: split(x, w, num_classes=CLASSES), padded)
    spread = distribute_tensor(weight, init_device_mesh("cpu", (world,)), [Shard(0)]).requires_grad_()
    split(x, spread, label_smoothing=0.1).backward()
    _, gradient = with_gradients(lambda w: sf.linear_cross_entropy(x, w, labels(), label_smoothing=0.1), weight)
    assert isinstance(spread.grad, DTensor)
    return {
        "z": off(loss, alone),
        "z gradient": off(mine, wanted[own]),
        "padded": off(of_padded, sf.cross_entropy(z, labels())),
        "exactly 0": padding[part.stop - part.start :].abs().sum().item(),
        "DTensor": off(spread.grad.full_tensor(), gradient),
    }


@case
def heads_refused(rank: int, world: int) -> dict[str, list[str]]:
    """What is wrong on one rank, and that no rank waits for another afterwards."""
    own, last = slice(*place(rank, world)[:2]), rank == world - 1
    x, weight, _ = layer()
    local, mesh = weight[own].clone().requires_grad_(), init_device_mesh("cpu", (world,))
    dense = sf.from_probs(torch.full((ROWS, len(local)), 1.0 / max(1, len(local))), check=False)
    calls: dict[str, Callable[[], Any]] = {
        "features": lambda: split(x[:, 1:] if last else x, local),
        "dense": lambda: sf.parallel.linear_cross_entropy(x, local, dense),
        "frozen": lambda: split(x.clone().requires_grad_(not last), local),
        "input": lambda: split(distribute_tensor(x, mesh), local),
        "unsplit": lambda: sf.linear_cross_entropy(x, distribute_tensor(weight, mesh, [Shard(0)]), labels()),
        "other caps": lambda: split(x, local, softcap=3.0 if last else 4.0),
        "nothing wrong": lambda: split(x, local),
    }
    return {name: raised(call) for name, call in calls.items()}
