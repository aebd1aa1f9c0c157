"""All the numbers of one model on one set of rows, in a single object, or one of them by its name.

Numbers "after temperature" are cross-fitted: the temperature of a row comes from the rows of the other folds. The fold
of a row is a hash of its content, so that folds depend neither on the order of rows nor on a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sfumato.evaluate.metrics.compute import Interval
from sfumato.evaluate.metrics.registry import METRICS, compute_metric, compute_metrics
from sfumato.evaluate.scores.measure import measure
from sfumato.evaluate.scores.score_matrix import Labels, Scores
from sfumato.text import did_you_mean


@dataclass(frozen=True)
class Evaluation:
    """Every number of one model on labelled rows; all are against the labels, whatever the training target was.

    Each metric of :data:`sfumato.evaluate.METRICS`, which defines it, is an attribute of its name: ``result.accuracy``.
    ``top5`` is None if K ≤ 5, ``agreement`` and ``kl`` are None for hard labels, and what needs logits is None where
    zeros or rounding of ``probs`` have lost them. A temperature and the numbers after it are None too where the NLL is
    infinite at every T, and the numbers after temperature where one fold holds all rows.

    ``rows`` and ``classes`` are N and K; ``tied`` is the share of the rows in which another class has the same largest
    logit. The ECE of a perfectly calibrated model lies between ``ece_noise_low`` and ``ece_noise_high`` 95 % of the
    time. ``intervals`` are the 95 % intervals of the metrics, which take the rows as random and the model as it is.
    ``temperature_at_bound`` tells whether the temperature is an end of the range searched.
    """

    rows: int
    classes: int
    metrics: Mapping[str, float | None]
    ece_noise_low: float
    ece_noise_high: float
    temperature_at_bound: bool | None
    tied: float
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]], repr=False)

    def __getattr__(self, name: str) -> Any:
        if name not in METRICS:
            raise AttributeError(f'an evaluation has no "{name}".{did_you_mean(name, METRICS)}')
        return self.metrics[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *METRICS]

    def to_dict(self) -> dict[str, int | float | bool | None]:
        """The numbers by name, without their intervals.

        >>> result = evaluate(logits=np.array([[1.0, 0.0], [0.0, 1.0]]), labels=np.array([0, 0]))
        >>> result.to_dict()["accuracy"]
        0.5
        """
        own = {name: value for name, value in vars(self).items() if name not in ("metrics", "intervals")}
        return {**own, **self.metrics}


def evaluate(
    *,
    logits: Scores | None = None,
    probs: Scores | None = None,
    labels: Labels | None = None,
    label_probs: Any = None,
    label_counts: Any = None,
) -> Evaluation:
    r"""Accuracy, calibration, ranking, temperature and logit sizes of a model on labelled rows, with intervals.

    .. math:: \gamma = E[1 - p_y] \cdot \frac{K}{K-1}, \qquad
              \text{after temperature: } p_i = \mathrm{softmax}(z_i / T_f),\ T_f \text{ from the other folds}

    Args:
        logits: (N, K), torch or numpy, any float type.
        probs: probabilities instead, (N, K), rows that sum to 1. Their logarithms are logits up to a constant per row;
            numbers that need logits are None if a probability is 0 or rounding moves its logarithm by more than 5 %.
        labels: class indices, (N,) integers. A row of −100 does not count.
        label_probs: soft labels instead, :math:`q`, (N, K), rows that sum to 1. The log loss is then the cross entropy
            to q, and a row is right as far as q of its predicted class says; accuracy takes the mode of q.
        label_counts: how many annotators gave each row each class, instead, (N, K); q is each row over its sum. A row
            without any does not count.

    Returns:
        :class:`Evaluation`. A fold without an error gets the T of a ``small`` :func:`sfumato.evaluate.fit_temperature`.
        The arithmetic is float64. For 8 million logits or more, of at most 32 bits and at least 64 classes, the
        exponentials and their sums over classes are float32, which moves a mean by about 1e-7.

    Raises:
        TypeError, ValueError, IndexError: as :func:`sfumato.evaluate.per_row`; TypeError also for none or several of
            ``labels``, ``label_probs`` and ``label_counts``, and ValueError for what is no distribution or no count
            (names the first row).

    >>> logits = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]])
    >>> result = evaluate(logits=logits, labels=np.array([0, 1, 0, 2]))
    >>> result.accuracy, round(result.nll, 4), round(result.logit_gap, 4), result.top5
    (0.75, 0.9805, 1.375, None)
    >>> [round(end, 3) for end in result.intervals["accuracy"]]
    [0.301, 0.954]
    >>> votes = np.array([[3, 1, 0], [0, 4, 0], [1, 3, 0], [0, 1, 3]])  # of four annotators
    >>> result = evaluate(logits=logits, label_counts=votes)
    >>> result.agreement, round(result.nll, 4), round(result.kl, 4)
    (0.8125, 0.793, 0.3712)

    Source: the definitions of the functions in this package; γ as in Müller et al. 2019, arXiv 1906.02629.
    """
    truth = {"labels": labels, "label_probs": label_probs, "label_counts": label_counts}
    measured = measure(logits=logits, probs=probs, **truth)
    by_name = compute_metrics(measured)
    floor = by_name["ece_noise_floor"]
    return Evaluation(
        rows=measured.source.rows,
        classes=measured.classes,
        metrics={name: by_name[name].value if name in by_name else None for name in METRICS},
        ece_noise_low=floor.low,
        ece_noise_high=floor.high,
        temperature_at_bound=None if measured.fitted is None else measured.fitted.at_bound,
        tied=float(np.mean(measured.rows.tied)),
        intervals={name: (number.low, number.high) for name, number in by_name.items()},
    )


def metric(
    name: str,
    *,
    logits: Scores | None = None,
    probs: Scores | None = None,
    labels: Labels | None = None,
    label_probs: Any = None,
    label_counts: Any = None,
) -> Interval:
    r"""One metric of a model, with its 95 % interval.

    Let :math:`v_i` be what row i adds to the metric. An interval made of these parts is

    .. math:: \theta \pm t_{N-1} \sqrt{\frac{1}{N(N-1)} \sum_i (v_i - \bar v)^2}

    ``name`` is one of :data:`METRICS`, which defines it. The other arguments and errors are those of :func:`evaluate`.

    Raises:
        ValueError: a name that is no metric, or one that these scores do not have: no temperature and no logit gap for
            rounded probabilities, no top5 for 5 classes or fewer, no divergence and no agreement for hard labels.

    >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 4.0]])
    >>> found = metric("accuracy", logits=logits, labels=np.array([0, 1, 0, 1]))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.75, 0.301, 0.954)

    Source: METRICS for the definitions; the interval is the infinitesimal jackknife, Jaeckel 1972, Efron 1982.
    """
    if name not in METRICS:
        hint = did_you_mean(name, METRICS)
        raise ValueError(f'there is no metric "{name}".{hint} Metrics: {", ".join(METRICS)}')
    truth = {"labels": labels, "label_probs": label_probs, "label_counts": label_counts}
    result = compute_metric(name, measure(logits=logits, probs=probs, **truth))
    if result is None:
        raise ValueError(f"these scores have no {name}: it needs {METRICS[name].needs}")
    return Interval(result.value, result.low, result.high)
