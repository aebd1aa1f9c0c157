"""What whole comparisons and judgements find on small data: writes runs.json.

    python tests/golden/make_runs.py

Run it when a number or a code is meant to change, read the difference, and list it in CHANGELOG.md under "Numerics".
The values are sfumato's own: whether they are right is for the other tests. They are stored with four digits, because
training gives other last digits on other processors.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

import sfumato as sf

OUT = Path(__file__).with_name("runs.json")
METRICS = ("accuracy", "nll", "nll_after_temperature", "eaurc", "ece", "temperature", "logit_gap")
CNN = {"model": "cnn", "epochs": 4, "learning_rate": 0.001}
SHORT = {
    "over": "others",
    "seeds": 3,
    "model": "linear",
    "epochs": 40,
    "learning_rate": 0.01,
    "workers": 1,
    "quiet": True,
}


def everything() -> dict[str, Callable[[Path], Any]]:
    """Each case by its name; it is called with an empty folder."""
    return {
        "digits": lambda folder: compared(folder, "digits", epochs=2, model="mlp", learning_rate=0.001),
        "a plain table": lambda folder: compared(folder, plain_table(folder), label="species"),
        "a messy table": lambda folder: compared(folder, messy_table(folder)),
        "soft labels": lambda folder: compared(folder, *soft_labels(), arm=["onehot", "soft", "others:0.1"]),
        "images": lambda folder: compared(
            folder, *images(), model="cnn", epochs=4, learning_rate=0.001, arm=["onehot", "cutmix:1"]
        ),
        "candidates": lambda folder: compared(folder, *rows(240), ladder="0,0.05,0.2"),
        "wrong labels": lambda folder: compared(folder, *rows(240), noise=0.2, over="all"),
        "penalties": lambda folder: compared(folder, *rows(240), arm=["onehot", "focal:3", "confidence:0.1"]),
        "models from elsewhere": judged,
    }


def compared(folder: Path, *data: Any, **options: Any) -> dict[str, Any]:
    """The numbers and codes of a comparison."""
    found = sf.compare(*data, out=folder / "run", **{**SHORT, **options}).to_dict()
    paired = found["paired"]["equal"]
    return {"data": found["data"] | {"name": ""}, "paired": paired, **numbers(found)}


def judged(folder: Path) -> dict[str, Any]:
    """The numbers and codes of a judgement of four models an arm, of which one arm has logits three times as large."""
    x, labels = rows(600)
    clean = x[:, :3] + 0.0
    arms = {
        name: [scale * (clean + 0.3 * np.random.default_rng(seed).normal(size=clean.shape)) for seed in seeds]
        for name, scale, seeds in (("hard", 3.0, range(4)), ("soft", 1.0, range(4, 8)))
    }
    files = {name: [{"logits": each, "labels": labels} for each in models] for name, models in arms.items()}
    return numbers(sf.judge(files, against="hard").to_dict())


def numbers(found: Any) -> dict[str, Any]:
    """What a result says in numbers and codes."""
    return {
        "state": found["verdict"]["state"],
        "choice": found["verdict"]["choice"],
        "arms": {
            arm["name"]: {name: digits(arm["metrics"][name]["mean"]) for name in METRICS if name in arm["metrics"]}
            for arm in found["arms"]
        },
        "findings": {
            f"{each['arm']} {each['metric']}": [
                each["finding"],
                *map(digits, (each["mean"], each["low"], each["high"])),
            ]
            for each in found["differences"]
            if each["finding"]
        },
        "warnings": sorted(each["code"] for each in found.get("warnings", [])),
        "notes": sorted(each["code"] for each in found.get("notes", [])),
    }


def digits(value: float | None) -> float | None:
    """Four digits of a number."""
    return None if value is None else float(f"{value:.4g}")


def rows(count: int) -> tuple[Any, Any]:
    """Three classes in six columns, of which three tell them apart."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 3
    x = rng.normal(size=(count, 6))
    x[np.arange(count), labels] += 1.5
    return x, labels


def soft_labels() -> tuple[Any, Any]:
    """Rows whose labels are probabilities."""
    rng = np.random.default_rng(2)
    probs = rng.dirichlet([0.5, 0.5, 0.5], 300)
    return 2 * probs @ rng.normal(size=(3, 5)) + rng.normal(size=(300, 5)), probs


def images() -> tuple[Any, Any]:
    """Small grey images of two classes: brighter at the left, or at the right."""
    rng = np.random.default_rng(3)
    labels = np.arange(160) % 2
    pixels = rng.integers(0, 120, (160, 16, 16))
    pixels[labels == 0, :, :8] += 60
    pixels[labels == 1, :, 8:] += 60
    return pixels.astype(np.uint8), labels


def plain_table(folder: Path) -> str:
    """A table of numbers."""
    x, labels = rows(240)
    lines = [",".join(f"{v:.3f}" for v in row) + f",kind {label}" for row, label in zip(x, labels, strict=True)]
    return written(folder / "plain.csv", ["a,b,c,d,e,f,species", *lines])


def messy_table(folder: Path) -> str:
    """A table with decimal commas, missing values, dates, categories, an ID and an encoding of its own."""
    x, labels = rows(240)
    towns = ("Köln", "Paris", "", "Rome")
    lines = [
        ";".join(
            [
                str(1000 + i),
                f"{row[0]:.2f}".replace(".", ","),
                "" if i % 11 == 0 else f"{row[1]:.3f}".replace(".", ","),
                f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}",
                towns[i * 7 % 4],
                "yes" if row[2] > 0.5 else "no",
                f"{label}",
            ]
        )
        for i, (row, label) in enumerate(zip(x, labels, strict=True))
    ]
    return written(folder / "messy.csv", ["customer_id;Größe;b;date;town;flag;target", *lines], "cp1252")


def written(path: Path, lines: list[str], encoding: str = "utf-8") -> str:
    """A text file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def main() -> None:
    found: dict[str, Any] = {}
    for name, case in everything().items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = case(Path(folder))
    OUT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
