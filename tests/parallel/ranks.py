"""What every rank does in the tests of split losses; each writes what it found to FOLDER/ranks-WORLD/RANK.json.

    python -m torch.distributed.run --nproc-per-node 3 -m tests.parallel.ranks FOLDER
    python -m tests.parallel.ranks FOLDER 2 4

The second line makes the ranks itself, two and then four, from one process that has everything loaded.

A case is a function of this rank's place that gives plain values, mostly how far it is from one process.
``test_parallel.py`` says what they must be. Last layers, and what is refused, are in files next to this one.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.multiprocessing.spawn import start_processes

import sfumato as sf
from sfumato.parallel import layout
from tests.parallel import cases_of_heads, cases_refused
from tests.parallel.common import (
    CASES,
    CLASSES,
    ROWS,
    case,
    compared,
    cuts,
    labels,
    logits,
    off,
    padded_place,
    place,
    raised,
    with_gradients,
)
from tests.targets.registry import EXAMPLES, example

__all__ = ["cases_of_heads", "cases_refused"]  # their cases are entered when they are loaded


@case
def targets(rank: int, world: int) -> dict[str, dict[str, float]]:
    given = labels()
    given[3] = -1
    return {name: compared(logits(), example(name, given, CLASSES).build(), rank, world) for name in EXAMPLES}


@case
def conventions(rank: int, world: int) -> dict[str, dict[str, float]]:
    given = labels()
    given[2] = -100
    return {
        f"{over} {eps} {reduction} {kind}": compared(
            logits(), given, rank, world, kind=kind, label_smoothing=eps, over=over, reduction=reduction
        )
        for over in ("all", "others")
        for eps in (0.0, 0.1, 1.0)
        for reduction in ("mean", "sum", "none")
        for kind in ("uneven", "even")
    }


@case
def weights(rank: int, world: int) -> dict[str, dict[str, float]]:
    weight = torch.linspace(0, 3, CLASSES, dtype=torch.float64)
    sample = torch.linspace(0, 2, ROWS, dtype=torch.float64)
    return {
        f"{on} {reduction}": compared(
            logits(), labels(), rank, world, weight=weight, label_smoothing=0.1, weight_on=on, reduction=reduction,
            sample_weight=sample,
        )
        for on in ("class", "sample")
        for reduction in ("mean", "none")
    }  # fmt: skip


@case
def dtypes(rank: int, world: int) -> dict[str, dict[str, float]]:
    return {
        str(dtype): compared(logits(dtype), labels(), rank, world, label_smoothing=0.1, out_dtype=torch.float64)
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    }


@case
def plain_probabilities(rank: int, world: int) -> dict[str, dict[str, float]]:
    probs = logits(seed=5).softmax(1)
    return {over: compared(logits(), probs, rank, world, label_smoothing=0.2, over=over) for over in ("all", "others")}


def smoothed(z: Tensor, **options: Any) -> Tensor:
    return sf.cross_entropy(z, labels(), label_smoothing=0.1, **options)


def split(z: Tensor, **options: Any) -> Tensor:
    return sf.parallel.cross_entropy(z, labels(), label_smoothing=0.1, **options)


@case
def padding(rank: int, world: int) -> dict[str, float]:
    """Slices of one size with columns beyond the last class, which hold NaN."""
    size, own = padded_place(rank, world)
    local = torch.full((ROWS, size), torch.nan, dtype=torch.float64)
    local[:, : own.stop - own.start] = logits()[:, own]
    loss, grad = with_gradients(functools.partial(split, num_classes=CLASSES), local)
    alone, gradient = with_gradients(smoothed, logits())
    grad, beyond = grad[:, : own.stop - own.start], grad[:, own.stop - own.start :]
    return {
        "loss": off(loss, alone),
        "gradient": off(grad, gradient[:, own]),
        "exactly 0": beyond.abs().sum().item(),
    }


@case
def given_places(rank: int, world: int) -> dict[str, float]:
    """Slices in the opposite order of ranks, said with start and num_classes; read and not read by the others."""
    own = place(world - 1 - rank, world)
    local = logits()[:, own.start : own.stop]
    found = {}
    kept = layout.is_told
    for name, is_told in (("read", kept), ("not read", lambda place, device: True)):
        layout.is_told = is_told  # what an accelerator does
        found[name] = off(split(local, start=own.start, num_classes=CLASSES), smoothed(logits()))
    layout.is_told = kept
    return found


@case
def dtensors(rank: int, world: int) -> dict[str, float]:
    mesh = init_device_mesh("cpu", (world,))
    spread = distribute_tensor(logits(), mesh, [Shard(1)]).requires_grad_()
    loss = split(spread, over="others")
    loss.backward()
    alone, gradient = with_gradients(functools.partial(smoothed, over="others"), logits())
    assert isinstance(spread.grad, DTensor)
    replicated = distribute_tensor(labels(), mesh)
    again = sf.parallel.cross_entropy(spread, replicated, label_smoothing=0.1, over="others")
    return {
        "loss": off(loss, alone),
        "gradient": off(spread.grad.full_tensor(), gradient),
        "labels as a DTensor": off(again, alone),
    }


@case
def one_row_without_a_batch(rank: int, world: int) -> float:
    own = place(rank, world)
    loss = sf.parallel.cross_entropy(logits()[0, own.start : own.stop], torch.tensor(4), label_smoothing=0.1)
    return off(loss, sf.cross_entropy(logits()[0], torch.tensor(4), label_smoothing=0.1))


@case
def bits(rank: int, world: int) -> list[str]:
    own = place(rank, world)
    return [value.hex() for value in split(logits(torch.float32)[:, own.start : own.stop], reduction="none").tolist()]


@contextmanager
def counted() -> Iterator[dict[str, list[int]]]:
    """The bytes of each tensor that is given to a collective of torch.distributed, by the collective's name."""
    sent: dict[str, list[int]] = {}
    names = [
        *("all_reduce", "all_gather", "all_gather_into_tensor", "all_to_all", "all_to_all_single", "broadcast"),
        *("gather", "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "send", "isend", "recv"),
        *("all_gather_object", "broadcast_object_list", "gather_object"),
    ]
    kept = {name: getattr(distributed, name) for name in names}

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            tensors = [each for each in (*arguments, *named.values()) if isinstance(each, Tensor)]
            sent.setdefault(name, []).append(sum(each.numel() * each.element_size() for each in tensors))
            return function(*arguments, **named)

        return wrapper

    for name, function in kept.items():
        setattr(distributed, name, counting(name, function))
    try:
        yield sent
    finally:
        for name, function in kept.items():
            setattr(distributed, name, function)


@case
def sent_bytes(rank: int, world: int) -> dict[str, Any]:
    """What the first call and a later one send, and what the backward pass sends, for 512 rows."""
    found: dict[str, Any] = {}
    own = place(rank, world)
    for dtype in (torch.float32, torch.float64):
        layout.RankGroup._agreed.clear()
        local = logits(dtype, rows=512)[:, own.start : own.stop].clone().requires_grad_()
        for call in ("first", "later"):
            with counted() as sent:
                loss = sf.parallel.cross_entropy(local, labels(rows=512), label_smoothing=0.1)
            found[f"{dtype} {call}"] = sent
        with counted() as sent:
            loss.backward()
        found[f"{dtype} backward"] = sent
    return found


@case
def another_vocabulary(rank: int, world: int) -> list[float]:
    """Heads of other sizes in turn, which on the first rank look alike."""
    found = []
    for more in (0, 5, 0, 2):
        generator = torch.Generator().manual_seed(more)
        whole = torch.randn(3, 4 * world + more, generator=generator, dtype=torch.float64)
        stop = whole.shape[1] if rank == world - 1 else 4 * rank + 4
        given, last = torch.tensor([0, 3, 4 * world - 1]), torch.full((3,), whole.shape[1] - 1)
        weight = torch.linspace(1, 2, whole.shape[1], dtype=torch.float64)
        calls = [(last, {"weight": weight}), (given, {"label_smoothing": 0.1})]
        for target, options in calls if more != 5 else calls[::-1]:  # what is wrong by the slices of before comes first
            loss = sf.parallel.cross_entropy(whole[:, 4 * rank : stop], target, **options)
            found.append(off(loss, sf.cross_entropy(whole, target, **options)))
    return found


@case
def places_in_turn(rank: int, world: int) -> list[float]:
    """The same columns of logits with other words about their place, each after the others."""
    ends = cuts(world)
    ranges = [slice(ends[world - 1 - each], ends[world - each]) for each in range(world)]
    own, given = ranges[rank], labels() % 20
    local = logits()[:, own]
    in_rank_order = torch.cat([logits()[:, each] for each in ranges], 1)
    found = []
    for start, classes, whole in (
        (own.start, CLASSES, logits()),
        (None, None, in_rank_order),
        (None, 20, in_rank_order[:, :20]),
        (None, None, in_rank_order),
        (own.start, None, logits()),
    ):
        loss = sf.parallel.cross_entropy(local, given, start=start, num_classes=classes, label_smoothing=0.1)
        found.append(off(loss, sf.cross_entropy(whole, given, label_smoothing=0.1)))
    return found


LAST = torch.Generator().manual_seed(
    8
)  # the weight of a last layer of five features, which ranks with other rows share
WEIGHT = torch.randn(CLASSES, 5, generator=LAST, dtype=torch.float64)


@case
def gradient_norms(rank: int, world: int) -> dict[str, float]:
    """The gradient of one large batch, from micro-batches of uneven sizes on ranks with other rows."""
    rows = 61
    features = torch.randn(rows, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    given = labels(rows=rows)
    given[::3] = -100
    given[40:55] = -100  # a micro-batch of nothing that counts
    _, gradient = with_gradients(lambda w: sf.cross_entropy(features @ w.T, given, label_smoothing=0.1), WEIGHT)
    found = {}
    mine = slice(rows * rank**2 // world**2, rows * (rank + 1) ** 2 // world**2)  # ranks have other numbers of rows
    for parts in (1, 2, 8):
        # Few rows at first, then more, some of them none.
        ends = [mine.start + (mine.stop - mine.start) * part * part // (parts * parts) for part in range(parts + 1)]
        batches = [slice(*pair) for pair in itertools.pairwise(ends)]
        group = [] if parts == 1 else [distributed.group.WORLD]  # which is the default
        items = sf.parallel.count_items([given[each] for each in batches], *group)
        weight = WEIGHT.clone().requires_grad_()
        for each in batches:
            loss = sf.cross_entropy(features[each] @ weight.T, given[each], label_smoothing=0.1, reduction="sum")
            (loss / items).backward()
        assert weight.grad is not None
        distributed.all_reduce(weight.grad)
        found[f"{parts}"] = abs(weight.grad.norm().item() / gradient.norm().item() - 1)
    return found


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
    whole, gradient = with_gradients(lambda w: sf.cross_entropy(features @ w.T, given, label_smoothing=0.1), WEIGHT)
    cut = slice(0, 9) if classes.get_local_rank() == 0 else slice(9, CLASSES)
    ends = (0, 4, 13) if rows.get_local_rank() == 0 else (13, 17, 40)
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    items = sf.parallel.count_items([given[part] for part in parts], rows.get_group())
    local = WEIGHT[cut].clone().requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for part in parts:
        each = sf.parallel.cross_entropy(
            features[part] @ local.T, given[part], classes.get_group(), label_smoothing=0.1, num_items=items
        )
        each.backward()
        loss += each.detach()
    assert local.grad is not None
    distributed.all_reduce(local.grad, group=rows.get_group())
    distributed.all_reduce(loss, group=rows.get_group())
    return {"loss": off(loss, whole), "gradient": off(local.grad, gradient[cut]), "exactly 0": items.item() - 25}


@case
def dtensor_of_rows_and_classes(rank: int, world: int) -> dict[str, float]:
    """A DTensor whose rows and classes are both sharded; each pair of ranks is given the labels of its rows."""
    if world != 4:
        return {}
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("rows", "classes"))
    alone, gradient = with_gradients(functools.partial(smoothed, reduction="sum"), logits())
    spread = distribute_tensor(logits(), mesh, [Shard(0), Shard(1)]).requires_grad_()
    own = distribute_tensor(labels(), mesh["rows"], [Shard(0)]).to_local()
    loss = sf.parallel.cross_entropy(spread, own, label_smoothing=0.1, reduction="sum")
    loss.backward()
    total = loss.detach()
    distributed.all_reduce(total, group=mesh.get_group("rows"))
    assert isinstance(spread.grad, DTensor)
    return {"loss": off(total, alone), "gradient": off(spread.grad.full_tensor(), gradient)}


@case
def kept_for_backward(rank: int, world: int) -> dict[str, Any]:
    """The sizes of what autograd saves, and whether a second derivative is refused."""
    own = place(rank, world)
    local = logits()[:, own.start : own.stop].clone().requires_grad_()
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        loss = split(local, reduction="none")
    twice = raised(lambda: torch.autograd.grad(loss.sum(), local, create_graph=True))
    return {"largest": max(sizes), "logits": local.numel(), "twice": twice}


@case
def compiled(rank: int, world: int) -> list[float]:
    """A function that is compiled around the loss: the loss itself runs as it is."""
    if world != 2:
        return []  # dynamo takes seconds to load
    own = place(rank, world)
    step = torch.compile(lambda z: 2 * split(z + 1), backend="eager")
    loss, _ = with_gradients(step, logits()[:, own.start : own.stop])
    return [off(loss, 2 * smoothed(logits()))]


def run_cases(rank: int, folder: Path, world: int, **store: Any) -> None:
    faulthandler.dump_traceback_later(240, exit=True)  # a rank that waits for ever says where
    distributed.init_process_group("gloo", rank=rank, world_size=world, **store)
    torch.set_num_threads(1)
    found = {name: function(rank, world) for name, function in CASES.items()}
    (folder / f"ranks-{world}" / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


def run_made_rank(rank: int, folder: Path, world: int) -> None:
    run_cases(rank, folder, world, init_method=(folder / f"ranks-{world}" / "store").as_uri())


def main() -> None:
    folder, worlds = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    if not worlds:
        run_cases(int(os.environ["RANK"]), folder, int(os.environ["WORLD_SIZE"]))
        return
    importlib.import_module("torch._dynamo")  # of the case of compiled code, once for all ranks
    method = "fork" if sys.platform == "linux" else "spawn"
    for world in worlds:
        start_processes(run_made_rank, (folder, world), nprocs=world, start_method=method)


if __name__ == "__main__":
    main()
