"""How long a comparison trains as one batched program (`--together`), against a process a core.

    python benchmarks/together.py [--data digits,news.npz] [--models linear,mlp,cnn] [--rounds 3] [--epochs 20]
                                  [--seeds 5] [--device cpu] [--out FILE]

Both train the same runs of the same data, both arms and all seeds, from the data read to the files of each run; they
take turns, and the ratio is the median over rounds. The processes pay for their start, which `--together` does not:
"loop" is the ratio without it, of the seconds that the runs themselves took, shared out over the cores. Each row of the
output file names hardware, versions and commit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardware import environment

from sfumato.lab.arms import arms_of
from sfumato.lab.data import prepare
from sfumato.lab.execute import processes, together
from sfumato.lab.train.loop import Plan


def measure(name: str, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both ways, and how many times longer the processes take."""
    data, workers = prepare(name), os.cpu_count() or 1
    parts = {part: data.part(part) for part in processes.PARTS}
    plan, classes = Plan(options.epochs, 64, 1e-3), len(data.table.class_names)
    ways: dict[str, Callable[..., list[dict[str, Any]]]] = {
        "processes": processes.run_all,
        "together": together.run_all,
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    loops: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.rounds):
        for way in list(ways)[:: 1 if number % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                for part in ("logits", "weights", "work"):
                    (Path(folder) / part).mkdir()
                tasks = [
                    processes.Task(
                        arm, seed, model, classes, plan, Path(folder), inputs=data.inputs, device=options.device
                    )
                    for seed in range(options.seeds)
                    for arm in arms_of(0.1, "others")
                ]
                start = time.perf_counter()
                records = ways[way](tasks, parts, workers=workers, progress=lambda arm, seed, epoch: None)
                seconds[way].append(time.perf_counter() - start)
                shared = workers if way == "processes" else 1
                loops[way].append(sum(record["seconds"] for record in records) / shared)
    return {
        "seconds": {way: statistics.median(each) for way, each in seconds.items()},
        "ratio": statistics.median(a / b for a, b in zip(seconds["processes"], seconds["together"], strict=True)),
        "loop": statistics.median(a / b for a, b in zip(loops["processes"], loops["together"], strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--models", default="linear,mlp,cnn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=None, help="append one JSON object a row to this file")
    options = parser.parse_args()
    about = {**environment(("torch", "numpy")), "device": options.device, "load": round(os.getloadavg()[0], 1)}
    print(json.dumps(about))
    for name in options.data.split(","):
        for model in options.models.split(","):
            found = measure(name, model, options)
            told = ", ".join(f"{way} {seconds:.1f} s" for way, seconds in found["seconds"].items())
            print(f"{name}, {model}: {told}; {found['ratio']:.2f}×, loop {found['loop']:.2f}×", flush=True)
            if options.out is not None:
                row = {"data": Path(name).name, "model": model, "epochs": options.epochs, "seeds": options.seeds}
                with options.out.open("a") as file:
                    file.write(json.dumps({**row, "rounds": options.rounds, **found, **about}) + "\n")


if __name__ == "__main__":
    main()
