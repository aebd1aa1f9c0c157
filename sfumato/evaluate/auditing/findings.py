"""The findings of an audit: each is a rule on intervals, which stands beside its sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sfumato.evaluate.inferred_smoothing import Evidence, RowKind
from sfumato.evaluate.metrics.calibration import noise_floor
from sfumato.evaluate.metrics.compute import MetricValue, half_width
from sfumato.evaluate.scores.measure import BINS, Measured
from sfumato.text import between, decimal, factor, plural, share

_POOR_AUROC = 0.7  # below, confidence hardly tells right rows from wrong ones
_WORTH = 0.01  # a calibration error smaller than this is not worth acting on, however sure it is


@dataclass(frozen=True)
class Finding:
    """One thing to know and act on.

    Attributes:
        name: a word for it: ``"confidence"``, ``"calibration"``, ``"ranking"``, ``"smoothing"``, …
        says: what was found, with number and interval.
        advice: what to do about it.
    """

    name: str
    says: str
    advice: str


def findings(found: Measured, by_name: Mapping[str, MetricValue], evidence: Evidence) -> Iterator[Finding]:
    """What to know and act on, in the order in which it matters."""
    yield from _accuracy(found, by_name)
    yield from _calibration(found, by_name)
    yield from _after_temperature(found, by_name)
    yield from _no_optimum(found)
    yield from _ranking(found, by_name)
    yield from _smoothing(evidence, by_name)
    yield from _ties(found)


def notes(found: Measured, by_name: Mapping[str, MetricValue], evidence: Evidence, kind: RowKind) -> Iterator[str]:
    """What is worth knowing without being acted on."""
    rows = found.rows
    if evidence.smoothing is None:
        yield f"No sign of label smoothing: {evidence.reason}."
    present = len(np.unique(rows.label))
    if present == 1:
        yield f"All labels are class {int(rows.label[0])}: numbers over classes rest on it alone."
    elif present < found.classes:
        yield f"{present:,} of the {found.classes:,} classes occur among the labels."
    copies = len(rows) - len(np.unique(found.hashes))
    if copies:
        yield (
            f"{plural(copies, 'row')} repeat{'s' if copies == 1 else ''} another exactly; intervals take them for rows "
            "of their own."
        )
    if kind == "heldout" and by_name["accuracy"].value >= 0.999 and len(rows) >= 1000:
        yield "Nearly every row is right: if the model was trained on these rows, say so (--rows train)."
    if found.source.name == "probs":
        yield "From probabilities alone there is no temperature and no logit gap: give logits to have them."


def _accuracy(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    accuracy, labels = by_name["accuracy"], found.rows.label
    largest = int(np.bincount(labels).max()) / len(labels)
    if accuracy.low <= largest:
        yield Finding(
            "accuracy",
            f"The accuracy, {share(accuracy.value)} ({share(accuracy.low)} to {share(accuracy.high)}), is not reliably "
            f"above the {share(largest)} that always naming the commonest label would reach.",
            "Check that labels and scores belong together and that classes are in the same order; nothing below means "
            "much otherwise.",
        )


def _calibration(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    gap, ece, floor = (by_name[name] for name in ("signed_gap", "ece", "ece_noise_floor"))
    if _is_off(gap) and ece.value > floor.high and max(abs(gap.value), ece.value) >= _WORTH:
        yield _confidence(found, by_name, over=gap.value > 0)
    elif ece.low > floor.high and ece.value >= _WORTH:
        yield Finding(
            "calibration",
            f"Confidence is right on average, but not at each level: the ECE is {decimal(ece.value)} "
            f"({between(ece.low, ece.high)}), where chance alone would show {decimal(floor.value)} "
            f"({between(floor.low, floor.high)}).",
            "Look at the reliability diagram before a threshold is set, or recalibrate on held-out rows with a method "
            "that bends (isotonic or histogram binning).",
        )


def _is_off(gap: MetricValue) -> bool:
    """Whether confidence and accuracy differ reliably."""
    return gap.low > 0 or gap.high < 0


def _confidence(found: Measured, by_name: Mapping[str, MetricValue], *, over: bool) -> Finding:
    gap, ece, floor = by_name["signed_gap"], by_name["ece"], by_name["ece_noise_floor"]
    mean = gap.value + by_name["accuracy"].value
    says = (
        f"The model is {'OVER' if over else 'UNDER'}-confident: it claims {share(mean)} and is right "
        f"{share(by_name['accuracy'].value)} of the time, a difference of {decimal(gap.value, sign=True)} "
        f"({between(gap.low, gap.high, sign=True)}); ECE {decimal(ece.value)}, chance alone {decimal(floor.value)} "
        f"(up to {decimal(floor.high)})."
    )
    temperature, nll = by_name.get("temperature"), by_name.get("nll_after_temperature")
    if temperature is None or nll is None or found.after is None or found.fitted is None or found.fitted.at_bound:
        return Finding("confidence", says, "Do not use the probabilities as they are; recalibrate on held-out rows.")
    gain = found.rows.nll - found.after.nll
    width = half_width(gain, found.weights)
    better = float(gain.mean()) - width > 0
    ece_after = by_name["ece_after_temperature"]
    advice = (
        f"Divide the logits by T = {factor(temperature.value)} ({factor(temperature.low)} to "
        f"{factor(temperature.high)}) before the probabilities are used: on rows that it was not fitted to, the NLL "
        f"goes from {decimal(by_name['nll'].value)} to {decimal(nll.value)} and the ECE from {decimal(ece.value)} to "
        f"{decimal(ece_after.value)}."
    )
    if not better:
        advice = (
            f"A temperature does not help reliably (T = {factor(temperature.value)} changes the NLL by "
            f"{decimal(-float(gain.mean()), sign=True)} ± {decimal(width)}); recalibrate with another method, or read "
            "the probabilities with this in mind."
        )
    elif ece_after.value > ece.value:
        advice = (
            f"A temperature lowers the NLL (T = {factor(temperature.value)}: {decimal(by_name['nll'].value)} to "
            f"{decimal(nll.value)}) but raises the ECE, from {decimal(ece.value)} to {decimal(ece_after.value)}: "
            "recalibrate with a method that has more freedom than one number."
        )
    return Finding("confidence", says, advice)


def _after_temperature(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    after, ece = by_name.get("ece_after_temperature"), by_name["ece"]
    if after is None or found.after is None or not _is_off(by_name["signed_gap"]):
        return
    bound = noise_floor(found.after.confidence, bins=BINS, weights=found.weights).high
    if after.low > bound and _WORTH <= after.value <= ece.value:
        yield Finding(
            "temperature",
            f"One temperature does not repair it: after it the ECE is still {decimal(after.value)} "
            f"({between(after.low, after.high)}), and chance alone would stay below {decimal(bound)}.",
            "Recalibrate on held-out rows with a method that has more freedom than one number.",
        )


def _no_optimum(found: Measured) -> Iterator[Finding]:
    if found.fitted is not None and found.fitted.at_bound:
        sharp = found.fitted.value < 1
        yield Finding(
            "bound",
            f"The temperature has no optimum: the NLL still falls at T = {factor(found.fitted.value)}.",
            (
                "No row is wrong, so nothing limits the confidence; fit a temperature on rows that the model was not "
                "trained on."
                if sharp
                else "The model's order of the classes says less than chance: check the order of classes and rows."
            ),
        )


def _ranking(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    risk = 1 - by_name["accuracy"].value
    if not 0 < risk < 1:
        return
    spread = risk * (1 - risk)
    augrc = by_name["augrc"]
    auroc, low, high = (1 - (value - risk**2 / 2) / spread for value in (augrc.value, augrc.high, augrc.low))
    low, high = max(low, 0.0), min(high, 1.0)
    if high < _POOR_AUROC and np.count_nonzero(~found.rows.correct) >= 10:
        yield Finding(
            "ranking",
            f"Confidence hardly tells right rows from wrong ones: a right row is ranked above a wrong one "
            f"{share(auroc)} of the time ({share(low)} to {share(high)}), and 50 % is chance; E-AURC "
            f"{decimal(by_name['eaurc'].value)} ({between(by_name['eaurc'].low, by_name['eaurc'].high)}).",
            "Do not sort or reject by confidence; a temperature cannot change this. If the model was smoothed, retrain "
            "with one-hot targets or less smoothing and compare the E-AURC.",
        )


def _smoothing(evidence: Evidence, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    found = evidence.smoothing
    if found is None:
        return
    which = "training" if found.rows == "train" else "held-out"
    T = by_name.get("temperature")
    yield Finding(
        "smoothing",
        f"The model looks trained with smoothed targets: read as {which} rows, ε = {found.eps_all:.3g} over all "
        f"classes ({found.low:.3g} to {found.high:.3g}), which is {found.eps_others:.3g} over the others: "
        f"{evidence.reason} (median {evidence.gap:.2f} nats). "
        + " ".join(f"{text[0].upper()}{text[1:]}." for text in found.explanations),
        "Do not use it as a teacher at raised temperature, where its soft labels say little of which classes are "
        "alike; train the teacher with one-hot targets. "
        + (
            f"Its probabilities need the temperature ({factor(T.value)}) more than most."
            if T is not None and T.value < 1
            else "Compare its ranking with a model trained on one-hot targets before rows are rejected by confidence."
        ),
    )


def _ties(found: Measured) -> Iterator[Finding]:
    tied = int(np.count_nonzero(found.rows.tied))
    if tied > max(0.001 * len(found.rows), 1):
        precise = found.source.type_name in ("float32", "float64")
        yield Finding(
            "ties",
            f"In {plural(tied, 'row')} ({share(tied / len(found.rows))}) two or more classes share the largest score, "
            f"and the lowest of them was taken; the scores are {found.source.type_name}.",
            "Find out why the model returns equal scores." if precise else "Save them as float32 to be exact.",
        )
