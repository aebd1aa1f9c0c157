"""The data and the two ways of training behind benchmarks/claims.py.

Most claims are looked at on models that `compare` would train; :class:`Trained` gives them. A claim about another way
of training (a student, noisy labels, a penalty) uses :func:`fit`, the same loop with the loss as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import when
from data_sets import SETS, Places
from torch import Tensor

from sfumato.lab.execute import RunTask
from sfumato.lab.execute.training_run import trained_model
from sfumato.lab.models import Classifier, build, features_and_logits, stack
from sfumato.lab.prepared import Prepared
from sfumato.verdict.analyse import SavedPart, load_part

KINDS = ("digits", "mixture", "mnist-5k", "wordnet")
"""Handwritten digits of 8×8, a mixture with known probabilities, pictures of 14×14, and texts."""

ARMS = ("onehot", "all:0.05", "all:0.1", "all:0.2", "all:0.4")
SEEDS = range(5)
DESIGN = {"folds": 1, "seeds": len(SEEDS), "weights": "last"}


@dataclass(frozen=True)
class Mixture:
    """20 normal classes in 8 dimensions, four around each of five centres: the true probabilities are known.

    The best possible accuracy is about 85 %.
    """

    means: np.ndarray

    @classmethod
    def make(cls) -> Mixture:
        """The one mixture of the claims."""
        rng = np.random.default_rng(0)
        centres = 1.6 * rng.normal(size=(5, 8))
        return cls(np.repeat(centres, 4, axis=0) + 0.9 * rng.normal(size=(20, 8)))

    def draw(self, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, 8) and labels (n,); classes 4k to 4k + 3 are around centre k."""
        rng = np.random.default_rng(seed)
        labels = rng.integers(len(self.means), size=rows)
        return self.means[labels] + rng.normal(size=(rows, self.means.shape[1])), labels


@dataclass(eq=False)
class Trained:
    """Models as `compare` trains them, on the four kinds of data; what is in the cache is not trained again."""

    places: Places
    cache: Path
    ready: dict[tuple[str, tuple[str, ...]], Prepared] = field(default_factory=dict)

    def prepared(self, kind: str, arms: tuple[str, ...] = ARMS[:1]) -> Prepared:
        """Data, model, budget and arms; nothing is trained."""
        if (kind, arms) not in self.ready:
            if kind == "mixture":
                x, y = Mixture.make().draw(3000, seed=1)
                loaded: Any = SimpleNamespace(features=x, labels=[f"{label:02d}" for label in y])
            else:
                loaded = next(each for each in SETS if each.name == kind).load(self.places)
            self.ready[kind, arms] = when.prepared_for(loaded, arms, **DESIGN)
        return self.ready[kind, arms]

    def arms(self, kind: str, *arms: str) -> tuple[Prepared, Path]:
        """The arms of one kind of data, trained."""
        ready, folder = self.prepared(kind, arms), self.cache / kind
        when.same_start(when.train(ready, folder, np.inf))
        return ready, folder

    def against_one_hot(self, kind: str, arm: str) -> dict[str, Any]:
        """Differences and metrics as a comparison of the two gives them."""
        ready, folder = self.arms(kind, "onehot", arm)
        return when.judged(ready, folder, ready.arms[1])

    def tasks(self, kind: str, arm: str) -> list[RunTask]:
        """The trained models of an arm, one a seed."""
        ready, folder = self.arms(kind, arm)
        return ready.tasks(folder)

    def parts(self, kind: str, arm: str, part: str) -> list[SavedPart]:
        """Logits and labels of each seed."""
        return [load_part(task.folder, task.arm.name, task.seed, part) for task in self.tasks(kind, arm)]

    def features(self, kind: str, arm: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """What the last layer of each seed's model sees of the training rows, (n, D), and the labels."""
        rows = self.prepared(kind).data.part("train")
        x = torch.from_numpy(rows.features)
        models = (trained_model(task) for task in self.tasks(kind, arm))
        return [
            (torch.cat([f for f, _ in features_and_logits(each, x)]).double().numpy(), rows.labels) for each in models
        ]

    def rows(self, kind: str) -> Rows:
        """The rows of a kind as tensors, for :func:`fit`."""
        ready = self.prepared(kind)
        parts = {name: ready.data.part(name) for name in ("train", "validation", "test")}
        made = {name: (torch.from_numpy(part.features), torch.from_numpy(part.labels)) for name, part in parts.items()}
        return Rows(ready, **made)


@dataclass(frozen=True)
class Rows:
    """Features and labels of each part."""

    ready: Prepared
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def classes(self) -> int:
        """K."""
        return self.ready.classes


Loss = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Of logits, labels, the numbers of the rows and the epoch; a mean over rows."""


def fit(
    rows: Rows,
    loss: Loss,
    seed: int,
    *,
    labels: Tensor | None = None,
    width: int | None = None,
    after_epoch: Callable[[int], object] | None = None,
) -> Classifier:
    """Train as `compare` does (its model, Adam, cosine to 0, its budget), towards any loss.

    Args:
        rows: the training rows.
        loss: what is made small.
        seed: of the weights and of the order of rows.
        labels: of the training rows, in place of their own.
        width: of the two hidden layers, in place of the model that `compare` chooses.
        after_epoch: called with the number of each finished epoch.
    """
    (x, y), plan = rows.train, rows.ready.plan
    y = y if labels is None else labels
    if width is None:
        model = build(rows.ready.model.name, rows.ready.data.inputs, rows.classes, seed=seed)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = stack([x.shape[1], width, width], rows.classes)
    optimiser = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=plan.steps(len(y)))
    order = torch.Generator().manual_seed(seed)
    for epoch in range(plan.epochs):
        model.train()
        for batch in torch.randperm(len(y), generator=order).split(plan.batch_size):
            optimiser.zero_grad()
            loss(model(x[batch]), y[batch], batch, epoch).backward()
            optimiser.step()
            schedule.step()
        if after_epoch is not None:
            after_epoch(epoch)
    return model


def logits_of(model: Classifier, x: Tensor) -> Tensor:
    """All rows, in float64."""
    return torch.cat([logits for _, logits in features_and_logits(model, x)]).double()


def with_noise(labels: Tensor, rate: float, classes: int, seed: int) -> Tensor:
    """Labels of which a share was moved to another class, each other class as likely."""
    draw = torch.Generator().manual_seed(1000 + seed)
    moved = torch.rand(len(labels), generator=draw) < rate
    other = (labels + torch.randint(1, classes, labels.shape, generator=draw)) % classes
    return torch.where(moved, other, labels)
