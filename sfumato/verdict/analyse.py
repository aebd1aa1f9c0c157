"""From saved logits to numbers: four columns, intervals that count seeds and rows as random, and adjusted tests.

A metric is kept as one matrix, seeds × rows: its own value for each row where it has one, a jackknife pseudo-value
where it is a property of all rows together. Means, intervals and differences are then one piece of code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sfumato import evaluate
from sfumato.evaluate.auditing.findings import NEVER_ZERO
from sfumato.evaluate.metrics.calibration import by_chance, in_bins
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.metrics.temperature import HIGHEST, LOWEST, NllSlope, fit, jackknife
from sfumato.evaluate.scores.measure import BINS, columns_at, measure
from sfumato.evaluate.scores.per_row import scan
from sfumato.evaluate.scores.score_matrix import RowError, ScoreMatrix, check_labels, check_temperature
from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels, Truth
from sfumato.evaluate.statistics.differences import Metric, ModelRows, Pair, compare_pairs
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.margins import Margins
from sfumato.runs.schema import ArmDifference, Look, RangeOfMetric
from sfumato.verdict.arms import ComparedArm
from sfumato.verdict.broken_models import ModelFit, fit_of

Matrix = npt.NDArray[np.float64]

PARTS = 5
"""Parts of the validation rows, each of which has the temperature of the others."""

_MIN_SHOWN = {"eaurc": 0.0, "eaurc_after_temperature": 0.0}  # of a model; that of a sample of rows may lie just below


def belong_together(mine: ArmResult, theirs: ArmResult, *, paired: bool) -> bool:
    """Whether seeds belong together: as the caller says, or because both arms hold the very same models."""
    return paired or np.array_equal(mine.metrics["nll"].values, theirs.metrics["nll"].values)


@dataclass
class ArmResult:
    """The evaluation of one arm over all of its models."""

    arm: ComparedArm
    metrics: dict[str, Metric] = field(default_factory=dict)  # in the order in which they are shown
    temperatures: list[evaluate.Temperature] = field(default_factory=list)  # one per model
    aurc: Metric | None = None  # of the test rows as trained; margins of the E-AURC are parts of it
    noise_floor: tuple[float, float, float] = (0.0, 0.0, 0.0)  # ECE of a calibrated model: mean and central 95 %
    cross_fitted: bool = False  # whether temperatures are cross-fitted over the test rows, for want of others
    reliability: dict[str, evaluate.Reliability] = field(default_factory=dict[str, evaluate.Reliability])
    answers: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = field(default_factory=list)  # labels, classes
    groups: list[RowGroups] = field(default_factory=list)  # which test rows vary together, of each fold
    majority: Metric | None = None  # accuracy of always answering the most frequent class of the test rows
    shares: Metric | None = None  # log loss of the class shares of the test rows
    fits: list[ModelFit] = field(default_factory=list[ModelFit])  # of each model

    @property
    def errors(self) -> Metric:
        """The share of mistakes, of which a margin of the accuracy in per cent is a part."""
        accuracy = self.metrics["accuracy"]
        return replace(accuracy, values=1 - accuracy.values, by_model=1 - accuracy.by_model)

    @property
    def mistakes(self) -> float:
        """How many of the distinct test rows are misclassified, on average over seeds."""
        return self.errors.mean * self.errors.values.shape[1]


def analyse_arm(folder: Path, arm: ComparedArm, seeds: Sequence[int], folds: int = 1) -> ArmResult:
    """Evaluate one arm of a comparison from the logits in its folder."""
    models = (
        ModelScores(load_part(folder, arm.name, seed, "test"), load_part(folder, arm.name, seed, "validation"))
        for seed in seeds
    )
    return analyse_models(arm, models, folds)


def analyse_models(arm: ComparedArm, models: Iterable[ModelScores], folds: int = 1) -> ArmResult:
    """Evaluate one arm from the scores of its models, the r-th of which has tested the rows of fold r mod F.

    Temperatures are fitted on validation rows and applied to test rows. Where a model has none, each test row has the
    temperature of the other fifths of the test rows, as in an audit. Every number is against the labels.
    """
    result = ArmResult(arm)
    groups, fitted_on = result.groups, list[RowGroups]()
    by_name: dict[str, list[ModelRows]] = {}
    floors: list[evaluate.NoiseFloor] = []
    areas: list[ModelRows] = []
    blind: list[tuple[ModelRows, ModelRows]] = []
    parts: dict[str, list[tuple[Matrix, npt.NDArray[Any]]]] = {"as trained": [], "after temperature": []}
    for number, model in enumerate(models):
        rows, scaled, temperature, fitted = _read(model)
        result.temperatures.append(temperature)
        result.answers.append((rows.label, rows.predicted))
        parts["as trained"].append((rows.confidence, rows.right))
        parts["after temperature"].append((scaled.confidence, scaled.right))
        result.cross_fitted = model.validation is None
        together, called = RowGroups.of(model.test.group), model.name or f"{arm.name} seed {number}"
        fit = fit_of(called, model.test.logits, rows.label, rows.predicted, rows.gap, together)
        if model.name:  # files may hold one model twice; the models of a comparison were all trained here
            for each in result.fits:
                if each.same_scores(fit):
                    both = f"{each.name} and {model.name}"
                    raise ValueError(f"{both} are one model: their logits agree in every row; remove one")
        result.fits.append(fit)
        blind.append(_blind(model.test))
        if number < folds:  # all models of a fold are on the same rows
            groups.append(together)
            fitted_on.append(groups[-1] if model.validation is None else RowGroups.of(model.validation.group))
        floors.append(by_chance(rows.confidence, rows.right, BINS))
        ranked = RankedGroups(rows.score, rows.right)
        areas.append((evaluate.pseudo_values(ranked.aurc(), ranked.aurc_without_each()), ranked.aurc()))
        for name, defined in METRICS.items():
            pair = defined.of_seed(scaled if defined.scaled else rows)
            if name == "temperature":
                pair = fitted, temperature.value
            if pair is not None:
                by_name.setdefault(name, []).append(pair)

    def stacked(of_models: Sequence[ModelRows], together: Sequence[RowGroups]) -> Metric:
        return Metric.stacked([of_models[fold::folds] for fold in range(folds)], together)

    result.metrics = {
        name: stacked(of_models, fitted_on if name == "temperature" else groups)
        for name, of_models in by_name.items()
        if len(of_models) == len(floors)  # the test rows of some fold may lack a class
        if name != "logit_gap" or np.isfinite([value for _, value in of_models]).all()  # a class may be ruled out
    }
    result.aurc = stacked(areas, groups)
    result.majority, result.shares = (stacked(each, groups) for each in zip(*blind, strict=True))
    result.reliability = {
        how: in_bins(np.concatenate([c for c, _ in each]), np.concatenate([r for _, r in each]))
        for how, each in parts.items()
    }
    result.noise_floor = (
        float(np.mean([f.mean for f in floors])),
        float(np.mean([f.low for f in floors])),
        float(np.mean([f.high for f in floors])),
    )
    return result


def _read(model: ModelScores) -> tuple[evaluate.Rows, evaluate.Rows, evaluate.Temperature, Matrix]:
    """The test rows as they are and after temperature, the temperature, and what each row adds to it."""
    try:
        return _cross_fitted(model.test) if model.validation is None else _fitted(model.test, model.validation)
    except (TypeError, ValueError, IndexError) as error:
        told = error.numbered(model.test.numbers) if isinstance(error, RowError) else error
        raise ValueError(f"{model.name}: {told}" if model.name else str(told)) from None


def _cross_fitted(test: SavedPart) -> tuple[evaluate.Rows, evaluate.Rows, evaluate.Temperature, Matrix]:
    found = measure(logits=test.logits, **_truth_of(test))
    if found.fitted is None or found.temperature_part is None:
        raise _infinite(found.rows)
    return found.rows, found.after or found.rows, found.fitted, found.temperature_part


def _truth_of(part: SavedPart) -> dict[str, Any]:
    """The labels of a part by the name of the argument that takes them."""
    return {"labels": part.labels} if part.soft is None else {part.soft.name: part.soft}


def _fitted(
    test: SavedPart, validation: SavedPart
) -> tuple[evaluate.Rows, evaluate.Rows, evaluate.Temperature, Matrix]:
    try:
        objective = NllSlope(validation.logits, Truth(validation.labels, validation.soft))
        temperature = fit(objective, small=True)
    except ValueError as error:
        told = error.numbered(validation.numbers) if isinstance(error, RowError) else error
        raise ValueError(f"in the validation rows, {told}") from None
    fitted = jackknife(objective, temperature.value)
    source = ScoreMatrix(logits=test.logits)
    labels = check_labels(test.labels, source.rows, source.classes)
    rows, scaled = columns_at(source, labels, temperature, soft=test.soft)
    if not np.isfinite(rows.nll).all():
        raise _infinite(rows)
    return rows, scaled, temperature, fitted


def _blind(test: SavedPart) -> tuple[ModelRows, ModelRows]:
    """What answers without a model have on each row: whether it has the most frequent class, and the log loss of the
    class shares.
    """
    counts = np.bincount(test.labels)
    right = (test.labels == counts.argmax()).astype(np.float64)
    if test.soft is None:
        nll = -np.log(counts / len(right), where=counts > 0, out=np.zeros(len(counts)))[test.labels]
    else:
        q = test.soft.block(slice(None))
        mean = q.mean(axis=0)
        nll = -(q @ np.log(mean, where=mean > 0, out=np.zeros(len(mean))))
    return (right, float(right.mean())), (nll, float(nll.mean()))


def rows_of(part: SavedPart, temperature: float = 1.0) -> evaluate.Rows:
    """The columns of the rows of a part, against their soft labels where they have any."""
    source = ScoreMatrix(logits=part.logits)
    labels = check_labels(part.labels, source.rows, source.classes)
    return scan(source, labels, check_temperature(temperature), soft=part.soft)


def _infinite(rows: evaluate.Rows) -> RowError:
    return RowError(
        "the label of row {row} has probability 0, so the log loss is infinite at every temperature; save "
        f"{NEVER_ZERO}",
        [int((~np.isfinite(rows.nll)).argmax())],
    )


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
        lowest, highest = _MIN_SHOWN.get(name, METRICS[name].lowest), METRICS[name].highest
        summary[name] = {
            "mean": estimate.mean,
            "low": max(estimate.low, lowest),
            "high": min(estimate.high, highest),
        }
    mean, low, high = result.noise_floor
    summary["ece_noise_floor"] = {"mean": mean, "low": low, "high": high}
    return summary


def differences(
    results: Sequence[ArmResult],
    margins: Margins | None = None,
    *,
    paired: bool = True,
    first: str | None = None,
    looks: Sequence[Look] | None = None,
) -> list[ArmDifference]:
    """Every other arm minus the first, metric by metric; the headline ones tested together and adjusted by Holm.

    ``first`` is the headline metric that matters most, which is then tested before the others. ``looks`` are the looks
    at fewer models before this one, so that all together err in 5 %; None where there is one look alone.
    """
    base, others = results[0], results[1:]
    pairs: list[tuple[ArmResult, Pair]] = []
    for other in others:
        both = belong_together(other, base, paired=paired)
        for name, metric in other.metrics.items():
            if name in base.metrics:
                part_of = {"eaurc": base.aurc, "accuracy": base.errors}.get(name) or base.metrics[name]
                fewer = min(other.mistakes, base.mistakes)
                errors = [each["standard_errors"].get(other.arm.name, {}).get(name) for each in looks or ()]
                earlier = None if looks is None else [each for each in errors if each is not None]
                pairs.append((other, Pair(name, metric, base.metrics[name], part_of, both, fewer, earlier)))
    found = compare_pairs([pair for _, pair in pairs], margins or Margins(), first=first)
    return [
        {
            "metric": each.metric,
            "arm": other.arm.name,
            "against": base.arm.name,
            "mean": each.mean,
            "low": each.low,
            "high": each.high,
            "se": each.se,
            "p_adjusted": each.p_adjusted,
            "finding": each.finding,
            "margin": each.margin,
            "inner": None if each.inner is None else list(each.inner),
        }
        for (other, _), each in zip(pairs, found, strict=True)
    ]


def on_validation(parts: Iterable[SavedPart], folds: int = 1) -> tuple[Metric, Metric]:
    """The log loss of validation rows, and that after a temperature that is cross-fitted over them, to choose by.

    Rows of one group share a fold, so neither a row nor one that varies with it helps to choose the temperature that
    scores the row.
    """
    raw, scaled, all_groups = list[ModelRows](), list[ModelRows](), list[RowGroups]()
    for number, part in enumerate(parts):
        if number < folds:
            all_groups.append(RowGroups.of(part.group))
        groups = all_groups[number % folds]
        plain = rows_of(part).nll
        fitted = np.empty(len(plain))
        part_of = np.random.default_rng(0).permutation(len(groups.sizes))[groups.number] % PARTS
        for each in np.unique(part_of):
            here, there = part_of == each, part_of != each
            if not there.any():
                there = here  # one distinct row: nothing to cross-fit with
            others, own = part.taken(there), part.taken(here)
            temperature = fit(NllSlope(others.logits, Truth(others.labels, others.soft)), small=True).value
            fitted[here] = rows_of(own, temperature).nll
        for values, to in ((plain, raw), (fitted, scaled)):
            to.append((values, float(values.mean())))
    first, second = (Metric.stacked([each[f::folds] for f in range(folds)], all_groups) for each in (raw, scaled))
    return first, second


def by_validation(
    results: Sequence[ArmResult], validation: Callable[[str], Iterable[SavedPart]], folds: int = 1
) -> list[str]:
    """Names of more than two arms by their log loss after temperature, best first; empty for two arms.

    ``validation`` gives the validation rows of the models of an arm by its name; without them, its test rows count.
    """
    if len(results) < 3:
        return []
    nll = dict[str, float]()
    for each in results:
        parts = validation(each.arm.name)
        metric = on_validation(parts, folds)[1] if parts else each.metrics["nll_after_temperature"]
        nll[each.arm.name] = metric.mean
    return sorted(nll, key=nll.__getitem__)


def validation_parts(folder: Path, name: str, seeds: Sequence[int]) -> Iterator[SavedPart]:
    """The validation rows of the models of one arm of a comparison, one after the other."""
    return (load_part(folder, name, seed, "validation") for seed in seeds)


class SavedPart(NamedTuple):
    """Rows of one part: logits (n, K), labels (n,), and a number that rows which vary together share (n,)."""

    logits: Any
    labels: npt.NDArray[Any]
    group: npt.NDArray[Any]  # of a comparison: equal for rows of equal features, and for those of one group
    soft: SoftLabels | None = None  # (n, K), whose modes the labels are
    numbers: npt.NDArray[np.int64] | None = None  # of the rows in their file, where these are not all of it in order

    def taken(self, keep: npt.NDArray[np.bool_]) -> SavedPart:
        """Some of the rows."""
        labels, soft = Truth(self.labels, self.soft).part(keep)
        return SavedPart(self.logits[keep], labels, self.group[keep], soft)


class ModelScores(NamedTuple):
    """The scores of one trained model on test rows and, if there are any, on validation rows."""

    test: SavedPart
    validation: SavedPart | None = None
    name: str = ""


def load_part(folder: Path, arm: str, seed: int, part: str) -> SavedPart:
    """What a run saved of one part; where that has soft labels, the labels are their modes."""
    with np.load(folder / "logits" / f"{arm}-seed{seed}-{part}.npz", allow_pickle=False) as file:
        soft = SoftLabels(file[SOFT[0]], SOFT[0]) if SOFT[0] in file else None
        labels = file["labels"] if soft is None else soft.mode
        group = file["group"] if "group" in file else np.arange(len(labels))  # the first runs kept none
        return SavedPart(file["logits"], labels, group, soft)
