"""Cases of real ranks that have some rows of a last layer's weight, and never its logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import sfumato as sf
from sfumato.loss.linear import pieces
from tests.parallel.common import CLASSES, ROWS, case, labels, place, raised
from tests.targets.registry import EXAMPLES, example

FEATURES = 5


def layer(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Small integers, so that any order of sums gives the same logits."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(-2, 3, (ROWS, FEATURES), generator=generator).to(dtype)
    weight = torch.randint(-2, 3, (CLASSES, FEATURES), generator=generator).to(dtype)
    return x, weight, torch.randint(-3, 4, (CLASSES,), generator=generator).to(dtype)


def heads_compared(target: Any, rank: int, world: int, dtype: torch.dtype = torch.float64, **options: Any):
    """How far the loss and the gradients of this rank are from those of one process."""
    own = place(rank, world)
    whole = [each.requires_grad_() for each in layer(dtype)]
    cap = options.pop("softcap", None)
    z = F.linear(*whole)
    alone = sf.cross_entropy(z if cap is None else cap * torch.tanh(z / cap), target, **options)
    upstream = torch.linspace(0.5, 2, alone.numel(), dtype=alone.dtype).reshape(alone.shape)
    wanted = torch.autograd.grad(alone, whole, upstream)
    x, weight, bias = (each.detach().clone() for each in whole)
    local = [x, weight[own.start : own.stop], bias[own.start : own.stop]]
    local = [each.clone().requires_grad_() for each in local]
    loss = sf.parallel.linear_cross_entropy(local[0], local[1], target, local_bias=local[2], softcap=cap, **options)
    found = torch.autograd.grad(loss, local, upstream)
    exact = [wanted[0], wanted[1][own.start : own.stop], wanted[2][own.start : own.stop]]
    off = [float((a - b).abs().max()) if a.numel() else 0.0 for a, b in zip(found, exact, strict=True)]
    return {"loss": float((loss - alone).detach().abs().max()), "gradient": max(off)}


def in_pieces() -> None:
    pieces.piece_bytes = lambda x, call: 0
    pieces._ROWS, pieces._MIN_CLASSES = 2, 4


@case
def heads(rank: int, world: int) -> dict[str, Any]:
    kept = pieces.piece_bytes, pieces._ROWS, pieces._MIN_CLASSES
    in_pieces()
    try:
        return _heads(rank, world)
    finally:
        pieces.piece_bytes, pieces._ROWS, pieces._MIN_CLASSES = kept


def _heads(rank: int, world: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    given = labels()
    given[3] = -100
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


@case
def heads_beyond(rank: int, world: int) -> dict[str, Any]:
    """z-loss, padding, a DTensor, and what is wrong on one rank."""
    own = place(rank, world)
    x, weight, _ = layer(torch.float64)
    z = x @ weight.T
    alone = sf.cross_entropy(z, labels(), label_smoothing=0.1) + 0.2 * (z.logsumexp(1) ** 2).mean()
    local = weight[own.start : own.stop].clone().requires_grad_()
    loss = sf.parallel.linear_cross_entropy(x, local, labels(), label_smoothing=0.1, z_loss=0.2)
    one = weight.clone().requires_grad_()
    whole = sf.linear_cross_entropy(x, one, labels(), label_smoothing=0.1, z_loss=0.2)
    (wanted,), (mine,) = torch.autograd.grad(whole, one), torch.autograd.grad(loss, local)
    off = mine - wanted[own.start : own.stop]
    found: dict[str, Any] = {
        "z": abs(loss.item() - alone.item()),
        "z gradient": float(off.abs().max()) if off.numel() else 0.0,
    }
    size = -(-CLASSES // world) + 2
    start = min(rank * size, CLASSES)
    stop = min(start + size, CLASSES)
    padded = torch.full((size, FEATURES), torch.nan, dtype=torch.float64)
    padded[: stop - start] = weight[start:stop]
    padded.requires_grad_()
    loss = sf.parallel.linear_cross_entropy(x, padded, labels(), num_classes=CLASSES)
    loss.backward()
    assert padded.grad is not None
    found["padded"] = abs(loss.item() - sf.cross_entropy(z, labels()).item())
    found["padding"] = padded.grad[stop - start :].abs().sum().item()
    mesh = init_device_mesh("cpu", (world,))
    spread = distribute_tensor(weight, mesh, [Shard(0)]).requires_grad_()
    loss = sf.parallel.linear_cross_entropy(x, spread, labels(), label_smoothing=0.1)
    loss.backward()
    one = weight.clone().requires_grad_()
    sf.linear_cross_entropy(x, one, labels(), label_smoothing=0.1).backward()
    assert isinstance(spread.grad, DTensor)
    assert one.grad is not None
    found["DTensor"] = float((spread.grad.full_tensor() - one.grad).abs().max())
    narrow = x[:, 1:] if rank == world - 1 else x
    found["features"] = raised(lambda: sf.parallel.linear_cross_entropy(narrow, local, labels()))
    dense = sf.from_probs(torch.full((ROWS, own.stop - own.start), 1.0 / max(1, own.stop - own.start)), check=False)
    found["dense"] = raised(lambda: sf.parallel.linear_cross_entropy(x, local, dense))
    frozen = x.clone().requires_grad_(rank != world - 1)
    found["frozen"] = raised(lambda: sf.parallel.linear_cross_entropy(frozen, local, labels()))
    everywhere = distribute_tensor(x, mesh)
    found["input"] = raised(lambda: sf.parallel.linear_cross_entropy(everywhere, local, labels()))
    found["unsplit"] = raised(lambda: sf.linear_cross_entropy(x, spread, labels()))
    cap = 3.0 if rank == world - 1 else 4.0
    found["other caps"] = raised(lambda: sf.parallel.linear_cross_entropy(x, local, labels(), softcap=cap))
    again = sf.parallel.linear_cross_entropy(x, local, labels())
    found["again"] = abs(again.item() - sf.cross_entropy(z, labels()).item())
    return found
