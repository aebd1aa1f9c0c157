"""What is inferred of models whose classes overlap, or that were trained for a short time, with smoothing and without.

    python benchmarks/infer_smoothing_overlapping.py --mnist FILE.npz --newsgroups FILE.csv.gz --cifar FILE.zip

No model fits the rows of such data, so the logits of a smoothed model do not have the shape that a strength is read
from. The benchmark counts the answers: a smoothed model must never be told "no sign", and a model without smoothing
must never get a strength. The data sets of the part "chosen" were seen when the bounds of
sfumato/evaluate/inferred_smoothing.py were set; those of the part "left-out" were not. FILE.npz holds X (images) and y,
FILE.csv.gz columns split, text and label, FILE.zip a folder of pictures a class. A line of the output that has no data
names the hardware and versions of the lines below it; each other line is a model and a kind of rows.
"""

from __future__ import annotations

import argparse
import collections
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import environment
from infer_smoothing import Data, split, train
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.feature_extraction.text import TfidfVectorizer

import sfumato.evaluate as ev
from sfumato.evaluate.inferred_smoothing import judge

STRENGTHS = (0.0, 0.02, 0.05, 0.1)  # over all
MODELS: dict[str, dict[str, Any]] = {
    "MLP": {"width": 128, "epochs": 60},
    "MLP, short": {"width": 128, "epochs": 4, "cosine": False},
    "MLP, decay 1e-4": {"width": 128, "epochs": 30, "decay": 1e-4},
    "MLP, SGD, decay 1e-3": {"width": 128, "epochs": 60, "optimiser": "sgd", "lr": 0.05, "decay": 1e-3},
    "MLP, BN": {"width": 128, "epochs": 30, "bn": True},
    "MLP, BN, short": {"width": 128, "epochs": 15, "bn": True},
    "linear": {"depth": 0, "epochs": 60, "lr": 3e-3},
    "linear, short": {"depth": 0, "epochs": 5, "lr": 3e-3, "cosine": False},
    "linear, decay 1e-3": {"depth": 0, "epochs": 60, "lr": 3e-3, "decay": 1e-3},
}


def noisy_labels(y: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """Labels of which this share is replaced by another class."""
    rng = np.random.default_rng(seed)
    moved = rng.random(len(y)) < share
    return np.where(moved, (y + rng.integers(1, classes, size=len(y))) % classes, y)


def noisy(x: np.ndarray, y: np.ndarray, rows: int, seed: int, *, labels: float = 0.0, pixels: float = 0.0) -> Data:
    """Rows with other labels in this share, in training and beyond, and with noise of this deviation on the inputs."""
    rng = np.random.default_rng(seed + 1)
    moved = x + pixels * rng.normal(size=x.shape)
    return split(moved, noisy_labels(y, labels, int(y.max()) + 1, seed + 2), rows, seed)


def close_gaussians(apart: float, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, 24)) * apart
    y = rng.integers(8, size=4000)
    return split(centres[y] + rng.normal(size=(len(y), 24)), y, 2000, seed)


def newsgroups(path: Path, words: int, seed: int, groups: int = 13) -> Data:
    """TF-IDF of the commonest words of texts of the first groups."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})[:groups]
    rows = [row for row in rows if row["label"] in names]
    x = TfidfVectorizer(max_features=words, stop_words="english").fit_transform(row["text"] for row in rows)
    return split(x.toarray(), np.array([names.index(row["label"]) for row in rows]), 2000, seed)


def small_pictures(path: Path, seed: int) -> Data:
    """Pictures of 8 × 8 pixels in colour, a class for each folder."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))]
        pictures = (Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((8, 8)) for name in names)
        x = np.array([np.asarray(each).ravel() / 255.0 for each in pictures])
    classes = sorted({Path(name).parent.name for name in names})
    return split(x, np.array([classes.index(Path(name).parent.name) for name in names]), 1500, seed)


def sources(mnist: Path, texts: Path, pictures: Path) -> Iterator[tuple[str, str, Callable[[int], Data]]]:
    """Part, name and data by seed."""
    digits, cancer, wine = load_digits(), load_breast_cancer(), load_wine()
    x, y = digits.data / 16, digits.target
    with np.load(mnist) as file:
        images, drawn = file["X"].reshape(len(file["y"]), -1)[:4500] / 255.0, file["y"][:4500]

    def of(x: np.ndarray, y: np.ndarray, rows: int, **noise: float) -> Callable[[int], Data]:
        return lambda seed: noisy(x, y, rows, seed, **noise)

    for share in (0.1, 0.2, 0.4):
        yield "chosen", f"digits, {share:.0%} of the labels moved", of(x, y, 1000, labels=share)
    for pixels in (0.3, 0.6):
        yield "chosen", f"digits, pixels ± {pixels}", of(x, y, 1000, pixels=pixels)
    yield "chosen", "8 close Gaussians", lambda seed: close_gaussians(0.35, seed)
    scaled = (cancer.data - cancer.data.mean(0)) / cancer.data.std(0)
    yield "chosen", "breast cancer, inputs ± 2", of(scaled, cancer.target, 350, pixels=2.0)
    yield "chosen", "newsgroups, 800 words", lambda seed: newsgroups(texts, 800, seed)
    yield "chosen", "newsgroups, 200 words", lambda seed: newsgroups(texts, 200, seed)
    yield "chosen", "newsgroups, 5 groups", lambda seed: newsgroups(texts, 500, seed, groups=5)
    yield "chosen", "mnist, 30% of the labels moved", of(images, drawn, 1500, labels=0.3)
    yield "chosen", "mnist, pixels ± 1", of(images, drawn, 1500, pixels=1.0)
    yield "chosen", "digits, 30% of the labels moved, pixels ± 0.2", of(x, y, 1000, labels=0.3, pixels=0.2)
    yield "chosen", "12 very close Gaussians", lambda seed: close_gaussians(0.2, seed)
    scaled = (wine.data - wine.data.mean(0)) / wine.data.std(0)
    yield "chosen", "wine, inputs ± 1.5", of(scaled, wine.target, 110, pixels=1.5)
    yield "left-out", "cifar, 8 × 8 pixels", lambda seed: small_pictures(pictures, seed)
    yield "left-out", "newsgroups, 8 groups", lambda seed: newsgroups(texts, 300, seed, groups=8)
    yield "left-out", "mnist, 15% of the labels moved, pixels ± 0.5", of(images, drawn, 1500, labels=0.15, pixels=0.5)
    yield "left-out", "digits, 5% of the labels moved", of(x, y, 1000, labels=0.05)
    yield "left-out", "digits 0 to 3, pixels ± 0.5", of(x[y < 4], y[y < 4], 400, pixels=0.5)
    pair = (y == 3) | (y == 8)
    yield "left-out", "digits 3 and 8, 20% of the labels moved", of(x[pair], (y[pair] == 8) * 1, 240, labels=0.2)
    three = np.isin(drawn, (4, 7, 9))
    classes = np.searchsorted((4, 7, 9), drawn[three])
    yield "left-out", "mnist 4, 7 and 9, 25% of the labels moved", of(images[three], classes, 700, labels=0.25)
    yield "left-out", "8 Gaussians, further apart", lambda seed: close_gaussians(0.5, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--newsgroups", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--part", choices=("chosen", "left-out"))
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS)
    parser.add_argument("--repeats", type=int, default=1, help="of everything, with other seeds")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    told: list[dict[str, Any]] = []
    with open(options.out, "w", encoding="utf-8") as out:
        print(json.dumps(environment(["torch", "numpy", "scikit-learn", "sfumato"])), file=out)
        for repeat in range(options.repeats):
            for part, name, source in sources(options.mnist, options.newsgroups, options.cifar):
                if options.part in (None, part):
                    for row in answers(name, source(860 + repeat), options.strengths, 960 + repeat):
                        told.append({"part": part, **row})
                        print(json.dumps(told[-1]), file=out, flush=True)
    summarise(told)


def answers(name: str, data: Data, strengths: Sequence[float], seed: int) -> Iterator[dict[str, Any]]:
    """One row a model and kind of rows."""
    classes = int(data[1].max()) + 1
    for model, how in MODELS.items():
        for eps in strengths:
            for kind, (logits, labels) in train(data, eps, seed=seed, **how).items():
                rows = ev.per_row(logits=logits, labels=labels)
                found = judge(rows, classes, kind)
                yield {
                    "data": name, "model": model, "eps_all": eps, "seed": seed, "rows": kind,
                    "accuracy": float(rows.correct.mean()), "answer": found.answer,
                    "found": found.smoothing and {"eps_all": found.smoothing.eps_all, "low": found.smoothing.low,
                                                  "high": found.smoothing.high},
                    "eps_of_gap": found.eps_of_gap,
                }  # fmt: skip


def summarise(told: list[dict[str, Any]]) -> None:
    for part in ("chosen", "left-out"):
        for kind in ("train", "heldout"):
            for smoothed in (False, True):
                rows = [r for r in told if (r["part"], r["rows"], r["eps_all"] > 0) == (part, kind, smoothed)]
                counts = collections.Counter(row["answer"] for row in rows)
                print(part, kind, "smoothed" if smoothed else "not smoothed", len(rows), dict(counts))


if __name__ == "__main__":
    main()
