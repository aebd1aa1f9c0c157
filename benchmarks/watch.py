"""What ``sf.probe.watch`` adds to a step of training: time, and memory at its peak; and what it reports of set-ups
whose truth is known, right ones and planted faults (``watch_cases.py``).

    python benchmarks/watch.py --out benchmarks/watch.jsonl
    python benchmarks/watch.py --cases 5 --out benchmarks/watch.jsonl
    python benchmarks/watch.py --device cuda --out rows.jsonl

A causal model of about 100 million parameters takes steps with and without being watched, by turns, so that what else
the machine does falls on both. Each row has the medians of both and of their ratio, and the peak memory of either.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hardware import environment
from torch import nn
from watch_cases import CASES, false_statements, is_named

from sfumato.probe import Watched, watch

SHAPES = {"gpt2": (50257, 768, 12, 12), "small": (8000, 256, 4, 4)}
"""Vocabulary, width, layers and heads."""


class Causal(nn.Module):
    """A decoder with a tied head, as GPT-2 has it."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The logits (B, T, V) of tokens (B, T)."""
        mask = nn.Transformer.generate_square_subsequent_mask(input_ids.shape[1], device=input_ids.device)
        return (
            self.norm(self.body(self.embedding(input_ids) * 0.02, mask=mask, is_causal=True)) @ self.embedding.weight.T
        )


def one_step(model: nn.Module, optimiser: torch.optim.Optimizer, ids: torch.Tensor, watched: bool) -> tuple[Any, Any]:
    """Seconds of one step, by the clock and of the processor; where it is watched, with the hooks already on."""
    with watch(model) if watched else nullcontext() as seen:
        wait(ids)
        start, of_cpu = time.perf_counter(), time.process_time()
        logits = model(ids)
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), label_smoothing=0.1).backward()
        del logits
        optimiser.step()
        optimiser.zero_grad()
        wait(ids)
        took = (time.perf_counter() - start, time.process_time() - of_cpu)
        end = time.perf_counter()
    return took, (seen, time.perf_counter() - end)


def wait(ids: torch.Tensor) -> None:
    if ids.is_cuda:
        torch.cuda.synchronize()


def peak(ids: torch.Tensor) -> float:
    """The most memory so far, in MB."""
    if ids.is_cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(shape: str, sequences: int, length: int, rounds: int, device: str) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Causal(*SHAPES[shape]).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(0, SHAPES[shape][0], (sequences, length), device=device)
    for _ in range(2):
        one_step(model, optimiser, ids, watched=False)
    before = peak(ids)
    plain: list[tuple[float, float]] = []
    under: list[tuple[float, float]] = []
    judged: list[float] = []
    seen: Any = None
    for _ in range(rounds):
        plain.append(one_step(model, optimiser, ids, watched=False)[0])
        took, (seen, end) = one_step(model, optimiser, ids, watched=True)
        under.append(took)
        judged.append(end)
    return {
        "what": "watch", "shape": shape, "parameters": sum(p.numel() for p in model.parameters()), "device": device,
        "tokens": sequences * length, "classes": SHAPES[shape][0], "rounds": rounds,
        **ratios(plain, under),
        "end_s": statistics.median(judged), "peak_plain_mb": round(before), "peak_watched_mb": round(peak(ids)),
        "eps": seen.eps, "normaliser": seen.normaliser,
        **environment(("torch", "sfumato")),
    }  # fmt: skip


def ratios(plain: list[tuple[float, float]], under: list[tuple[float, float]]) -> dict[str, float]:
    """Medians by the clock, and of the seconds of the processor, which other programs do not change as much."""
    found: dict[str, float] = {}
    for at, unit in enumerate(("s", "cpu_s")):
        found[f"plain_{unit}"] = statistics.median(each[at] for each in plain)
        found[f"watched_{unit}"] = statistics.median(each[at] for each in under)
        ratio = statistics.median(w[at] / p[at] for w, p in zip(under, plain, strict=True))
        found["ratio" if unit == "s" else "cpu_ratio"] = ratio
    return found


def count_cases(seeds: int) -> list[dict[str, Any]]:
    """Of each paragraph, right set-ups and faults: how many there are, are named, and have false reports."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in CASES.values():
        kind = "fault" if one.codes else "right"
        row = rows.setdefault(
            (one.paragraph, kind),
            {"what": "watch cases", "paragraph": one.paragraph, "kind": kind, "seeds": seeds, "cases": 0, "named": 0}
            | {"with_false_statement": 0, **environment(("torch", "sfumato"))},
        )
        results: list[Watched] = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            results.append(one.run())
        row["cases"] += 1
        row["named"] += all(is_named(one, seen) for seen in results)
        row["with_false_statement"] += any(false_statements(one, seen) for seen in results)
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["gpt2"], choices=SHAPES)
    parser.add_argument("--sequences", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", type=int, default=0, metavar="SEEDS", help="count set-ups, and measure nothing")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shapes = [(shape, sequences) for shape in options.shapes for sequences in options.sequences]
    measured = (measure(*each, options.length, options.rounds, options.device) for each in shapes)
    for row in count_cases(options.cases) if options.cases else measured:
        print(json.dumps(row))
        if options.out:
            with options.out.open("a") as out:
                out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
