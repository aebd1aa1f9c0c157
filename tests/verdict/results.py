"""Evaluated arms with made-up metrics, for the tests of what is said of them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from sfumato.evaluate import Temperature
from sfumato.verdict import analyse
from sfumato.verdict.arms import ComparedArm


def made_up(name: str, eps: float, over: str = "others", classes: int = 10) -> ComparedArm:
    """An arm of plain smoothing, as a verdict knows it."""
    return ComparedArm(name, "smoothing", f"ε = {eps:g} over {over} of {classes}", one_hot=eps == 0)


def constant(value: float) -> analyse.Metric:
    """A metric that is the same on every row."""
    return analyse.Metric(np.full((5, 400), value), np.full((5, 1), value))


def against(results: list[analyse.ArmResult], majority: float, shares: float) -> list[analyse.ArmResult]:
    """The arms on rows of which so many have the most frequent class, with such a log loss of the class shares."""
    for each in results:
        each.majority, each.shares = constant(majority), constant(shares)
    return results


def result(arm: Any, **means: float) -> analyse.ArmResult:
    """An arm whose every metric is its mean plus noise that is the same in all arms, 5 seeds × 400 rows."""
    arm = arm if isinstance(arm, ComparedArm) else arm.compared(10)
    noise = np.random.default_rng(0).normal(size=(5, 400)) * 0.1
    made = analyse.ArmResult(arm, temperatures=[Temperature(1.0, False)] * 5)
    defaults = {"accuracy": 0.9, "nll": 0.4, "signed_gap": 0.0, "temperature": 1.5, "nll_after_temperature": 0.3,
                "eaurc": 0.004}  # fmt: skip
    for metric, mean in {**defaults, **means}.items():
        seed = zlib.crc32(f"{arm.name} {metric}".encode())
        own = np.random.default_rng(seed).normal(size=(5, 400)) * 0.01
        values = noise + own - (noise + own).mean() + mean
        made.metrics[metric] = analyse.Metric(values, values.mean(1, keepdims=True))
    made.majority, made.shares = constant(0.5), constant(0.7)
    made.aurc = constant(0.01)
    return made
