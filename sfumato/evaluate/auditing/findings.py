"""The findings of an audit: each is a rule on intervals, which stands beside its sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sfumato.evaluate.inferred_smoothing import Evidence, RowKind
from sfumato.evaluate.metrics.calibration import by_chance
from sfumato.evaluate.metrics.compute import MetricValue, half_width
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.scores.measure import BINS, Measured
from sfumato.evaluate.scores.per_row import SoftRows
from sfumato.evaluate.scores.score_matrix import IGNORED, others
from sfumato.evaluate.scores.soft_labels import SOFT_TRUTH
from sfumato.messages import Note
from sfumato.text import between, decimal, factor, number, plural, share

FEW_ROWS = 100  # fewer cannot tell a model from guessing
_POOR_AUROC = 0.7  # below, confidence hardly tells right rows from wrong ones
_WORTH = 0.01  # a calibration error smaller than this is not worth acting on, however sure it is


@dataclass(frozen=True)
class Finding:
    """One thing to know and act on."""

    code: str  # what kind of finding: "over-confident", "poor-ranking", "smoothed", …
    text: str  # what was found, with number and interval
    advice: str  # what to do about it


def findings(found: Measured, by_name: Mapping[str, MetricValue], evidence: Evidence) -> Iterator[Finding]:
    """What to know and act on, in the order in which it matters."""
    yield from _accuracy(found, by_name)
    yield from _infinite(found)
    yield from _calibration(found, by_name)
    yield from _after_temperature(found, by_name)
    yield from _no_optimum(found)
    yield from _ranking(found, by_name)
    yield from _smoothing(found, evidence, by_name)
    yield from _ties(found)


def notes(found: Measured, by_name: Mapping[str, MetricValue], evidence: Evidence, kind: RowKind) -> Iterator[Note]:
    """What is worth knowing without being acted on."""
    rows = found.rows
    if isinstance(rows, SoftRows):
        yield Note(code="soft-labels", text=SOFT_TRUTH)
    if found.counted is not None:
        which = "without annotators" if isinstance(rows, SoftRows) else f"whose label is −{-IGNORED}"
        text = f"Rows {which} do not count; {plural(len(rows), 'row')} {'is' if len(rows) == 1 else 'are'} left."
        yield Note(code="rows-ignored", text=text)
    if evidence.answer == "no sign":
        yield Note(code="no-smoothing", text=f"There is no sign of label smoothing. {evidence.sentence}")
    elif evidence.answer == "cannot tell":
        text = f"These rows cannot tell whether the model was trained with label smoothing. {evidence.sentence}"
        yield Note(code="smoothing-unknown", text=text)
    present = found.labels_present
    if present == 1:
        text = f"All labels are class {int(rows.label[0])}: numbers over classes rest on it alone."
        yield Note(code="one-class", text=text)
    elif present < found.classes:
        text = f"{present:,} of the {found.classes:,} classes occur among the labels."
        yield Note(code="classes-missing", text=text)
    copies = found.copies()
    if copies:
        text = (
            f"{plural(copies, 'row')} repeat{'s' if copies == 1 else ''} another exactly; intervals take them for rows "
            "of their own."
        )
        yield Note(code="copies", text=text)
    if kind == "heldout" and by_name["accuracy"].value >= 0.999 and len(rows) >= 1000:
        text = "Nearly every row is right: if the model was trained on these rows, say so (--rows train)."
        yield Note(code="nearly-all-right", text=text)
    if found.logits_lost:
        text = (
            f"No temperature and no logit gap can be computed, because {found.logits_lost}: save logits, or "
            "probabilities without rounding."
        )
        yield Note(code="only-probabilities", text=text)
    if by_name["accuracy"].low <= (largest := commonest_label(found)[1]) and beats_class_shares(found):
        text = (
            f"The accuracy is not reliably above the {share(largest)} of always naming the commonest label, which says "
            "little where other labels are rare: the log loss (NLL) is reliably below that of the class shares, so the "
            "probabilities carry information. Rank rows by them (ROC-AUC), or choose a threshold by what mistakes cost."
        )
        yield Note(code="accuracy-says-little", text=text)


def _accuracy(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    accuracy, (label, largest) = by_name["accuracy"], commonest_label(found)
    if accuracy.low <= largest and not beats_class_shares(found):
        yield Finding(
            "no-better-than-commonest",
            f"The accuracy, {share(accuracy.value)} ({share(accuracy.low)} to {share(accuracy.high)}), is not reliably "
            f"above the {share(largest)} that always naming the commonest label, {label}, would reach.",
            (
                f"Use more rows, at least {FEW_ROWS}: these are too few to tell the model from guessing."
                if accuracy.value >= largest and len(found.rows) < FEW_ROWS
                else "Check that labels and scores belong together and that classes are in the same order; nothing "
                "below means much otherwise."
            ),
        )


def commonest_label(found: Measured) -> tuple[int, float]:
    """The label that most rows have, and its share of them."""
    counts = found.label_counts
    return int(counts.argmax()), int(counts.max()) / len(found.rows)


def beats_class_shares(found: Measured) -> bool:
    """Whether the log loss, as it is or after temperature, is reliably below that of always giving the class shares."""
    shares = found.label_counts / len(found.rows)
    for rows in (found.rows, found.after):
        if rows is not None and np.isfinite(rows.nll).all():
            gain = -np.log(shares[rows.label]) - rows.nll
            if float(gain.mean()) > half_width(gain, found.together):
                return True
    return False


NEVER_ZERO = (
    "logits, or probabilities that are never 0: p = numpy.clip(p, 1e-6, 1), divided by p.sum(axis=1, keepdims=True)"
)


def ruled_out(found: Measured) -> list[int]:
    """The rows whose label has probability 0, as the scores number them."""
    rows = np.flatnonzero(~np.isfinite(found.rows.nll))
    return (rows if found.counted is None else found.counted[rows]).tolist()


def infinite_loss(found: Measured, rows: list[int], whose: str = "the log loss (NLL)") -> str:
    """The sentence on a log loss that is infinite because of these rows."""
    label = "A class that annotators chose" if isinstance(found.rows, SoftRows) else "The label"
    return f"{label} has probability 0 in row {rows[0]}, so {whose} is infinite at every temperature{others(rows)}."


def _infinite(found: Measured) -> Iterator[Finding]:
    if rows := ruled_out(found):
        yield Finding(
            "infinite-loss",
            infinite_loss(found, rows),
            (
                f"Save {NEVER_ZERO}. The log loss then depends on the least probability that you choose."
                if found.logits_lost
                else "Save finite logits: a logit of −inf says that a class cannot be the label. Where such a class is "
                "the label, there is no log loss and no temperature."
            ),
        )


def _calibration(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    gap, ece, floor = (by_name[name] for name in ("signed_gap", "ece", "ece_noise_floor"))
    if (gap.low > 0 or gap.high < 0) and ece.value > floor.high and max(abs(gap.value), ece.value) >= _WORTH:
        yield _confidence(found, by_name, over=gap.value > 0)
    elif ece.low > floor.high and ece.value >= _WORTH:
        yield Finding(
            "miscalibrated",
            "Confidence is right on average, but not at each level: the calibration error (ECE) is "
            f"{decimal(ece.value)} ({between(ece.low, ece.high)}), where chance alone would show "
            f"{decimal(floor.value)} ({between(floor.low, floor.high)}).",
            "Look at the reliability diagram before a threshold is set, or recalibrate on held-out rows with a method "
            "that bends (isotonic or histogram binning).",
        )


def _confidence(found: Measured, by_name: Mapping[str, MetricValue], *, over: bool) -> Finding:
    gap, ece, floor = by_name["signed_gap"], by_name["ece"], by_name["ece_noise_floor"]
    mean = gap.value + right_part(by_name)
    text = (
        f"The model is {'OVER' if over else 'UNDER'}-confident: it claims {share(mean)} and {is_right(by_name)}, a "
        f"difference of {decimal(gap.value, sign=True)} "
        f"({between(gap.low, gap.high, sign=True)}). Its calibration error (ECE) is {decimal(ece.value)}, and chance "
        f"alone would show {decimal(floor.value)} (up to {decimal(floor.high)})."
    )
    return Finding("over-confident" if over else "under-confident", text, _what_a_temperature_does(found, by_name))


def right_part(by_name: Mapping[str, MetricValue]) -> float:
    """How far the rows are right, which confidence should equal: the accuracy, or the agreement with soft labels."""
    return by_name["agreement" if "agreement" in by_name else "accuracy"].value


def is_right(by_name: Mapping[str, MetricValue]) -> str:
    """:func:`right_part` in words that follow "it"."""
    told = share(right_part(by_name))
    return f"agrees with {told} of the annotators" if "agreement" in by_name else f"is right {told} of the time"


def _what_a_temperature_does(found: Measured, by_name: Mapping[str, MetricValue]) -> str:
    """The advice about confidence that is wrong on average: what one temperature does to rows it was not fitted to."""
    if found.after is None or found.fitted is None or found.fitted.at_bound or "temperature" not in by_name:
        logits = ", or run the audit on logits or unrounded probabilities, which have one" if found.logits_lost else ""
        return f"Do not use the probabilities as they are: recalibrate on held-out rows{logits}."
    temperature, nll, ece = by_name["temperature"], by_name["nll_after_temperature"], by_name["ece"]
    T, ece_after = factor(temperature.value), by_name["ece_after_temperature"]
    gain = found.rows.nll - found.after.nll
    half = half_width(gain, found.together)
    if not float(gain.mean()) - half > 0:
        return (
            f"A temperature does not help reliably: T = {T} changes the log loss (NLL) by "
            f"{decimal(-float(gain.mean()), sign=True)} ± {decimal(half)}. Recalibrate with another method, or read "
            "the probabilities with this in mind."
        )
    if ece_after.value > ece.value:
        return (
            f"A temperature lowers the log loss (NLL), from {decimal(by_name['nll'].value)} to {decimal(nll.value)} at "
            f"T = {T}, but raises the calibration error (ECE), from {decimal(ece.value)} to "
            f"{decimal(ece_after.value)}: recalibrate with a method that has more freedom than one number."
        )
    return (
        f"Divide the logits by T = {T} ({factor(temperature.low)} to {factor(temperature.high)}) before the "
        "probabilities are used: on rows that this temperature was not fitted to, the log loss (NLL) goes from "
        f"{decimal(by_name['nll'].value)} to {decimal(nll.value)} and the calibration error (ECE) from "
        f"{decimal(ece.value)} to {decimal(ece_after.value)}."
    )


def _after_temperature(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    after, ece, gap = by_name.get("ece_after_temperature"), by_name["ece"], by_name["signed_gap"]
    if after is None or found.after is None or not (gap.low > 0 or gap.high < 0):
        return
    bound = by_chance(found.after.confidence, found.after.right, BINS).high
    if after.low > bound and _WORTH <= after.value <= ece.value:
        yield Finding(
            "temperature-not-enough",
            "One temperature does not repair the confidence: after it the calibration error (ECE) is still "
            f"{decimal(after.value)} ({between(after.low, after.high)}), and chance alone would stay below "
            f"{decimal(bound)}.",
            "Recalibrate on held-out rows with a method that has more freedom than one number.",
        )


def _no_optimum(found: Measured) -> Iterator[Finding]:
    if found.fitted is None or not found.fitted.at_bound:
        return
    sharp, gaps = found.fitted.value < 1, found.rows.gap[np.isfinite(found.rows.gap)]
    if sharp and found.rows.correct.all():
        advice = (
            "No row is wrong, so nothing limits the confidence; fit a temperature on rows that the model was not "
            "trained on."
        )
    elif sharp:
        advice = "The logits are too small for this range: multiply them by 1000 and run the audit on the result."
    elif gaps.sum() > 0:  # the log loss falls where its slope at T = ∞ is that of the mean gap, times −(K−1)/K
        advice = "The logits are too large for this range: divide them by 1000 and run the audit on the result."
    else:
        advice = "The model's order of the classes says less than chance: check the order of classes and rows."
    yield Finding(
        "no-optimal-temperature",
        f"The temperature has no optimum: the log loss (NLL) still falls at T = {factor(found.fitted.value)}, "
        "where the search ends.",
        advice,
    )


def right_above_wrong(found: Measured, by_name: Mapping[str, MetricValue]) -> tuple[float, float, float]:
    """How often a right row is ranked above a wrong one (AUROC), with its interval; needs right and wrong rows."""
    risk, augrc = 1 - by_name["accuracy"].value, by_name["augrc"]
    if "agreement" in by_name:  # of soft labels the mode counts: annotators who disagree would hide a good ranking
        ranked = RankedGroups(found.rows.score, found.rows.correct)
        value, half = ranked.augrc(), half_width(ranked.augrc_part(), found.together)
        augrc = MetricValue(value, value - half, value + half)
    auroc, low, high = (
        1 - (value - risk**2 / 2) / (risk * (1 - risk)) for value in (augrc.value, augrc.high, augrc.low)
    )
    return auroc, max(low, 0.0), min(high, 1.0)


def _ranking(found: Measured, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    if not 0 < by_name["accuracy"].value < 1:
        return
    auroc, low, high = right_above_wrong(found, by_name)
    if high < _POOR_AUROC and np.count_nonzero(~found.rows.correct) >= 10:
        eaurc = by_name["eaurc"]
        yield Finding(
            "poor-ranking",
            f"Confidence hardly tells right rows from wrong ones: a right row is ranked above a wrong one "
            f"{share(auroc)} of the time ({share(low)} to {share(high)}), and 50 % is chance. The ranking of mistakes "
            f"(E-AURC) is {decimal(eaurc.value)} ({between(eaurc.low, eaurc.high)}), and 0 would be the best order.",
            "Do not sort or reject by confidence; a temperature cannot change this. If the model was smoothed, retrain "
            "with one-hot targets or less smoothing and compare the ranking of mistakes (E-AURC).",
        )


def _smoothing(found: Measured, evidence: Evidence, by_name: Mapping[str, MetricValue]) -> Iterator[Finding]:
    own = evidence.smoothing
    if own is None:
        return
    which = "training" if own.rows == "train" else "held-out"
    needs_temperature = found.fitted is not None and found.fitted.value < 1 and not found.fitted.at_bound
    yield Finding(
        "smoothed",
        f"The logits have the shape that training with smoothed targets leaves: {evidence.reason}, and the median gap "
        f"is {number(evidence.gap, 2)} nats. "
        + " ".join(f"{text[0].upper()}{text[1:]}." for text in own.explanations)
        + f" If it was label smoothing, ε is {own.eps_all:.3g} over all classes ({own.low:.3g} to {own.high:.3g}), or "
        f"{own.eps_others:.3g} over the others, as far as {which} rows show.",
        "Published results find such models to be worse teachers at a raised temperature (Chandrasegaran et al. 2022); "
        "the loss measured for sfumato was 0.4 points. "
        + (
            f"Its probabilities need the temperature ({factor(by_name['temperature'].value)}) more than most."
            if needs_temperature
            else "Compare its ranking with a model trained on one-hot targets before rows are rejected by confidence."
        ),
    )


def _ties(found: Measured) -> Iterator[Finding]:
    tied = int(np.count_nonzero(found.rows.tied))
    if tied > max(0.001 * len(found.rows), 1):
        precise = found.source.type_name in ("float32", "float64")
        yield Finding(
            "tied-scores",
            f"In {plural(tied, 'row')} ({share(tied / len(found.rows))}) two or more classes share the largest score, "
            f"and the lowest of them was taken; the scores are {found.source.type_name}.",
            "Find out why the model returns equal scores." if precise else "Save them as float32 to be exact.",
        )
