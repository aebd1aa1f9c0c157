"""The first two sentences of an audit: how things stand, and what to do, by the most important finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sfumato.evaluate.auditing.findings import (
    FEW_ROWS,
    Finding,
    commonest_label,
    is_right,
    right_above_wrong,
    right_part,
    ruled_out,
)
from sfumato.evaluate.inferred_smoothing import RowKind
from sfumato.evaluate.metrics.compute import MetricValue
from sfumato.evaluate.scores.measure import Measured
from sfumato.evaluate.scores.per_row import SoftRows
from sfumato.text import decimal, plural, share

SHOWN_BY_ENOUGH_ROWS = 0.05
"""A difference of confidence and accuracy that rows should be able to show."""
_UNEQUAL = 1.5  # how often the commonest class occurs, against a class on average, where classes are unequal
_ALMOST_ALWAYS = 0.95  # the part of the rows in which a model that knows one class names it
_BETTER_AT_COMMON_CLASSES = 0.1  # how far balanced accuracy is below accuracy where that is worth a sentence

_SEEN_IN_TRAINING = (
    "It was trained on these rows, so run the audit on rows that it has not seen before you change anything: "
    "calibration on training rows says little about new ones."
)


def summary(
    found: Measured, by_name: Mapping[str, MetricValue], findings: Sequence[Finding], kind: RowKind
) -> list[str]:
    """How things stand and what to do; then, where they apply, a word on rare classes and the number of findings."""
    by_code = {finding.code: finding for finding in findings}
    if "no-better-than-commonest" in by_code:
        sentences = _no_better_than_the_commonest(found, by_name)
    elif "infinite-loss" in by_code:
        label = "a class that annotators chose" if isinstance(found.rows, SoftRows) else "the label"
        sentences = [
            f"The model's probabilities cannot be used as they are: in {len(ruled_out(found)):,} of "
            f"{len(found.rows):,} rows it gives {label} probability 0, so it calls impossible what happens, and its "
            "log loss is infinite.",
            by_code["infinite-loss"].advice,
        ]
    elif right_part(by_name) == 1:
        trained = "it was trained on them, so run" if kind == "train" else "run"
        sentences = [
            f"The model is right in every one of these {plural(len(found.rows), 'row')}, so they cannot show whether "
            "it is as sure as it should be.",
            f"Do not change its probabilities by these rows: {trained} the audit on rows that it was not trained on "
            "and in some of which it is wrong, since a temperature can only be fitted to such rows.",
        ]
    elif off := by_code.get("over-confident", by_code.get("under-confident")):
        advice = _SEEN_IN_TRAINING if kind == "train" else off.advice
        sentences = [_confidence(by_name, smoothed="smoothed" in by_code), advice]
    elif "miscalibrated" in by_code:
        sentences = [
            "The model is as sure as it should be on average, but too sure in some rows and not sure enough in others.",
            by_code["miscalibrated"].advice,
        ]
    elif "poor-ranking" in by_code:
        sentences = [
            "How sure the model is hardly shows where it is wrong: it is surer of a right answer than of a wrong one "
            f"{share(right_above_wrong(found, by_name)[0])} of the time, and tossing a coin would give 50 %.",
            by_code["poor-ranking"].advice,
        ]
    else:
        sentences = _no_finding_about_probabilities(found, by_name, by_code)
    if "no-better-than-commonest" not in by_code:
        balanced, accuracy = by_name["balanced_accuracy"], by_name["accuracy"].value
        if balanced.high < accuracy - _BETTER_AT_COMMON_CLASSES:
            sentences.append(
                f"It recognises common classes better than rare ones: it is right in {share(accuracy)} of the rows, "
                f"and in {share(balanced.value)} on average over the classes (balanced accuracy)."
            )
    if len(findings) > 1:
        sentences.append(f"Below stand {plural(len(findings), 'finding')} with their numbers.")
    return sentences


def _no_better_than_the_commonest(found: Measured, by_name: Mapping[str, MetricValue]) -> list[str]:
    accuracy, balanced = by_name["accuracy"].value, by_name["balanced_accuracy"]
    label, largest = commonest_label(found)
    compared = (
        f"it is right in {share(accuracy)} of the rows, and always answering class {label} would be right in "
        f"{share(largest)}"
    )
    present, rows = found.labels_present, plural(len(found.rows), "row")
    if len(found.rows) < FEW_ROWS and (accuracy > largest or present == 1):
        return [
            f"{rows} cannot show that the model is better than always giving the commonest answer: {compared}.",
            f"Run the audit on more rows, at least {FEW_ROWS}, before you use or reject the model.",
        ]
    if present == 1:
        return [
            f"All {rows} have the label {label}, so they cannot show whether the model tells the classes apart.",
            "Run the audit on rows of all classes.",
        ]
    stands = f"The model is {'hardly' if accuracy > largest else 'no'} better than always giving the commonest answer"
    always = float((found.rows.predicted == label).mean())
    if largest > _UNEQUAL / present:
        if balanced.low > 1 / present:
            what = (
                f"Judge it by its balanced accuracy, which counts all classes alike: it is {share(balanced.value)}, "
                f"where guessing would give {share(1 / present)}, so the model knows something, and more rows of the "
                "rare classes would teach it more."
            )
            return [f"{stands}: {compared}.", what]
        if always > _ALMOST_ALWAYS:
            what = (
                f"It answers class {label} in {share(always)} of the rows, so train it with more rows of the other "
                f"classes or with more weight on them, and judge it by its balanced accuracy ({share(balanced.value)})."
            )
            return [f"{stands}: {compared}.", what]
    return [
        f"{stands}: {compared}.",
        "Check first that every row of scores stands beside its own label, and that scores and labels number the "
        "classes alike; until that is settled, no other number below means much.",
    ]


def _says_and_is(by_name: Mapping[str, MetricValue]) -> str:
    sure = by_name["signed_gap"].value + right_part(by_name)
    return f"on average it is {share(sure)} sure, and it {is_right(by_name)}"


def _confidence(by_name: Mapping[str, MetricValue], *, smoothed: bool) -> str:
    if by_name["signed_gap"].value > 0:
        return f"The model is surer than it should be: {_says_and_is(by_name)}."
    why = ", which is typical of training with softened labels" if smoothed else ""
    return f"The model is less sure than it could be{why}: {_says_and_is(by_name)}."


def _no_finding_about_probabilities(
    found: Measured, by_name: Mapping[str, MetricValue], by_code: Mapping[str, Finding]
) -> list[str]:
    gap, n = by_name["signed_gap"], len(found.rows)
    half = (gap.high - gap.low) / 2
    if not half <= SHOWN_BY_ENOUGH_ROWS:
        count = n * (half / SHOWN_BY_ENOUGH_ROWS) ** 2 if half > 0 else 100
        unit = 10 ** max(int(np.log10(count)) - 1, 0)  # the count is rounded up to two digits
        wanted = int(np.ceil(count / unit)) * unit
        return [
            f"{plural(n, 'row')} {'is' if n == 1 else 'are'} too few to say whether the model's probabilities can be "
            f"trusted: {_says_and_is(by_name)}, and on other rows the difference could lie anywhere between "
            f"{_points(gap.low)} and {_points(gap.high)} points.",
            f"Run the audit on {wanted:,} rows or more, which would show a difference of "
            f"{100 * SHOWN_BY_ENOUGH_ROWS:.0f} points.",
        ]
    stands = f"The model's probabilities can be used as they are: {_says_and_is(by_name)}."
    if "smoothed" in by_code:
        return [
            f"{stands[:-1]}, but its logits have the shape that training with softened labels leaves.",
            "They say little of which classes are alike, so a model trained with one-hot targets may be a better "
            "teacher of another model.",
        ]
    if "tied-scores" in by_code:
        return [stands, by_code["tied-scores"].advice]
    if "differs-from-other" in by_code:
        return [stands, by_code["differs-from-other"].text]
    ece, floor = by_name["ece"].value, by_name["ece_noise_floor"]
    return [
        stands,
        f"Nothing needs to be repaired: the calibration error (ECE) is {decimal(ece)}, and chance alone would show "
        f"{decimal(floor.value)} (up to {decimal(floor.high)}).",
    ]


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
