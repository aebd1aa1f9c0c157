"""Looking again after adding seeds: how often rules err between equal arms, and what they find between different ones.

Rows of five folds are tested by up to four seeds per fold, and each look tests three metrics, adjusted by Holm. What a
model adds to a row is a part of the row, that all seeds share, and a part of its own, both heavy-tailed (t with 5
degrees of freedom), and each model has a luck of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from sfumato import evaluate
from sfumato.evaluate.statistics.differences import Metric
from sfumato.evaluate.statistics.looks import SPENT, adjustment

FOLDS, ROWS, LOOKS, METRICS = 5, 180, 4, 3
PLANNED = (0.25, 0.25, 0.25, 0.25)  # error spent alike at each look, near to Pocock's boundary
CASES = {"as much luck in a row as row": 1.0, "a quarter as much": 0.25}  # variance of a model's own part

Look = tuple[list[float], float, float]
"""Standard errors before, the standard error now, and the p-value."""


def always_valid(look: Look) -> float:
    """The p-value of a mixture of alternatives as wide as the first standard error (Robbins 1970)."""
    before, now, p = look
    width = (before[0] if before else now) ** 2
    z = float(norm.isf(max(p, 1e-300) / 2))
    return min(1.0, float(np.sqrt(1 + width / now**2) * np.exp(-(z**2) * width / (2 * (now**2 + width)))))


def obrien_fleming(errors: Sequence[float]) -> list[float]:
    """The part of the error that each look spends, by Lan and DeMets's function for O'Brien and Fleming's boundary."""
    information = (errors[-1] / np.array(errors)) ** 2
    total = 2 * norm.sf(norm.isf(0.05 / 3 / 2) / np.sqrt(information)) / (0.05 / 3)
    return np.maximum(np.diff(total, prepend=0.0), 1e-9).tolist()


def rules(final: Sequence[float]) -> dict[str, Callable[[Look], float]]:
    """What each rule makes of the p-value of a look; ``final`` are the standard errors of all looks."""

    def spending(parts: Sequence[float]) -> Callable[[Look], float]:
        return lambda look: look[2] * adjustment(look[0], look[1], parts)

    return {
        "not adjusted": lambda look: look[2],
        "four fifths first": spending(SPENT),
        "alike": spending(PLANNED),
        "O'Brien-Fleming": spending(obrien_fleming(final)),
        "always valid": always_valid,
    }


def looked_at(difference: float, own: float, rng: np.random.Generator) -> list[Look]:
    """The looks of one metric, at 1 to 4 seeds per fold."""
    fold = np.repeat(np.arange(FOLDS), ROWS)
    row, model = rng.standard_t(5, FOLDS * ROWS), rng.standard_t(5, (LOOKS, FOLDS * ROWS)) * np.sqrt(own)
    luck = rng.normal(0, 0.05, (LOOKS, FOLDS))
    values = difference + row + model + luck[:, fold]
    looks, before = list[Look](), list[float]()
    for seeds in range(1, LOOKS + 1):
        by_model = np.stack([values[:seeds, fold == each].mean(axis=1) for each in range(FOLDS)], axis=1)
        estimate = Metric(values[:seeds], by_model, None, fold, np.full(FOLDS, 1 / FOLDS)).estimate()
        looks.append((list(before), estimate.se, estimate.p))
        before.append(estimate.se)
    return looks


def looks(draws: int) -> Iterator[dict[str, Any]]:
    """One row per case: how often a rule declares a difference, at the first look and at any."""
    for case, own in CASES.items():
        for kind, difference in (("equal", 0.0), ("different", 0.13)):
            first, ever = dict[str, int](), dict[str, int]()
            for draw in range(draws):
                rng = np.random.default_rng([draw, int(100 * own), int(100 * difference)])
                metrics = [looked_at(difference if at == 0 else 0.0, own, rng) for at in range(METRICS)]
                named = rules([each[1] for each in metrics[0]])
                for name, rule in named.items():
                    tested = [evaluate.holm([min(rule(m[at]), 1.0) for m in metrics])[0 if difference else slice(None)]
                              for at in range(LOOKS)]  # fmt: skip
                    found = [float(np.min(each)) < 0.05 for each in tested]
                    first[name], ever[name] = first.get(name, 0) + found[0], ever.get(name, 0) + any(found)
            yield {
                "experiment": "looks", "set": case, "arms": kind, "comparisons": draws,
                "first": {name: each / draws for name, each in first.items()},
                "ever": {name: each / draws for name, each in ever.items()},
            }  # fmt: skip
