"""What every rank does in the tests of split losses; each writes what it found to FOLDER/ranks-WORLD/RANK.json.

    python -m torch.distributed.run --nproc-per-node 3 -m tests.parallel.ranks FOLDER
    python -m tests.parallel.ranks FOLDER 2 4

The second line makes the ranks itself, two and then four, from one process that has everything loaded.

A case is a function of this rank's place that gives plain values. ``test_parallel.py`` says what they must be. Cases of
what is refused, and of ranks with rows of their own, are in files beside this one.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
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
from tests.parallel import cases_of_heads, cases_of_rows, cases_refused
from tests.parallel.common import CASES, CLASSES, ROWS, case, compared, cuts, labels, logits, place, raised
from tests.targets.registry import EXAMPLES, example

__all__ = ["cases_of_heads", "cases_of_rows", "cases_refused"]  # their cases are entered when they are loaded


@case
def targets(rank: int, world: int) -> dict[str, dict[str, float]]:
    found = {}
    for name in EXAMPLES:
        given = labels()
        given[3] = -1
        found[name] = compared(logits(), example(name, given, CLASSES).build(), rank, world)
    return found


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


@case
def padding(rank: int, world: int) -> dict[str, Any]:
    """Slices of one size with columns beyond the last class, which hold NaN."""
    size = -(-CLASSES // world) + 2
    start = min(rank * size, CLASSES)
    stop = min(start + size, CLASSES)
    local = torch.full((ROWS, size), torch.nan, dtype=torch.float64)
    local[:, : stop - start] = logits()[:, start:stop]
    local.requires_grad_()
    loss = sf.parallel.cross_entropy(local, labels(), num_classes=CLASSES, label_smoothing=0.1)
    loss.backward()
    leaf = logits().requires_grad_()
    alone = sf.cross_entropy(leaf, labels(), label_smoothing=0.1)
    alone.backward()
    assert local.grad is not None
    assert leaf.grad is not None
    off = local.grad[:, : stop - start] - leaf.grad[:, start:stop]
    return {
        "loss": abs(loss.item() - alone.item()),
        "gradient": float(off.abs().max()) if off.numel() else 0.0,
        "padding": local.grad[:, stop - start :].abs().sum().item(),
    }


@case
def told_places(rank: int, world: int) -> dict[str, Any]:
    """Slices in the opposite order of ranks, said with start and num_classes; read and not read by the others."""
    own = place(world - 1 - rank, world)
    local = logits()[:, own.start : own.stop].clone()
    alone = sf.cross_entropy(logits(), labels(), label_smoothing=0.1)
    found = {}
    kept = layout.is_told
    for name, told in (("read", kept), ("not read", lambda place, device: True)):
        layout.is_told = told  # what an accelerator does
        loss = sf.parallel.cross_entropy(local, labels(), start=own.start, num_classes=CLASSES, label_smoothing=0.1)
        found[name] = abs(loss.item() - alone.item())
    layout.is_told = kept
    return found


@case
def dtensors(rank: int, world: int) -> dict[str, Any]:
    mesh = init_device_mesh("cpu", (world,))
    whole = logits().requires_grad_()
    spread = distribute_tensor(whole.detach(), mesh, [Shard(1)]).requires_grad_()
    loss = sf.parallel.cross_entropy(spread, labels(), label_smoothing=0.1, over="others")
    loss.backward()
    alone = sf.cross_entropy(whole, labels(), label_smoothing=0.1, over="others")
    alone.backward()
    assert isinstance(spread.grad, DTensor)
    assert whole.grad is not None
    off = spread.grad.full_tensor() - whole.grad
    replicated = distribute_tensor(labels(), mesh)
    again = sf.parallel.cross_entropy(spread, replicated, label_smoothing=0.1, over="others")
    return {
        "loss": abs(loss.item() - alone.item()),
        "gradient": off.abs().max().item(),
        "labels as a DTensor": abs(again.item() - alone.item()),
    }


@case
def one_row_without_a_batch(rank: int, world: int) -> dict[str, float]:
    own = place(rank, world)
    loss = sf.parallel.cross_entropy(logits()[0, own.start : own.stop], torch.tensor(4), label_smoothing=0.1)
    return {"loss": abs(loss.item() - sf.cross_entropy(logits()[0], torch.tensor(4), label_smoothing=0.1).item())}


@case
def bits(rank: int, world: int) -> list[str]:
    own = place(rank, world)
    loss = sf.parallel.cross_entropy(
        logits(torch.float32)[:, own.start : own.stop], labels(), label_smoothing=0.1, reduction="none"
    )
    return [value.hex() for value in loss.tolist()]


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
            found.append(abs(loss.item() - sf.cross_entropy(whole, target, **options).item()))
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
        found.append(abs(loss.item() - sf.cross_entropy(whole, given, label_smoothing=0.1).item()))
    return found


@case
def kept_for_backward(rank: int, world: int) -> dict[str, Any]:
    """The sizes of what autograd saves, and whether a second derivative is refused."""
    own = place(rank, world)
    local = logits()[:, own.start : own.stop].clone().requires_grad_()
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        loss = sf.parallel.cross_entropy(local, labels(), label_smoothing=0.1, reduction="none")
    twice = raised(lambda: torch.autograd.grad(loss.sum(), local, create_graph=True))
    return {"largest": max(sizes), "logits": local.numel(), "twice": twice}


@case
def compiled(rank: int, world: int) -> dict[str, float]:
    """A function that is compiled around the loss: the loss itself runs as it is."""
    if world != 2:
        return {}  # dynamo takes seconds to load
    own = place(rank, world)
    local = logits()[:, own.start : own.stop].clone().requires_grad_()

    @torch.compile(backend="eager")
    def step(z: Tensor, y: Tensor) -> Tensor:
        return 2 * sf.parallel.cross_entropy(z + 1, y, label_smoothing=0.1)

    loss = step(local, labels())
    loss.backward()
    return {"loss": abs(loss.item() - 2 * sf.cross_entropy(logits(), labels(), label_smoothing=0.1).item())}


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
