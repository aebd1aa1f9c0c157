"""From saved logits to numbers: four columns, intervals that count seeds and rows as random, and adjusted tests.

A metric is kept as one matrix, seeds × rows: its own value for each row where it has one, a jackknife pseudo-value
where it is a property of all rows together. Means, intervals and paired differences are then one piece of code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sfumato import evaluate
from sfumato.evaluate.metrics.compute import balanced_accuracy
from sfumato.evaluate.metrics.registry import HEADLINE, METRICS
from sfumato.evaluate.metrics.temperature import HIGHEST, LOWEST
from sfumato.evaluate.statistics.margins import Margins, word_for
from sfumato.runs.schema import ArmDifference, RangeOfMetric

Matrix = npt.NDArray[np.float64]

_LEAST = {"eaurc": 0.0, "eaurc_after_temperature": 0.0}  # of a model; that of a sample of rows may lie just below


class ComparedArm(Protocol):
    """What a verdict has to know of an arm, which is one target in a comparison.

    Attributes:
        name: as in the names of the files with its logits.
        eps: strength ε; 0 is one-hot.
        over: what ε is spread over, or ``"mixup"`` and ``"cutmix"``; None where no strength says it.
    """

    @property
    def name(self) -> str:
        """The name of the arm."""
        ...

    @property
    def eps(self) -> float:
        """The strength ε."""
        ...

    @property
    def over(self) -> str | None:
        """What ε is spread over."""
        ...

    def told(self, num_classes: int, /) -> str:
        """The strength in words."""
        ...


class Metric(NamedTuple):
    """One metric of one arm: pseudo-values of each seed and row, (S, N), and the value of each seed, (S,).

    Rows with equal features count as one, so that N is the number of distinct rows.
    """

    values: Matrix
    by_seed: Matrix

    @classmethod
    def stacked(cls, seeds: Sequence[tuple[Matrix, float]]) -> Metric:
        """From the pseudo-values of the rows and the value of each seed."""
        return cls(np.stack([values for values, _ in seeds]), np.array([value for _, value in seeds]))

    def minus(self, other: Metric, times: float = 1.0, plus: float = 0.0) -> Metric:
        """The paired difference to so many times the other, and to a number more: same seeds, same rows."""
        return Metric(self.values - times * other.values - plus, self.by_seed - times * other.by_seed - plus)

    def estimate(self) -> evaluate.Estimate:
        """Mean over seeds with its interval."""
        return evaluate.estimate_interval(self.values, estimate=float(self.by_seed.mean()))

    def log(self) -> Metric:
        """The logarithm of a positive metric, pseudo-values by the delta method."""
        own = self.by_seed[:, None]
        return Metric(np.log(own) + (self.values - own) / own, np.log(self.by_seed))


@dataclass
class ArmResult:
    """The evaluation of one arm over all seeds.

    Attributes:
        arm: the target.
        metrics: by name, in the order in which they are shown.
        temperatures: fitted on the validation rows, one a seed.
        aurc: of the test rows as trained; margins of the E-AURC are parts of it.
        noise_floor: ECE of a perfectly calibrated model at this number of rows: mean and central 95 %.
    """

    arm: ComparedArm
    metrics: dict[str, Metric] = field(default_factory=dict)
    temperatures: list[evaluate.Temperature] = field(default_factory=list)
    aurc: Metric | None = None
    noise_floor: tuple[float, float, float] = (0.0, 0.0, 0.0)


def analyse_arm(folder: Path, arm: ComparedArm, seeds: Sequence[int]) -> ArmResult:
    """Evaluate one arm from its saved logits.

    Temperatures are fitted on validation rows and applied to test rows. Every number is against the labels.

    Args:
        folder: of the run, with ``logits/``.
        arm: the target.
        seeds: those that were run.
    """
    result = ArmResult(arm)
    by_name: dict[str, list[tuple[npt.NDArray[Any], float]]] = {}
    floors: list[evaluate.NoiseFloor] = []
    areas: list[tuple[Matrix, float]] = []
    for seed in seeds:
        validation, test = (load_part(folder, arm, seed, part) for part in ("validation", "test"))
        temperature = evaluate.fit_temperature_small(logits=validation.logits, labels=validation.labels)
        result.temperatures.append(temperature)
        rows = evaluate.per_row(logits=test.logits, labels=test.labels)
        scaled = evaluate.per_row(logits=test.logits, labels=test.labels, temperature=temperature.value)
        floors.append(evaluate.noise_floor(rows.confidence))
        area = evaluate.aurc(rows.score, rows.correct)
        parts = evaluate.pseudo_values(area, evaluate.aurc_jackknife(rows.score, rows.correct))
        areas.append((by_group(parts, test.group), area))
        fitted = evaluate.temperature_jackknife(
            logits=validation.logits, labels=validation.labels, temperature=temperature.value
        )
        balanced, balanced_parts = balanced_accuracy(rows)
        for name, (values, value) in {
            "accuracy": _of_rows(rows.correct),
            "balanced_accuracy": (balanced_parts, balanced),
            **_scores(rows, ""),
            **_scores(scaled, "_after_temperature"),
            "logit_gap": _of_rows(rows.gap),
        }.items():
            by_name.setdefault(name, []).append((by_group(values, test.group), value))
        pair = by_group(fitted, validation.group), temperature.value
        by_name.setdefault("temperature", []).append(pair)
    result.metrics = {name: Metric.stacked(pairs) for name, pairs in by_name.items()}
    result.aurc = Metric.stacked(areas)
    result.noise_floor = (
        float(np.mean([f.mean for f in floors])),
        float(np.mean([f.low for f in floors])),
        float(np.mean([f.high for f in floors])),
    )
    return result


def summarise(result: ArmResult) -> dict[str, RangeOfMetric]:
    """Every metric of an arm as mean, low and high; unadjusted 95 % intervals, cut at the ends of a metric's range."""
    summary: dict[str, RangeOfMetric] = {}
    for name, metric in result.metrics.items():
        estimate = metric.estimate()
        if name == "temperature":  # positive, and a ratio: its interval is that of its logarithm
            log = metric.log().estimate()
            factor = float(np.exp(min(log.high - log.mean, 50.0)))
            low, high = (min(max(end, LOWEST), HIGHEST) for end in (estimate.mean / factor, estimate.mean * factor))
            summary[name] = {"mean": estimate.mean, "low": low, "high": high}
            continue
        lowest, highest = _LEAST.get(name, METRICS[name].lowest), METRICS[name].highest
        summary[name] = {
            "mean": estimate.mean,
            "low": max(estimate.low, lowest),
            "high": min(estimate.high, highest),
        }
    mean, low, high = result.noise_floor
    summary["ece_noise_floor"] = {"mean": mean, "low": low, "high": high}
    return summary


def differences(results: Sequence[ArmResult], margins: Margins | None = None) -> list[ArmDifference]:
    """Every other arm less the first, metric by metric; the headline ones tested together and adjusted by Holm.

    Args:
        results: of the arms; the first is what the others are compared with.
        margins: what is too small to matter; None for the defaults.
    """
    base, others = results[0], results[1:]
    margins = margins or Margins()
    bases = {name: base.aurc if name == "eaurc" else base.metrics[name] for name in HEADLINE}
    rows: list[ArmDifference] = []
    tested: list[tuple[ArmDifference, Metric, float]] = []
    for other in others:
        for name, metric in other.metrics.items():
            difference = metric.minus(base.metrics[name])
            estimate = difference.estimate()
            row: ArmDifference = {
                "metric": name,
                "arm": other.arm.name,
                "against": base.arm.name,
                "mean": estimate.mean,
                "low": estimate.low,
                "high": estimate.high,
                "p_adjusted": None,
                "finding": None,
                "margin": None,
            }
            rows.append(row)
            if name in HEADLINE:
                tested.append((row, difference, estimate.p))
    for (row, difference, _), adjusted in zip(tested, evaluate.holm([p for _, _, p in tested]), strict=True):
        name, of = row["metric"], bases[row["metric"]]
        number, part = margins.of(name)
        assert of is not None
        row["p_adjusted"], row["margin"] = adjusted, number + part * float(of.by_seed.mean())
        above, below = (difference.minus(of, sign * part, sign * number).estimate().interval(0.9) for sign in (1, -1))
        row["finding"] = word_for(
            row["mean"],
            inside=above[1] <= 0 <= below[0],
            reliable=adjusted < 0.05,
            better=METRICS[name].better or "",
        )
    return rows


class SavedPart(NamedTuple):
    """The saved rows of one part: logits (n, K), labels (n,), and a number that rows with equal features share (n,)."""

    logits: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    group: npt.NDArray[Any]  # rows with equal features have one number


def load_part(folder: Path, arm: ComparedArm, seed: int, part: str) -> SavedPart:
    """What a run saved of one part."""
    with np.load(folder / "logits" / f"{arm.name}-seed{seed}-{part}.npz", allow_pickle=False) as file:
        return SavedPart(file["logits"], file["labels"], file["group"])


def by_group(values: Matrix, group: npt.NDArray[Any]) -> Matrix:
    """One value a group of equal rows, such that their mean is the rows' mean and their spread is honest.

    Copies of a row are one piece of evidence: a group of m rows stands for m/N of the mean and varies as a whole.
    """
    numbers, counts = np.unique(group, return_counts=True)
    if len(numbers) == len(values):
        return values
    mean = values.mean()
    sums = np.bincount(np.searchsorted(numbers, group), weights=values - mean)
    return mean + sums * len(counts) / len(values)


def _of_rows(column: npt.NDArray[Any]) -> tuple[Matrix, float]:
    values = column.astype(np.float64)
    return values, float(values.mean())


def _scores(rows: evaluate.Rows, suffix: str) -> dict[str, tuple[Matrix, float]]:
    """What a temperature can change: proper scores, calibration, and the ranking by confidence."""
    ece, eaurc = evaluate.ece(rows.confidence, rows.correct), evaluate.eaurc(rows.score, rows.correct)
    return {
        f"nll{suffix}": _of_rows(rows.nll),
        f"brier{suffix}": _of_rows(rows.brier),
        f"ece{suffix}": (evaluate.pseudo_values(ece, evaluate.ece_jackknife(rows.confidence, rows.correct)), ece),
        f"signed_gap{suffix}": _of_rows(rows.confidence - rows.correct),
        f"eaurc{suffix}": (evaluate.pseudo_values(eaurc, evaluate.eaurc_jackknife(rows.score, rows.correct)), eaurc),
    }
