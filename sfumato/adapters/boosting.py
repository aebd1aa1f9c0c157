"""XGBoost and LightGBM: multiclass objectives towards smoothed labels, or towards any target.

The factor of the second derivative is the library's own, so that without smoothing the trees are those of the library's
own objective.

Both functions take K classes (at least 2), the strength ε in [0, 1], where ε goes (``"all"`` K classes, as in torch, or
the K−1 ``"others"``), and optionally probabilities (N, K) in place of the labels of the data set, in its order, which
are smoothed as well. They raise ValueError for a strength outside [0, 1], fewer than two classes, or soft labels that
are not distributions (naming the row), and MissingExtraError where the library is not installed.
"""

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.adapters._shared import (
    check_smoothing,
    checked_labels,
    checked_soft_labels,
    masses,
    scale_and_floor,
)
from sfumato.extras import framework_imports
from sfumato.text import plural
from sfumato.theory import Over
from sfumato.theory.smoothing import class_count


class BoostingObjective:
    r"""An objective of K classes for one of the libraries, as :func:`xgboost` and :func:`lightgbm` make it.

    .. math:: \frac{\partial L}{\partial z_k} = w\,(p_k - q_k), \qquad h_k = c\,w\,p_k (1 - p_k)

    The library calls it: ``train`` with scores and the data set, the scikit-learn classes with labels, scores and
    weights. ``factor`` is c.
    """

    def __init__(
        self,
        num_classes: int,
        label_smoothing: float,
        over: Over,
        soft_labels: Any,
        *,
        factor: float,
        library: str,
    ) -> None:
        self.num_classes = class_count(num_classes)
        check_smoothing(label_smoothing, over)
        self.label_smoothing = float(label_smoothing)
        self.over: Over = over
        self.factor, self._library = factor, library
        self._soft = None if soft_labels is None else checked_soft_labels(soft_labels, self.num_classes)
        if self._soft is not None:
            scale, floor = scale_and_floor(self.label_smoothing, self.num_classes, over)
            self._soft = scale * self._soft + floor

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Gradient and second derivative (N, K), from scores and a data set or from labels, scores and weights."""
        if hasattr(second, "get_label"):
            scores = first
            if self._library == "LightGBM":
                labels, sample_weight = second.get_field("label"), second.get_field("weight")
            else:
                labels, sample_weight = second.get_label(), second.get_weight()
        else:
            scores, labels = second, first
        scores = np.asarray(scores)
        if scores.ndim == 1 and self.num_classes == 2:
            options = "num_class=2" + (' and metric="None"' if self._library == "LightGBM" else "")
            raise ValueError(
                f"{self._library} gave scores {scores.shape}, and not (N, 2): with two classes it makes one score per "
                f"row unless it is given {options}"
            )
        if scores.ndim != 2 or scores.shape[1] != self.num_classes:
            raise ValueError(
                f"{self._library} gave scores {scores.shape}, and not (N, {self.num_classes}): is num_class "
                f"{self.num_classes}, and is its version one whose objectives are given a row of scores for each row?"
            )
        gradient, hessian = self._derivatives(scores, labels)
        if sample_weight is not None and np.size(sample_weight):
            weight = np.asarray(sample_weight, dtype=gradient.dtype)[:, None]
            gradient, hessian = gradient * weight, hessian * weight
        return gradient, hessian

    def _derivatives(self, scores: npt.NDArray[Any], labels: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        p = np.exp(scores - scores.max(axis=1, keepdims=True), dtype=np.result_type(scores.dtype, np.float32))
        p /= p.sum(axis=1, keepdims=True)
        hessian = np.maximum(self.factor * p * (1 - p), 1e-16)
        target = checked_labels(labels, self.num_classes) if self._soft is None else self._soft
        if len(p) != len(target):
            what = "labels" if self._soft is None else "soft labels"
            raise ValueError(
                f"{self._library} gave scores of {plural(len(p), 'row')}, and there are {len(target):,} {what}: one "
                "for each row of the data set is needed, in its order"
            )
        if self._soft is None:
            true, other = masses(self.label_smoothing, self.num_classes, self.over)
            rows = np.arange(len(p))
            at_label = p[rows, target] - true
            p -= other
            p[rows, target] = at_label
        else:
            p -= target
        return p, hessian

    def __repr__(self) -> str:
        soft = ", soft labels" if self._soft is not None else ""
        how = f'{self.num_classes:,} classes, label_smoothing={self.label_smoothing:g} over="{self.over}"{soft}'
        return f"{type(self).__name__}({self._library}, {how})"


def xgboost(
    num_classes: int, label_smoothing: float = 0.0, over: Over = "all", soft_labels: Any = None
) -> BoostingObjective:
    r"""An objective for XGBoost, as ``xgb.train(params, data, obj=…)`` or as ``XGBClassifier(objective=…)``.

    .. math:: \frac{\partial L}{\partial z_k} = w\,(p_k - q_k), \qquad h_k = 2\,w\,p_k (1 - p_k)

    The factor 2 is that of XGBoost's own ``multi:softprob``. Give ``train`` that objective among its parameters too,
    with ``num_class``: predictions are then probabilities, and the log loss of rows for evaluation is the hard one.
    Without it XGBoost predicts classes.

    >>> xgboost(3, 0.1)
    BoostingObjective(XGBoost, 3 classes, label_smoothing=0.1 over="all")
    """
    _require("xgboost")
    return BoostingObjective(num_classes, label_smoothing, over, soft_labels, factor=2.0, library="XGBoost")


def lightgbm(
    num_classes: int, label_smoothing: float = 0.0, over: Over = "all", soft_labels: Any = None
) -> BoostingObjective:
    r"""An objective for LightGBM 4, as ``params["objective"]`` or as ``LGBMClassifier(objective=…)``.

    .. math:: \frac{\partial L}{\partial z_k} = w\,(p_k - q_k), \qquad h_k = \frac{K}{K-1}\,w\,p_k (1 - p_k)

    The factor is that of LightGBM's own ``multiclass``. ``train`` wants ``num_class`` among its parameters. Trees then
    begin at scores of 0, where LightGBM's own objective begins at the shares of the classes (``boost_from_average``).
    Predictions are scores and no probabilities: softmax makes these. LightGBM's metric ``multi_logloss`` would take the
    scores for probabilities, so give the log loss as ``feval``.

    >>> lightgbm(3, 0.1, over="others")
    BoostingObjective(LightGBM, 3 classes, label_smoothing=0.1 over="others")
    """
    _require("lightgbm")
    factor = num_classes / (num_classes - 1) if num_classes > 1 else 1.0
    return BoostingObjective(num_classes, label_smoothing, over, soft_labels, factor=factor, library="LightGBM")


def _require(library: str) -> None:
    with framework_imports(f"sfumato.adapters.boosting.{library}", library):
        import_module(library)
