"""The audit of a model, perhaps against another, and of every seed of a run: what the letter, page and JSON show."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.auditing.against import PairedDifference, judge_differences, paired_differences
from sfumato.evaluate.auditing.findings import Finding, findings, infinite_loss, notes, ruled_out
from sfumato.evaluate.auditing.summary import summary
from sfumato.evaluate.inferred_smoothing import SOFT_LABELS, Evidence, RowKind, judge
from sfumato.evaluate.metrics import calibration
from sfumato.evaluate.metrics.compute import Interval, MetricValue, half_width
from sfumato.evaluate.metrics.features import nc1
from sfumato.evaluate.metrics.one_class import RATES, Rate, classes_to_show, rate_of
from sfumato.evaluate.metrics.registry import compute_metrics
from sfumato.evaluate.scores.measure import BINS, Measured, measure
from sfumato.evaluate.scores.per_row import Rows, SoftRows
from sfumato.evaluate.scores.read_scores import FileError, read_scores, seeds_of_run
from sfumato.evaluate.scores.score_matrix import Labels, Scores, refuse_probabilities, take_rows
from sfumato.evaluate.statistics.groups import RowGroups
from sfumato.evaluate.statistics.margins import Margins
from sfumato.messages import Note, texts

SCHEMA = "sfumato.audit/1"


@dataclass
class Audit:
    """The audit of one model, perhaps against another on the same rows.

    ``metrics`` has every metric with its interval, and ``evidence`` what says whether the model was smoothed.
    ``findings`` are what to know and act on, in the order in which it matters, ``notes`` what is worth knowing besides,
    and ``summary`` how things stand and what to do, in a sentence each; more sentences may follow. ``differences`` are
    this model less the other, paired by rows. ``kind`` tells whether the rows are ``"train"`` or ``"heldout"``.
    """

    rows: int
    classes: int
    metrics: dict[str, MetricValue]
    evidence: Evidence
    findings: list[Finding]
    notes: list[Note]
    kind: RowKind
    summary: list[str] = field(default_factory=list[str])
    tied: int = 0  # rows in which two or more classes share the largest score
    differences: dict[str, PairedDifference] = field(default_factory=dict[str, PairedDifference])
    groups: int | None = None  # groups of rows that vary together; None where each row is its own
    by_class: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]], repr=False)  # recall and precision
    figures: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)  # columns for the page

    def to_dict(self) -> dict[str, Any]:
        """One JSON object; what is not finite is None.

        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 4.0]] * 9)
        >>> result = audit(logits=logits, labels=np.array([0, 1, 1, 1] * 9)).to_dict()
        >>> result["schema"], result["rows"], result["metrics"]["accuracy"]["value"], result["inferred_smoothing"]
        ('sfumato.audit/1', 36, 0.75, None)
        """
        smoothing = None
        if self.evidence.smoothing is not None:
            smoothing = asdict(self.evidence.smoothing)
            smoothing["explanations"] = list(smoothing["explanations"])
            del smoothing["rows"]  # this is "assumed_rows"
        result: dict[str, Any] = {
            "schema": SCHEMA,
            "rows": self.rows,
            "classes": self.classes,
            "tied_rows": self.tied,
            "groups": self.groups,
            "metrics": {name: _ends(number) for name, number in self.metrics.items()},
            "by_class": self.by_class,
            "inferred_smoothing": smoothing,
            "smoothing_evidence": {
                "answer": self.evidence.answer,
                "reason": self.evidence.sentence,
                "eps_of_gap": self.evidence.eps_of_gap,
            },
            "summary": list(self.summary),
            "reading": [*(f"{finding.text} {finding.advice}" for finding in self.findings), *texts(self.notes)],
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
            "assumed_rows": self.kind,
        }
        if self.differences:
            result["differences"] = {
                name: {
                    **_ends(number),
                    "p_adjusted": number.p_adjusted,
                    "finding": number.finding,
                    "margin": number.margin,
                }
                for name, number in self.differences.items()
            }
        return result


def audit(
    *,
    logits: Scores | None = None,
    probs: Scores | None = None,
    labels: Labels | None = None,
    label_probs: Any = None,
    label_counts: Any = None,
    rows: RowKind = "heldout",
    features: Any = None,
    against: Scores | None = None,
    against_kind: Literal["logits", "probs"] = "logits",
    margins: Margins | None = None,
    group: npt.ArrayLike | None = None,
) -> Audit:
    r"""Read a model off its scores: can the probabilities be used, is the ranking good, was it smoothed.

    A difference to another model is paired: with :math:`v_i, v_i'` what row i adds to a metric of either,

    .. math:: \theta - \theta' \pm t_\nu \sqrt{\tfrac{1}{N(N-1)} \sum_i (v_i - v_i' - \overline{v - v'})^2}

    It has the interval, the adjusted p-value and the finding that :func:`sfumato.judge` gives the two models.

    Scores and labels are those of :func:`sfumato.evaluate.evaluate`. ``rows`` is ``"train"`` if the model was trained
    on these rows, ``"heldout"`` if not. ``features`` are inputs of the last layer, (N, D), for how classes cluster.
    ``against`` are scores of another model on the same rows, (N, K), ``"logits"`` or ``"probs"`` by ``against_kind``,
    and ``margins`` which differences to it are too small to matter; None for the defaults. ``group`` has (N,) values
    that rows share which vary together (a patient, a document): intervals count the groups.

    Raises:
        TypeError, ValueError, IndexError: as :func:`sfumato.evaluate.evaluate`; ValueError also for probabilities given
            as logits (every row lies in [0, 1] and sums to 1) and for models on different rows.

    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(2000, 5)) * 3
    >>> p = np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True)
    >>> labels = (p.cumsum(axis=1) < rng.random((2000, 1))).sum(axis=1)
    >>> [(finding.code, finding.advice[:29]) for finding in audit(logits=logits, labels=labels).findings]
    [('over-confident', 'Divide the logits by T = 1.97')]

    Source: the metrics of this package; the paired difference is Quenouille's and Tukey's jackknife.
    """
    refuse_probabilities(logits)
    truth = {"labels": labels, "label_probs": label_probs, "label_counts": label_counts}
    found = measure(logits=logits, probs=probs, **truth)
    found.together = None if group is None else _groups(group, found)
    by_name = compute_metrics(found, parts=against is not None)
    if features is not None and found.counted is not None:
        features = take_rows(features, found.counted)
    if features is not None and found.labels_present > 1:
        by_name["nc1"] = MetricValue(nc1(features, found.rows.label), np.nan, np.nan)
    evidence = SOFT_LABELS if isinstance(found.rows, SoftRows) else judge(found.rows, found.classes, rows)
    result = Audit(
        rows=found.source.rows,
        classes=found.classes,
        metrics=by_name,
        evidence=evidence,
        findings=list(findings(found, by_name, evidence)),
        notes=list(notes(found, by_name, evidence, rows)),
        kind=rows,
        tied=int(np.count_nonzero(found.rows.tied)),
        groups=None if found.together is None else len(found.together.sizes),
        by_class=_by_class(found),
        figures=_figures(found),
    )
    if against is not None:
        if against_kind == "logits":
            refuse_probabilities(against)
        other = measure(**{against_kind: against}, **truth)  # type: ignore[arg-type]
        if other.classes != found.classes:
            raise ValueError(f"the models have {found.classes} and {other.classes} classes: they cannot be compared")
        theirs = compute_metrics(other, parts=True)
        result.differences = paired_differences(
            by_name, theirs, (found.rows, other.rows), margins or Margins(), found.together
        )
        more_findings, more_notes = judge_differences(result.differences)
        result.findings += more_findings
        result.notes += more_notes
        if not_compared := ruled_out(other):
            text = infinite_loss(other, not_compared, "the log loss (NLL) of the other model")
            result.notes.append(Note(code="infinite-loss-of-other", text=text))
        if not_compared or ruled_out(found):
            text = "An infinite log loss (NLL) cannot be compared, so there is no difference in it."
            result.notes.append(Note(code="infinite-loss-not-compared", text=text))
    result.summary = summary(found, by_name, result.findings, rows)
    return result


def _groups(group: npt.ArrayLike, found: Measured) -> RowGroups | None:
    """The groups of the rows that count; None where each row is one."""
    values, rows = np.asarray(group), found.source.rows
    if found.counted is not None and values.ndim == 1 and len(values) > found.counted[-1]:
        values = values[found.counted]
    if values.shape != (rows,):
        raise ValueError(f"group must have one value a row, ({rows},), got shape {values.shape}")
    made = RowGroups.of(values)
    if len(made.sizes) == 1 and rows > 1:
        raise ValueError("all rows are of one group, so nothing says how far groups differ; leave the group out")
    return None if made.single else made


def _by_class(found: Measured) -> list[dict[str, Any]]:
    """Recall and precision of the classes that are shown, with Wilson's interval, or one that counts groups."""
    rows = found.rows
    right = np.bincount(rows.label[rows.correct], minlength=found.classes)

    def told(rate: Rate, k: int) -> dict[str, float | None]:
        known = rate_of(rate, rows.label, rows.predicted, k)
        if known is None:
            return {"value": None, "low": None, "high": None}
        value, part = known
        if found.together is None or value in (0, 1):
            held = np.flatnonzero((rows.label if rate == "recall" else rows.predicted) == k)
            units = held if found.together is None else np.unique(found.together.number[held])
            low, high = calibration.wilson(value, len(units))
        else:
            half = half_width(part, found.together)
            low, high = max(value - half, 0.0), min(value + half, 1.0)
        return {"value": value, "low": float(low), "high": float(high)}

    return [
        {"class": k, "rows": int(found.label_counts[k]), **{rate: told(rate, k) for rate in RATES}}
        for k in classes_to_show(found.label_counts, right)
    ]


def _figures(found: Measured) -> dict[str, Any]:
    """Columns for the page, a few hundred numbers each."""
    drawn: dict[str, Any] = {"reliability": _bins(found.rows)}
    if found.after is not None:
        drawn["reliability_after"] = _bins(found.after)
    groups = found.groups
    ends, errors = groups.start + groups.size, groups.errors_before + groups.wrong
    places = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), 200)).astype(np.int64))
    drawn["risk"] = {"coverage": (ends[places] / groups.total).tolist(), "risk": (errors / ends)[places].tolist()}
    if isinstance(found.rows, SoftRows):  # the best order of risks that are 0 or 1 follows from their mean
        area = np.append(0.0, np.cumsum(np.sort(groups.risk)))
        at = np.arange(1, 101) / 100 * len(found.rows)
        drawn["risk"]["best"] = (np.interp(at, np.arange(len(area)), area) / at).tolist()
    gap = found.rows.gap[np.isfinite(found.rows.gap)]
    if not found.logits_lost and len(gap):
        low, high = (float(q) for q in np.quantile(gap, [0.001, 0.999]))
        counts, edges = np.histogram(gap, bins=60, range=(low, max(high, low + 1e-6)))
        drawn["gap"] = {"edges": edges.tolist(), "count": counts.tolist()}
    return drawn


def _bins(rows: Rows) -> dict[str, list[float | None]]:
    table = vars(calibration.in_bins(rows.confidence, rows.right, BINS))
    names = ("count", "confidence", "accuracy", "low", "high")
    return {name: [_finite(float(v)) for v in table[name]] for name in names}


def _ends(number: Interval) -> dict[str, float | None]:
    return {"value": _finite(number.value), "low": _finite(number.low), "high": _finite(number.high)}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def audit_run(folder: Path) -> list[dict[str, Any]]:
    """For each arm of the folder of a comparison, its metrics over the seeds, and how many seeds find what."""
    arms: list[dict[str, Any]] = []
    for arm, paths in seeds_of_run(folder).items():
        audits: dict[int, Audit] = {}
        for seed, path in paths.items():
            file = read_scores(str(path))
            if file.soft is None and file.labels is None:
                raise FileError(f"{path} has no labels")
            audits[seed] = audit(logits=file.scores, **file.truth)
        arms.append(over_seeds(arm, audits))
    return arms


def over_seeds(name: str, audits: Mapping[int, Audit]) -> dict[str, Any]:
    """The audits of one arm, by seed, as one JSON object; what is not finite is None, and so is the sd of one seed."""
    results = [audits[seed] for seed in sorted(audits)]
    metrics: dict[str, Any] = {}
    for metric in results[0].metrics:
        if all(metric in each.metrics for each in results):
            values = [_finite(each.metrics[metric].value) for each in results]
            known = [value for value in values if value is not None]
            finite, several = len(known) == len(values), len(values) > 1
            metrics[metric] = {
                "mean": statistics.fmean(known) if finite else None,
                "sd": statistics.stdev(known) if finite and several else None,
                "values": values,
            }
    return {
        "name": name,
        "seeds": sorted(audits),
        "metrics": metrics,
        "findings": dict(Counter(finding.code for each in results for finding in each.findings)),
        "smoothing_answers": dict(Counter(each.evidence.answer for each in results)),
    }
