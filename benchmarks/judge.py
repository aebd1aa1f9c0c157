"""How long `sfumato judge` takes and how much memory it needs, start-up included.

    python benchmarks/judge.py [--folder FOLDER] [--out FILE]

Ten files, five an arm, of made-up logits in float16: 2,000 × 10 and 100,000 × 1,000, with and without validation rows
(a tenth as many). The files are written to the folder, 2 GB of them, and removed. Each command runs three times and the
least is kept; `sfumato audit` on one of the files stands beside it as the measure of the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hardware import environment

import sfumato as sf

SIZES = ((2_000, 10), (100_000, 1_000))
TIMES = 3


def write(folder: Path, rows: int, classes: int, *, validation: bool) -> None:
    """Ten files whose models share the noise of the rows."""
    rng = np.random.default_rng(0)
    parts = {"": rows, "val_": rows // 10} if validation else {"": rows}
    labels = {part: rng.integers(0, classes, count) for part, count in parts.items()}
    shared = {part: rng.normal(size=(count, classes)).astype(np.float16) for part, count in parts.items()}
    for arm, strength in (("one-hot", 4.0), ("smoothed", 4.1)):
        for seed in range(5):
            arrays: dict[str, Any] = {}
            for part, y in labels.items():
                z = shared[part].copy()
                for start in range(0, len(y), 10_000):
                    at = slice(start, min(start + 10_000, len(y)))
                    block = z[at] + 0.5 * rng.standard_normal((at.stop - start, classes), dtype=np.float32)
                    block[np.arange(at.stop - start), y[at]] += strength
                    z[at] = block
                arrays |= {f"{part}logits": z, f"{part}labels": y}
            sf.save_scores(folder, arm=arm, seed=seed, **arrays)


def measured(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and megabytes of a command, the least of several runs."""
    seconds, megabytes = [], []
    for _ in range(TIMES):
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "sfumato", *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(words)} failed")
        seconds.append(time.perf_counter() - started)
        megabytes.append(usage.ru_maxrss / 1024)
    return min(seconds), max(megabytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where 2 GB can be written; a temporary folder if not"
    )
    parser.add_argument("--out", type=Path, default=None, help="write one JSON object a row to this file")
    options = parser.parse_args()
    lines: list[dict[str, Any]] = []
    about = environment(("numpy", "scipy"))
    for rows, classes in SIZES:
        for validation in (False, True):
            with tempfile.TemporaryDirectory(dir=options.folder) as name:
                folder = Path(name)
                # in a process of its own: the memory of a child is counted from that of its parent on
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    pool.apply(write, (folder / "scores", rows, classes), {"validation": validation})
                for command, words in (
                    ("judge", ["judge", "scores", "--json"]),
                    ("audit", ["audit", "scores/one-hot/0.npz", "--json"]),
                ):
                    seconds, megabytes = measured(words, folder)
                    line = {
                        "command": command,
                        "files": 10 if command == "judge" else 1,
                        "rows": rows,
                        "classes": classes,
                        "validation": validation,
                        "seconds": round(seconds, 2),
                        "megabytes": round(megabytes),
                    }
                    print(json.dumps(line), flush=True)
                    lines.append(line | about)
                shutil.rmtree(folder / "scores")
    if options.out is not None:
        options.out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
