"""How well smoothing is inferred from logits: MLPs trained with known strengths, and with none.

    python benchmarks/infer_smoothing.py [--mnist FILE.npz] [--out FILE]

FILE.npz holds X (images) and y, as mnist-7k.npz does; without it only digits and mixtures of Gaussians are used. None
of these seeds, widths and budgets shaped the thresholds in sfumato/evaluate/inferred_smoothing.py. One line a model and
kind of rows goes to the output; at the end stands the trade between the width of held-out intervals and how often they
cover.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

import sfumato as sf
from sfumato.evaluate.inferred_smoothing import judge

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def split(x: np.ndarray, y: np.ndarray, train: int, seed: int, most: int = 2500) -> Data:
    order = np.random.default_rng(seed).permutation(len(y))
    fit, rest = order[:train], order[train : train + most]
    mean, deviation = x[fit].mean(0), x[fit].std(0) + 0.1
    scaled = ((x - mean) / deviation).astype(np.float32)
    return scaled[fit], y[fit], scaled[rest], y[rest]


def mixture(classes: int, train: int, dimensions: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dimensions)) * 0.9
    y = rng.integers(classes, size=train + 2500)
    return split(centres[y] + rng.normal(size=(len(y), dimensions)), y, train, seed)


def train(data: Data, eps: float, *, seed: int, epochs: int = 40, width: int = 256, depth: int = 2, bn: bool = False,
          optimiser: str = "adam", lr: float = 1e-3, decay: float = 0.0, cosine: bool = True):  # fmt: skip
    x, y, rest, _ = (torch.from_numpy(np.ascontiguousarray(part)) for part in data)
    classes = int(max(data[1].max(), data[3].max())) + 1
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    widths = [x.shape[1], *[width] * depth]
    for a, b in itertools.pairwise(widths):
        layers += [torch.nn.Linear(a, b), *([torch.nn.BatchNorm1d(b)] if bn else []), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], classes))
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    extra = {"momentum": 0.9} if optimiser == "sgd" else {}
    steps = kinds[optimiser](model.parameters(), lr=lr, weight_decay=decay, **extra)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(steps, epochs * math.ceil(len(y) / 64))
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(64):
            loss = F.cross_entropy(model(x[batch]), y[batch], label_smoothing=eps)
            steps.zero_grad()
            loss.backward()
            steps.step()
            if cosine:
                schedule.step()
    model.eval()
    with torch.no_grad():
        return {"train": (model(x).numpy(), data[1]), "heldout": (model(rest).numpy(), data[3])}


def jobs(mnist: Path | None, more: int = 0) -> Iterator[tuple[str, Data, float, str, dict[str, Any]]]:
    """Name, data, strength, what it is spread over, and how to train; ``more`` is added to every seed."""
    digits = load_digits()
    sources = {
        "digits": lambda seed: split(digits.data / 16, digits.target, 1000, seed),
        "8 Gaussians": lambda seed: mixture(8, 3000, 24, seed),
    }
    if mnist is not None:
        with np.load(mnist) as file:
            images, labels = file["X"].reshape(len(file["y"]), -1) / 255.0, file["y"]
        sources = {"mnist": lambda seed: split(images, labels, 3800, seed)} | sources
    for name, source in sources.items():
        data = source(61 + more)
        for over in ("all", "others"):
            for eps in (0.05, 0.1, 0.2, 0.4):
                yield name, data, eps, over, {"seed": 62 + more}
        for eps in (0.05, 0.1, 0.2, 0.4):
            yield f"{name}, SGD", data, eps, "all", {"seed": 63 + more, "optimiser": "sgd", "lr": 0.05, "width": 128}
        yield name, data, 0.0, "all", {"seed": 62 + more}
        for epochs in (1, 2, 4, 8):
            short = {"epochs": epochs, "cosine": False}
            yield f"{name}, early", data, 0.0, "all", {"seed": 64 + more, **short}
            yield f"{name}, early, BN", data, 0.0, "all", {"seed": 65 + more, **short, "bn": True}
        for decay in (1e-4, 1e-3, 1e-2):
            options = {"seed": 66 + more, "optimiser": "sgd", "lr": 0.05, "decay": decay}
            yield f"{name}, decay {decay:g}", data, 0.0, "all", options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--repeats", type=int, default=3, help="of everything, with other seeds")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    told: list[dict[str, Any]] = []
    with open(options.out, "w", encoding="utf-8") as out:
        everything = (job for repeat in range(options.repeats) for job in jobs(options.mnist, 100 * repeat))
        for name, data, eps, over, how in everything:
            classes = int(data[1].max()) + 1
            eps_all = float(sf.theory.convert_eps(eps, classes, frm=over, to="all"))
            for kind, (logits, labels) in train(data, eps_all, **how).items():
                evidence = judge(sf.evaluate.per_row(logits=logits, labels=labels), classes, kind)
                found = evidence.smoothing
                row: dict[str, Any] = {"data": name, "rows": kind, "eps": eps, "over": over, "eps_all": eps_all, **how}
                row["answer"] = evidence.answer
                row["accuracy"] = float((logits.argmax(1) == labels).mean())
                row["found"] = found and {"eps_all": found.eps_all, "low": found.low, "high": found.high}
                told.append(row)
                out.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    summarise(told)


def summarise(told: list[dict[str, Any]]) -> None:
    for kind in ("train", "heldout"):
        smoothed = [row for row in told if row["rows"] == kind and row["eps"] > 0]
        plain = [row for row in told if row["rows"] == kind and row["eps"] == 0]
        hits = [row for row in smoothed if row["found"]]
        answers = collections.Counter(row["answer"] for row in plain)
        off = [abs(row["found"]["eps_all"] / row["eps_all"] - 1) for row in hits]
        print(f"{kind}: of {len(plain)} without smoothing {dict(answers)}")
        print(
            f"{kind}: a sign for {len(hits)} of {len(smoothed)} with it, off {np.median(off):.1%}, most {max(off):.1%}"
        )
    print("held-out intervals scaled:  factor  covered  median width/ε  at most 0.5 ε")
    hits = [row for row in told if row["rows"] == "heldout" and row["eps"] > 0 and row["found"]]
    for factor in (0.5, 0.75, 1.0, 1.5, 2.0):
        covered, widths = [], []
        for row in hits:
            eps, value = row["eps_all"], row["found"]["eps_all"]
            low, high = (value * (row["found"][end] / value) ** factor for end in ("low", "high"))
            covered.append(low <= eps <= high)
            widths.append((high - low) / eps)
        narrow = np.mean(np.array(widths) <= 0.5)
        print(f"{factor:34.2f} {np.mean(covered):8.0%} {np.median(widths):15.2f} {narrow:14.0%}")


if __name__ == "__main__":
    main()
