"""Run folders as `sfumato compare` writes them, from seeded random logits, for the tests of the report."""

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from sfumato.report.compare_page import compose
from sfumato.runs.read import load_run

METRICS = [
    *("accuracy", "nll", "brier", "ece", "signed_gap", "temperature", "ece_noise_floor", "eaurc", "logit_gap"),
    *(f"{name}_after_temperature" for name in ("nll", "ece", "brier", "signed_gap", "eaurc")),
]


SENTENCES = (
    "Smooth: use label smoothing, ε = 0.1, and temperature-scale the logits (T = 0.61).",
    "Log loss after temperature scaling: better (0.139 → 0.128; −0.011, 95 % interval −0.019 to −0.004).",
)


def write_run(
    folder: Path,
    *,
    classes: int = 10,
    seeds: int = 3,
    epochs: int = 30,
    test: int = 360,
    smoothed: tuple[float, ...] = (0.1,),
    choice: str = "smoothed",
    sentences: tuple[str, ...] | None = None,
    class_names: list[str] | None = None,
    name: str = "digits",
    equal: bool = True,
    learned: float = 1.0,
    ladder: tuple[float, ...] = (),
    width: int = 12,
    noise: float = 0.22,
) -> Path:
    """Write a run and return its folder.

    The three parts have rows, labels and logits of their own. `learned` below 1 leaves the smoothed arms short of their
    closed form; `ladder` are strengths tried besides, on validation rows; `width` is that of the last layer, of which
    seed 0 keeps features and weights; `noise` is the spread of the logits as a share of the gap.
    """
    rng = np.random.default_rng(20241124)
    (folder / "logits").mkdir(parents=True)
    (folder / "weights").mkdir()
    arms = [("one-hot", 0.0)] + [("smoothed" if len(smoothed) == 1 else f"smoothed-{e:g}", e) for e in smoothed]
    parts = {"train": test + 30, "validation": test + 10, "test": test}
    numbers = np.split(
        rng.permutation(5 * sum(parts.values()))[: sum(parts.values())], np.cumsum([*parts.values()])[:2]
    )
    index = {part: np.sort(rows) for part, rows in zip(parts, numbers, strict=True)}
    labels = {part: rng.integers(classes, size=count) for part, count in parts.items()}
    hardness = {part: rng.normal(size=count) for part, count in parts.items()}
    summary_arms, temperatures, probe, lines = [], {}, {}, []
    per_arm = {}
    for arm, eps in arms:
        final = 12.0 if eps == 0 else learned * float(np.log((classes - 1) * (1 - eps) / eps))
        values = {metric: [] for metric in METRICS}
        temperatures[arm] = []
        for seed in range(seeds):
            head = rng.normal(size=(classes, width)).astype(np.float32)
            save_file({"head.weight": head, "head.bias": np.zeros(classes, "f4")}, folder / weights_of(arm, seed))
            logits = {}
            for part, count in parts.items():
                z = rng.normal(scale=noise * abs(final), size=(count, classes))
                z[np.arange(count), labels[part]] += final * np.clip(1.05 - 0.15 * np.exp(hardness[part]), -0.3, None)
                features = np.linalg.lstsq(head.astype(np.float64), z.T, rcond=None)[0].T.astype(np.float16)
                if width < classes:  # the logits must be those that the last layer gives
                    z = features.astype(np.float64) @ head.T.astype(np.float64)
                logits[part] = z.astype(np.float32)
                arrays = {"index": index[part], "logits": logits[part], "labels": labels[part]}
                if seed == 0:
                    arrays["features"] = features
                np.savez(folder / "logits" / f"{arm}-seed{seed}-{part}.npz", **arrays)
            grid = np.exp(np.linspace(-2, 2, 401))
            t = float(grid[np.argmin([nll(logits["validation"] / g, labels["validation"]) for g in grid])])
            temperatures[arm].append({"seed": seed, "value": t, "at_bound": False, "pseudo_row": seed == 1})
            one = measure(logits["test"], labels["test"], t)
            for metric in METRICS:
                values[metric].append(one[metric])
            floor = 0.0 if eps == 0 else -(1 - eps) * np.log(1 - eps) - eps * np.log(eps / (classes - 1))
            for epoch in range(1, epochs + 1):
                pace = 1 - np.exp(-epoch / 4) if eps else np.log1p(epoch) / np.log1p(epochs)
                excess = float(1.4 * np.exp(-epoch / (4 if eps else 6)) * rng.lognormal(0, 0.1) + (0.004 if eps else 0))
                line = {"arm": arm, "seed": seed, "epoch": epoch, "train_loss": floor + excess, "train_floor": floor}
                line |= {"train_excess": excess, "train_gap": float(final * pace + rng.normal(0, 0.06))}
                line |= {"validation_nll": float(0.2 + excess)}
                lines.append(line | {"validation_accuracy": float(1 - 0.5 * np.exp(-epoch / 5))})
        per_arm[arm] = values
        closed = None if eps == 0 else float(np.log((classes - 1) * (1 - eps) / eps))
        metrics = {m: interval(v, test) for m, v in values.items()}
        shown = {"name": arm, "eps": eps, "over": "others", "closed_form_gap": closed, "train_gap": final}
        summary_arms.append(shown | {"metrics": metrics})
        probe[arm] = {"eps": eps, "target": [1 - eps, eps / (classes - 1)]}
    differences = []
    for arm, _ in arms[1:]:
        for metric in METRICS:
            a, b = (np.array(per_arm[x][metric]) for x in (arm, "one-hot"))
            half = 0.9 * abs(float(np.mean(a - b))) + 0.001
            mean = float(np.mean(a - b))
            headline = metric in ("accuracy", "nll_after_temperature", "eaurc")
            good = "better" if (mean > 0) == (metric == "accuracy") else "worse"
            p = min(1.0, 0.04 * half / (abs(mean) + 1e-9)) if headline else None
            finding = None if p is None else good if p < 0.05 else "inconclusive"
            margin = {"accuracy": 0.005, "nll_after_temperature": 0.003, "eaurc": 0.0002}.get(metric)
            ends = {"mean": mean, "low": mean - half, "high": mean + half}
            told = {"se": half / 2, "p_adjusted": p, "finding": finding, "margin": margin}
            differences.append({"metric": metric, "arm": arm, "against": "one-hot", **ends, **told})
    summary = {
        "schema": "sfumato.compare/4",
        "run": str(folder),
        "data": {"name": name, "classes": classes, **parts},
        "paired": {
            "weights": [digest(f"weights {s}") for s in range(seeds)],
            "batches": [digest(f"batches {s}") for s in range(seeds)],
            "equal": equal,
        },
        "arms": summary_arms,
        "differences": differences,
        "verdict": {
            "state": {"smoothed": "smooth", "one-hot": "keep-one-hot"}.get(choice or "", "undecided"),
            "choice": choice,
            "sentences": list(sentences or SENTENCES),
        },
    }
    env = {
        "sfumato": "0.1.0", "python": "3.12.1", "torch": "2.13.0", "numpy": "2.4.6", "platform": "Linux x86_64",
        "cpu": "an eight-core processor", "cores": 8, "workers": 2, "started": "2024-11-24T10:15:00+00:00",
        "command": f"sfumato compare {name} --eps {max(smoothed, default=0):g} --over others --seeds {seeds}",
        "seconds": 14.2,
        "data": {
            "source": name, "kind": "digits", "fingerprint": digest(name), "features": 64, "shape": [8, 8],
            "class_names": class_names or [str(k) for k in range(classes)], "duplicates": 0,
        },
        "model": {"name": "mlp", "parameters": 85002, "description": "64-256-256-10, ReLU"},
        "training": {
            "epochs": epochs, "batch_size": 64, "optimiser": "SGD, momentum 0.9", "learning_rate": 0.05,
            "schedule": "cosine to 0", "steps": epochs * 17,
        },
        "temperatures": temperatures, "probe": probe,
    }  # fmt: skip
    if ladder:
        best = max(ladder)
        env["ladder"] = [
            {
                "eps": e,
                "arm": "one-hot" if e == 0 else f"smoothed-{e:g}",
                "nll": {"mean": 0.2 + 0.9 * e, "se": 0.01},
                "nll_after_temperature": {"mean": 0.19 - 0.4 * e, "se": 0.008},
                "chosen": e == best,
            }
            for e in ladder
        ]
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / "env.json").write_text(json.dumps(env), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "config.toml").write_text(f'data = "{name}"  # command line\nseeds = {seeds}  # default\n', "utf-8")
    return folder


def weights_of(arm, seed):
    return f"weights/{arm}-seed{seed}.safetensors"


def write_examples(folder, rows, kind):
    """An `examples.json` with an entry of one kind for each row; a text says which row it is."""

    def entry(row):
        return {
            "image": {"thumbnail": thumbnail()},
            "text": {"text": f"Row {row}. " + "A <b>message</b> about the price of rockets & their fuel. " * 4},
            "table": {"values": {"petal length, cm": 4.25, "sepal width": -0.0000123, "colour": "red"}},
        }[kind]

    path = folder / "examples.json"
    path.write_text(json.dumps({"kind": kind, "rows": {str(row): entry(row) for row in rows}}), encoding="utf-8")
    return path


def thumbnail():
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def without_terms(page):
    """A page without the links from its terms to the glossary, so that its sentences can be compared."""
    return re.sub(r'<a class="term"[^>]*>(.*?)</a>', r"\1", page)


def text_of(page, *folders):
    """The words of a page, a line per element, with its figures in words, without its glossary and names of folders."""
    page = re.sub(r"<(style|script)\b.*?</\1>|<pre>.*?</pre>", "", page, flags=re.DOTALL)
    page = re.sub(r'<svg role="img" aria-label="([^"]*)".*?</svg>', r"<p>[\1]</p>", page, flags=re.DOTALL)
    for folder in folders:
        page = page.replace(str(folder), "FOLDER")
    page = " ".join(re.sub(r'<dl class="glossary">.*?</dl>', "", page, flags=re.DOTALL).split())
    page = re.sub(r"</(?:p|h\d|li|tr|dt|dd|figcaption|summary|div|section)>", "\n", page)
    page = re.sub(r"</?(?:a|b|code|strong)\b[^>]*>", "", page)
    lines = (html.unescape(re.sub(r"<[^>]*>", " ", line)) for line in page.split("\n"))
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


def words(folder):
    """The page of a run without its figures, which take most of the time, and without links to the glossary."""
    return without_terms(compose(load_run(folder), {}))


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def interval(values, n):
    mean = float(np.mean(values))
    half = 1.3 * (float(np.std(values)) + 0.3 * abs(mean) / np.sqrt(n))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def log_softmax(z):
    z = z.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def nll(z, labels):
    return float(-log_softmax(z)[np.arange(len(labels)), labels].mean())


def measure(z, labels, t):
    n, k = z.shape
    truth = np.eye(k)[labels]
    out = {"temperature": t}
    for suffix, scaled in (("", z), ("_after_temperature", z / t)):
        p = np.exp(log_softmax(scaled))
        confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
        out["accuracy"] = float(right.mean())
        out["nll" + suffix] = nll(scaled, labels)
        out["brier" + suffix] = float(((p - truth) ** 2).sum(axis=1).mean())
        out["ece" + suffix] = ece(confidence, right)
        out["signed_gap" + suffix] = float(confidence.mean() - right.mean())
        out["eaurc" + suffix] = eaurc(confidence, right)
        if not suffix:
            draws = np.random.default_rng(0).random((20, n)) < confidence
            out["ece_noise_floor"] = float(np.mean([ece(confidence, d) for d in draws]))
    true = z[np.arange(n), labels].astype(np.float64)
    out["logit_gap"] = float((true - (z.sum(axis=1) - true) / (k - 1)).mean())
    return out


def ece(confidence, right, bins=15):
    which = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(int)
    return float(sum(abs((confidence[which == b] - right[which == b]).sum()) for b in range(bins)) / len(right))


def eaurc(confidence, right):
    wrong = ~right[np.argsort(-confidence)]
    aurc = float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))
    r = float(wrong.mean())
    return aurc - (r + (1 - r) * np.log1p(-r) if r < 1 else 1.0)
