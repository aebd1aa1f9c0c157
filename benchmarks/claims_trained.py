"""What the claims about models of `compare` measure; each function gives numbers by kind of data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from claims_data import ARMS, KINDS, Trained

import sfumato as sf
from sfumato.evaluate import fit_temperature, nc1, per_row
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.lab.resume import finished

SMOOTHED = "all:0.1"


def gap(trained: Trained) -> dict[str, Any]:
    """The mean training gap of each strength, and the closed form."""
    found: dict[str, Any] = {}
    for kind in ("digits", "mnist-5k"):
        found[kind] = {}
        for arm in ARMS[1:]:
            eps = float(arm.partition(":")[2])
            records = [finished(task) for task in trained.tasks(kind, arm)]
            found[kind][f"{eps:g}"] = {
                "gap": float(np.mean([record["train_gap"] for record in records if record is not None])),
                "closed_form": float(sf.theory.optimal_gap(eps, trained.prepared(kind).classes, over="all")),
            }
    return found


def steps_to_a_gap(_: Trained) -> dict[str, Any]:
    """Counted steps of gradient descent on free logits, and the formula, for each number of classes."""
    found: dict[str, Any] = {}
    for classes in (3, 5, 10, 20, 100):
        smoothed = float(sf.theory.optimal_gap(0.1, classes, over="all"))
        wanted = {
            "one-hot to 6": (0.0, 6.0),
            "one-hot to 8": (0.0, 8.0),
            "90 %": (0.1, 0.9 * smoothed),
            "99 %": (0.1, 0.99 * smoothed),
        }
        found[str(classes)] = {
            name: {
                "counted": _counted(classes, eps, distance),
                "formula": float(sf.theory.time_to_gap(distance, classes, eps=eps, over="all")),
            }
            for name, (eps, distance) in wanted.items()
        }
    return found


def _counted(classes: int, eps: float, distance: float) -> int:
    """Steps of size 1 from equal logits until the gap is reached."""
    target = np.full(classes, eps / classes)
    target[0] += 1 - eps
    logits, steps = np.zeros(classes), 0
    while logits[0] - logits[1] < distance:
        p = np.exp(logits - logits.max())
        logits -= p / p.sum() - target
        steps += 1
    return steps


def clusters(trained: Trained) -> dict[str, Any]:
    """NC1 of the training features, a number a seed."""
    return {
        kind: {
            name: [nc1(features, labels) for features, labels in trained.features(kind, arm)]
            for name, arm in (("one_hot", "onehot"), ("smoothed", SMOOTHED))
        }
        for kind in KINDS
    }


def _difference(trained: Trained, metric: str) -> dict[str, Any]:
    """Smoothed less one-hot with its interval, and both arms' means."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        judged = trained.against_one_hot(kind, SMOOTHED)
        row = judged["differences"][metric]
        one_hot, smoothed = (each[metric]["mean"] for each in judged["metrics"])
        found[kind] = {"one_hot": one_hot, "smoothed": smoothed, **{key: row[key] for key in ("mean", "low", "high")}}
    return found


def accuracy(trained: Trained) -> dict[str, Any]:
    """The difference in accuracy."""
    return _difference(trained, "accuracy")


def calibration(trained: Trained) -> dict[str, Any]:
    """The difference in ECE, as trained."""
    return _difference(trained, "ece")


def calibration_after_temperature(trained: Trained) -> dict[str, Any]:
    """The difference in ECE after temperature."""
    return _difference(trained, "ece_after_temperature")


def ranking(trained: Trained) -> dict[str, Any]:
    """The difference in E-AURC, as trained."""
    return _difference(trained, "eaurc")


def calibration_by_strength(trained: Trained) -> dict[str, Any]:
    """The mean ECE of each strength."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        found[kind] = {}
        for arm in ARMS[1:]:
            judged = trained.against_one_hot(kind, arm)
            found[kind]["0"], found[kind][f"{float(arm.partition(':')[2]):g}"] = (
                each["ece"]["mean"] for each in judged["metrics"]
            )
    return found


def temperatures(trained: Trained) -> dict[str, Any]:
    """The temperature that fits the validation rows, a number a seed."""
    return {
        kind: {
            name: [
                fit_temperature(small=True, logits=part.logits, labels=part.labels).value
                for part in trained.parts(kind, arm, "validation")
            ]
            for name, arm in (("one_hot", "onehot"), ("smoothed", SMOOTHED))
        }
        for kind in KINDS
    }


def logit_norm(trained: Trained) -> dict[str, Any]:
    """The mean E-AURC by the largest probability, and by the largest centred logit over their norm."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        found[kind] = {}
        for name, arm in (("one_hot", "onehot"), ("smoothed", SMOOTHED)):
            pairs = [_two_rankings(part.logits, part.labels) for part in trained.parts(kind, arm, "test")]
            found[kind][name] = np.mean(pairs, axis=0).tolist()
    return found


def _two_rankings(logits: Any, labels: Any) -> tuple[float, float]:
    z = torch.as_tensor(logits).double().numpy()
    centred = z - z.mean(axis=1, keepdims=True)
    correct = z.argmax(axis=1) == labels
    plain = per_row(logits=logits, labels=labels).confidence
    by_norm = centred.max(axis=1) / np.linalg.norm(centred, axis=1)
    return RankedGroups(plain, correct).eaurc(), RankedGroups(by_norm, correct).eaurc()
