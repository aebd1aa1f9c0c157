"""Every metric, defined once: what it is, its range, which way is better, how its interval is made, how it is shown.

The computation takes the range from here, the tables take the label and the digits, and the comparisons take which
metrics are paired and which of them decide. The entries stand in the order in which metrics are shown.

The texts are of hard labels y. With soft labels q, −log p_y is −Σ_k q_k·log p_k, 1[y=k] is q_k, and a row is right as
far as q of its predicted class says. What asks for a class (accuracy, its balanced form, F1, top 5, the logit gap)
takes the mode of q, the lowest class of equal ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple


class Shown(NamedTuple):
    """How a number is printed: its unit, factor (100 for per cent), digits after the point, and whether with a plus."""

    unit: str = ""
    scale: float = 1
    digits: int = 3
    signed: bool = False


@dataclass(frozen=True)
class Definition:
    """What a metric is.

    Attributes:
        text: the definition; p is softmax(z), y the label, w the row weights, W their sum, conf the largest p.
        better: ``"higher"``, ``"lower"``, or None where neither is better.
        lowest, highest: the ends of its range.
        interval: how its interval is made.
        words: what it is called, in words that need no paper.
        term: what the field calls it, where that is another word; empty where it is not.
        shown: how its value is printed.
        paired: whether two models are compared in it row by row, so that what each row adds to it must be known.
        headline: whether it decides between two models. This is fixed in advance.
    """

    text: str
    better: str | None
    lowest: float
    highest: float
    interval: str
    words: str
    term: str
    shown: Shown
    paired: bool = False
    headline: bool = False

    @property
    def label(self) -> str:
        """What every table, page, figure and sentence calls it: ``log loss (NLL)``."""
        return f"{self.words} ({self.term})" if self.term else self.words

    @property
    def heading(self) -> str:
        """The label with the factor that small areas are multiplied by: ``ranking of mistakes (E-AURC × 1000)``."""
        return f"{self.words} ({self.term} × 1000)" if self.shown.scale == 1000 else self.label


_MEAN = "t, on the rows' values"
_PART = "t, on infinitesimal-jackknife values of the rows"
_WILSON = "Wilson's, at Kish's effective number of rows under weights"
_RISK = "where Wilson's interval of the risk holds "
_INF = math.inf
_SHARE, _ERROR, _AREA, _NATS = Shown("", 100, 1), Shown("0 to 1"), Shown("area", 1000, 2), Shown("nats", 1, 2)

# fmt: off
_NLL = Definition(
    "Σ w·(−log p_y)/W, against labels whatever the training target was, in nats",
    "lower", 0.0, _INF, _MEAN, "log loss", "NLL", Shown("nats"), paired=True,
)
_KL = Definition(
    "with soft labels q: Σ w·Σ_k q_k·log(q_k/p_k)/W, which is nll less the entropy of q, in nats",
    "lower", 0.0, _INF, _MEAN, "divergence from the soft labels", "KL", Shown("nats"), paired=True,
)
_BRIER = Definition(
    "Σ w·Σ_k (p_k − 1[k=y])²/W, from 0 to 2",
    "lower", 0.0, 2.0, _MEAN, "Brier score", "", Shown("0 to 2"), paired=True,
)
_ECE = Definition(
    "Σ_b |Σ_{i in b} w·(conf − right)|/W over 15 equal-width bins (lower, upper], the first closed at 0",
    "lower", 0.0, 1.0, _PART, "calibration error", "ECE", _ERROR, paired=True,
)
_SIGNED_GAP = Definition(
    "Σ w·(conf − right)/W: positive over-confident, negative under-confident",
    None, -1.0, 1.0, _MEAN, "confidence − accuracy", "", Shown("−1 to 1", signed=True), paired=True,
)
_EAURC = Definition(
    "aurc less that of the best order, r + (1−r)·ln(1−r), r the error rate",
    "lower", -_INF, 1.0, _PART, "ranking of mistakes", "E-AURC", _AREA, paired=True, headline=True,
)
# fmt: on


def _after(
    plain: Definition, text: str, *, paired: bool = True, headline: bool = False, spread: bool = False
) -> Definition:
    """The same of softmax(z/T_f); ``spread`` says that the interval counts the spread of the temperature."""
    interval = plain.interval + (", with the temperature's own spread" if spread else "")
    words = f"{plain.words} after temperature"
    return replace(plain, text=text, interval=interval, words=words, paired=paired, headline=headline)


# fmt: off
METRICS: dict[str, Definition] = {
    "accuracy": Definition(
        "part of the rows whose label has the largest logit; of equal ones the lowest class",
        "higher", 0.0, 1.0, _WILSON, "accuracy", "", _SHARE, paired=True, headline=True,
    ),
    "balanced_accuracy": Definition(
        "mean over the classes that occur of the part of their rows that is right",
        "higher", 0.0, 1.0, _PART, "balanced accuracy", "", _SHARE,
    ),
    "macro_f1": Definition(
        "mean over classes that occur as label or prediction of F1 = 2·right/(labelled + predicted)",
        "higher", 0.0, 1.0, _PART, "F1, mean of the classes", "macro-F1", Shown(),
    ),
    "top5": Definition(
        "part of the rows whose label is among the 5 largest logits (K > 5)",
        "higher", 0.0, 1.0, _WILSON, "label among the best 5", "top 5", _SHARE,
    ),
    "agreement": Definition(
        "with soft labels q: mean of q of the predicted class, the part of the annotators that name it",
        "higher", 0.0, 1.0, _MEAN, "agreement with the annotators", "", _SHARE, paired=True,
    ),
    "nll": _NLL,
    "kl": _KL,
    "brier": _BRIER,
    "ece": _ECE,
    "ece_noise_floor": Definition(
        "mean ECE over 200 redraws of right ~ Bernoulli(conf): what a perfectly calibrated model would show",
        None, -_INF, _INF, "central 95 % of the redraws", "calibration error by chance", "", _ERROR,
    ),
    "ece_equal_mass": Definition(
        "as ece, over 15 runs of sorted rows of equal weight; rows of equal conf share their accuracy",
        "lower", 0.0, 1.0, _PART, "calibration error, equal mass", "ECE", _ERROR,
    ),
    "ece_classwise": Definition(
        "Σ_k Σ_b |Σ_{i: p_ik in b} w·(p_ik − 1[y=k])|/(K·W)",
        "lower", 0.0, 1.0, "delete-a-group jackknife over 10 groups by content", "calibration error, class-wise", "ECE",
        Shown("0 to 1", digits=5),
    ),
    "smooth_ece": Definition(
        "∫|residuals conf − right smoothed by a reflected Gaussian of width σ|, at the σ that equals it",
        "lower", 0.0, 1.0, _PART, "calibration error, smooth", "ECE", _ERROR,
    ),
    "signed_gap": _SIGNED_GAP,
    "temperature": Definition(
        "T in 1e-3 to 1e3 of least NLL of softmax(z/T)",
        None, 1e-3, 1e3, "t, on jackknife values of log T", "temperature", "", Shown("divisor", digits=2), paired=True,
    ),
    "nll_after_temperature": _after(
        _NLL,
        "nll of softmax(z/T_f), T_f fitted to the rows of the other four folds", headline=True,
    ),
    "kl_after_temperature": _after(_KL, "kl likewise"),
    "brier_after_temperature": _after(_BRIER, "brier likewise", paired=False),
    "ece_after_temperature": _after(_ECE, "ece likewise", spread=True),
    "signed_gap_after_temperature": _after(_SIGNED_GAP, "signed_gap likewise", paired=False, spread=True),
    "aurc": Definition(
        "mean over i of the error rate among the i most confident rows, tied rows in expectation",
        "lower", 0.0, 1.0, _PART, "error by coverage", "AURC", _AREA, paired=True,
    ),
    "eaurc": _EAURC,
    "eaurc_after_temperature": _after(_EAURC, "eaurc likewise"),
    "augrc": Definition(
        "area under (coverage, part of all rows that is answered and wrong) = r(1−r)(1−AUROC) + r²/2",
        "lower", 0.0, 0.5, _PART, "answered and wrong", "AUGRC", _AREA, paired=True,
    ),
    "coverage_at_1_risk": Definition(
        "largest part of the rows answered at an error rate of at most 1 %",
        "higher", 0.0, 1.0, _RISK + "1 %", "rows answered at 1 % wrong", "coverage", _SHARE,
    ),
    "coverage_at_5_risk": Definition(
        "the same at 5 %",
        "higher", 0.0, 1.0, _RISK + "5 %", "rows answered at 5 % wrong", "coverage", _SHARE,
    ),
    "risk_at_80_coverage": Definition(
        "error rate among the most confident 80 % of rows",
        "lower", 0.0, 1.0, _PART, "wrong among the surest 80 %", "risk", _SHARE,
    ),
    "logit_gap": Definition(
        "mean of z_y less the mean of the other logits, in nats",
        None, -_INF, _INF, _MEAN, "logit gap", "", _NATS, paired=True,
    ),
    "logit_norm": Definition(
        "mean of ‖z − mean z‖, in nats", None, 0.0, _INF, _MEAN, "size of the logits", "norm", _NATS,
    ),
    "gamma": Definition(
        "E[1 − p_y]·K/(K−1): ε over all of a perfectly smoothed model",
        None, 0.0, 2.0, _MEAN, "equivalent smoothing", "γ, ε over all", Shown(),
    ),
}
# fmt: on
"""Every metric by name."""

SOFT_WORDS = {
    "signed_gap": "confidence − agreement",
    "aurc": "disagreement by coverage (AURC × 1000)",
    "augrc": "answered and disagreed with (AUGRC × 1000)",
    "coverage_at_1_risk": "rows answered at 1 % disagreement (coverage)",
    "coverage_at_5_risk": "rows answered at 5 % disagreement (coverage)",
    "risk_at_80_coverage": "disagreement among the surest 80 % (risk)",
}
"""What metrics are called where labels are soft, if that is something else."""

HEADLINE = tuple(name for name, defined in METRICS.items() if defined.headline)
"""The metrics that decide between two models, and that are tested."""

FEATURE_LABELS = {
    "nc1": "spread within the classes (NC1)",
    "nc2": "unevenness of the classes (NC2)",
    "class_separation": "separation of the classes (R²)",
}
"""What the numbers of features are called; they need features besides logits, and are no metrics of :data:`METRICS`."""
