"""Many small models at once, for benchmarks/verdict.py: fresh splits, a task with a known posterior, batched training.

The loop is that of sfumato.lab.train (Adam, cosine to 0, the rows of a batch from a generator of the seed), with one
more axis in front: stacked weights, one bmm for all models. Only the width is smaller than the built-in model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import sfumato as sf
from sfumato.lab.data.encoding import Numbers
from sfumato.lab.data.images import Images
from sfumato.lab.data.split import split
from sfumato.lab.data.table import Table, hash_rows
from sfumato.lab.models import stack
from sfumato.lab.train import Plan

WIDTH = 64
Floats = npt.NDArray[np.floating[Any]]


def embedded(name: str) -> Table:
    """A data set that comes with scikit-learn: ``digits``, ``wine``, ``iris``, ``breast_cancer``; or an ``.npz``."""
    if name.endswith(".npz"):
        from sfumato.lab.data import load

        table = load(name)
        if isinstance(table.features, Images):
            pixels = table.features.pixels
            values = pixels.reshape(len(pixels), -1).astype(np.float64)
            return replace(table, features=Numbers(values, (), pixels.shape[1:], image=True))
        return table
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    image = name == "digits"
    return Table(
        name=name,
        kind=name,
        features=Numbers(
            np.ascontiguousarray(bunch.data, np.float64),
            tuple(str(f) for f in bunch.feature_names),
            (8, 8) if image else (bunch.data.shape[1],),
            image=image,
        ),
        labels=np.asarray(bunch.target, np.int64),
        class_names=tuple(str(k) for k in bunch.target_names),
    )


Part = tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]


def fresh_split(table: Table, rows: int | None, rng: np.random.Generator) -> dict[str, Part]:
    """Training, validation and test rows of a new split, dealt by the code of `compare` from salted hashes.

    Args:
        table: the data set.
        rows: take so many of its rows first, an equal share of every class; None for all.
        rng: of the rows taken and of the salt.

    Returns:
        Standardised features (n, D) float32, labels (n,), and a number for each row, the same for equal rows.
    """
    labels, classes = table.labels, len(table.class_names)
    keep = np.arange(len(labels))
    if rows is not None:
        keep = np.concatenate([rng.permutation(np.flatnonzero(labels == k))[: rows // classes] for k in range(classes)])
    numbers = table.features
    assert isinstance(numbers, Numbers)
    values = numbers.values[keep]
    part = replace(table, features=replace(numbers, values=values), labels=labels[keep])
    _, same = np.unique(hash_rows(values), axis=0, return_inverse=True)
    same = same.reshape(-1)
    salted = rng.integers(2**63, size=(same.max() + 1, 2)).astype(np.uint64)[same]
    parts = split(part, hashes=salted)
    axis = None if numbers.image else 0
    train = values[parts.train]
    mean, scale = train.mean(axis=axis), train.std(axis=axis)
    x = ((values - mean) / np.where(scale > 0, scale, 1.0)).astype(np.float32)
    chosen = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    return {name: (x[index], part.labels[index], same[index]) for name, index in chosen.items()}


@dataclass(frozen=True)
class Stack:
    """Models side by side: each layer's weights (M, in, out) and biases (M, 1, out)."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def initial(cls, inputs: int, classes: int, seeds: Sequence[int], width: int = WIDTH) -> Stack:
        """Each model's weights drawn from its seed, as :func:`sfumato.lab.models.build` draws them."""
        models: list[list[torch.nn.Linear]] = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = stack([inputs, width, width], classes)
            models.append([layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)])
        return cls(
            tuple(
                (
                    torch.stack([layer.weight.detach().T for layer in each]).contiguous(),
                    torch.stack([layer.bias.detach()[None] for layer in each]).contiguous(),
                )
                for each in zip(*models, strict=True)
            )
        )

    def __getitem__(self, models: slice | list[int]) -> Stack:
        return Stack(tuple((weight[models], bias[models]) for weight, bias in self.layers))

    def logits(self, x: Tensor) -> Tensor:
        """(M, n, K) from rows (M, n, D), or from (n, D) that are the same for all."""
        if x.ndim == 2:
            x = x.expand(len(self.layers[0][0]), *x.shape)
        for depth, (weight, bias) in enumerate(self.layers):
            x = torch.baddbmm(bias, x.relu() if depth else x, weight)
        return x


def train_together(
    x: Tensor, y: Tensor, which: Sequence[int], seeds: Sequence[int], classes: int, plan: Plan, eps: float
) -> Stack:
    """Train M models, each on its own rows in its own order.

    Args:
        x: features of C training sets of one size, (C, n, D).
        y: labels, (C, n).
        which: training set of each model, (M,).
        seeds: of each model's weights and order of rows, (M,).
        classes: K.
        plan: the budget of each.
        eps: strength of smoothing over the others; 0 is one-hot.
    """
    sets, rows = torch.as_tensor(which)[:, None], y.shape[1]
    models = Stack.initial(x.shape[2], classes, seeds)
    parameters = [tensor.requires_grad_() for layer in models.layers for tensor in layer]
    optimiser = torch.optim.Adam(parameters, lr=plan.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=plan.steps(rows))
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    for _ in range(plan.epochs):
        order = torch.stack([torch.randperm(rows, generator=each) for each in orders])
        for batch in order.split(plan.batch_size, dim=1):
            logits = models.logits(x[sets, batch])
            loss = sf.cross_entropy(
                logits.flatten(0, 1), y[sets, batch].flatten(), label_smoothing=eps, over="others", reduction="sum"
            )
            optimiser.zero_grad()
            (loss / batch.shape[1]).backward()
            optimiser.step()
            schedule.step()
    for tensor in parameters:
        tensor.requires_grad_(False)
    return models


@dataclass(frozen=True)
class Mixture:
    """K normal classes with unit covariance in D dimensions: rows can be drawn for ever, and the posterior is known."""

    means: Floats

    @classmethod
    def make(cls, classes: int = 5, dimensions: int = 8, spread: float = 0.9, seed: int = 0) -> Mixture:
        """Class means drawn once, from ``seed``."""
        return cls(spread * np.random.default_rng(seed).normal(size=(classes, dimensions)))

    def draw(self, rows: int, rng: np.random.Generator) -> tuple[Tensor, npt.NDArray[np.int64]]:
        """Features (n, D) float32 and labels (n,)."""
        labels = rng.integers(len(self.means), size=rows)
        x = self.means[labels] + rng.normal(size=(rows, self.means.shape[1]))
        return torch.from_numpy(x.astype(np.float32)), labels

    def posterior(self, x: Tensor) -> Floats:
        """p(y | x), (n, K), exactly."""
        distance = ((x.double().numpy()[:, None, :] - self.means) ** 2).sum(axis=2)
        unnormalised = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / 2)
        return unnormalised / unnormalised.sum(axis=1, keepdims=True)
