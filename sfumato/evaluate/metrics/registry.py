"""Every metric is one row of this table, in the order in which they are shown: its definition, computation and words.

Everything that lists metrics goes by it: audits, comparisons, JSON, the glossary and docs/metrics.md. The texts are of
hard labels y. With soft labels q, −log p_y is −Σ_k q_k·log p_k, 1[y=k] is q_k, and a row is right as far as q of its
predicted class says. What asks for a class takes the mode of q, the lowest class of equal ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sfumato.evaluate.metrics import compute, one_class
from sfumato.evaluate.metrics.calibration import equal_bins
from sfumato.evaluate.metrics.compute import Measure, MetricValue
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.metrics.temperature import HIGHEST, LOWEST
from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.scores.measure import BINS, Measured
from sfumato.evaluate.scores.per_row import Rows


class Shown(NamedTuple):
    """How a number is printed: its unit, factor (100 for per cent), digits after the point, and whether with a plus."""

    unit: str = ""
    scale: float = 1
    digits: int = 3
    signed: bool = False


class Explained(NamedTuple):
    """The entry of the glossary: the meaning, other words for the metric, and the meaning where labels are soft."""

    text: str
    also: tuple[str, ...] = ()
    soft: str | None = None


@dataclass(frozen=True)
class Definition:
    """What a metric is.

    >>> METRICS["accuracy"].ends(0.99, 0.02)
    (0.97, 1.0)
    """

    text: str  # the definition; p is softmax(z), y the label, N the number of rows, conf the largest p
    better: str | None  # "higher", "lower", or None where neither is better
    lowest: float
    highest: float
    interval: str  # how its interval is made
    words: str  # what it is called, in words that need no paper
    term: str  # what the field calls it, where that is another word
    shown: Shown
    column: str = ""  # the column of Rows whose mean the metric is, if it is one, so that seeds can be averaged
    measure: Measure | None = None  # its value and what each row adds to it, if that is more than the mean of a column
    without_each: Callable[[Rows], tuple[float, Column] | None] | None = None  # value, pseudo-values, if it is no mean
    family: str = "Right or wrong"  # the part of docs/metrics.md that has it
    explained: Explained | None = None  # its entry in the glossary
    soft_words: str = ""  # what it is called where labels are soft, if that is something else
    over_seeds: bool = False  # whether an audit of a run shows it over the seeds of each arm
    paired: bool = False  # whether two models are compared in it row by row
    headline: bool = False  # whether it decides between two models, which is fixed in advance
    scaled: bool = False  # whether it is of softmax(z/T_f)
    needs: str = "logits, a finite NLL, and rows of more than one content"  # what scores without it lack

    @property
    def label(self) -> str:
        """What every table, page, figure and sentence calls it: ``log loss (NLL)``."""
        return f"{self.words} ({self.term})" if self.term else self.words

    @property
    def heading(self) -> str:
        """The label with the factor that small areas are multiplied by: ``ranking of mistakes (E-AURC × 1000)``."""
        return f"{self.words} ({self.term} × 1000)" if self.shown.scale == 1000 else self.label

    def ends(self, value: float, half: float) -> tuple[float, float]:
        """The ends of an interval, cut at the range."""
        return max(value - half, self.lowest), min(value + half, self.highest)

    def of_seed(self, rows: Rows) -> tuple[Column, float] | None:
        """What each row adds to the metric of one seed, (N,), and its value; None where the rows do not have it."""
        if self.without_each is not None:
            found = self.without_each(rows)
            return found and (found[1], found[0])
        values = getattr(rows, self.column or "none", None)
        return None if values is None else (np.asarray(values, np.float64), float(np.mean(values)))


_MEAN = "t, on the rows' values"
_PART = "t, on infinitesimal-jackknife values of the rows"
_WILSON = "Wilson's"
_RISK = "where Wilson's interval of the risk holds "
_INF = math.inf
_SHARE, _ERROR, _AREA, _NATS = Shown("", 100, 1), Shown("0 to 1"), Shown("area", 1000, 2), Shown("nats", 1, 2)
_FIT, _CALIBRATION = "How well the probabilities fit", "Calibration"
_ORDER, _ONE_CLASS, _LOGITS = "Order of confidence", "One class against the rest", "Logits"
_LESS = "better, but a value near the calibration error by chance cannot be told from none."
_NEEDS_SOFT = "label_probs or label_counts"
_NEEDS_RANKS = "rows of several classes, and of more than 2 classes at most 8 million scores"


# fmt: off
_PLAIN: dict[str, Definition] = {
    "accuracy": Definition(
        "part of the rows whose label has the largest logit; of equal ones the lowest class",
        "higher", 0.0, 1.0, _WILSON, "accuracy", "", _SHARE,
        "correct", compute.accuracy, over_seeds=True, paired=True, headline=True,
        explained=Explained(
            "Share of rows whose largest logit is the label’s; 0 to 100 %, more is better.",
            soft="Share of rows whose largest logit is that of the likeliest class of the soft label; 0 to 100 %, more "
            "is better.",
        ),
    ),
    "balanced_accuracy": Definition(
        "mean over the classes that occur of the part of their rows that is right",
        "higher", 0.0, 1.0, _PART, "balanced accuracy", "", _SHARE,
        measure=lambda rows, found: compute.balanced_accuracy(rows),
        without_each=compute.balanced_accuracy, over_seeds=True,
        explained=Explained(
            "Mean over the classes of the share of their rows that is right; 0 to 100 %, more is better.",
        ),
    ),
    "macro_f1": Definition(
        "mean over classes that occur as label or prediction of F1 = 2·right/(labelled + predicted)",
        "higher", 0.0, 1.0, _PART, "F1, mean of the classes", "macro-F1", Shown(), measure=compute.macro_f1,
        explained=Explained(
            "Mean over the classes of 2·right/(labelled + answered); 0 to 1, more is better.", ("macro-F1",),
        ),
    ),
    "top5": Definition(
        "part of the rows whose label is among the 5 largest logits (K > 5)",
        "higher", 0.0, 1.0, _WILSON, "label among the best 5", "top 5", _SHARE,
        measure=compute.top5, needs="more than 5 classes",
        explained=Explained("Share of rows whose label is among the five largest logits; more is better."),
    ),
    "agreement": Definition(
        "with soft labels q: mean of q of the predicted class, the part of the annotators that name it",
        "higher", 0.0, 1.0, _MEAN, "agreement with the annotators", "", _SHARE,
        "agreed", over_seeds=True, paired=True, needs=_NEEDS_SOFT,
        explained=Explained(
            "With soft labels: the mean share of the annotators, or the mean probability, that a row’s label gives to "
            "the predicted class; 0 to 100 %, more is better.", ("agreement",),
        ),
    ),
    "nll": Definition(
        "Σ (−log p_y)/N, against labels whatever the training target was, in nats",
        "lower", 0.0, _INF, _MEAN, "log loss", "NLL", Shown("nats"),
        "nll", family=_FIT, over_seeds=True, paired=True,
        explained=Explained(
            "Mean −log p of the label; in nats, from 0, less is better. It is also called hard NLL, because it is "
            "measured against the label alone, whatever target the model was trained on.", ("NLL",),
            "Mean −Σ q·log p over the classes, where q is the soft label and p what the model says; in nats, from the "
            "entropy of the soft labels, less is better.",
        ),
    ),
    "kl": Definition(
        "with soft labels q: Σ Σ_k q_k·log(q_k/p_k)/N, which is nll less the entropy of q, in nats",
        "lower", 0.0, _INF, _MEAN, "divergence from the soft labels", "KL", Shown("nats"),
        "kl", family=_FIT, over_seeds=True, paired=True, needs=_NEEDS_SOFT,
        explained=Explained(
            "With soft labels: the log loss less the smallest that any model can reach, which is the entropy of the "
            "labels; in nats, from 0, less is better.", ("KL",),
        ),
    ),
    "brier": Definition(
        "Σ Σ_k (p_k − 1[k=y])²/N, from 0 to 2",
        "lower", 0.0, 2.0, _MEAN, "Brier score", "", Shown("0 to 2"),
        "brier", family=_FIT, over_seeds=True, paired=True,
        explained=Explained(
            "Mean squared distance between the probabilities and the label’s one-hot vector; 0 to 2, less is better.",
            soft="Mean squared distance between the probabilities and the soft label; 0 to 2, less is better.",
        ),
    ),
    "ece": Definition(
        "Σ_b |Σ_{i in b} (conf − right)|/N over 15 equal-width bins (lower, upper], the first closed at 0",
        "lower", 0.0, 1.0, _PART, "calibration error", "ECE", _ERROR,
        measure=compute.ece, without_each=compute.ece_without_each, family=_CALIBRATION, over_seeds=True, paired=True,
        explained=Explained(
            "Mean distance between confidence and accuracy over 15 bins of equal width, weighted by rows; 0 to 1, less "
            f"is {_LESS}", ("ECE",),
            "Mean distance between confidence and agreement over 15 bins of equal width, weighted by rows; 0 to 1, "
            f"less is {_LESS}",
        ),
    ),
    "ece_noise_floor": Definition(
        "mean ECE over 200 redraws of right ~ Bernoulli(conf): what a perfectly calibrated model would show",
        None, -_INF, _INF, "central 95 % of the redraws", "calibration error by chance", "", _ERROR,
        measure=compute.ece_by_chance, family=_CALIBRATION,
        explained=Explained(
            "The calibration error that a perfectly calibrated model would show with as many rows; a yardstick and not "
            "a score.", ("by chance alone",),
        ),
    ),
    "ece_equal_mass": Definition(
        "as ece, over 15 runs of as many sorted rows; rows of equal conf share their accuracy",
        "lower", 0.0, 1.0, _PART, "calibration error, equal mass", "ECE", _ERROR,
        measure=lambda rows, found: equal_bins(rows.confidence, rows.right, BINS), family=_CALIBRATION,
        explained=Explained("The calibration error over 15 bins that hold as many rows each; 0 to 1, less is better."),
    ),
    "signed_gap": Definition(
        "Σ (conf − right)/N: positive over-confident, negative under-confident",
        None, -1.0, 1.0, _MEAN, "confidence − accuracy", "", Shown("−1 to 1", signed=True),
        "overconfidence", compute.signed_gap, family=_CALIBRATION, over_seeds=True, paired=True,
        soft_words="confidence − agreement",
        explained=Explained(
            "Mean confidence minus accuracy; −1 to 1, 0 is best: + is over-confident, − under-confident.",
            ("over-confident", "under-confident"),
            "Mean confidence minus agreement; −1 to 1, 0 is best: + is over-confident, − under-confident.",
        ),
    ),
    "temperature": Definition(
        "T in 1e-3 to 1e3 of least NLL of softmax(z/T)",
        None, LOWEST, HIGHEST, "t, on jackknife values of log T", "temperature", "", Shown("divisor", digits=2),
        measure=compute.temperature, family=_FIT, over_seeds=True, paired=True,
        explained=Explained(
            "The number T that the logits are divided by, so that the log loss of other rows is smallest; neither "
            "direction is better: above 1 the model was over-confident, below 1 under-confident.",
        ),
    ),
    "aurc": Definition(
        "mean over i of the error rate among the i most confident rows, tied rows in expectation",
        "lower", 0.0, 1.0, _PART, "error by coverage", "AURC", _AREA,
        measure=compute.ranked(RankedGroups.aurc, lambda groups: groups.aurc_part), family=_ORDER, paired=True,
        soft_words="disagreement by coverage (AURC × 1000)",
        explained=Explained(
            "The mean risk over all coverages; from 0, less is better. Shown × 1000.", ("AURC",),
            "The mean risk over all coverages, where risk is the share of annotators who disagree; from 0, less is "
            "better. Shown × 1000.",
        ),
    ),
    "eaurc": Definition(
        "aurc less that of the best order, r + (1−r)·ln(1−r), r the error rate",
        "lower", -_INF, 1.0, _PART, "ranking of mistakes", "E-AURC", _AREA,
        measure=compute.ranked(RankedGroups.eaurc, RankedGroups.eaurc_part), without_each=compute.eaurc_without_each,
        family=_ORDER, over_seeds=True, paired=True, headline=True,
        explained=Explained(
            "How far the order by confidence is from the best order at the same accuracy, which puts all mistakes "
            "last: the excess area under the curve of risk by coverage; from 0, less is better. Shown × 1000.",
            ("ranking", "E-AURC × 1000", "E-AURC"),
            "How far the order by confidence is from the best order of the same predictions, which puts those last "
            "that most annotators disagree with: the excess area under the curve of risk by coverage; from 0, less is "
            "better. Shown × 1000.",
        ),
    ),
    "augrc": Definition(
        "area under (coverage, part of all rows that is answered and wrong) = r(1−r)(1−AUROC) + r²/2",
        "lower", 0.0, 0.5, _PART, "answered and wrong", "AUGRC", _AREA,
        measure=compute.ranked(RankedGroups.augrc, RankedGroups.augrc_part), family=_ORDER, paired=True,
        soft_words="answered and disagreed with (AUGRC × 1000)",
        explained=Explained(
            "The part of all rows that is answered and wrong, averaged over coverages; from 0, less is better. "
            "Shown × 1000.", ("AUGRC",),
            "The part of all rows that is answered, times the share of the annotators who disagree with it, averaged "
            "over coverages; from 0, less is better. Shown × 1000.",
        ),
    ),
    "coverage_at_1_risk": Definition(
        "largest part of the rows answered at an error rate of at most 1 %",
        "higher", 0.0, 1.0, _RISK + "1 %", "rows answered at 1 % wrong", "coverage", _SHARE,
        measure=compute.coverage_at(0.01), family=_ORDER, soft_words="rows answered at 1 % disagreement (coverage)",
    ),
    "coverage_at_5_risk": Definition(
        "the same at 5 %",
        "higher", 0.0, 1.0, _RISK + "5 %", "rows answered at 5 % wrong", "coverage", _SHARE,
        measure=compute.coverage_at(0.05), family=_ORDER, soft_words="rows answered at 5 % disagreement (coverage)",
    ),
    "risk_at_80_coverage": Definition(
        "error rate among the most confident 80 % of rows",
        "lower", 0.0, 1.0, _PART, "wrong among the surest 80 %", "risk", _SHARE,
        measure=compute.ranked(lambda groups: groups.risk_at(0.8), lambda groups: groups.risk_part(0.8)), family=_ORDER,
        soft_words="disagreement among the surest 80 % (risk)",
    ),
    "roc_auc": Definition(
        "P(p_k of a row of class k > that of another row) + half of P(=): k = 1 if K = 2, else mean of the classes",
        "higher", 0.0, 1.0, "t, on jackknife values of the rows", "class against the rest", "ROC-AUC", _ERROR,
        measure=lambda rows, found: one_class.roc_auc(rows),
        without_each=one_class.roc_auc, family=_ONE_CLASS, over_seeds=True, paired=True, needs=_NEEDS_RANKS,
        explained=Explained(
            "How well the probability of a class tells its rows from the others: the chance that a row of the class "
            "has a higher one than a row that is not; of two classes for class 1, of more the mean over the classes. "
            "0 to 1, more is better, and guessing has 0.5.", ("ROC-AUC",),
        ),
    ),
    "average_precision": Definition(
        "Σ_t (R_t − R_{t−1})·P_t over thresholds t of p_k, R recall and P precision of class k; k as for roc_auc",
        "higher", 0.0, 1.0, "t, on jackknife values of the rows", "precision over all recalls", "AP", _ERROR,
        measure=lambda rows, found: one_class.average_precision(rows),
        without_each=one_class.average_precision, family=_ONE_CLASS, over_seeds=True, paired=True, needs=_NEEDS_RANKS,
        explained=Explained(
            "Mean precision over the thresholds at which one more row of the class is found, for the classes of the "
            "ROC-AUC; 0 to 1, more is better, and guessing has the share of the class, so of rare classes it says "
            "more than the ROC-AUC.", ("average precision", "AP"),
        ),
    ),
    "logit_gap": Definition(
        "mean of z_y less the mean of the other logits, in nats",
        None, -_INF, _INF, _MEAN, "logit gap", "", _NATS,
        "gap", compute.of_logits("gap"), family=_LOGITS, over_seeds=True, paired=True,
        explained=Explained(
            "Logit of the label minus the mean of the others, averaged over rows; in nats, neither direction is "
            "better, to be read beside the closed form.", ("gap",),
            "Logit of the likeliest class of the soft label minus the mean of the others, averaged over rows; in nats, "
            "neither direction is better.",
        ),
    ),
    "logit_norm": Definition(
        "mean of ‖z − mean z‖, in nats", None, 0.0, _INF, _MEAN, "size of the logits", "norm", _NATS,
        measure=compute.of_logits("norm"), family=_LOGITS,
        explained=Explained("Mean length of the logits of a row about their mean; in nats.", ("logit norm",)),
    ),
    "gamma": Definition(
        "E[1 − p_y]·K/(K−1): ε over all of a perfectly smoothed model",
        None, 0.0, 2.0, _MEAN, "equivalent smoothing", "γ, ε over all", Shown(), measure=compute.gamma, family=_LOGITS,
        explained=Explained(
            "The strength over all that a perfectly smoothed model with these probabilities would have been trained "
            "with; 0 to 1 in practice.", ("γ",),
        ),
    ),
}
# fmt: on


_SPREAD = ", with the temperature's own spread"
_SCALED: dict[str, dict[str, Any]] = {  # the metrics that are shown after temperature too, and what they differ in
    "nll": {"text": "nll of softmax(z/T_f), T_f fitted to the rows of the other four folds", "headline": True},
    "kl": {},
    "brier": {"paired": False, "over_seeds": False},
    "ece": {"interval": _PART + _SPREAD},
    "signed_gap": {"paired": False, "over_seeds": False, "interval": _MEAN + _SPREAD},
    "eaurc": {"over_seeds": False, "headline": False},
    "roc_auc": {"paired": False, "over_seeds": False},
    "average_precision": {"paired": False, "over_seeds": False},
}
_BEHIND_THEIR_OWN = ("eaurc", "roc_auc", "average_precision")


def _in_order() -> dict[str, Definition]:
    """The metrics as they are shown: those after temperature behind the temperature, or behind their own."""
    rows: dict[str, Definition] = {}
    for name, plain in _PLAIN.items():
        rows[name] = plain
        behind = [name] if name in _BEHIND_THEIR_OWN else []
        for each in [n for n in _SCALED if n not in _BEHIND_THEIR_OWN] if name == "temperature" else behind:
            changes = {"text": f"{each} likewise", "words": f"{_PLAIN[each].words} after temperature", **_SCALED[each]}
            scaled = replace(
                _PLAIN[each], scaled=True, explained=None, soft_words="", needs=Definition.needs, **changes
            )
            rows[f"{each}_after_temperature"] = scaled
    return rows


METRICS: dict[str, Definition] = _in_order()
"""Every metric by name."""

SOFT_WORDS = {name: defined.soft_words for name, defined in METRICS.items() if defined.soft_words}
"""What metrics are called where labels are soft, if that is something else."""

HEADLINE = tuple(name for name, defined in METRICS.items() if defined.headline)
"""The metrics that decide between two models, and that are tested."""

FEATURE_LABELS = {"nc1": "spread within the classes (NC1)"}
"""What the number of features is called; it needs features besides logits, and is no metric of :data:`METRICS`."""

_MANY_ROWS = 100_000


def compute_metrics(found: Measured, *, parts: bool = False) -> dict[str, MetricValue]:
    """Every metric that these columns have, in the order of the table; ``parts`` keeps those of paired ones."""

    def measured(names: list[str]) -> dict[str, MetricValue]:
        # parts are as long as the rows, so a part that nobody asks for is dropped before the next is made
        values = ((name, compute_metric(name, found)) for name in names)
        return {
            name: value if parts and METRICS[name].paired else replace(value, part=None)
            for name, value in values
            if value is not None
        }

    families: dict[str, list[str]] = {}
    for name, defined in METRICS.items():
        families.setdefault(defined.family, []).append(name)
    # sorting many rows takes most of the time, so two threads share the work, a family at a time
    with ThreadPoolExecutor(2 if len(found.rows) > _MANY_ROWS else 1) as pool:
        by_name = {name: value for each in pool.map(measured, families.values()) for name, value in each.items()}
    return {name: by_name[name] for name in METRICS if name in by_name}


def compute_metric(name: str, found: Measured) -> MetricValue | None:
    """One metric, or None where these columns do not have it."""
    defined = METRICS[name]
    rows = found.after if defined.scaled else found.rows
    if rows is None:
        return None
    if defined.measure is not None:
        result = defined.measure(rows, found)
    else:
        values = getattr(rows, defined.column, None)
        result = None if values is None else compute.mean_of(values)
    if result is None:
        return None
    together = found.together
    number = result if isinstance(result, MetricValue) else MetricValue(result[0], np.nan, np.nan, result[1])
    if together is not None and name != "ece_noise_floor" and (number.part is None or not defined.paired):
        return replace(number, low=np.nan, high=np.nan)  # what each row adds is not known, so groups cannot be counted
    if number.part is None or (isinstance(result, MetricValue) and together is None):
        return number
    if name == "temperature":
        return compute.of_temperature(number.value, number.part, together)
    low, high = defined.ends(number.value, compute.half_width(number.part, together))
    return replace(number, low=low, high=high)
