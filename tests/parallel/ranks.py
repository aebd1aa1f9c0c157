"""What every rank does in the tests of split losses; torchrun starts it, and each rank writes what it found.

    python -m torch.distributed.run --nproc-per-node 3 -m tests.parallel.ranks FOLDER

A case is a function of this rank's place that gives plain values. ``test_parallel.py`` says what they must be.
"""

from __future__ import annotations

import faulthandler
import functools
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import sfumato as sf
from sfumato.parallel import functional
from sfumato.parallel.row_numbers import ClassRange
from tests.parallel.simulated import own_target
from tests.targets.registry import EXAMPLES, example

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
    kept = functional.is_told
    for name, told in (("read", kept), ("not read", lambda place, device: True)):
        functional.is_told = told  # what an accelerator does
        loss = sf.parallel.cross_entropy(local, labels(), start=own.start, num_classes=CLASSES, label_smoothing=0.1)
        found[name] = abs(loss.item() - alone.item())
    functional.is_told = kept
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
        functional.RankGroup._agreed.clear()
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
        given = torch.tensor([0, 3, 4 * world - 1])
        loss = sf.parallel.cross_entropy(whole[:, 4 * rank : stop], given, label_smoothing=0.1)
        found.append(abs(loss.item() - sf.cross_entropy(whole, given, label_smoothing=0.1).item()))
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


def raised(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


@case
def errors(rank: int, world: int) -> dict[str, list[str]]:
    """Each call is wrong on the last rank, or on all."""
    own, last = place(rank, world), rank == world - 1
    local, given = logits()[:, own.start : own.stop], labels()
    sf.parallel.cross_entropy(local, given)  # the ranks know each other's classes from here on
    outside = given.clone()
    outside[4] = CLASSES
    own_outside = outside if last else given
    other = given.flip(0) if last else given
    probs = logits(seed=5).softmax(1)
    split = functools.partial(sf.parallel.cross_entropy, local)
    calls: dict[str, Callable[[], Any]] = {
        "a label outside": lambda: split(outside),
        "a label outside on one rank": lambda: split(own_outside),
        "other labels": lambda: split(other),
        "fewer rows": lambda: sf.parallel.cross_entropy(local[: ROWS - last], given[: ROWS - last]),
        "another strength": lambda: split(given, label_smoothing=0.2 if last else 0.1),
        "another dtype": lambda: sf.parallel.cross_entropy(local.float() if last else local, given),
        "labels that are a list": lambda: split([1, 2] if last else given),  # type: ignore[arg-type]
        "logits that are a list": lambda: sf.parallel.cross_entropy([[1.0]] if last else local, given),  # type: ignore[arg-type]
        "an overlap": lambda: split(given, start=max(own.start - last, 0), num_classes=CLASSES),
        "a hole": lambda: split(given, start=own.start + last, num_classes=CLASSES + 1),
        "too few classes": lambda: split(given, num_classes=CLASSES + 3),
        "a start on some": lambda: split(given, start=own.start if last else None),
        "a negative start": lambda: split(given, start=-1),
        "all probabilities": lambda: split(probs),
        "a dense target of all classes": lambda: split(sf.from_probs(probs)),
        "a teacher beside the label": lambda: split(sf.distil(given, probs, 0.5)),
        "a gradient for the target": lambda: split(probs[:, own.start : own.stop].clone().requires_grad_()),
        "a weight of the slice": lambda: split(given, weight=torch.ones(own.stop - own.start + 1)),
        "items of a sum": lambda: split(given, reduction="sum", num_items=3),
        "negative items": lambda: split(given, num_items=-1),
        "no reduction": lambda: split(given, reduction="average"),
        "nothing wrong": lambda: split(given),
    }
    return {name: raised(call) for name, call in calls.items()}


@case
def outside_the_group(rank: int, world: int) -> list[str]:
    group = distributed.new_group([0])
    if rank == 0:
        loss = sf.parallel.cross_entropy(logits(), labels(), group)
        return [str(abs(loss.item() - sf.cross_entropy(logits(), labels()).item()))]
    return raised(lambda: sf.parallel.cross_entropy(logits(), labels(), group))


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


def main() -> None:
    faulthandler.dump_traceback_later(240, exit=True)  # a rank that waits for ever says where
    distributed.init_process_group("gloo")
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.set_num_threads(1)
    found = {name: function(rank, world) for name, function in CASES.items()}
    (Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
