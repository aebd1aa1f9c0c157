"""From the results of the arms to what a summary says of them: differences, warnings, verdict.

Warnings are of what can make a verdict less than it seems: classes of uneven size, and models that leave nothing to
decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.statistics.margins import Margins
from sfumato.extras import lab_imports
from sfumato.messages import RunWarning
from sfumato.runs.schema import ArmDifference, ClassSummary, Look, VerdictSummary
from sfumato.text import share, short
from sfumato.verdict.analyse import ArmResult, differences
from sfumato.verdict.broken_models import Broken, broken_models
from sfumato.verdict.by_class import by_class
from sfumato.verdict.decision import AIMS
from sfumato.verdict.sentences import nothing_to_decide, reversal, verdict
from sfumato.verdict.settling import SeedCost


class Conclusion(TypedDict):
    """What follows from the results of the arms, as the summary has it."""

    differences: list[ArmDifference]
    warnings: list[RunWarning]
    verdict: VerdictSummary
    by_class: list[ClassSummary]


OF_RESULTS = frozenset({"broken-model", "nothing-to-decide", "order-reversed", "few-groups", "imbalance"})
"""Codes of the warnings that follow from results; all others are of the data."""

FEW_GROUPS = 20
"""Effective groups of test rows below which their intervals are not to be relied on."""

UNEVEN = 3
"""How many times as many rows as the smallest class the largest has where classes are called uneven."""


def conclude(
    results: Sequence[ArmResult],
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    margins: Margins | None = None,
    *,
    paired: bool = True,
    order: Sequence[str] = (),
    grouped: bool = False,
    aim: str | None = None,
    cost: SeedCost | None = None,
    looks: Sequence[Look] | None = None,
) -> Conclusion:
    """Compare the arms with the first of them, on test rows with these labels, (N,).

    ``aim`` is what matters most, one of :data:`~sfumato.verdict.decision.AIMS`; ``cost`` is that of more models, and
    ``looks`` are those at fewer models before; None where no more can be trained.
    """
    first = None if aim is None else AIMS[aim]
    against_first = differences(results, margins, paired=paired, first=first, looks=looks)
    fits = [(result.arm.name, result.fits) for result in results]
    broken = broken_models(fits, trained_here=bool(results[0].arm.method))
    return {
        "differences": against_first,
        "warnings": warnings_of(results, labels, class_names, against_first, grouped=grouped, broken=broken),
        "verdict": verdict(
            results,
            against_first,
            order=order,
            paired=paired,
            grouped=grouped,
            first=first,
            cost=cost,
            broken=broken,
        ),
        "by_class": by_class(results, labels, class_names),
    }


def warnings_of(
    results: Sequence[ArmResult],
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    against_first: Sequence[ArmDifference] = (),
    *,
    grouped: bool = False,
    broken: Sequence[Broken] = (),
) -> list[RunWarning]:
    """Warnings that follow from results; ``against_first`` are the differences from the first arm."""
    counts = np.bincount(labels, minlength=len(class_names))
    found = {"broken-model": [each.text for each in broken]}
    if not broken:
        found["nothing-to-decide"] = nothing_to_decide(results)[:1]
        found["order-reversed"] = [reversal(results[0], other, against_first) for other in results[1:]]
    units = results[0].metrics["nll"].units
    if units is not None and units < FEW_GROUPS:
        rows = "groups of test rows of equal size" if grouped else "distinct test rows"
        found["few-groups"] = [
            f"The test rows count as only {units:.1f} {rows}. Fewer than {FEW_GROUPS} hardly show how far they differ, "
            "and a single unusual one can change the result: intervals are not to be relied on. Use "
            f"{'test rows of more groups' if grouped else 'more test rows'}."
        ]
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    if counts[largest] >= UNEVEN * counts[smallest] and not _may_be_even(counts):
        found["imbalance"] = [
            f"The classes are uneven: {share(counts[largest] / len(labels))} of the test rows are "
            f'"{short(class_names[largest])}" and {share(counts[smallest] / len(labels))} are '
            f'"{short(class_names[smallest])}". Accuracy mostly counts the large classes; balanced accuracy counts '
            "every class alike."
        ]
    return [{"code": code, "column": None, "text": text} for code, texts in found.items() for text in texts if text]


def _may_be_even(counts: npt.NDArray[np.int64]) -> bool:
    """Whether rows of classes that are all equally frequent are often so uneven: by the chi-squared test, at 1 %."""
    with lab_imports("a verdict"):  # not above: scipy takes as long to load as a small audit
        from scipy.special import chdtrc

    each = counts.sum() / len(counts)
    return float(chdtrc(len(counts) - 1, np.square(counts - each).sum() / each)) > 0.01
