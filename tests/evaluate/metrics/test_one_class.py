"""ROC-AUC and average precision against scikit-learn, and what each row adds against a jackknife by brute force."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from sfumato.evaluate import audit, metric, per_row, wilson
from sfumato.evaluate.metrics import one_class
from sfumato.evaluate.metrics.registry import METRICS, compute_metrics
from sfumato.evaluate.scores.measure import measure

ORACLES = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}
each = pytest.mark.parametrize("name", ORACLES)
shapes = pytest.mark.parametrize(("n", "k", "tied"), [(60, 2, False), (60, 2, True), (50, 4, False), (50, 4, True)])


def sample(n, k, tied=False, seed=0):
    """Logits and labels of which the last class is rare; half of the numbers of ``tied`` rows recur."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 2
    p = softmax(z - 2 * (np.arange(k) == k - 1), axis=1)
    y = np.minimum((p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), k - 1)
    y[:4] = k - 1
    if tied:
        z[: n // 2] = z[rng.integers(0, 6, n // 2)]
    return z, y


def oracle(name, z, y):
    p = softmax(z, axis=1)
    classes = [1] if z.shape[1] == 2 else [c for c in range(z.shape[1]) if (y == c).any()]
    return np.mean([ORACLES[name](y == c, p[:, c].round(14)) for c in classes])


@each
@shapes
def test_values_and_what_each_row_adds_are_those_of_scikit_learn_without_each_row(name, n, k, tied):
    z, y = sample(n, k, tied)
    part, value = METRICS[name].of_seed(per_row(logits=z, labels=y))
    assert value == pytest.approx(oracle(name, z, y), abs=1e-12)
    without = np.array([oracle(name, np.delete(z, i, 0), np.delete(y, i)) for i in range(n)])
    assert part - part.mean() == pytest.approx(-(n - 1) * (without - without.mean()), abs=1e-10)
    assert part.mean() == pytest.approx(value, abs=1e-12)
    jackknife = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    assert np.std(part, ddof=1) / np.sqrt(n) == pytest.approx(jackknife, abs=1e-12)
    assert metric(name, logits=z, labels=y).value == value


def test_the_error_of_the_roc_auc_is_delongs_with_the_jackknifes_divisors():
    z, y = sample(200, 2)
    score, own = z[:, 1] - z[:, 0], y == 1
    wins = np.sign(score[own, None] - score[~own]) / 2 + 0.5
    m, n = wins.shape
    total = sum(np.var(wins.mean(axis=1 - side), ddof=1) / (wins.shape[side] - 1) for side in (0, 1))
    part, value = METRICS["roc_auc"].of_seed(per_row(logits=z, labels=y))
    assert value == pytest.approx(wins.mean(), abs=1e-12)
    assert np.var(part, ddof=1) / 200 == pytest.approx(total * (m + n - 1) / (m + n), rel=1e-12)


@pytest.mark.parametrize(
    ("k", "labels", "there"),
    [(2, [0, 0, 0], False), (2, [1, 1, 1], False), (2, [0, 1, 0], True), (3, [2, 2, 2], False), (3, [0, 2, 2], True)],
)
def test_classes_that_no_row_or_every_row_has_are_left_out(k, labels, there):
    z = np.random.default_rng(0).normal(size=(3, k))
    found = compute_metrics(measure(logits=z, labels=np.array(labels)))
    assert [name in found for name in ORACLES] == [there, there]
    if there and k == 3:
        assert found["roc_auc"].value == pytest.approx(oracle("roc_auc", z, np.array(labels)))


def test_two_classes_are_ranked_where_their_probabilities_have_saturated():
    z, y = np.array([[0.0, 40], [0, 50], [0, 60], [700, 0]]), np.array([0, 1, 1, 0])
    assert metric("roc_auc", logits=z, labels=y).value == 1
    assert roc_auc_score(y, softmax(z, axis=1)[:, 1]) < 1


@each
def test_soft_labels_count_as_their_mode_and_a_temperature_is_counted_beside(name):
    z, y = sample(50, 4)
    soft = 0.4 / 3 + (0.6 - 0.4 / 3) * np.eye(4)[y]
    found = compute_metrics(measure(logits=z, label_probs=soft))
    assert found[name].value == pytest.approx(oracle(name, z, y), abs=1e-12)
    assert 0 < found[f"{name}_after_temperature"].value < 1


@pytest.mark.parametrize(("rows", "there"), [(7, True), (8, False)])
def test_many_classes_are_ranked_as_long_as_their_scores_are_few(rows, there, monkeypatch):
    monkeypatch.setattr(one_class, "MANY", 24)
    z = np.random.default_rng(0).normal(size=(rows, 3))
    assert (one_class.roc_auc(per_row(logits=z, labels=np.arange(rows) % 3)) is not None) == there


@pytest.mark.parametrize("rate", one_class.RATES)
def test_recall_and_precision_are_scikit_learns_and_their_parts_have_the_error_of_a_share(rate):
    z, y = sample(300, 4)
    predicted = z.argmax(axis=1)
    oracle = {"recall": recall_score, "precision": precision_score}[rate](y, predicted, average=None)
    for k in range(4):
        value, part = one_class.rate_of(rate, y, predicted, k)
        assert (value, part.mean()) == pytest.approx((oracle[k], oracle[k]), abs=1e-12)
        rows = np.count_nonzero((y if rate == "recall" else predicted) == k)
        assert np.std(part) / np.sqrt(300) == pytest.approx(np.sqrt(value * (1 - value) / rows), abs=1e-12)
    assert one_class.rate_of(rate, y, predicted, 4) is None


def test_up_to_twenty_classes_are_shown_by_size_and_the_worst_ten_of_more():
    assert one_class.classes_to_show(np.array([1, 0, 5]), np.array([1, 0, 0])) == [2, 0, 1]
    rows, right = np.full(30, 4), np.arange(30) / 8
    rows[2] = 0
    assert one_class.classes_to_show(rows, right) == [0, 1, *range(3, 11)]


def test_an_audit_tells_each_class_with_wilsons_interval_and_by_groups():
    z, y = sample(300, 4)
    found = audit(logits=z, labels=y).to_dict()["by_class"]
    assert [each["rows"] for each in found] == sorted(np.bincount(y), reverse=True)
    first = found[0]["recall"]
    held = y == found[0]["class"]
    assert first["value"] == pytest.approx(np.mean(z[held].argmax(axis=1) == y[held]))
    assert (first["low"], first["high"]) == pytest.approx(tuple(map(float, wilson(first["value"], held.sum()))))
    grouped = audit(logits=z, labels=y, group=np.arange(300) // 10).to_dict()["by_class"][0]["recall"]
    assert grouped["value"] == first["value"]
    assert grouped["low"] != first["low"]
