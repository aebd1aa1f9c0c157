"""What the claims measure that need another way of training: students, noisy labels, penalties, online targets."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from claims_data import SEEDS, Loss, Rows, Trained, fit, logits_of, with_noise
from scipy.optimize import brentq
from torch import Tensor

import sfumato as sf
from sfumato.evaluate import evaluate, fit_temperature, logit_gap
from sfumato.lab.models import Classifier

STUDENT = 64  # width of the hidden layers; a teacher's is 256
TEMPERATURES = (1, 2, 4, 8)
WARM_UP = 14  # epochs


def smoothed(eps: float) -> Loss:
    """Cross entropy with ε spread over all classes, as torch has it."""
    return lambda logits, labels, _, __: sf.cross_entropy(logits, labels, label_smoothing=eps)


def _accuracy(model: Classifier, rows: Rows) -> float:
    """In points, on the test rows."""
    x, y = rows.test
    return 100 * float((logits_of(model, x).argmax(1) == y).double().mean())


def _tested(model: Classifier, rows: Rows) -> dict[str, float]:
    """The numbers of one model: temperature by the validation rows, everything else on test rows, gap in training."""
    z, y = logits_of(model, rows.validation[0]).numpy(), rows.validation[1].numpy()
    temperature = fit_temperature(small=True, logits=z, labels=y).value
    z, y = logits_of(model, rows.test[0]).numpy(), rows.test[1].numpy()
    plain, scaled = evaluate(logits=z, labels=y), evaluate(logits=z / temperature, labels=y)
    return {
        "accuracy": 100 * float(plain.accuracy),
        "ece": float(plain.ece),
        "nll": float(scaled.nll),
        "eaurc": float(plain.eaurc),
        "temperature": temperature,
        "gap": float(np.mean(logit_gap(logits_of(model, rows.train[0]).numpy(), rows.train[1].numpy()))),
    }


def _means(rows: Rows, loss: Loss) -> dict[str, float]:
    """Means over seeds of the numbers of a loss."""
    seeds = [_tested(fit(rows, loss, seed), rows) for seed in SEEDS]
    return {name: float(np.mean([each[name] for each in seeds])) for name in seeds[0]}


def maxsup(trained: Trained) -> dict[str, Any]:
    """Smoothing and MaxSup, CE + 0.1·(max z − mean z)."""

    def penalised(logits: Tensor, labels: Tensor, _: Tensor, __: int) -> Tensor:
        return F.cross_entropy(logits, labels) + 0.1 * (logits.amax(1) - logits.mean(1)).mean()

    rows = trained.rows("mnist-5k")
    return {"smoothed": _means(rows, smoothed(0.1)), "maxsup": _means(rows, penalised)}


@cache  # two claims look at the same students
def students(trained: Trained) -> dict[str, Any]:
    """Mean accuracy of students by the teacher's strength and the temperature of distillation."""
    rows = trained.rows("mixture")
    found: dict[str, Any] = {}
    for eps in (0.0, 0.1, 0.6):
        teachers = [fit(rows, smoothed(eps), seed) for seed in SEEDS]
        found[f"{eps:g}"] = {"teacher": float(np.mean([_accuracy(each, rows) for each in teachers]))}
        for temperature in TEMPERATURES:
            taught = [
                _accuracy(fit(rows, _of_teacher(teacher, rows, temperature), seed, width=STUDENT), rows)
                for seed, teacher in zip(SEEDS, teachers, strict=True)
            ]
            found[f"{eps:g}"][str(temperature)] = float(np.mean(taught))
    return found


def _of_teacher(teacher: Classifier, rows: Rows, temperature: float) -> Loss:
    said = logits_of(teacher, rows.train[0]).float()

    def loss(logits: Tensor, labels: Tensor, batch: Tensor, _: int) -> Tensor:
        return sf.distillation_loss(logits, labels, said[batch], 1.0, temperature)

    return loss


def labels_with_noise(trained: Trained) -> dict[str, Any]:
    """Mean accuracy on right labels by the rate of wrong training labels and by ε."""
    rows = trained.rows("mnist-5k")
    return {
        f"{rate:g}": {f"{eps:g}": _with_noise(rows, rate, smoothed(eps)) for eps in (0.0, 0.1, 0.6)}
        for rate in (0.2, 0.4)
    }


def _with_noise(rows: Rows, rate: float, loss: Loss) -> float:
    y = rows.train[1]
    return float(
        np.mean(
            [_accuracy(fit(rows, loss, seed, labels=with_noise(y, rate, rows.classes, seed)), rows) for seed in SEEDS]
        )
    )


def negative_smoothing(trained: Trained) -> dict[str, Any]:
    """Mean accuracy on right labels with 60 % wrong training labels, by ε."""

    def below_zero(logits: Tensor, labels: Tensor, _: Tensor, epoch: int) -> Tensor:
        if epoch < WARM_UP:
            return F.cross_entropy(logits, labels)
        logs = logits.log_softmax(1)
        return -(3 * logs.gather(1, labels[:, None]).mean() - 2 * logs.mean())  # (1 − ε) and ε/K at ε = −2

    rows = trained.rows("mnist-5k")
    arms = {"0": smoothed(0.0), "0.6": smoothed(0.6), "-2": below_zero}
    return {name: _with_noise(rows, 0.6, loss) for name, loss in arms.items()}


def bounded_gap_of_the_confidence_penalty(trained: Trained) -> dict[str, Any]:
    """CE − 0.5·H(p): the mean training gap, its fixed point, and the temperature of each seed."""
    beta = 0.5

    def penalised(logits: Tensor, labels: Tensor, _: Tensor, __: int) -> Tensor:
        logs = logits.log_softmax(1)
        return F.cross_entropy(logits, labels) + beta * (logs.exp() * logs).sum(1).mean()

    found: dict[str, Any] = {}
    for kind in ("digits", "mixture"):
        rows = trained.rows(kind)
        seeds = [_tested(fit(rows, penalised, seed), rows) for seed in SEEDS]
        found[kind] = {
            "gap": float(np.mean([each["gap"] for each in seeds])),
            "fixed_point": _fixed_point(beta, rows.classes),
            "temperatures": [each["temperature"] for each in seeds],
        }
    return found


def _fixed_point(beta: float, classes: int) -> float:
    """The gap d at which β·p·d = 1, where p = 1/(1 + (K−1)e^−d): there the two gradients cancel."""

    def above(d: float) -> float:
        return beta * d / (1 + (classes - 1) * math.exp(-d)) - 1

    return float(cast("float", brentq(above, 1e-6, 100)))


def online_smoothing(trained: Trained) -> dict[str, Any]:
    """One-hot, ε = 0.1, and online smoothing with half of each target, on the mixture."""
    rows = trained.rows("mixture")
    seeds = [_tested(_fit_online(rows, seed), rows) for seed in SEEDS]
    online = {name: float(np.mean([each[name] for each in seeds])) for name in seeds[0]}
    return {"one_hot": _means(rows, smoothed(0.0)), "smoothed": _means(rows, smoothed(0.1)), "online": online}


def _fit_online(rows: Rows, seed: int) -> Classifier:
    """Half one-hot, half the mean prediction of the last epoch over the rows of the class that were right."""
    classes = rows.classes
    table = torch.full((classes, classes), 1 / classes)
    sums, counts = torch.zeros(classes, classes), torch.zeros(classes)

    def loss(logits: Tensor, labels: Tensor, _: Tensor, __: int) -> Tensor:
        p = logits.detach().softmax(1)
        right = p.argmax(1) == labels
        sums.index_add_(0, labels[right], p[right])
        counts.index_add_(0, labels[right], torch.ones(int(right.sum())))
        soft = -(table[labels] * logits.log_softmax(1)).sum(1).mean()
        return 0.5 * F.cross_entropy(logits, labels) + 0.5 * soft

    def next_table(_: int) -> None:
        table[:] = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], 1 / classes)
        sums.zero_()
        counts.zero_()

    return fit(rows, loss, seed, after_epoch=next_table)


def label_relaxation(trained: Trained) -> dict[str, Any]:
    """Mean ECE of one-hot, smoothing and label relaxation, 0.1 each."""
    alpha = 0.1

    def relaxed(logits: Tensor, labels: Tensor, _: Tensor, __: int) -> Tensor:
        p = logits.softmax(1).gather(1, labels[:, None])[:, 0].clamp(1e-7, 1 - 1e-7)
        divergence = (1 - alpha) * torch.log((1 - alpha) / p) + alpha * torch.log(alpha / (1 - p))
        return torch.where(p >= 1 - alpha, torch.zeros_like(p), divergence).mean()

    found: dict[str, Any] = {}
    for kind in ("digits", "mixture"):
        rows = trained.rows(kind)
        losses = {"one_hot": smoothed(0.0), "smoothed": smoothed(0.1), "relaxed": relaxed}
        found[kind] = {name: _means(rows, loss)["ece"] for name, loss in losses.items()}
    return found
