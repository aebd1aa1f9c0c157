"""scikit-learn: any classifier that takes sample weights, trained towards smoothed or soft labels.

The log loss is linear in its target. So a row whose target is q is the same as one copy of the row for each class that
has mass, with that mass as its weight, and every classifier that minimises a weighted log loss can be smoothed.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sfumato.adapters._shared import check_smoothing, checked_soft_labels, scale_and_floor
from sfumato.extras import framework_imports
from sfumato.theory import Over

with framework_imports("sfumato.adapters.sklearn", "sklearn", "scikit-learn"):
    from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils import _safe_indexing as taken  # pyright: ignore[reportPrivateUsage] - its only way for data frames
    from sklearn.utils import check_array, column_or_1d, get_tags
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight as checked_weights  # pyright: ignore[reportPrivateUsage]
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, has_fit_parameter


def _inner_has(name: str) -> Any:
    def has(smoothed: Any) -> bool:
        return hasattr(smoothed.estimator_ if hasattr(smoothed, "estimator_") else smoothed._inner(), name)

    return has


class SmoothedClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    r"""A classifier of scikit-learn that is trained towards smoothed labels, or towards soft ones.

    .. math:: L = \sum_i w_i \sum_k q_{ik}\,(-\log p_{ik})

    The estimator is fitted on one copy of row i for each class k with mass, with label k and weight w·q. Its weights
    add up to those of the rows, so a strength of regularisation means what it meant before. With smoothing that is
    K copies of every row: K times the memory for X, and about K times the time.

    An estimator that splits its rows itself (``early_stopping`` of ``HistGradientBoostingClassifier``) has copies of
    one row in both parts, and its score is then of no use: switch that off.

    ``estimator`` is a classifier that minimises the log loss and whose ``fit`` takes ``sample_weight``; None for
    ``LogisticRegression()``. Of a pipeline, make this the last step: ``make_pipeline(scaler, SmoothedClassifier())``.
    ``label_smoothing`` is ε in [0, 1], for soft labels as well; ``over`` is where it goes: ``"all"`` K classes, as in
    torch, or the K−1 ``"others"``. Once fitted, ``estimator_`` is the classifier and ``classes_`` are the classes,
    (K,), sorted, in the order of the columns of ``predict_proba``: of soft labels the columns of the data frame, or 0
    to K−1.

    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), ["no", "no", "yes", "yes"]
    >>> SmoothedClassifier(LogisticRegression(C=1e6), label_smoothing=0.2, over="others").fit(X, y).predict([[0.2]])
    array(['no'], dtype='<U3')
    """

    def __init__(self, estimator: Any = None, *, label_smoothing: float = 0.1, over: Over = "all") -> None:
        self.estimator = estimator
        self.label_smoothing = label_smoothing
        self.over: Over = over

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the estimator to smoothed labels (N,), or to soft labels, (N, K) probabilities whose rows sum to 1.

        The columns of a data frame of soft labels are the classes; else these are 0 to K−1. ``X`` are features, (N, D),
        of any kind that the estimator takes; ``sample_weight`` is one number per row.

        ValueError: a strength outside [0, 1], soft labels that do not sum to 1 (names the first row), two columns of
        one class, a class without mass in any row, or labels of a single class. TypeError: an estimator without
        ``sample_weight``.
        """
        check_smoothing(self.label_smoothing, self.over)
        inner: Any = clone(self._inner())
        if not has_fit_parameter(inner, "sample_weight"):
            raise TypeError(
                f"{type(inner).__name__}.fit takes no sample_weight, through which labels are smoothed. Of a pipeline, "
                "smooth its last step: make_pipeline(…, SmoothedClassifier(classifier))"
            )
        if y is None:
            raise ValueError(
                "This SmoothedClassifier estimator requires y to be passed, but the target y is None: give labels (N,) "
                "or soft labels (N, K)"
            )
        self.classes_, q = _targets(y)
        check_consistent_length(X, q)
        scale, floor = scale_and_floor(self.label_smoothing, len(self.classes_), self.over)
        q = scale * q + floor
        if sample_weight is not None:
            q *= checked_weights(sample_weight, X, ensure_non_negative=True)[:, None]
        rows, classes = q.nonzero()
        empty = np.setdiff1d(np.arange(len(self.classes_)), classes)
        if len(empty):
            raise ValueError(
                f"class {self.classes_[empty[0]]} has no mass in any row: leave it out of y, or give some row of it a "
                "weight above 0"
            )
        features = X.tocsr() if hasattr(X, "tocsr") else X if hasattr(X, "iloc") else np.asarray(X)
        repeated = features if np.array_equal(rows, np.arange(len(q))) else taken(features, rows)
        self.estimator_ = inner.fit(repeated, self.classes_[classes], sample_weight=q[rows, classes])
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each row, (N,)."""
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Probabilities, (N, K), which fit the smoothed labels: divide their logarithms by a temperature below 1."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_inner_has("decision_function"))
    def decision_function(self, X: Any) -> npt.NDArray[Any]:
        """Scores, (N, K), or (N,) of two classes, as the estimator gives them."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @property
    def n_features_in_(self) -> int:
        """D, once it is fitted; only an estimator that has it gives it."""
        return self._fitted("n_features_in_")

    @property
    def feature_names_in_(self) -> npt.NDArray[Any]:
        """Names of the columns of the data frame that it was fitted on; only an estimator that has it gives it."""
        return self._fitted("feature_names_in_")

    def _fitted(self, name: str) -> Any:
        if "estimator_" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no {name} before it is fitted")
        return getattr(self.estimator_, name)

    def _inner(self) -> Any:
        return LogisticRegression() if self.estimator is None else self.estimator

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self._inner())
        tags.input_tags = inner.input_tags
        tags.classifier_tags.multi_class = inner.classifier_tags is None or inner.classifier_tags.multi_class
        return tags


def _targets(y: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Classes (K,) and targets (N, K) of labels or of soft labels."""
    columns, values = getattr(y, "columns", None), np.asarray(y)
    if values.ndim == 2 and values.shape[1] > 1:
        q = checked_soft_labels(y, name="y")
        if columns is None:
            return np.arange(values.shape[1]), q
        # Sorted, as every classifier has its classes: the columns of predict_proba are in the order of classes_.
        classes, order, times = np.unique(np.asarray(columns), return_index=True, return_counts=True)
        if (times > 1).any():
            twice = classes[times.argmax()]
            raise ValueError(f"y has {times.max()} columns for class {twice}: give each class one column")
        return classes, q[:, order]
    check: Any = check_array
    y = column_or_1d(check(values, ensure_2d=False, dtype=None, input_name="y"), warn=True)
    check_classification_targets(y)
    classes, index = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y has labels of 1 class alone, {classes[0]}: a classifier needs at least two")
    return classes, np.eye(len(classes))[index]
