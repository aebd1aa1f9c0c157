"""``SmoothedClassifier`` keeps scikit-learn's contract and finds the smoothed loss's optimum; skorch takes our loss."""

from __future__ import annotations

import tempfile
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from sfumato.adapters.sklearn import SmoothedClassifier
from tests.adapters.common import CLASSES, assert_at_closed_form, assert_both_arms, digits, run_block

TITLE = "scikit-learn and skorch"
EXACT = {"tol": 1e-10, "max_iter": 10_000}


def table(rows: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Three overlapping classes."""
    drawn = np.random.default_rng(0)
    y = np.arange(rows) % classes
    return drawn.normal(size=(rows, 4)) + np.eye(4)[y], y


def soft(rows: int = 60, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(1).multinomial(4, [1 / classes] * classes, size=rows) / 4


def test_scikit_learns_own_checks_pass(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where they leave folders behind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(SmoothedClassifier(), on_skip=None)


@pytest.mark.parametrize("over", ["all", "others"])
def test_logistic_regression_ends_where_the_gradient_of_the_smoothed_loss_is_zero(over):
    X, y = table()
    model = SmoothedClassifier(LogisticRegression(C=2.0, **EXACT), label_smoothing=0.2, over=over).fit(X, y)
    weight = torch.tensor(model.estimator_.coef_, requires_grad=True)
    bias = torch.tensor(model.estimator_.intercept_, requires_grad=True)
    eps = 0.2 if over == "all" else 0.2 * 3 / 2  # torch spreads over all
    loss = F.cross_entropy(torch.tensor(X) @ weight.T + bias, torch.tensor(y), label_smoothing=eps, reduction="sum")
    (loss + weight.square().sum() / 2 / 2.0).backward()  # scikit-learn's C multiplies the loss
    assert max(weight.grad.abs().max().item(), bias.grad.abs().max().item()) < 1e-5


def test_without_smoothing_it_is_the_estimator_itself():
    X, y = table()
    own = LogisticRegression(**EXACT).fit(X, y)
    ours = SmoothedClassifier(LogisticRegression(**EXACT), label_smoothing=0).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), own.predict_proba(X), atol=1e-6)


def test_soft_labels_are_one_row_for_each_annotator():
    X, _ = table()
    votes = np.rint(soft() * 4).astype(int)
    each = [(row, label) for row, counts in enumerate(votes) for label, n in enumerate(counts) for _ in range(n)]
    rows, labels = np.array(each).T
    own = LogisticRegression(**EXACT).fit(X[rows], labels, sample_weight=np.full(len(rows), 0.25))
    ours = SmoothedClassifier(LogisticRegression(**EXACT), label_smoothing=0).fit(X, votes / 4)
    np.testing.assert_allclose(ours.predict_proba(X), own.predict_proba(X), atol=1e-6)


def test_soft_labels_are_smoothed_as_the_loss_smooths_them():
    X, _ = table()
    model = SmoothedClassifier(LogisticRegression(**EXACT), label_smoothing=0.2, over="others").fit(X, soft())
    towards = 0.8 * soft() + 0.2 * (1 - soft()) / 2
    own = SmoothedClassifier(LogisticRegression(**EXACT), label_smoothing=0).fit(X, towards)
    np.testing.assert_allclose(model.predict_proba(X), own.predict_proba(X), atol=1e-6)


def test_a_row_of_weight_two_is_two_rows():
    X, y = table()
    weights = 1.0 + (np.arange(60) % 2)
    twice = np.repeat(np.arange(60), weights.astype(int))
    weighted = SmoothedClassifier(LogisticRegression(**EXACT)).fit(X, y, sample_weight=weights)
    repeated = SmoothedClassifier(LogisticRegression(**EXACT)).fit(X[twice], y[twice])
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("over", ["all", "others"])
def test_a_network_reaches_the_closed_form_of_the_digits(over):
    X, y = digits()
    network = MLPClassifier((64,), max_iter=20, learning_rate_init=0.003, alpha=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops before it converges
        model = SmoothedClassifier(network, label_smoothing=0.1, over=over).fit(X, y)
    assert_at_closed_form(np.log(model.predict_proba(X)), y, over)


def test_columns_of_a_data_frame_are_the_classes():
    X, _ = table()
    model = SmoothedClassifier().fit(pd.DataFrame(X, columns=list("abcd")), pd.DataFrame(soft(), columns=list("xyz")))
    assert model.classes_.tolist() == ["x", "y", "z"]
    assert model.feature_names_in_.tolist() == list("abcd")
    assert set(model.predict(pd.DataFrame(X, columns=list("abcd")))) <= {"x", "y", "z"}


def test_probabilities_are_in_the_order_of_the_classes_whatever_the_order_of_the_columns():
    X, _ = table()
    named = pd.DataFrame(soft(), columns=["lynx", "ape", "elk"])
    ours = SmoothedClassifier(LogisticRegression(**EXACT)).fit(X, named)
    assert ours.classes_.tolist() == ["ape", "elk", "lynx"] == ours.estimator_.classes_.tolist()
    numbered = SmoothedClassifier(LogisticRegression(**EXACT)).fit(X, soft()[:, [1, 2, 0]])
    np.testing.assert_allclose(ours.predict_proba(X), numbered.predict_proba(X), atol=1e-6)


def test_a_grid_search_chooses_a_strength_by_the_log_loss():
    X, y = table()
    pipeline = make_pipeline(StandardScaler(), SmoothedClassifier())
    grid = {"smoothedclassifier__label_smoothing": [0.0, 0.5], "smoothedclassifier__over": ["all"]}
    found = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=3).fit(X, y)
    assert found.best_params_["smoothedclassifier__label_smoothing"] == 0.0


def test_trees_that_boost_are_smoothed():
    X, y = table(30)
    trees = HistGradientBoostingClassifier(max_iter=60, min_samples_leaf=1, early_stopping=False)
    model = SmoothedClassifier(trees, label_smoothing=0.3, over="others").fit(X, y)
    assert_at_closed_form(np.log(model.predict_proba(X)), y, "others", eps=0.3)


TAKES_NONE = "fit takes no sample_weight"
TWICE, EMPTY = pd.DataFrame(soft(), columns=["b", "a", "b"]), np.tile([0.5, 0.5, 0.0], (60, 1))


@pytest.mark.parametrize(
    ("how", "y", "error", "message"),
    [
        ({"estimator": KNeighborsClassifier()}, table()[1], TypeError, f"KNeighborsClassifier.{TAKES_NONE}"),
        ({"estimator": make_pipeline(Perceptron())}, table()[1], TypeError, f"Pipeline.{TAKES_NONE}"),
        ({}, soft() * 2, ValueError, "y in row 0 sum to 2, not to 1; divide each row by its sum"),
        ({}, -soft(), ValueError, "y in row 0 have -"),
        ({}, soft()[:30], ValueError, "Found input variables with inconsistent numbers of samples: [60, 30]"),
        ({}, np.zeros(60), ValueError, "y has labels of 1 class alone, 0.0: a classifier needs at least two"),
        ({}, TWICE, ValueError, "y has 2 columns for class b: give each class"),
        ({"label_smoothing": 2}, table()[1], ValueError, "label_smoothing must be in [0, 1], got 2"),
        ({"label_smoothing": 0}, EMPTY, ValueError, "class 2 has no mass in any row"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(how, y, error, message):
    with pytest.raises(error) as caught:
        SmoothedClassifier(**how).fit(table()[0], y)
    assert str(caught.value).startswith(message)


def test_without_probabilities_of_the_estimator_there_are_none():
    assert not hasattr(SmoothedClassifier(Perceptron()), "predict_proba")
    assert hasattr(SmoothedClassifier(Perceptron()), "decision_function")


class Net(torch.nn.Sequential):
    """64 numbers to 10 classes."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES))


def test_the_lines_for_scikit_learn_smooth():
    X, y = digits()
    names = {"X": X, "y": y, "LogisticRegression": LogisticRegression}
    model = run_block(TITLE, 0, names)["model"]
    assert (model.label_smoothing, model.over) == (0.1, "all")
    assert model.predict_proba(X).max(axis=1).mean() == pytest.approx(0.91, abs=0.05)  # the label's mass


def test_the_lines_for_soft_labels_run():
    X, _ = table()
    model = run_block(TITLE, 1, {"X": X, "probabilities": soft()})["model"]
    assert model.predict_proba(X).shape == (60, 3)


def test_the_lines_for_judge_save_both_arms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = digits()
    run_block(TITLE, 2, {"X": X[:400], "y": y[:400], "X_test": X[400:], "y_test": y[400:]})
    assert_both_arms(tmp_path)


def test_the_lines_for_skorch_train_to_the_closed_form_and_tell_the_hard_loss():
    skorch = pytest.importorskip("skorch")
    callbacks = pytest.importorskip("skorch.callbacks")
    X, y = digits()
    torch.manual_seed(0)
    names = {"NeuralNetClassifier": skorch.NeuralNetClassifier, "EpochScoring": callbacks.EpochScoring, "Net": Net}
    net = run_block(TITLE, 3, names)["net"]
    net.set_params(verbose=0, optimizer=torch.optim.Adam, lr=0.01, max_epochs=40, batch_size=100).fit(X, y)
    logits = net.forward(X)
    assert_at_closed_form(logits, y, "all")
    torch.testing.assert_close(torch.tensor(net.predict_proba(X)), logits.softmax(1))
    assert net.history[-1, "valid_nll"] < net.history[-1, "valid_loss"]  # a smoothed loss has a floor of 0.5


def test_the_lines_for_skorch_with_soft_labels_run():
    skorch = pytest.importorskip("skorch")
    X, y = digits()
    probabilities = (0.8 * np.eye(CLASSES)[y] + 0.02).astype(np.float32)
    names = {"NeuralNetClassifier": skorch.NeuralNetClassifier, "Net": Net, "X": X, "probabilities": probabilities}
    net = run_block(TITLE, 4, {**names, "K": CLASSES})["net"]
    wanted = F.cross_entropy(net.forward(X), torch.tensor(probabilities)).item()
    assert net.predict_proba(X).shape == (600, CLASSES)
    assert wanted < np.log(CLASSES)
