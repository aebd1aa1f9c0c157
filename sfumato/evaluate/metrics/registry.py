"""Every metric by name: what it is, the range it has, which way is better, and its value with an interval.

One metric of one model is :func:`metric`; all of them at once are :func:`sfumato.evaluate.evaluate`, which reads the
scores as often as one metric does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.metrics.compute import RANGES, find
from sfumato.evaluate.scores.measure import measure
from sfumato.evaluate.scores.score_matrix import Labels, Scores


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval: rows are random, the model is as it is."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Definition:
    """What a metric is.

    Attributes:
        text: the definition; p is softmax(z), y the label, w the row weights, W their sum, conf the largest p.
        better: ``"higher"``, ``"lower"``, or None where neither is.
        lowest: end of its range.
        highest: the other end.
        interval: how its interval is made.
    """

    text: str
    better: str | None
    lowest: float
    highest: float
    interval: str


_MEAN = "t, on the rows' values"
_PART = "t, on infinitesimal-jackknife values of the rows"
_WILSON = "Wilson's, at Kish's effective number of rows under weights"

_TEXTS: dict[str, tuple[str, str | None, str]] = {
    "accuracy": (
        "part of the rows whose label has the largest logit; of equal ones the lowest class",
        "higher",
        _WILSON,
    ),
    "balanced_accuracy": ("mean over the classes that occur of the part of their rows that is right", "higher", _PART),
    "macro_f1": (
        "mean over classes that occur as label or prediction of F1 = 2·right/(labelled + predicted)",
        "higher",
        _PART,
    ),
    "top5": ("part of the rows whose label is among the 5 largest logits (K > 5)", "higher", _WILSON),
    "nll": ("Σ w·(−log p_y)/W, against labels whatever the training target was, in nats", "lower", _MEAN),
    "brier": ("Σ w·Σ_k (p_k − 1[k=y])²/W, from 0 to 2", "lower", _MEAN),
    "ece": (
        "Σ_b |Σ_{i in b} w·(conf − right)|/W over 15 equal-width bins (lower, upper], the first closed at 0",
        "lower",
        _PART,
    ),
    "ece_noise_floor": (
        "mean ECE over 200 redraws of right ~ Bernoulli(conf): what a perfectly calibrated model would show",
        None,
        "central 95 % of the redraws",
    ),
    "ece_equal_mass": (
        "as ece, over 15 runs of sorted rows of equal weight; rows of equal conf share their accuracy",
        "lower",
        _PART,
    ),
    "ece_classwise": (
        "Σ_k Σ_b |Σ_{i: p_ik in b} w·(p_ik − 1[y=k])|/(K·W)",
        "lower",
        "delete-a-group jackknife over 10 groups by content",
    ),
    "smooth_ece": (
        "∫|residuals conf − right smoothed by a reflected Gaussian of width σ|, at the σ that equals it",
        "lower",
        _PART,
    ),
    "signed_gap": ("Σ w·(conf − right)/W: positive over-confident, negative under-confident", None, _MEAN),
    "temperature": ("T in 1e-3 to 1e3 of least NLL of softmax(z/T)", None, "t, on jackknife values of log T"),
    "nll_after_temperature": ("nll of softmax(z/T_f), T_f fitted to the rows of the other four folds", "lower", _MEAN),
    "brier_after_temperature": ("brier likewise", "lower", _MEAN),
    "ece_after_temperature": ("ece likewise", "lower", _PART + ", with the temperature's own spread"),
    "signed_gap_after_temperature": ("signed_gap likewise", None, _MEAN + ", with the temperature's own spread"),
    "eaurc_after_temperature": ("eaurc likewise", "lower", _PART),
    "aurc": ("mean over i of the error rate among the i most confident rows, tied rows in expectation", "lower", _PART),
    "eaurc": ("aurc less that of the best order, r + (1−r)·ln(1−r), r the error rate", "lower", _PART),
    "augrc": (
        "area under (coverage, part of all rows that is answered and wrong) = r(1−r)(1−AUROC) + r²/2",
        "lower",
        _PART,
    ),
    "coverage_at_1_risk": (
        "largest part of the rows answered at an error rate of at most 1 %",
        "higher",
        "where Wilson's interval of the risk holds 1 %",
    ),
    "coverage_at_5_risk": ("the same at 5 %", "higher", "where Wilson's interval of the risk holds 5 %"),
    "risk_at_80_coverage": ("error rate among the most confident 80 % of rows", "lower", _PART),
    "logit_gap": ("mean of z_y less the mean of the other logits, in nats", None, _MEAN),
    "logit_norm": ("mean of ‖z − mean z‖, in nats", None, _MEAN),
    "gamma": ("E[1 − p_y]·K/(K−1): ε over all of a perfectly smoothed model", None, _MEAN),
}

METRICS: dict[str, Definition] = {
    name: Definition(text, better, *RANGES.get(name.removesuffix("_after_temperature"), (-np.inf, np.inf)), interval)
    for name, (text, better, interval) in _TEXTS.items()
}
"""Every metric by name."""


def metric(
    name: str,
    *,
    logits: Scores | None = None,
    probs: Scores | None = None,
    labels: Labels,
    weights: npt.ArrayLike | None = None,
) -> Interval:
    r"""One metric of a model, with its 95 % interval.

    With :math:`v_i` what row i adds to the metric and :math:`W = \sum_i w_i`, an interval made of parts is

    .. math:: \theta \pm t_{n-1} \sqrt{\frac{n}{n-1}} \, \frac{1}{W} \sqrt{\sum_i w_i^2 (v_i - \bar v)^2}

    Args:
        name: one of :data:`METRICS`, where each is defined.
        logits: :math:`z`, (N, K), torch or numpy, any float type; read in blocks.
        probs: probabilities instead, (N, K), rows that sum to 1.
        labels: class indices, (N,) integers.
        weights: :math:`w`, one number a row, (N,), ≥ 0; a weight of 2 is the row twice, but for the interval, which
            takes every row for one piece of evidence.

    Returns:
        :class:`Interval`.

    Raises:
        ValueError: a name that is no metric, or one that these scores do not have: no temperature and no logit gap for
            probabilities, no top5 for 5 classes or fewer.
        TypeError, IndexError: as :func:`sfumato.evaluate.per_row`.

    >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 4.0]])
    >>> found = metric("accuracy", logits=logits, labels=np.array([0, 1, 0, 1]), weights=[1, 1, 2, 1])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.6, 0.192, 0.905)

    Source: METRICS for the definitions; the interval is the infinitesimal jackknife, Jaeckel 1972, Efron 1982.
    """
    if name not in METRICS:
        import difflib

        close = difflib.get_close_matches(name, METRICS, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        raise ValueError(f'there is no metric "{name}".{hint} Metrics: {", ".join(METRICS)}')
    found = find(name, measure(logits=logits, probs=probs, labels=labels, weights=weights))
    if found is None:
        raise ValueError(f"these scores have no {name}: it needs {_needs(name)}")
    return Interval(found.value, found.low, found.high)


def _needs(name: str) -> str:
    if name == "top5":
        return "more than 5 classes"
    return "logits, a finite NLL, and rows of more than one content"
