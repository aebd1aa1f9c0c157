"""How long a smoothed loss takes, forward and backward, in multiples of one copy of its logits.

    python benchmarks/loss.py [--shapes …] [--dtypes …] [--rounds 7] [--threads 2] [--questions] [--out FILE]

Everyone gets the same logits in the same process, in several interleaved rounds, so that a machine whose speed drifts
slows all alike; ratios are medians over rounds. Forward and backward through torch.autograd.grad with everyone's
defaults, the gradient dropped between calls. Peers that are not installed are left out and said to be.
Each row of the output file names hardware, versions and commit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from hardware import environment

import sfumato as sf

SHAPES = ("8192x1000", "2048x32000", "512x128256", "65536x10")
EPS = 0.1


def torch_step(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], z: torch.Tensor, y: torch.Tensor):
    def step() -> None:
        leaf = z.detach().requires_grad_()
        torch.autograd.grad(loss(leaf, y), leaf)

    return step


def contestants(z: torch.Tensor, y: torch.Tensor) -> dict[str, Callable[[], object]]:
    """One step of each loss on the same logits, and one copy."""
    spare = torch.empty_like(z)

    def eager(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(z, y, label_smoothing=EPS)

    steps: dict[str, Callable[[], object]] = {
        "copy": lambda: spare.copy_(z),
        "sfumato": torch_step(lambda z, y: sf.cross_entropy(z, y, label_smoothing=EPS), z, y),
        "torch eager": torch_step(eager, z, y),
        "torch.compile": torch_step(torch.compile(eager, dynamic=False), z, y),
    }
    try:
        from timm.loss import LabelSmoothingCrossEntropy
    except ImportError:
        print("timm is not installed: left out")
    else:
        steps["timm"] = torch_step(LabelSmoothingCrossEntropy(EPS), z, y)
    try:
        import jax
        import jax.numpy as jnp
        import optax
    except ImportError:
        print("optax is not installed: left out")
    else:
        classes = z.shape[1]

        def jax_loss(logits, labels):
            target = optax.smooth_labels(jax.nn.one_hot(labels, classes), EPS)
            return optax.softmax_cross_entropy(logits, target).mean()

        gradient = jax.jit(jax.value_and_grad(jax_loss))
        logits, labels = jnp.asarray(z.float().numpy(), dtype=str(z.dtype)[6:]), jnp.asarray(y.numpy())
        steps["optax, jit"] = lambda: jax.block_until_ready(gradient(logits, labels))
    return steps


def questions() -> dict[str, dict[str, Callable[[], object]]]:
    """Smaller questions, each a set of contestants; the first of a set is what the others are measured against."""
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(8192, 1000, generator=generator), torch.randint(0, 1000, (8192,), generator=generator)
    some = torch.where(torch.rand(8192, generator=generator) < 0.2, -100, y)
    weight, q = torch.rand(1000, generator=generator) + 0.5, torch.randn(8192, 1000, generator=generator).softmax(1)
    pixels = torch.randn(16, 150, 128, 128, generator=generator)
    classes = torch.randint(0, 150, (16, 128, 128), generator=generator)
    tiny, few = torch.randn(4, 10, generator=generator), torch.randint(0, 10, (4,), generator=generator)

    def ours(logits, target, **options):
        options = options or {"label_smoothing": EPS}
        return torch_step(lambda z, y: sf.cross_entropy(z, y, **options), logits, target)

    def torchs(logits, target, **options):
        return torch_step(lambda z, y: F.cross_entropy(z, y, **options), logits, target)

    def fresh() -> None:
        sf.release_buffers()
        plain()

    plain = ours(z, y)

    def towards(target):
        table = getattr(target, "table", None)
        if table is not None:  # float32, as sf.class_tables makes it unless float64 is asked for
            target = sf.smooth_rows(y, table.float())
        return torch_step(lambda z, y: sf.cross_entropy(z, target), z, y)

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.targets.registry import EXAMPLES, example

    return {
        "8192x1000 float32, targets against the plain smoothed one": {
            "plain smoothed": plain,
            **{name: towards(example(name, y, 1000, torch.float32).build()) for name in EXAMPLES},
            "class weights": ours(z, y, label_smoothing=EPS, weight=weight),
            "20 % ignored": ours(z, some),
            "fresh gradient memory": fresh,
        },
        "8192x1000 float32, probabilities": {"sfumato": ours(z, q, label_smoothing=0.0), "torch eager": torchs(z, q)},
        "8192x1000 float32, probabilities smoothed on top": {
            "sfumato": ours(z, q),
            "torch eager": torchs(z, q, label_smoothing=EPS),
        },
        "16x150x128x128 float32, classes on axis 1": {
            "sfumato": ours(pixels, classes),
            "torch eager": torchs(pixels, classes, label_smoothing=EPS),
        },
        "8192x1000 float32, inside torch.compile": {
            "sfumato, compiled around": torch_step(
                torch.compile(lambda z, y: sf.cross_entropy(z, y, label_smoothing=EPS), dynamic=False), z, y
            ),
            "torch.compile": torch_step(
                torch.compile(lambda z, y: F.cross_entropy(z, y, label_smoothing=EPS), dynamic=False), z, y
            ),
        },
        "torch's own threads: a 512x512 matmul, alone and alternating with the loss": matmuls(),
        "4x10 float32": {"sfumato": ours(tiny, few), "torch eager": torchs(tiny, few, label_smoothing=EPS)},
    }


def matmuls() -> dict[str, Callable[[], object]]:
    """Twenty products of matrices, alone, with twenty losses between them, and those losses alone.

    Where both use one pool of threads, the second is the first plus the third.
    """
    generator = torch.Generator().manual_seed(0)
    a, z = torch.randn(512, 512, generator=generator), torch.randn(512, 1000, generator=generator)
    y = torch.randint(0, 1000, (512,), generator=generator)
    loss = torch_step(lambda z, y: sf.cross_entropy(z, y, label_smoothing=EPS), z, y)

    def product() -> None:
        torch.mm(a, a)

    def repeat(*steps: Callable[[], object]) -> Callable[[], object]:
        return lambda: [step() for _ in range(20) for step in steps]

    return {
        "matmul alone": repeat(product),
        "matmul and loss in turn": repeat(product, loss),
        "loss alone": repeat(loss),
    }


def measure(steps: dict[str, Callable[[], object]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds a call, one number a round; the contestants take turns within a round."""
    calls: dict[str, int] = {}
    for name, step in steps.items():
        for _ in range(2):  # compilation, and memory touched for the first time
            step()
        start = time.perf_counter()
        step()
        calls[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                step()
            times[name].append((time.perf_counter() - start) / calls[name])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each contestant in each round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", action="store_true", help="also other targets, images and tiny batches")
    parser.add_argument("--out", type=Path, default=None, help="append one JSON object a row to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = environment(("sfumato", "torch", "numpy", "timm", "jax", "optax"))
    print(json.dumps(about))

    print(f"{'shape':>12} {'dtype':>9}  multiples of one copy (in brackets: times slower than sfumato)")
    gains: dict[str, list[float]] = {}
    for shape in options.shapes.split(","):
        rows, classes = map(int, shape.split("x"))
        for name in options.dtypes.split(","):
            torch._dynamo.reset()
            generator = torch.Generator().manual_seed(0)
            z = torch.randn(rows, classes, generator=generator).to(getattr(torch, name))
            y = torch.randint(0, classes, (rows,), generator=generator)
            times = measure(contestants(z, y), options.rounds, options.seconds)
            copies = {
                who: statistics.median(t / c for t, c in zip(each, times["copy"], strict=True))
                for who, each in times.items()
            }
            against = {
                who: statistics.median(t / s for t, s in zip(each, times["sfumato"], strict=True))
                for who, each in times.items()
            }
            told = "  ".join(
                f"{who} {copies[who]:.1f}" + (f" ({against[who]:.1f}×)" if who != "sfumato" else "")
                for who in times
                if who != "copy"
            )
            print(f"{shape:>12} {name:>9}  {told}", flush=True)
            for who in times:
                gains.setdefault(who, []).append(against[who])
            if options.out is not None:
                with options.out.open("a") as file:
                    row = {"shape": shape, "dtype": name, "copies": copies, "against_sfumato": against}
                    seconds = {who: statistics.median(each) for who, each in times.items()}
                    file.write(json.dumps({**row, "seconds": seconds, **about}) + "\n")
    if options.questions:
        for question, steps in questions().items():
            times = measure(steps, options.rounds, options.seconds)
            base = next(iter(steps))
            ratios = {
                who: statistics.median(t / b for t, b in zip(each, times[base], strict=True))
                for who, each in times.items()
            }
            seconds = {who: statistics.median(each) for who, each in times.items()}
            print(f"{question}: {base} {1e6 * seconds[base]:.0f} µs", end="")
            print("".join(f", {who} {ratio:.2f}×" for who, ratio in ratios.items() if who != base), flush=True)
            if options.out is not None:
                with options.out.open("a") as file:
                    row = {"question": question, "against": base, "ratios": ratios, "seconds": seconds}
                    file.write(json.dumps({**row, **about}) + "\n")
    for who in ("torch eager", "torch.compile", "timm", "optax, jit"):
        if who in gains:
            print(f"geometric mean of {who} against sfumato: {statistics.geometric_mean(gains[who]):.1f}×")


if __name__ == "__main__":
    main()
