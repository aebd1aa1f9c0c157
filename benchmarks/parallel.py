"""How far split losses are from the exact one: ours, torch's loss_parallel, and the formulas of three other libraries.

    python -m torch.distributed.run --nproc-per-node 4 benchmarks/parallel.py --out benchmarks/parallel.jsonl

Every rank holds a quarter of the classes. torch's loss_parallel is run as it is. Megatron-Core, TransformerEngine and
Liger need a GPU: their formulas are written out below, in float32 as there, with real exchanges between the ranks (the
sources were read at 00611e6e, 294e7507 and 7121992e). Truth is the reference in float64. The error of a loss is the
largest over rows and ranks, relative to the loss; that of a gradient is the largest over all entries.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hardware import environment
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn import functional as F

import sfumato as sf

Loss = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]  # local logits, labels, ε → loss a row, local gradient


class Question(NamedTuple):
    """Random logits and labels, and how they are smoothed."""

    classes: int
    rows: int
    eps: float
    scale: float  # of the logits
    words: str


QUESTIONS = (
    Question(1000, 256, 0.0, 4.0, "hard labels"),
    Question(1000, 256, 0.1, 4.0, "ε = 0.1"),
    Question(32000, 64, 0.1, 4.0, "ε = 0.1"),
    Question(1000, 256, 0.1, 40.0, "ε = 0.1, logits that are far apart"),
    Question(1002, 256, 0.1, 4.0, "ε = 0.1, uneven slices"),
)


def added(values: Tensor) -> Tensor:
    distributed.all_reduce(values)
    return values


def largest(values: Tensor) -> Tensor:
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return values


def shared_parts(local: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What all three compute first: d = z − max z, Σ e^d, log Σ, d of the label, which rows have it here, and where."""
    start = distributed.get_rank() * local.shape[1]
    d = local - largest(local.max(1).values).unsqueeze(1)
    here = (labels >= start) & (labels < start + local.shape[1])
    place = torch.where(here, labels - start, 0)
    of_label = added(torch.where(here, d.gather(1, place.unsqueeze(1)).squeeze(1), 0.0))
    total = added(d.exp().sum(1))
    return d, total, total.log(), of_label, here, place


def with_label(grad: Tensor, here: Tensor, place: Tensor, mass: float) -> Tensor:
    """The gradient with the label's own mass taken off, on the rank that has the label."""
    return grad.scatter_add(1, place.unsqueeze(1), -mass * here.to(grad.dtype).unsqueeze(1))


def megatron(local: Tensor, labels: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The classes of the rank alone are smoothed over; log p is the log of a probability that may be 0."""
    d, total, lse, of_label, here, place = shared_parts(local, labels)
    p, count = d.exp() / total.unsqueeze(1), local.shape[1]
    s = eps * count / (count - 1)
    loss = (1 - s) * (lse - of_label)
    loss = loss - s * p.log().mean(1) if eps else loss
    return loss, with_label(p - s / count, here, place, 1 - s)


def transformer_engine(local: Tensor, labels: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The sum of the logits in the value is the rank's own; the gradient counts the classes of all ranks."""
    d, total, lse, of_label, here, place = shared_parts(local, labels)
    count = local.shape[1] * distributed.get_world_size()
    top = local[:, 0] - d[:, 0]
    loss = (1 - eps) * (lse - of_label) - (eps / count * local).sum(1) + eps * (top + lse)
    return loss if eps else lse - of_label, with_label(d.exp() / total.unsqueeze(1) - eps / count, here, place, 1 - eps)


def liger(over: str, scope: str) -> Loss:
    def loss(local: Tensor, labels: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Log p is the log of an exponential that may be 0, less the log of the sum."""
        d, total, lse, of_label, here, place = shared_parts(local, labels)
        count = local.shape[1] * (distributed.get_world_size() if scope == "global" else 1)
        s = eps * count / (count - 1) if over == "others" else eps
        log_p = (d.exp().log() - lse.unsqueeze(1)).sum(1)
        log_p = added(log_p) if scope == "global" else log_p
        each = (1 - s) * (lse - of_label) - s * log_p / count if eps else lse - of_label
        return each, with_label(d.exp() / total.unsqueeze(1) - s / count, here, place, 1 - s)

    return loss


def torch_parallel(local: Tensor, labels: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As torch has it, on a DTensor."""
    world = distributed.get_world_size()
    mesh = init_device_mesh("cpu", (world,))
    sizes = added(torch.tensor(local.shape[1]))
    shape = torch.Size([len(local), int(sizes)])
    spread = DTensor.from_local(local, mesh, [Shard(1)], shape=shape, stride=(shape[1], 1)).requires_grad_()
    with loss_parallel():
        loss = F.cross_entropy(spread, labels, label_smoothing=eps, reduction="none")
        loss.sum().backward()
    assert isinstance(loss, DTensor)
    assert isinstance(spread.grad, DTensor)
    return loss.to_local().detach(), spread.grad.to_local()


def ours(over: str) -> Loss:
    def loss(local: Tensor, labels: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        leaf = local.clone().requires_grad_()
        each = sf.parallel.cross_entropy(leaf, labels, label_smoothing=eps, over=over, reduction="none")
        each.sum().backward()
        assert leaf.grad is not None
        return each.detach(), leaf.grad

    return loss


CONTESTANTS: dict[str, tuple[str, Loss]] = {
    "sfumato": ("all", ours("all")),
    "sfumato, over the others": ("others", ours("others")),
    "torch loss_parallel": ("all", torch_parallel),
    "Megatron-Core": ("others", megatron),
    "TransformerEngine": ("all", transformer_engine),
    "Liger, global": ("all", liger("all", "global")),
    "Liger, formula megatron, partition": ("others", liger("others", "partition")),
}


def measured(question: Question, loss: Loss, over: Any) -> dict[str, Any]:
    rank, world = distributed.get_rank(), distributed.get_world_size()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(question.rows, question.classes, generator=generator) * question.scale
    labels = torch.randint(0, question.classes, (question.rows,), generator=generator)
    options: dict[str, Any] = {"label_smoothing": question.eps, "over": over, "reduction": "none"}
    exact, gradient = sf.reference.cross_entropy(z, labels, **options), sf.reference.gradient(z, labels, **options)
    size = -(-question.classes // world)
    own = slice(min(rank * size, question.classes), min(rank * size + size, question.classes))
    try:
        value, grad = loss(z[:, own].contiguous(), labels, question.eps)
        off = ((value.double() - exact).abs() / exact).max()
        off_gradient = (grad.double() - gradient[:, own]).abs().max()
        errors = largest(torch.stack([off, off_gradient])).tolist()
        return dict(
            zip(("loss", "gradient"), (str(each) if math.isinf(each) else each for each in errors), strict=True)
        )
    except (RuntimeError, AssertionError, ValueError) as error:
        return {"refuses": str(error).splitlines()[0][:160]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    rows = []
    for question in QUESTIONS:
        for who, (over, loss) in CONTESTANTS.items():
            row = {**question._asdict(), "who": who, "over": over, **measured(question, loss, over)}
            rows.append({**row, "ranks": distributed.get_world_size()})
            if distributed.get_rank() == 0:
                told = row.get("refuses") or f"loss {float(row['loss']):.1e}   gradient {row['gradient']:.1e}"
                print(f"{question.classes:>6} classes, {question.words:<36} {who:<36} {told}", flush=True)
    if distributed.get_rank() == 0 and out is not None:
        about = environment(["torch", "numpy"])
        out.write_text("".join(json.dumps({**row, **about}) + "\n" for row in rows), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
