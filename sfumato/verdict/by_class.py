"""Recall and precision of each class and arm, over all models, where a mean over the classes says too little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.calibration import wilson
from sfumato.evaluate.metrics.one_class import RATES, Rate, classes_to_show, rate_of
from sfumato.evaluate.statistics.differences import Metric
from sfumato.runs.schema import ClassSummary, RangeOfMetric
from sfumato.verdict.analyse import ArmResult


def by_class(
    results: Sequence[ArmResult], labels: npt.NDArray[np.int64], class_names: Sequence[str]
) -> list[ClassSummary]:
    """The classes that are shown, each with the recall and precision of every arm, on test rows with these labels."""
    counts = np.bincount(labels, minlength=len(class_names))
    right = sum(
        np.bincount(label[label == predicted], minlength=len(counts)) / len(result.answers)
        for result in results
        for label, predicted in result.answers
    )
    shown = classes_to_show(counts, np.asarray(right))
    return [
        {
            "name": class_names[k],
            "rows": int(counts[k]),
            "recall": {result.arm.name: _range(result, k, "recall") for result in results},
            "precision": {result.arm.name: _range(result, k, "precision") for result in results},
        }
        for k in shown
    ]


def _range(result: ArmResult, k: int, rate: Rate) -> RangeOfMetric:
    """The mean over the models; None where some model has none, because it names the class in no row."""
    found = [rate_of(rate, *answer, k) for answer in result.answers]
    if not all(found):
        return {"mean": None, "low": None, "high": None}
    folds = len(result.groups)
    pairs = [(part, value) for value, part in filter(None, found)]
    estimate = Metric.stacked([pairs[fold::folds] for fold in range(folds)], result.groups).estimate()
    low, high = max(estimate.low, 0.0), min(estimate.high, 1.0)
    if low == high:  # all rows of all models are alike, which few rows can be by chance
        held = (answer[RATES.index(rate)] == k for answer in result.answers)
        units = sum(len(np.unique(each.number[rows])) for each, rows in zip(result.groups, held, strict=False))
        low, high = (float(end) for end in wilson(estimate.mean, units))
    return {"mean": estimate.mean, "low": low, "high": high}
