"""How long an audit takes, and how much memory; against torchmetrics and netcal on what they can compute.

    python benchmarks/audit.py [--rows 1000000] [--classes 1000] [--peer-rows 50000] [--rounds 3] [--out FILE]

`sfumato audit` runs as a stranger runs it, in a process of its own, start-up included, on float16 logits in an .npz;
the file is dropped from the page cache before the first round where the system lets one. Peers get logits of the same
kind, fewer rows of them and already in memory; their time, which grows with the rows, is taken for all rows in
proportion and set against the whole audit, reading, temperature and intervals included. Each line of the output names
hardware, versions, load and whether the compiled kernel was used (``SFUMATO_NATIVE=0`` turns it off).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def write(path: Path, rows: int, classes: int) -> None:
    """Logits whose labels are drawn from softmax(z / 1.25): over-confident, as models are. Written in blocks."""
    rng = np.random.default_rng(0)
    raw = path.with_suffix(".npy")
    stored = np.lib.format.open_memmap(raw, "w+", np.float16, (rows, classes))
    labels = np.empty(rows, dtype=np.int64)
    step = max(1, 2**24 // classes)
    for start in range(0, rows, step):
        n = min(step, rows - start)
        z = rng.standard_normal((n, classes), dtype=np.float32) * 1.3
        z[np.arange(n), rng.integers(classes, size=n)] += rng.gamma(6, 1.6, size=n)
        p = np.exp((z - z.max(axis=1, keepdims=True)) / 1.25)
        p /= p.sum(axis=1, keepdims=True)
        labels[start : start + n] = np.minimum((p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), classes - 1)
        stored[start : start + n] = z
    stored.flush()
    np.savez(path, logits=stored, labels=labels)
    raw.unlink()


def drop_cache(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def audit(path: Path, folder: Path) -> dict[str, float]:
    """Wall and processor seconds, and the most memory resident, of one `sfumato audit`."""
    command = [sys.executable, "-m", "sfumato", "audit", str(path), "--out", str(folder), "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(process.stderr.read().decode())
    process.stderr.close()
    process.returncode = 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall": wall,
        "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "resident_mb": used.ru_maxrss / 1024,
    }


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def peers(path: Path, rows: int) -> dict[str, float]:
    """Seconds of each number that torchmetrics and netcal can compute, from logits in memory."""
    import torch
    from netcal.metrics import ECE
    from netcal.scaling import TemperatureScaling
    from torchmetrics.functional import classification as tm

    with np.load(path) as file:
        z, y = torch.from_numpy(file["logits"][:rows]).float(), torch.from_numpy(file["labels"][:rows])
    k = z.shape[1]
    seconds: dict[str, float] = {}

    def timed(name: str, call):
        start = time.perf_counter()
        value = call()
        seconds[name] = time.perf_counter() - start
        return value

    p = timed("softmax", lambda: z.softmax(1))
    timed("torchmetrics accuracy", lambda: tm.multiclass_accuracy(z, y, num_classes=k, average="micro"))
    timed("torchmetrics balanced accuracy", lambda: tm.multiclass_accuracy(z, y, num_classes=k))
    timed("torchmetrics F1", lambda: tm.multiclass_f1_score(z, y, num_classes=k))
    timed("torchmetrics top 5", lambda: tm.multiclass_accuracy(z, y, num_classes=k, average="micro", top_k=5))
    timed("torchmetrics ECE", lambda: tm.multiclass_calibration_error(p, y, num_classes=k))
    probs, labels = p.numpy(), y.numpy()
    timed("netcal ECE", lambda: ECE(15).measure(probs, labels))
    timed("netcal ECE, equal mass", lambda: ECE(15, equal_intervals=False).measure(probs, labels))
    scaling = TemperatureScaling()
    timed("netcal temperature", lambda: scaling.fit(probs, labels))
    timed("netcal transform", lambda: scaling.transform(probs))
    return seconds


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--peer-rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files go; by default a temporary folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    machine = {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "versions": {name: installed(name) for name in ("torch", "numpy", "torchmetrics", "netcal")},
        "python": platform.python_version(),
        "kernel": os.environ.get("SFUMATO_NATIVE") != "0",
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as name, open(options.out, "w", encoding="utf-8") as out:
        folder = Path(name)
        sizes = [(options.rows, options.classes), (10_000, 10)]
        walls: dict[tuple[int, int], float] = {}
        for rows, classes in sizes:
            path = folder / f"{rows}x{classes}.npz"
            # in a process of its own: a child's peak of memory begins with that of its parent
            writer = multiprocessing.Process(target=write, args=(path, rows, classes))
            writer.start()
            writer.join()
            for number in range(options.rounds):
                if number == 0:
                    drop_cache(path)
                told = {"rows": rows, "classes": classes, "cold": number == 0, "load": os.getloadavg()[0]}
                told |= audit(path, folder)
                walls[rows, classes] = min(told["wall"], walls.get((rows, classes), np.inf))
                print(json.dumps(told), flush=True)
                out.write(json.dumps(told | machine) + "\n")
        if options.peer_rows and None in machine["versions"].values():
            print("torchmetrics or netcal is not installed: left out")
        elif options.peer_rows:
            start = time.process_time()
            seconds = peers(folder / f"{options.rows}x{options.classes}.npz", options.peer_rows)
            whole = sum(seconds.values())
            times = options.rows / options.peer_rows
            told = {
                "rows": options.peer_rows,
                "classes": options.classes,
                "peers": seconds,
                "peers_seconds": whole,
                "peers_processor": time.process_time() - start,
                "load": os.getloadavg()[0],
                "times_an_audit": whole * times / walls[options.rows, options.classes],
            }
            print(json.dumps(told), flush=True)
            out.write(json.dumps(told | machine) + "\n")


if __name__ == "__main__":
    main()
