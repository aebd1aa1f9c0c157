"""Can the verdict be foretold from the one-hot models alone? The rule, its model and its measure, for docs/when.md.

Everything here was fixed before the first row existed: the eight features, the model (a ridge regression of fixed
strength), how sets are left out (all of one family together), and what counts as a success.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRENGTH = 10.0  # of the ridge, on standardised features; not tuned
CLIP = 0.3  # outcomes beyond ±0.3 count as ±0.3 when the model is fitted, so that no set rules it
LEAST_SETS = 24  # with fewer nothing is concluded
RESAMPLES = 10_000
OUTCOMES = ("nll_after_temperature", "accuracy", "eaurc")  # the first decides

Vector = np.ndarray


def features(told: Mapping[str, float]) -> Vector:
    """The eight numbers of a set, out of what the one-hot models show on training and validation rows.

    log T*; the logarithm of the training gap; validation less training log loss, over log K; validation log loss after
    temperature, over log K; validation error; noise estimate; log K; logarithm of the training rows a class.
    """
    chance = math.log(told["classes"])
    return np.array(
        [
            told["log_temperature"],
            math.log(max(told["train_gap"], 1e-3)),
            (told["validation_nll"] - told["train_nll"]) / chance,
            told["validation_nll_after_temperature"] / chance,
            told["validation_error"],
            told["noise"],
            chance,
            math.log(told["train_rows"] / told["classes"]),
        ]
    )


def outcome(row: Mapping[str, Any], metric: str) -> float:
    """What smoothing costs in a metric, more is worse: relative log loss, points of accuracy, AURC of the base.

    Log loss: log(smoothed / one-hot). Accuracy: one-hot less smoothed, in points. Ranking: smoothed less one-hot, as a
    part of the AURC of one-hot; 0 where one-hot made no mistake, since there is then no ranking to judge.
    """
    one_hot, smoothed = (each[metric]["mean"] for each in row["metrics"])
    if metric == "nll_after_temperature":
        return math.log(smoothed / one_hot)
    if metric == "accuracy":
        return 100 * (one_hot - smoothed)
    return (smoothed - one_hot) / row["aurc"][0] if row["aurc"][0] > 0 else 0.0


def ridge(x: np.ndarray, y: Vector, new: np.ndarray) -> Vector:
    """Predictions of a ridge regression on standardised features, whose constant is not shrunk.

    >>> ridge(np.array([[0.0], [2.0]]), np.array([1.0, 1.0]), np.array([[5.0]])).tolist()
    [1.0]
    """
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (x - centre) / scale
    slope = np.linalg.solve(standard.T @ standard + STRENGTH * np.eye(x.shape[1]), standard.T @ (y - y.mean()))
    return y.mean() + (new - centre) / scale @ slope


@dataclass(frozen=True)
class Foretold:
    """What came of it: whether to smooth each set, foretold by the others; and mean regrets by metric and rule."""

    sets: tuple[str, ...]
    smooth: tuple[bool, ...]
    regrets: Mapping[str, Mapping[str, float]]  # metric → {"foretold", "always", "never"}
    low: float  # of the 95 % interval of foretold less the better of the two, in the first metric
    high: float

    @property
    def ships(self) -> bool:
        """Enough sets; in log loss reliably less regret than the better of always and never, elsewhere not more."""
        return (
            len(self.sets) >= LEAST_SETS
            and self.high < 0
            and all(told["foretold"] <= min(told["always"], told["never"]) for told in self.regrets.values())
        )


def foretell(rows: Sequence[Mapping[str, Any]]) -> Foretold:
    """Leave out each family in turn, fit on the other sets, and decide for those left out.

    Args:
        rows: of the stage "smoothing", one a set.
    """
    x = np.stack([features(row["beforehand"]) for row in rows])
    costs = {metric: np.array([outcome(row, metric) for row in rows]) for metric in OUTCOMES}
    families = np.array([row["family"] for row in rows])
    said = np.empty(len(rows))
    for family in np.unique(families):
        out = families == family
        said[out] = ridge(x[~out], costs[OUTCOMES[0]][~out].clip(-CLIP, CLIP), x[out])
    smooth = said < 0
    regrets = {metric: regret_of(smooth, cost) for metric, cost in costs.items()}
    means = {metric: {rule: float(each.mean()) for rule, each in told.items()} for metric, told in regrets.items()}
    first = regrets[OUTCOMES[0]]
    rival = min(("always", "never"), key=lambda rule: means[OUTCOMES[0]][rule])
    low, high = interval(first["foretold"] - first[rival], families)
    return Foretold(tuple(row["set"] for row in rows), tuple(bool(each) for each in smooth), means, low, high)


def regret_of(smooth: Vector, cost: Vector) -> dict[str, Vector]:
    """What each rule loses on each set against whoever had known: ``cost`` is that of smoothing against one-hot.

    >>> {rule: each.tolist() for rule, each in regret_of(np.array([True, False]), np.array([0.5, -1.0])).items()}
    {'foretold': [0.5, 1.0], 'always': [0.5, 0.0], 'never': [0.0, 1.0]}
    """
    always, never = np.maximum(cost, 0), np.maximum(-cost, 0)
    return {"foretold": np.where(smooth, always, never), "always": always, "never": never}


def interval(values: Vector, families: np.ndarray) -> tuple[float, float]:
    """95 % percentiles of the mean where whole families are drawn again."""
    names = np.unique(families)
    sums = np.array([values[families == name].sum() for name in names])
    sizes = np.array([(families == name).sum() for name in names])
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
