"""Cases of real ranks that have rows of their own, with classes whole or split: the gradient of one large batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import sfumato as sf
from tests.parallel.common import CLASSES, case, labels, logits


@case
def gradient_norms(rank: int, world: int) -> dict[str, float]:
    """The gradient of one large batch, from micro-batches of uneven sizes on ranks with other rows."""
    rows = 61
    features = torch.randn(rows, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    given = labels(rows=rows)
    given[::3] = -100
    given[40:55] = -100  # a micro-batch of nothing that counts
    start = torch.randn(CLASSES, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    weight = start.clone().requires_grad_()
    sf.cross_entropy(features @ weight.T, given, label_smoothing=0.1).backward()
    assert weight.grad is not None
    exact = weight.grad.norm().item()
    found = {"exact": exact}
    first = rows * rank * rank // (world * world)  # ranks have other numbers of rows
    mine = slice(first, rows * (rank + 1) * (rank + 1) // (world * world))
    for parts in (1, 2, 8):
        weight = start.clone().requires_grad_()
        batches = [slice(at, at + size) for at, size in uneven(mine, parts)]
        items = sf.parallel.count_items([given[each] for each in batches], distributed.group.WORLD)
        for each in batches:
            loss = sf.cross_entropy(features[each] @ weight.T, given[each], label_smoothing=0.1, reduction="sum")
            (loss / items).backward()
        assert weight.grad is not None
        distributed.all_reduce(weight.grad)
        found[f"{parts}"] = weight.grad.norm().item()
    return found


def uneven(rows: slice, parts: int) -> Iterator[tuple[int, int]]:
    """Where micro-batches begin and how many rows they have: few at first, then more, some of them none."""
    length = rows.stop - rows.start
    ends = [rows.start + length * part * part // (parts * parts) for part in range(parts + 1)]
    yield from ((begin, end - begin) for begin, end in itertools.pairwise(ends))


@case
def split_both_ways(rank: int, world: int) -> dict[str, float]:
    """Two groups with rows of their own, each of which splits the classes, and two micro-batches."""
    if world != 4:
        return {}
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("rows", "classes"))
    rows, classes = mesh["rows"], mesh["classes"]
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    given = labels(rows=40)
    given[25:] = -100
    weight = torch.randn(CLASSES, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64).requires_grad_()
    whole = sf.cross_entropy(features @ weight.T, given, label_smoothing=0.1)
    whole.backward()
    cut = slice(0, 9) if classes.get_local_rank() == 0 else slice(9, CLASSES)
    own = slice(0, 13) if rows.get_local_rank() == 0 else slice(13, 40)
    local = weight.detach()[cut].clone().requires_grad_()
    batches = [own.start + 4, own.stop]
    parts = [slice(own.start, batches[0]), slice(batches[0], own.stop)]
    items = sf.parallel.count_items([given[part] for part in parts], rows.get_group())
    loss = torch.zeros((), dtype=torch.float64)
    for part in parts:
        each = sf.parallel.cross_entropy(
            features[part] @ local.T, given[part], classes.get_group(), label_smoothing=0.1, num_items=items
        )
        each.backward()
        loss += each.detach()
    assert local.grad is not None
    assert weight.grad is not None
    distributed.all_reduce(local.grad, group=rows.get_group())
    distributed.all_reduce(loss, group=rows.get_group())
    return {
        "loss": abs(loss.item() - whole.item()),
        "gradient": (local.grad - weight.grad[cut]).abs().max().item(),
        "items": items.item(),
    }


@case
def dtensor_of_rows_and_classes(rank: int, world: int) -> dict[str, float]:
    """A DTensor whose rows and classes are both sharded; each pair of ranks is given the labels of its rows."""
    if world != 4:
        return {}
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("rows", "classes"))
    whole = logits().requires_grad_()
    alone = sf.cross_entropy(whole, labels(), label_smoothing=0.1, reduction="sum")
    alone.backward()
    spread = distribute_tensor(whole.detach(), mesh, [Shard(0), Shard(1)]).requires_grad_()
    own = distribute_tensor(labels(), mesh["rows"], [Shard(0)]).to_local()
    loss = sf.parallel.cross_entropy(spread, own, label_smoothing=0.1, reduction="sum")
    loss.backward()
    total = loss.detach()
    distributed.all_reduce(total, group=mesh.get_group("rows"))
    assert isinstance(spread.grad, DTensor)
    assert whole.grad is not None
    return {
        "loss": abs(total.item() - alone.item()),
        "gradient": (spread.grad.full_tensor() - whole.grad).abs().max().item(),
    }
