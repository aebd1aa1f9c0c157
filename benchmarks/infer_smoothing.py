"""What is inferred about smoothing from the logits of models that were trained with and without it.

    python benchmarks/infer_smoothing.py --part fits|overlaps|families --mnist X --newsgroups X --cifar X [--out FILE]

"fits" trains MLPs on rows that they can fit, with known strengths and with none, and measures how far off a strength is
and how often its interval covers. "overlaps" trains them on rows that no model fits. "families" trains boosting,
forests, support vector machines with Platt scaling, neighbours, naive Bayes, linear models and MLPs without smoothing,
and networks with smoothing, with a penalty and with neither: a model that was not smoothed must get no strength. The
bounds of sfumato/evaluate/inferred_smoothing.py were chosen on the data sets of "chosen", and not on those of
"left-out". ``--mnist`` is an npz with X (images) and y, ``--newsgroups`` a gzipped CSV with the columns split, text and
label, ``--cifar`` a zip with a folder of pictures per class. The first line of the output names hardware and versions;
each other line is a model and a kind of rows. LightGBM and XGBoost are needed for "families".
"""

from __future__ import annotations

import argparse
import collections
import csv
import gzip
import io
import itertools
import json
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from hardware import environment
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC

import sfumato as sf
from sfumato.evaluate.inferred_smoothing import judge

Data: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Parts: TypeAlias = dict[str, tuple[np.ndarray, np.ndarray]]
Job: TypeAlias = tuple[dict[str, Any], Callable[[], Parts]]
"""What a row says of a model, and how to make its logits and labels by kind of rows."""

STRENGTHS = (0.0, 0.1)  # over all
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


def mnist(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures in one row each, from 0 to 1, and their labels."""
    with np.load(path) as file:
        return file["X"].reshape(len(file["y"]), -1) / 255.0, file["y"]


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


def train(data: Data, eps: float, *, seed: int, epochs: int = 40, width: int = 256, depth: int = 2, bn: bool = False,
          optimiser: str = "adam", lr: float = 1e-3, decay: float = 0.0, cosine: bool = True, penalty: float = 0.0,
          mixup: float = 0.0) -> Parts:  # fmt: skip
    """An MLP, with smoothing by ``eps`` over all, a confidence penalty or mixup, or none of them."""
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
            share = float(torch.distributions.Beta(mixup, mixup).sample()) if mixup else 1.0
            other = batch[torch.randperm(len(batch))] if mixup else batch
            logits = model(share * x[batch] + (1 - share) * x[other] if mixup else x[batch])
            loss = F.cross_entropy(logits, y[batch], label_smoothing=eps)
            if mixup:
                loss = share * loss + (1 - share) * F.cross_entropy(logits, y[other], label_smoothing=eps)
            if penalty:
                log_p = F.log_softmax(logits, dim=1)
                loss = loss + penalty * (log_p.exp() * log_p).sum(1).mean()
            steps.zero_grad()
            loss.backward()
            steps.step()
            if cosine:
                schedule.step()
    model.eval()
    with torch.no_grad():
        return {"train": (model(x).numpy(), data[1]), "heldout": (model(rest).numpy(), data[3])}


def fits(files: argparse.Namespace, repeat: int) -> Iterator[Job]:
    """MLPs on rows that they can fit: 24 smoothed and 24 that are not for each of three data sets."""
    more = 100 * repeat
    images, labels = mnist(files.mnist)
    digits = load_digits()
    sources = {
        "mnist": split(images, labels, 3800, 61 + more),
        "digits": split(digits.data / 16, digits.target, 1000, 61 + more),
        "8 Gaussians": mixture(8, 3000, 24, 61 + more),
    }
    for name, data in sources.items():
        models: list[tuple[str, str, float, dict[str, Any]]] = []
        for over in ("all", "others"):
            models += [("MLP", over, eps, {"seed": 62 + more}) for eps in (0.05, 0.1, 0.2, 0.4)]
        sgd = {"optimiser": "sgd", "lr": 0.05}
        models += [("MLP, SGD", "all", eps, {"seed": 63 + more, "width": 128, **sgd}) for eps in (0.05, 0.1, 0.2, 0.4)]
        models.append(("MLP", "all", 0.0, {"seed": 62 + more}))
        for epochs in (1, 2, 4, 8):
            short = {"epochs": epochs, "cosine": False}
            models.append(("MLP, early", "all", 0.0, {"seed": 64 + more, **short}))
            models.append(("MLP, early, BN", "all", 0.0, {"seed": 65 + more, **short, "bn": True}))
        models += [(f"MLP, decay {decay:g}", "all", 0.0, {"seed": 66 + more, "decay": decay, **sgd})
                   for decay in (1e-4, 1e-3, 1e-2)]  # fmt: skip
        classes = int(data[1].max()) + 1
        for model, over, eps, how in models:
            eps_all = float(sf.theory.convert_eps(eps, classes, frm=over, to="all"))
            known = {"part": "fits", "data": name, "model": model, "eps": eps, "over": over, "eps_all": eps_all, **how}
            yield known, lambda data=data, eps=eps_all, how=how: train(data, eps, **how)


def overlapping(files: argparse.Namespace) -> Iterator[tuple[str, str, Callable[[int], Data]]]:
    """Part, name and data by seed."""
    digits, cancer, wine = load_digits(), load_breast_cancer(), load_wine()
    x, y = digits.data / 16, digits.target
    images, drawn = (each[:4500] for each in mnist(files.mnist))

    def of(x: np.ndarray, y: np.ndarray, rows: int, **noise: float) -> Callable[[int], Data]:
        return lambda seed: noisy(x, y, rows, seed, **noise)

    for share in (0.1, 0.2, 0.4):
        yield "chosen", f"digits, {share:.0%} of the labels moved", of(x, y, 1000, labels=share)
    for pixels in (0.3, 0.6):
        yield "chosen", f"digits, pixels ± {pixels}", of(x, y, 1000, pixels=pixels)
    yield "chosen", "8 close Gaussians", lambda seed: close_gaussians(0.35, seed)
    scaled = (cancer.data - cancer.data.mean(0)) / cancer.data.std(0)
    yield "chosen", "breast cancer, inputs ± 2", of(scaled, cancer.target, 350, pixels=2.0)
    yield "chosen", "newsgroups, 800 words", lambda seed: newsgroups(files.newsgroups, 800, seed)
    yield "chosen", "newsgroups, 200 words", lambda seed: newsgroups(files.newsgroups, 200, seed)
    yield "chosen", "newsgroups, 5 groups", lambda seed: newsgroups(files.newsgroups, 500, seed, groups=5)
    yield "chosen", "mnist, 30% of the labels moved", of(images, drawn, 1500, labels=0.3)
    yield "chosen", "mnist, pixels ± 1", of(images, drawn, 1500, pixels=1.0)
    yield "chosen", "digits, 30% of the labels moved, pixels ± 0.2", of(x, y, 1000, labels=0.3, pixels=0.2)
    yield "chosen", "12 very close Gaussians", lambda seed: close_gaussians(0.2, seed)
    scaled = (wine.data - wine.data.mean(0)) / wine.data.std(0)
    yield "chosen", "wine, inputs ± 1.5", of(scaled, wine.target, 110, pixels=1.5)
    yield "left-out", "cifar, 8 × 8 pixels", lambda seed: small_pictures(files.cifar, seed)
    yield "left-out", "newsgroups, 8 groups", lambda seed: newsgroups(files.newsgroups, 300, seed, groups=8)
    yield "left-out", "mnist, 15% of the labels moved, pixels ± 0.5", of(images, drawn, 1500, labels=0.15, pixels=0.5)
    yield "left-out", "digits, 5% of the labels moved", of(x, y, 1000, labels=0.05)
    yield "left-out", "digits 0 to 3, pixels ± 0.5", of(x[y < 4], y[y < 4], 400, pixels=0.5)
    pair = (y == 3) | (y == 8)
    yield "left-out", "digits 3 and 8, 20% of the labels moved", of(x[pair], (y[pair] == 8) * 1, 240, labels=0.2)
    three = np.isin(drawn, (4, 7, 9))
    classes = np.searchsorted((4, 7, 9), drawn[three])
    yield "left-out", "mnist 4, 7 and 9, 25% of the labels moved", of(images[three], classes, 700, labels=0.25)
    yield "left-out", "8 Gaussians, further apart", lambda seed: close_gaussians(0.5, seed)


def overlaps(files: argparse.Namespace, repeat: int) -> Iterator[Job]:
    """MLPs and linear models on rows that no model fits, each with smoothing and without."""
    for part, name, source in overlapping(files):
        data = source(860 + repeat)
        for (model, how), eps in itertools.product(MODELS.items(), STRENGTHS):
            known = {"part": part, "data": name, "model": model, "eps_all": eps, "seed": 960 + repeat}
            yield known, lambda data=data, eps=eps, how=how: train(data, eps, seed=960 + repeat, **how)


def of_families(files: argparse.Namespace) -> Iterator[tuple[str, str, Callable[[int], Data]]]:
    """Part, name and data by seed."""
    digits, wine, cancer, iris = load_digits(), load_wine(), load_breast_cancer(), load_iris()
    images, drawn = mnist(files.mnist)
    images = images.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(images), -1)

    def made(classes: int, apart: float, columns: int, rows: int, weights: list[float] | None = None):
        def make(seed: int) -> Data:
            x, y = make_classification(
                4000, columns, n_informative=columns * 3 // 5, n_classes=classes, class_sep=apart, weights=weights,
                random_state=seed,
            )  # fmt: skip
            return split(x, y, rows, seed, most=rows)

        return make

    def some(classes: tuple[int, ...], rows: int) -> Callable[[int], Data]:
        held = np.isin(drawn, classes)
        return lambda seed: split(images[held], np.searchsorted(classes, drawn[held]), rows, seed, most=rows)

    def blurred(seed: int) -> Data:
        noise = 0.3 * np.random.default_rng(seed).normal(size=digits.data.shape)
        return split(digits.data / 16 + noise, digits.target, 1000, seed)

    seven = digits.target < 7
    yield "chosen", "digits", lambda seed: split(digits.data / 16, digits.target, 1000, seed)
    yield "chosen", "digits, noise", blurred
    yield "chosen", "mnist", lambda seed: split(images, drawn, 2000, seed, most=1500)
    yield "chosen", "mnist 0 to 5", some((0, 1, 2, 3, 4, 5), 1500)
    yield "chosen", "8 Gaussians", lambda seed: mixture(8, 2000, 24, seed)
    yield "chosen", "wine", lambda seed: split(wine.data / wine.data.std(0), wine.target, 110, seed)
    yield "chosen", "breast cancer", lambda seed: split(cancer.data / cancer.data.std(0), cancer.target, 350, seed)
    yield "chosen", "5 classes", made(5, 2.0, 20, 2000)
    yield "chosen", "2 classes", made(2, 1.5, 20, 2000)
    yield "chosen", "3 unequal classes", made(3, 1.5, 20, 2000, [0.7, 0.2, 0.1])
    yield "left-out", "mnist 1, 4, 7 and 9", some((1, 4, 7, 9), 1200)
    yield "left-out", "mnist 3 and 5", some((3, 5), 700)
    yield "left-out", "4 Gaussians", lambda seed: mixture(4, 1500, 16, seed)
    yield "left-out", "12 Gaussians", lambda seed: mixture(12, 2400, 30, seed)
    yield "left-out", "iris", lambda seed: split(iris.data, iris.target, 90, seed)
    yield "left-out", "digits 0 to 6", lambda seed: split(digits.data[seven] / 16, digits.target[seven], 700, seed)
    yield "left-out", "6 classes", made(6, 2.5, 25, 1500)
    yield "left-out", "3 classes", made(3, 2.0, 25, 1500)
    yield "left-out", "2 easy classes", made(2, 2.5, 25, 1500)
    yield "left-out", "2 unequal classes", made(2, 1.5, 25, 1500, [0.9])
    yield "left-out", "newsgroups, 8 groups", lambda seed: newsgroups(files.newsgroups, 150, seed, groups=8)


def unsmoothed(seed: int) -> dict[str, Any]:
    """Classifiers of other families."""
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

    one = {"random_state": seed, "n_jobs": 1}
    lightgbm, boost = {**one, "verbose": -1}, {"max_features": "sqrt", "random_state": seed}
    return {
        "histogram boosting, 30": HistGradientBoostingClassifier(max_iter=30, random_state=seed),
        "histogram boosting": HistGradientBoostingClassifier(random_state=seed),
        "histogram boosting, slow": HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.05, max_leaf_nodes=8, random_state=seed
        ),
        "LightGBM, 30": LGBMClassifier(n_estimators=30, **lightgbm),
        "LightGBM": LGBMClassifier(**lightgbm),
        "LightGBM, slow": LGBMClassifier(n_estimators=50, learning_rate=0.05, num_leaves=15, **lightgbm),
        "XGBoost, 30": XGBClassifier(n_estimators=30, **one),
        "XGBoost": XGBClassifier(n_estimators=100, learning_rate=0.1, max_depth=4, **one),
        "XGBoost, depth 2": XGBClassifier(n_estimators=100, learning_rate=0.3, max_depth=2, **one),
        "gradient boosting, 30": GradientBoostingClassifier(n_estimators=30, **boost),
        "gradient boosting": GradientBoostingClassifier(n_estimators=100, **boost),
        "AdaBoost": AdaBoostClassifier(n_estimators=50, random_state=seed),
        "random forest": RandomForestClassifier(300, random_state=seed),
        "random forest, leaves of 5": RandomForestClassifier(200, min_samples_leaf=5, random_state=seed),
        "extra trees": ExtraTreesClassifier(300, random_state=seed),
        "SVM, Platt": CalibratedClassifierCV(SVC(C=10), ensemble=False),
        "SVM, Platt, folds": CalibratedClassifierCV(SVC(C=1)),
        "linear SVM, Platt": CalibratedClassifierCV(LinearSVC(C=0.1), ensemble=False),
        "15 neighbours": KNeighborsClassifier(15),
        "5 neighbours, by distance": KNeighborsClassifier(5, weights="distance"),
        "naive Bayes": GaussianNB(var_smoothing=1e-2),
        "logistic regression": LogisticRegression(max_iter=500),
        "logistic regression, C 0.001": LogisticRegression(C=0.001, max_iter=500),
        "logistic regression, C 100": LogisticRegression(C=100, max_iter=500),
        "LDA": LinearDiscriminantAnalysis(),
        "LDA, shrinkage": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        "MLP of scikit-learn": MLPClassifier(max_iter=60, random_state=seed),
        "MLP of scikit-learn, alpha 1": MLPClassifier(alpha=1.0, max_iter=80, random_state=seed),
        "MLP of scikit-learn, early": MLPClassifier(early_stopping=True, random_state=seed),
    }


SGD = {"optimiser": "sgd", "lr": 0.05}
NETWORKS: dict[str, tuple[str, float, dict[str, Any]]] = {
    **{f"MLP, ε {eps:g}": ("smoothed", eps, {}) for eps in (0.05, 0.1, 0.2)},
    "MLP, SGD, ε 0.1": ("smoothed", 0.1, {**SGD, "width": 128}),
    "MLP, BN, ε 0.1": ("smoothed", 0.1, {"bn": True}),
    "MLP, decay 1e-4, ε 0.1": ("smoothed", 0.1, {"decay": 1e-4}),
    "linear, ε 0.1": ("smoothed", 0.1, {"depth": 0, "epochs": 60, "lr": 3e-3}),
    **{f"MLP, confidence penalty {each:g}": ("penalty or mixup", 0.0, {"penalty": each}) for each in (0.1, 0.3)},
    "MLP, mixup": ("penalty or mixup", 0.0, {"mixup": 0.4}),
    **{
        f"MLP{', BN' * bn}, {epochs} epochs": ("one-hot", 0.0, {"epochs": epochs, "cosine": False, "bn": bn})
        for epochs in (1, 2, 4, 8, 40)
        for bn in (False, True)
    },
    **{f"MLP, decay {each:g}": ("one-hot", 0.0, {**SGD, "decay": each}) for each in (1e-3, 1e-2, 3e-2)},
}


def families(files: argparse.Namespace, repeat: int) -> Iterator[Job]:
    """Models of other families without smoothing, LightGBM and networks with it, networks with penalties."""
    for part, name, source in of_families(files):
        seed = (7 if part == "chosen" else 11) + 100 * repeat
        data = source(seed)
        for model, classifier in unsmoothed(seed).items():
            known = {"part": part, "data": name, "model": model, "kind": "other family", "eps_all": 0.0, "seed": seed}
            yield known, lambda classifier=classifier, data=data: predicted(classifier, data)
        for model, (kind, eps, how) in NETWORKS.items():
            known = {"part": part, "data": name, "model": model, "kind": kind, "eps_all": eps, "seed": seed + 1}
            yield known, lambda data=data, eps=eps, how=how, seed=seed + 1: train(data, eps, seed=seed, **how)
        if name in ("digits", "8 Gaussians", "5 classes", "mnist 0 to 5"):
            for eps, rounds in itertools.product((0.05, 0.1, 0.2), (100, 300)):
                known = {"part": part, "data": name, "model": f"LightGBM, {rounds} rounds, ε {eps:g}",
                         "kind": "smoothed", "eps_all": eps, "seed": seed}  # fmt: skip
                yield known, lambda data=data, eps=eps, rounds=rounds, seed=seed: boosted(data, eps, rounds, seed)


def predicted(classifier: Any, data: Data) -> Parts:
    """Raw scores of LightGBM, else logarithms of probabilities, with 1e-4 for 0 where these are shares of votes."""
    x, y, rest, rest_y = data
    fitted = classifier.fit(x, y)
    exact = type(fitted).__name__.startswith(("Hist", "Gradient", "XGB", "Cal", "Log", "Linear", "MLP"))

    def logits(rows: np.ndarray) -> np.ndarray:
        if type(fitted).__name__ == "LGBMClassifier":
            raw = fitted.predict(rows, raw_score=True)
            return raw if raw.ndim == 2 else np.column_stack([0 * raw, raw])
        with np.errstate(divide="ignore"):
            return np.log(fitted.predict_proba(rows).clip(0 if exact else 1e-4, 1))

    return {"train": (logits(x), y), "heldout": (logits(rest), rest_y)}


def boosted(data: Data, eps: float, rounds: int, seed: int) -> Parts:
    """LightGBM with a smoothed objective."""
    from lightgbm import LGBMClassifier

    from sfumato.adapters import boosting

    x, y, rest, rest_y = data
    objective = boosting.lightgbm(int(y.max()) + 1, label_smoothing=eps)
    model = LGBMClassifier(objective=objective, n_estimators=rounds, n_jobs=1, verbose=-1, random_state=seed).fit(x, y)
    return {"train": (model.predict(x, raw_score=True), y), "heldout": (model.predict(rest, raw_score=True), rest_y)}


PARTS = {"fits": fits, "overlaps": overlaps, "families": families}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, required=True)
    for file in ("mnist", "newsgroups", "cifar"):
        parser.add_argument(f"--{file}", type=Path)
    parser.add_argument("--repeats", type=int, help="of everything, with other seeds; 3 of fits and 1 of the others")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out = options.out or Path(__file__).with_name(f"infer_smoothing_{options.part}.jsonl")
    rows: list[dict[str, Any]] = []
    with open(out, "w", encoding="utf-8") as file:
        packages = ["torch", "numpy", "scikit-learn", "lightgbm", "xgboost", "sfumato"]
        print(json.dumps(environment(packages)), file=file)
        for repeat in range(options.repeats or (3 if options.part == "fits" else 1)):
            for known, make in PARTS[options.part](options, repeat):
                for kind, (logits, labels) in make().items():
                    rows.append({**known, **answer(logits, labels, kind)})
                    print(json.dumps(rows[-1], ensure_ascii=False), file=file, flush=True)
    summarise(rows)


def answer(logits: np.ndarray, labels: np.ndarray, kind: str) -> dict[str, Any]:
    columns = sf.evaluate.per_row(logits=logits, labels=labels)
    evidence = judge(columns, logits.shape[1], kind)
    strength = evidence.smoothing
    return {
        "rows": kind, "classes": logits.shape[1], "accuracy": float(columns.correct.mean()), "answer": evidence.answer,
        "found": strength and {"eps_all": strength.eps_all, "low": strength.low, "high": strength.high},
        "eps_of_gap": evidence.eps_of_gap,
    }  # fmt: skip


def summarise(rows: list[dict[str, Any]]) -> None:
    def group(row: dict[str, Any]) -> tuple[str, ...]:
        return row["part"], row.get("kind") or ("smoothed" if row["eps_all"] else "one-hot"), row["rows"]

    for key, held in itertools.groupby(sorted(rows, key=group), group):
        own = list(held)
        line = f"{', '.join(key)}: {len(own)} {dict(collections.Counter(row['answer'] for row in own))}"
        strengths = [(row["found"], row["eps_all"]) for row in own if row["found"] and row["eps_all"]]
        if strengths:
            off = [abs(found["eps_all"] / eps - 1) for found, eps in strengths]
            covers = sum(found["low"] <= eps <= found["high"] for found, eps in strengths)
            narrow = sum(found["high"] - found["low"] <= 0.5 * eps for found, eps in strengths)
            line += f", off by {np.median(off):.1%} ({max(off):.0%}), covers {covers}, at most 0.5 ε wide {narrow}"
        print(line)


if __name__ == "__main__":
    main()
