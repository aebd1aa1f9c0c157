"""How long the loss of a last layer takes without its logits, and how much memory, against the ways that make them.

    python benchmarks/head.py [--shapes 2048x1024x32000] [--dtypes float32,bfloat16] [--rounds 3] [--out FILE]

A shape is rows × features × classes; 4096x1024x128256 is that of a language model, and takes half a minute a step. Each
step is forward and backward, to the gradients of input and weight. Everyone gets the same tensors in the same process,
in interleaved rounds; ratios are medians over rounds. Memory is the peak of a process of its own above the inputs and
their gradients, after one small call.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from hardware import environment

import sfumato as sf

EPS = 0.1


def contestants(x: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> dict[str, Callable[[], object]]:
    """One step of each way."""
    classes = len(weight)
    generator = torch.Generator().manual_seed(1)
    some = torch.where(torch.rand(len(labels), generator=generator) < 0.2, -100, labels)
    prior = torch.rand(classes, generator=generator).softmax(0)
    top = torch.randint(0, classes // 20, (len(labels), 20), generator=generator) * 20 + torch.arange(20)
    probs = torch.rand(len(labels), 20, generator=generator).softmax(1) * 0.9

    def step(loss: Callable[[], torch.Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(), (x, weight))

    def fused(target, **options) -> Callable[[], object]:
        return step(lambda: sf.linear_cross_entropy(x, weight, target, **options))

    def unfused(target, **options) -> Callable[[], object]:
        return step(lambda: sf.cross_entropy(F.linear(x, weight), target, **options))

    to_prior, stored = sf.smooth_prior(labels, prior, EPS), sf.distil_top(labels, top, probs, 0.5, rest="uniform")
    ways = {
        "fused, smoothed": fused(labels, label_smoothing=EPS),
        "layer and sf.cross_entropy": unfused(labels, label_smoothing=EPS),
        "fused, hard": fused(labels),
        "fused, a prior": fused(to_prior),
        "layer and sf.cross_entropy, a prior": unfused(to_prior),
        "fused, stored top 20": fused(stored),
        "layer and sf.cross_entropy, stored top 20": unfused(stored),
        "fused, 20 % ignored": fused(some, label_smoothing=EPS),
        "layer and sf.cross_entropy, 20 % ignored": unfused(some, label_smoothing=EPS),
    }
    chunked = getattr(F, "linear_cross_entropy", None)
    if chunked is None:
        print("this torch has no linear_cross_entropy: left out")
    else:
        options = torch.nn.LinearCrossEntropyOptions()
        ways["torch's chunks, hard"] = step(lambda: chunked(x, weight, labels, options=options))
        ways["torch's, smoothed"] = step(lambda: chunked(x, weight, labels, label_smoothing=EPS))
    return ways


def tensors(shape: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The input, the weight and the labels."""
    rows, features, classes = map(int, shape.split("x"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=generator).to(dtype).requires_grad_()
    weight = (torch.randn(classes, features, generator=generator) / features**0.5).to(dtype).requires_grad_()
    return x, weight, torch.randint(0, classes, (rows,), generator=generator)


def status(field: str) -> float:
    """A number of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def peak(shape: str, dtype: torch.dtype, way: str) -> float:
    """MB above the inputs and their gradients, of one step in this process."""
    contestants(*tensors("64x64x256", dtype))[way]()
    x, weight, labels = tensors(shape, dtype)
    step = contestants(x, weight, labels)[way]
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    gradients = step()
    return status("VmHWM") - before - (x.nbytes + weight.nbytes) / 2**20 + 0 * len(gradients)  # pyright: ignore[reportArgumentType]


def peak_elsewhere(shape: str, dtype: str, way: str, threads: int) -> float:
    """The same in a process of its own."""
    told = subprocess.run(
        [sys.executable, __file__, "--shapes", shape, "--dtypes", dtype, "--threads", str(threads), "--peak", way],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(told.stdout.split()[-1])


def measure(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds a step, one number a round; the ways take turns within a round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="2048x1024x32000")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", default=None, help="some of the ways, by their names, separated by semicolons")
    parser.add_argument("--peak", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=None, help="append one JSON object a row to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        print(peak(options.shapes, getattr(torch, options.dtypes), options.peak))
        return
    about = environment(("sfumato", "torch", "numpy"))
    print(json.dumps(about))
    for shape in options.shapes.split(","):
        for name in options.dtypes.split(","):
            ways = contestants(*tensors(shape, getattr(torch, name)))
            if options.ways is not None:
                ways = {way: ways[way] for way in options.ways.split(";")}
            times = measure(ways, options.rounds)
            seconds = {way: statistics.median(each) for way, each in times.items()}
            memory = {way: peak_elsewhere(shape, name, way, options.threads) for way in ways}
            print(f"{shape} {name}: seconds a step, times the same target's unfused, MB above inputs and gradients")
            against: dict[str, float] = {}
            for way, each in times.items():
                base = "layer and sf.cross_entropy" + way.removeprefix("fused").replace(", smoothed", "").replace(
                    ", hard", ""
                )
                base = base if base in times else "layer and sf.cross_entropy"
                against[way] = statistics.median(t / b for t, b in zip(each, times[base], strict=True))
                print(f"  {way:42} {seconds[way]:8.2f} s  {against[way]:5.2f}×  {memory[way]:7.0f} MB", flush=True)
            if options.out is not None:
                row = {"shape": shape, "dtype": name, "seconds": seconds, "against_unfused": against, "peak_mb": memory}
                with options.out.open("a") as file:
                    file.write(json.dumps({**row, **about}) + "\n")


if __name__ == "__main__":
    main()
