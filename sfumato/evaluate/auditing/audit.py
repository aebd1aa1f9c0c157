"""What a model's scores give away, and what to do about it: findings with numbers, intervals and advice.

Every finding is a rule on intervals, written out beside its sentence; none rests on a number without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.auditing.sentences import between, count, decimal, factor, many, share
from sfumato.evaluate.inferred_smoothing import Evidence, RowKind, judge
from sfumato.evaluate.metrics import calibration
from sfumato.evaluate.metrics import features as clusters
from sfumato.evaluate.metrics.compute import PAIRED, RANGES, Number, half_width, numbers
from sfumato.evaluate.scores.measure import BINS, Measured, measure
from sfumato.evaluate.scores.rows import Rows
from sfumato.evaluate.scores.score_matrix import Labels, ScoreMatrix, Scores

SCHEMA = "sfumato.audit/1"
_POOR_AUROC = 0.7  # below, confidence hardly tells right rows from wrong ones
_WORTH = 0.01  # a calibration error smaller than this is not worth acting on, however sure it is
_HEADLINE = ("accuracy", "nll_after_temperature", "eaurc")
_LOOKED_AT = 4096  # rows that are looked at to tell logits from probabilities


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


@dataclass
class Audit:
    """The audit of one model, perhaps against another on the same rows.

    Attributes:
        rows: number of rows N.
        classes: number of classes K.
        metrics: every metric with its interval.
        evidence: what says whether the model was smoothed.
        findings: in the order in which they matter.
        notes: what is worth knowing without being acted on.
        kind: of rows, ``"train"`` or ``"heldout"``.
        tied: number of rows in which two or more classes share the largest score.
        differences: this model less the other, paired by rows; empty without another.
        figures: what the page draws: reliability, risk and coverage, gaps.
    """

    rows: int
    classes: int
    metrics: dict[str, Number]
    evidence: Evidence
    findings: list[Finding]
    notes: list[str]
    kind: RowKind
    tied: int = 0
    differences: dict[str, Number] = field(default_factory=dict[str, Number])
    figures: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def to_dict(self) -> dict[str, Any]:
        """One JSON object; what is not finite is None.

        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 4.0]] * 9)
        >>> found = audit(logits=logits, labels=np.array([0, 1, 1, 1] * 9))
        >>> told = found.to_dict()
        >>> told["schema"], told["rows"], told["metrics"]["accuracy"]["value"], told["inferred_smoothing"]
        ('sfumato.audit/1', 36, 0.75, None)
        """
        told: dict[str, Any] = {
            "schema": SCHEMA,
            "rows": self.rows,
            "classes": self.classes,
            "tied_rows": self.tied,
            "metrics": {name: _ends(number) for name, number in self.metrics.items()},
            "inferred_smoothing": None,
            "reading": [
                *(f"{finding.says} {finding.advice}" for finding in self.findings),
                *self.notes,
            ],
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
            "assumed_rows": self.kind,
        }
        if self.evidence.smoothing is not None:
            s = self.evidence.smoothing
            told["inferred_smoothing"] = {
                "eps_all": s.eps_all,
                "eps_others": s.eps_others,
                "low": s.low,
                "high": s.high,
                "explanations": list(s.explanations),
            }
        if self.differences:
            told["differences"] = {name: _ends(number) for name, number in self.differences.items()}
        return told


def audit(
    *,
    logits: Scores | None = None,
    probs: Scores | None = None,
    labels: Labels,
    rows: RowKind = "heldout",
    features: Any = None,
    against: Scores | None = None,
    against_kind: Literal["logits", "probs"] = "logits",
) -> Audit:
    r"""Read a model off its scores: can the probabilities be used, is the ranking good, was it smoothed.

    A difference to another model is paired: with :math:`v_i, v_i'` what row i adds to a metric of either,

    .. math:: \theta - \theta' \pm t_{N-1} \sqrt{\tfrac{1}{N(N-1)} \sum_i (v_i - v_i' - \overline{v - v'})^2}

    Args:
        logits: (N, K), torch or numpy, any float type.
        probs: probabilities instead, (N, K).
        labels: class indices, (N,) integers.
        rows: ``"train"`` if the model was trained on these rows, ``"heldout"`` if not.
        features: inputs of the last layer, (N, D), for how classes cluster.
        against: scores of another model on the same rows, (N, K).
        against_kind: what they are.

    Returns:
        :class:`Audit`.

    Raises:
        TypeError, ValueError, IndexError: as :func:`sfumato.evaluate.per_row`; ValueError also for probabilities given
            as logits (every row lies in [0, 1] and sums to 1) and for models on different rows.

    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(2000, 5)) * 3
    >>> p = np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True)
    >>> labels = (p.cumsum(axis=1) < rng.random((2000, 1))).sum(axis=1)
    >>> found = audit(logits=logits, labels=labels)
    >>> [finding.name for finding in found.findings]
    ['confidence']
    >>> print(found.findings[0].advice[:29])
    Divide the logits by T = 1.97

    Source: the metrics of this package; the paired difference is Quenouille's and Tukey's jackknife.
    """
    _refuse_mistaken(logits)
    found = measure(logits=logits, probs=probs, labels=labels)
    by_name = numbers(found, parts=against is not None)
    if features is not None and len(np.unique(found.rows.label)) > 1:
        for name in ("nc1", "nc2", "class_separation"):
            value = float(getattr(clusters, name)(features, found.rows.label))
            by_name[name] = Number(value, np.nan, np.nan)
    evidence = judge(found.rows, found.classes, rows)
    result = Audit(
        rows=found.source.rows,
        classes=found.classes,
        metrics=by_name,
        evidence=evidence,
        findings=list(_findings(found, by_name, evidence, rows)),
        notes=list(_notes(found, by_name, evidence, rows)),
        kind=rows,
        tied=int(np.count_nonzero(found.rows.tied)),
        figures=_figures(found),
    )
    if against is not None:
        _compare(result, against, against_kind, labels)
    return result


def _refuse_mistaken(logits: Scores | None) -> None:
    """Probabilities given as logits: no model's logits lie in [0, 1] and sum to 1 in every row."""
    if logits is None:
        return
    source = ScoreMatrix(logits=logits)
    block = source.block(0, min(_LOOKED_AT, source.rows))
    with np.errstate(invalid="ignore"):
        sums = block.sum(axis=1)
        alike = (block >= 0).all() and (block <= 1).all() and (np.abs(sums - 1) <= 2e-2).all()
    if alike:
        raise ValueError(
            f"these look like probabilities, not logits: in {many(len(block), 'row')} every number lies in [0, 1] and "
            f"every row sums to 1 ({sums.min():.4g} to {sums.max():.4g}); give them as probabilities (--kind probs)"
        )


def _findings(found: Measured, by_name: Mapping[str, Number], evidence: Evidence, kind: RowKind) -> Iterator[Finding]:
    rows, w = found.rows, found.weights
    accuracy, gap, ece, floor = (by_name[n] for n in ("accuracy", "signed_gap", "ece", "ece_noise_floor"))
    largest = int(np.bincount(rows.label).max()) / len(rows)
    if accuracy.low <= largest:
        yield Finding(
            "accuracy",
            f"The accuracy, {share(accuracy.value)} ({share(accuracy.low)} to {share(accuracy.high)}), is not reliably "
            f"above the {share(largest)} that always naming the commonest label would reach.",
            "Check that labels and scores belong together and that classes are in the same order; nothing below means "
            "much otherwise.",
        )
    off = gap.low > 0 or gap.high < 0
    if off and ece.value > floor.high and max(abs(gap.value), ece.value) >= _WORTH:
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
    after = by_name.get("ece_after_temperature")
    if after is not None and found.after is not None and off:
        bound = calibration.noise_floor(found.after.confidence, bins=BINS, weights=w).high
        if after.low > bound and _WORTH <= after.value <= ece.value:
            yield Finding(
                "temperature",
                f"One temperature does not repair it: after it the ECE is still {decimal(after.value)} "
                f"({between(after.low, after.high)}), and chance alone would stay below {decimal(bound)}.",
                "Recalibrate on held-out rows with a method that has more freedom than one number.",
            )
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
    yield from _ranking(rows, by_name)
    yield from _smoothing(evidence, by_name)
    tied = int(np.count_nonzero(rows.tied))
    if tied > max(0.001 * len(rows), 1):
        precise = found.source.type_name in ("float32", "float64")
        yield Finding(
            "ties",
            f"In {many(tied, 'row')} ({share(tied / len(rows))}) two or more classes share the largest score, and the "
            f"lowest of them was taken; the scores are {found.source.type_name}.",
            "Find out why the model returns equal scores." if precise else "Save them as float32 to be exact.",
        )
    del kind


def _confidence(found: Measured, by_name: Mapping[str, Number], *, over: bool) -> Finding:
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


def _ranking(rows: Rows, by_name: Mapping[str, Number]) -> Iterator[Finding]:
    risk = 1 - by_name["accuracy"].value
    if not 0 < risk < 1:
        return
    spread = risk * (1 - risk)
    augrc = by_name["augrc"]
    auroc, low, high = (1 - (value - risk**2 / 2) / spread for value in (augrc.value, augrc.high, augrc.low))
    low, high = max(low, 0.0), min(high, 1.0)
    if high < _POOR_AUROC and np.count_nonzero(~rows.correct) >= 10:
        yield Finding(
            "ranking",
            f"Confidence hardly tells right rows from wrong ones: a right row is ranked above a wrong one "
            f"{share(auroc)} of the time ({share(low)} to {share(high)}), and 50 % is chance; E-AURC "
            f"{decimal(by_name['eaurc'].value)} ({between(by_name['eaurc'].low, by_name['eaurc'].high)}).",
            "Do not sort or reject by confidence; a temperature cannot change this. If the model was smoothed, retrain "
            "with one-hot targets or less smoothing and compare the E-AURC.",
        )


def _smoothing(evidence: Evidence, by_name: Mapping[str, Number]) -> Iterator[Finding]:
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


def _notes(found: Measured, by_name: Mapping[str, Number], evidence: Evidence, kind: RowKind) -> Iterator[str]:
    rows = found.rows
    if evidence.smoothing is None:
        yield f"No sign of label smoothing: {evidence.reason}."
    present = len(np.unique(rows.label))
    if present == 1:
        yield f"All labels are class {int(rows.label[0])}: numbers over classes rest on it alone."
    elif present < found.classes:
        yield f"{count(present)} of the {count(found.classes)} classes occur among the labels."
    copies = len(rows) - len(np.unique(found.hashes))
    if copies:
        yield (
            f"{many(copies, 'row')} repeat{'s' if copies == 1 else ''} another exactly; intervals take them for rows "
            "of their own."
        )
    if kind == "heldout" and by_name["accuracy"].value >= 0.999 and len(rows) >= 1000:
        yield "Nearly every row is right: if the model was trained on these rows, say so (--rows train)."
    if found.source.name == "probs":
        yield "From probabilities alone there is no temperature and no logit gap: give logits to have them."


def _compare(result: Audit, against: Scores, kind: str, labels: Labels) -> None:
    """Add the paired differences to another model, and a finding for each headline metric that differs."""
    if kind == "logits":
        _refuse_mistaken(against)
    other = measure(**{kind: against}, labels=labels)  # type: ignore[arg-type]
    if other.classes != result.classes:
        raise ValueError(f"the models have {result.classes} and {other.classes} classes: they cannot be compared")
    theirs = numbers(other, parts=True)
    sides: list[tuple[str, Number, float]] = []
    for name in PAIRED:
        mine, its = result.metrics.get(name), theirs.get(name)
        if mine is None or its is None or mine.part is None or its.part is None:
            continue
        part = mine.part - its.part
        half, value = half_width(part, None), mine.value - its.value
        lowest, highest = RANGES.get(name.removesuffix("_after_temperature"), (-np.inf, np.inf))
        width = highest - lowest
        number = Number(value, max(value - half, -width), min(value + half, width))
        result.differences[name] = number
        if name in _HEADLINE:
            sides.append((name, number, half))
    words = {"accuracy": "accuracy", "nll_after_temperature": "NLL after temperature", "eaurc": "E-AURC"}
    better = {"accuracy": 1, "nll_after_temperature": -1, "eaurc": -1}
    # Bonferroni over the headline metrics: 2.39 is the normal's quantile for 5 % over three, 1.96 for one
    wider = {1: 1.0, 2: 2.2414 / 1.96, 3: 2.394 / 1.96}[max(len(sides), 1)]
    differ: list[str] = []
    for name, number, half in sides:
        if abs(number.value) > wider * half and half > 0:
            verdict = "better" if number.value * better[name] > 0 else "worse"
            differ.append(
                f"{verdict} in {words[name]}, by {decimal(abs(number.value))} "
                f"({between(*sorted((abs(number.low), abs(number.high))))})"
            )
    if differ:
        result.findings.append(
            Finding(
                "against",
                f"Against the other model on the same rows, this one is {'; '.join(differ)}.",
                "Intervals are paired over rows; another training of either model would move both.",
            )
        )
    elif sides:
        looked_at = [words[name] for name, _, _ in sides]
        told = " or ".join(filter(None, (", ".join(looked_at[:-1]), looked_at[-1])))
        result.notes.append(
            f"Against the other model on the same rows there is no difference to rely on in {told}"
            + (", looked at together." if len(sides) > 1 else ".")
        )


def _figures(found: Measured) -> dict[str, Any]:
    """Columns for the page, a few hundred numbers each."""
    drawn: dict[str, Any] = {"reliability": _bins(found.rows)}
    if found.after is not None:
        drawn["reliability_after"] = _bins(found.after)
    groups = found.groups
    ends = groups.start + groups.size
    places = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), 200)).astype(np.int64))
    errors = groups.errors_before + groups.wrong
    drawn["risk"] = {"coverage": (ends[places] / groups.total).tolist(), "risk": (errors / ends)[places].tolist()}
    gap = found.rows.gap[np.isfinite(found.rows.gap)]
    if found.source.name == "logits" and len(gap):
        low, high = (float(q) for q in np.quantile(gap, [0.001, 0.999]))
        counts, edges = np.histogram(gap, bins=60, range=(low, max(high, low + 1e-6)))
        drawn["gap"] = {"edges": edges.tolist(), "count": counts.tolist()}
    return drawn


def _bins(rows: Rows) -> dict[str, list[float | None]]:
    table = calibration.reliability(rows.confidence, rows.correct, bins=BINS)
    columns: dict[str, npt.NDArray[Any]] = {
        "count": table.count,
        "confidence": table.confidence,
        "accuracy": table.accuracy,
        "low": table.low,
        "high": table.high,
    }
    return {name: [_finite(float(v)) for v in column] for name, column in columns.items()}


def _ends(number: Number) -> dict[str, float | None]:
    return {"value": _finite(number.value), "low": _finite(number.low), "high": _finite(number.high)}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
