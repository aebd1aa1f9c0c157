"""Objectives for XGBoost and LightGBM: right derivatives, the libraries' own trees, and the closed form."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.adapters import boosting
from tests.adapters.common import assert_at_closed_form, assert_both_arms, digits, run_block

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

TITLE = "XGBoost and LightGBM"
K = 10
OBJECTIVES = {"xgboost": (boosting.xgboost, 2.0), "lightgbm": (boosting.lightgbm, K / (K - 1))}
XGB = {"objective": "multi:softprob", "num_class": K, "nthread": 1, "max_depth": 4, "base_score": 0.5}
LGB = {"num_class": K, "num_threads": 1, "verbose": -1, "num_leaves": 15, "boost_from_average": False}
# A leaf for each row, so that scores are free.
FREE = {
    "xgboost": {"eta": 0.5, "lambda": 0.01, "min_child_weight": 0},
    "lightgbm": {"learning_rate": 0.3, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0},
}


def few() -> tuple[np.ndarray, np.ndarray]:
    X, y = digits()
    return X[:200], y[:200]


def scores(rows: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=2.0, size=(rows, K))


def soft(rows: int = 7) -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(K), rows)


def by_definition(z: np.ndarray, target: Any) -> np.ndarray:
    """The loss of each row, (N,), by the reference."""
    return np.asarray(sf.reference.cross_entropy(torch.tensor(z), target, reduction="none"))


def differences(z: np.ndarray, target: Any, step: float) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives of each row's loss by central differences, both (N, K)."""
    first, second = np.empty_like(z), np.empty_like(z)
    middle = by_definition(z, target)
    for k in range(K):
        e = step * np.eye(K)[k]
        above, below = by_definition(z + e, target), by_definition(z - e, target)
        first[:, k], second[:, k] = (above - below) / (2 * step), (above - 2 * middle + below) / step**2
    return first, second


@pytest.mark.parametrize("library", OBJECTIVES)
@pytest.mark.parametrize("over", ["all", "others"])
@pytest.mark.parametrize("softened", [False, True])
def test_both_derivatives_are_those_of_finite_differences(library, over, softened):
    make, factor = OBJECTIVES[library]
    z, labels = scores(), np.arange(7)
    if softened:
        q = 0.8 * soft() + (0.2 / K if over == "all" else 0.2 * (1 - soft()) / (K - 1))
        target = sf.from_probs(torch.tensor(q))
    else:
        target = sf.smooth(torch.tensor(labels), K, 0.2, over=over)
    gradient, hessian = make(K, 0.2, over, soft() if softened else None)(labels.astype(float), z)
    first, second = differences(z, target, 1e-4)
    np.testing.assert_allclose(gradient, first, atol=1e-7)
    np.testing.assert_allclose(hessian / factor, second, atol=1e-6)


@pytest.mark.parametrize("library", OBJECTIVES)
def test_a_weight_multiplies_both_derivatives(library):
    objective, weights = OBJECTIVES[library][0](K, 0.1), np.arange(1.0, 8.0)
    bare, weighted = objective(np.arange(7), scores()), objective(np.arange(7), scores(), weights)
    for own, times in zip(bare, weighted, strict=True):
        np.testing.assert_allclose(times, own * weights[:, None])


def raw_scores(library: str, X: Any, y: Any, objective: Any, rounds: int, **more: Any) -> np.ndarray:
    """Scores (N, K) of the rows that trees were grown on."""
    if library == "xgboost":
        data = xgb.DMatrix(X, y)
        return xgb.train(XGB | more, data, rounds, obj=objective).predict(data, output_margin=True)
    params = LGB | {"objective": objective or "multiclass"} | more
    return lgb.train(params, lgb.Dataset(X, y), rounds).predict(X, raw_score=True)


@pytest.mark.parametrize("library", OBJECTIVES)
def test_without_smoothing_a_library_grows_its_own_trees(library):
    own, ours = (raw_scores(library, *few(), objective, 5) for objective in (None, OBJECTIVES[library][0](K)))
    np.testing.assert_allclose(ours, own, atol=1e-6)


@pytest.mark.parametrize("library", OBJECTIVES)
@pytest.mark.parametrize("over", ["all", "others"])
def test_trees_reach_the_closed_form(library, over):
    X, y = few()
    objective, rounds = OBJECTIVES[library][0](K, 0.1, over), {"xgboost": 20, "lightgbm": 40}[library]
    assert_at_closed_form(raw_scores(library, X, y, objective, rounds, **FREE[library]), y, over, rel=0.05)


@pytest.mark.parametrize("library", OBJECTIVES)
def test_trees_reach_soft_labels(library):
    X, y = few()
    q = 0.7 * np.eye(K)[y] + 0.3 * np.eye(K)[(y + 1) % K] * 0.9 + 0.003
    found = raw_scores(library, X, y, OBJECTIVES[library][0](K, soft_labels=q), 60, **FREE[library])
    np.testing.assert_allclose(torch.tensor(found).softmax(1), q / q.sum(1, keepdims=True), atol=0.03)


def test_lightgbm_takes_scores_for_probabilities_in_its_own_metric():
    X, y = few()
    params = LGB | {"objective": boosting.lightgbm(K), "metric": "multi_logloss"}
    booster = lgb.train(params, lgb.Dataset(X, y), 3, valid_sets=[lgb.Dataset(X, y)])
    hard = sf.evaluate.evaluate(logits=booster.predict(X), labels=y).nll
    assert booster.best_score["valid_0"]["multi_logloss"] < 0.5 * hard


CLASSIFIERS = {
    "xgboost": (xgb.XGBClassifier, {"n_jobs": 1, "max_depth": 4, "base_score": 0.5}),
    "lightgbm": (lgb.LGBMClassifier, {"n_jobs": 1, "verbose": -1, "boost_from_average": False}),
}
OF_TWO = {"xgboost": {"num_class": 2}, "lightgbm": {"num_class": 2, "metric": "None"}}
RAW = {"xgboost": {"output_margin": True}, "lightgbm": {"raw_score": True}}


@pytest.mark.parametrize("library", CLASSIFIERS)
def test_a_classifier_takes_the_objective_and_weights(library):
    X, y = few()
    classifier, how = CLASSIFIERS[library]
    own, ours = (
        classifier(n_estimators=3, **how, **more).fit(X, y, sample_weight=1.0 + y % 2).predict(X, **RAW[library])
        for more in ({}, {"objective": OBJECTIVES[library][0](K)})
    )
    np.testing.assert_allclose(ours, own, atol=1e-5)


@pytest.mark.parametrize("library", CLASSIFIERS)
def test_classifiers_of_two_classes_are_told_what_gives_them_two_scores(library):
    X, y = few()
    classifier, how = CLASSIFIERS[library]
    how = how | {"n_estimators": 3, "objective": OBJECTIVES[library][0](2, label_smoothing=0.1)}
    with pytest.raises(ValueError, match=r"gave scores \(200,\), and not \(N, 2\): .* unless it is given num_class=2"):
        classifier(**how).fit(X, y % 2)
    model = classifier(**how, **OF_TWO[library]).fit(X, y % 2)
    found = model.predict(X, **RAW[library])
    assert found.shape == (200, 2)
    assert (found.argmax(1) == y % 2).mean() > 0.9


@pytest.mark.parametrize("library", CLASSIFIERS)
def test_a_model_with_an_objective_can_be_pickled(library):
    X, y = few()
    classifier, how = CLASSIFIERS[library]
    model = classifier(objective=OBJECTIVES[library][0](K, 0.1), n_estimators=2, **how).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X, **RAW[library]), model.predict(X, **RAW[library]))


@pytest.mark.parametrize("library", OBJECTIVES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((K, 1.5), r"label_smoothing must be in \[0, 1\], got 1.5"),
        ((K, float("nan")), r"label_smoothing must be in \[0, 1\], got nan"),
        ((K, 0.1, "rest"), r'over must be "others" \(the K-1 wrong classes\) or "all" \(all K\), got \'rest\''),
        ((1,), "num_classes must be a whole number from 2, got 1"),
        ((K, 0.1, "all", soft()[:, :9]), r"soft_labels must be \(N, 10\), one number per row and class, got \(7, 9\)"),
        ((K, 0.1, "all", 2 * soft()), "soft_labels in row 0 sum to 2, not to 1; divide each row by its sum"),
        ((K, 0.1, "all", -soft()), "soft_labels in row 0 have -0.0[0-9]+ for class 0: probabilities are from 0 to 1"),
    ],
)
def test_arguments_out_of_range_are_refused_before_training(library, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        OBJECTIVES[library][0](*arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: boosting.xgboost(2, soft_labels=[["a", "b"]]), "soft_labels must be numbers, got <U1"),
        (lambda: boosting.xgboost(2, "1e-1"), "label_smoothing must be a number, got '1e-1'"),  # as YAML reads 1e-1
        (lambda: boosting.xgboost(2)(np.array(["a", "b"]), np.zeros((2, 2))), "labels must be class indices, got <U1"),
    ],
)
def test_what_is_not_a_number_is_refused(call, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        call()


@pytest.mark.parametrize("library", OBJECTIVES)
@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        (10.0, IndexError, r"label 10 in row 3 is not a class: there are 10 classes \(0 to 9\)"),
        (-1.0, IndexError, r"label -1 in row 3 is not a class: there are 10 classes \(0 to 9\)"),
        (2.5, ValueError, r"label 2.5 in row 3 is not a whole number: there are 10 classes \(0 to 9\)"),
        (float("nan"), ValueError, r"label nan in row 3 is not a whole number: there are 10 classes \(0 to 9\)"),
    ],
)
def test_a_label_that_is_no_class_is_named(library, label, error, message):
    labels = np.arange(7.0)
    labels[3] = label
    with pytest.raises(error, match=f"^{message}$"):
        OBJECTIVES[library][0](K)(labels, scores())


@pytest.mark.parametrize(("library", "name"), [("xgboost", "XGBoost"), ("lightgbm", "LightGBM")])
def test_scores_of_another_layout_are_refused(library, name):
    told = rf"^{name} gave scores \(70,\), and not \(N, 10\): is num_class 10, and is its version one"
    with pytest.raises(ValueError, match=told):
        OBJECTIVES[library][0](K)(np.arange(7), scores().ravel())


def test_soft_labels_of_other_rows_are_refused():
    told = "^XGBoost gave scores of 7 rows, and there are 5 soft labels: one for each row of the data set is needed"
    with pytest.raises(ValueError, match=told):
        boosting.xgboost(K, soft_labels=soft(5))(np.arange(7), scores())


@pytest.mark.parametrize("library", OBJECTIVES)
def test_without_the_library_the_call_says_what_to_type(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    told = f"^sfumato.adapters.boosting.{library} needs {library}; to install it, type: pip install {library}$"
    with pytest.raises(ImportError, match=told):
        OBJECTIVES[library][0](K)


def test_the_lines_for_xgboost_smooth_and_evaluate_hard():
    X, y = few()
    names = {"xgb": xgb, "K": K, "train": xgb.DMatrix(X, y), "test": xgb.DMatrix(*(part[200:400] for part in digits()))}
    made = run_block(TITLE, 0, names)
    logits = made["booster"].predict(names["train"], output_margin=True)
    assert_at_closed_form(logits, y, "all")
    held = made["booster"].predict(names["test"], output_margin=True)
    told = sf.evaluate.evaluate(logits=held, labels=digits()[1][200:400]).nll
    assert float(made["booster"].eval(names["test"]).rpartition(":")[2]) == pytest.approx(told, rel=1e-5)


def test_the_lines_for_lightgbm_smooth_and_evaluate_hard():
    X, y = few()
    test = [part[200:400] for part in digits()]
    names = {"lgb": lgb, "K": K, "torch": torch, "train": lgb.Dataset(X, y), "test": lgb.Dataset(*test)}
    made = run_block(TITLE, 1, names)
    booster, objective = made["booster"], made["params"]["objective"]
    assert (objective.label_smoothing, objective.over) == (0.1, "all")
    told = sf.evaluate.evaluate(logits=booster.predict(test[0]), labels=test[1]).nll
    assert booster.best_score["valid_0"]["log loss"] == pytest.approx(told, rel=1e-6)


def test_the_lines_for_soft_labels_run():
    X, y = few()
    names = {"xgb": xgb, "K": K, "train": xgb.DMatrix(X, y), "probabilities": soft(200)}
    assert run_block(TITLE, 2, names)["booster"].num_boosted_rounds() == 100


def test_the_lines_for_judge_save_both_arms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = few()
    names = {"xgb": xgb, "K": K, "train": xgb.DMatrix(X, y), "test": xgb.DMatrix(*few()), "y_test": y}
    run_block(TITLE, 3, names)
    assert_both_arms(tmp_path)
