"""All the numbers of one model on one set of rows, in a single object.

Numbers "after temperature" are cross-fitted: a row's temperature comes from the rows of the other folds, so nothing is
scored on what it was fitted to. A row's fold is a hash of its content, so it depends neither on order nor on luck, and
equal rows never stand on both sides.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from sfumato.evaluate import calibration, selective
from sfumato.evaluate._source import Column, Labels, Scores, Source, check_labels
from sfumato.evaluate.rows import Rows, scan
from sfumato.evaluate.temperature import Objective, Temperature, fit, fit_without_each

FOLDS = 5
BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """Every number of one model on labelled rows; hard labels throughout, whatever the training target was.

    Attributes:
        rows: number of rows N.
        classes: number of classes K.
        accuracy: part of the rows whose label has the largest logit (ties: the lowest class).
        balanced_accuracy: mean over the classes that occur of the part of their rows that is right.
        macro_f1: mean F1 over classes that occur as label or prediction.
        top5: part of the rows whose label is among the 5 largest logits; None if K ≤ 5.
        nll: mean hard negative log likelihood, nats.
        brier: mean Brier score, 0 to 2.
        ece: expected calibration error, 15 equal-width bins.
        ece_noise_floor: the ECE that a perfectly calibrated model would show here, on average.
        ece_noise_low: lower end of its central 95 %.
        ece_noise_high: upper end.
        ece_equal_mass: ECE with 15 bins of equal counts.
        ece_classwise: calibration error of every class's probability, averaged over classes.
        signed_gap: mean confidence less accuracy.
        temperature: T of least NLL on these rows; None for ``probs``, or if the NLL is infinite at every T.
        temperature_at_bound: whether that T is an end of the range searched.
        nll_after_temperature: NLL with T from the other folds; None as ``temperature``, or if one fold holds all rows.
        brier_after_temperature: Brier score likewise.
        ece_after_temperature: ECE likewise.
        signed_gap_after_temperature: signed gap likewise.
        eaurc_after_temperature: E-AURC likewise.
        aurc: area under the risk–coverage curve, rows ranked by confidence.
        eaurc: AURC above the best order at the same accuracy.
        augrc: area under the generalised risk–coverage curve.
        coverage_at_1_risk: largest part of the rows answered at an error rate of at most 1 %.
        coverage_at_5_risk: at most 5 %.
        risk_at_80_coverage: error rate among the most confident 80 %.
        logit_gap: mean of z_true − mean of the others, nats; None for ``probs``.
        logit_norm: mean Euclidean norm of the logits about their mean, nats; None for ``probs``.
        gamma: E[1 − p_y]·K/(K−1): the part of the probability that is spread as if evenly over all classes.
    """

    rows: int
    classes: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    top5: float | None
    nll: float
    brier: float
    ece: float
    ece_noise_floor: float
    ece_noise_low: float
    ece_noise_high: float
    ece_equal_mass: float
    ece_classwise: float
    signed_gap: float
    temperature: float | None
    temperature_at_bound: bool | None
    nll_after_temperature: float | None
    brier_after_temperature: float | None
    ece_after_temperature: float | None
    signed_gap_after_temperature: float | None
    eaurc_after_temperature: float | None
    aurc: float
    eaurc: float
    augrc: float
    coverage_at_1_risk: float
    coverage_at_5_risk: float
    risk_at_80_coverage: float
    logit_gap: float | None
    logit_norm: float | None
    gamma: float

    def to_dict(self) -> dict[str, int | float | bool | None]:
        """The numbers by name, in the order above.

        >>> result = evaluate(logits=np.array([[1.0, 0.0], [0.0, 1.0]]), labels=np.array([0, 0]))
        >>> result.to_dict()["accuracy"]
        0.5
        """
        return asdict(self)


def evaluate(*, logits: Scores | None = None, probs: Scores | None = None, labels: Labels) -> Evaluation:
    r"""Accuracy, calibration, ranking, temperature and logit sizes of a model on labelled rows.

    .. math:: \gamma = E[1 - p_y] \cdot \frac{K}{K-1}, \qquad
              \text{after temperature: } p_i = \mathrm{softmax}(z_i / T_f),\ T_f \text{ from the other folds}

    Args:
        logits: (N, K), torch or numpy, any float type.
        probs: probabilities instead, (N, K), rows that sum to 1. Numbers that need logits are then None: the logits
            behind rounded probabilities are lost where they matter.
        labels: class indices, (N,) integers.

    Returns:
        :class:`Evaluation`. A fold without an error gets its T from :func:`sfumato.evaluate.fit_temperature_small`.

    Raises:
        TypeError, ValueError, IndexError: as :func:`sfumato.evaluate.per_row`.

    >>> logits = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]])
    >>> result = evaluate(logits=logits, labels=np.array([0, 1, 0, 2]))
    >>> result.accuracy, round(result.nll, 4), round(result.logit_gap, 4), result.top5
    (0.75, 0.9805, 1.375, None)

    Source: the definitions of the functions in this package; γ as in Müller et al. 2019, arXiv 1906.02629.
    """
    source = Source(logits=logits, probs=probs)
    label = check_labels(labels, source.rows, source.classes, source.name)
    by_class = calibration.ClasswiseSums(source.classes, BINS)
    rows = scan(source, label, visit=by_class.add)
    floor = calibration.noise_floor(rows.confidence, bins=BINS)
    value, at_bound, after = None, None, None
    if logits is not None and np.isfinite(rows.nll).all():
        objective = Objective(logits, label)
        fitted = fit(objective)
        value, at_bound = fitted.value, fitted.at_bound
        after = _cross_fitted(objective, fitted)
    from_logits = logits is not None
    balanced, f1 = _by_class(rows)
    return Evaluation(
        rows=source.rows,
        classes=source.classes,
        accuracy=float(rows.correct.mean()),
        balanced_accuracy=balanced,
        macro_f1=f1,
        top5=float((rows.rank < 5).mean()) if source.classes > 5 else None,
        nll=float(rows.nll.mean()),
        brier=float(rows.brier.mean()),
        ece=calibration.ece(rows.confidence, rows.correct, bins=BINS),
        ece_noise_floor=floor.mean,
        ece_noise_low=floor.low,
        ece_noise_high=floor.high,
        ece_equal_mass=calibration.ece_equal_mass(rows.confidence, rows.correct, bins=BINS),
        ece_classwise=by_class.ece(),
        signed_gap=calibration.signed_gap(rows.confidence, rows.correct),
        temperature=value,
        temperature_at_bound=at_bound,
        nll_after_temperature=None if after is None else float(after.nll.mean()),
        brier_after_temperature=None if after is None else float(after.brier.mean()),
        ece_after_temperature=None if after is None else calibration.ece(after.confidence, after.correct, bins=BINS),
        signed_gap_after_temperature=None if after is None else calibration.signed_gap(after.confidence, after.correct),
        eaurc_after_temperature=None if after is None else selective.eaurc(after.score, after.correct),
        aurc=selective.aurc(rows.score, rows.correct),
        eaurc=selective.eaurc(rows.score, rows.correct),
        augrc=selective.augrc(rows.score, rows.correct),
        coverage_at_1_risk=selective.coverage_at_risk(rows.score, rows.correct, 0.01),
        coverage_at_5_risk=selective.coverage_at_risk(rows.score, rows.correct, 0.05),
        risk_at_80_coverage=selective.risk_at_coverage(rows.score, rows.correct, 0.8),
        logit_gap=_mean(rows.gap) if from_logits else None,
        logit_norm=_mean(rows.norm) if from_logits else None,
        # 1 − p_y from the NLL keeps its digits where p_y is nearly 1
        gamma=float(-np.expm1(-rows.nll).mean() * source.classes / (source.classes - 1)),
    )


def folds(source: Source) -> npt.NDArray[np.int64]:
    """The fold, 0 to 4, of every row: a hash of its bytes in the type given."""
    fold = np.empty(source.rows, dtype=np.int64)
    step = max(1, (1 << 22) // source.classes)
    for start in range(0, source.rows, step):
        for i, row in enumerate(source.row_bytes(start, start + step), start):
            fold[i] = int.from_bytes(blake2b(row, digest_size=8).digest(), "little") % FOLDS
    return fold


def _cross_fitted(objective: Objective, whole: Temperature) -> Rows | None:
    fold = folds(objective.source)
    if (fold == fold[0]).all():
        return None
    temperature = np.empty(len(fold))
    for f, fitted in fit_without_each(objective, fold, whole).items():
        temperature[fold == f] = fitted.value
    return scan(objective.source, objective.labels, temperature)


def _by_class(rows: Rows) -> tuple[float, float]:
    """Balanced accuracy and macro-F1."""
    size = int(max(rows.label.max(), rows.predicted.max())) + 1
    right = np.bincount(rows.label[rows.correct], minlength=size)
    labelled, predicted = np.bincount(rows.label, minlength=size), np.bincount(rows.predicted, minlength=size)
    occurs, either = labelled > 0, labelled + predicted > 0
    recall = right[occurs] / labelled[occurs]
    f1 = 2 * right[either] / (labelled + predicted)[either]
    return float(recall.mean()), float(f1.mean())


def _mean(column: Column) -> float:
    # a gap of +inf in one row and −inf in another has no mean: NaN, without a warning
    with np.errstate(invalid="ignore"):
        return float(column.mean())
