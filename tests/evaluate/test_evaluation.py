"""The summary: each number against scikit-learn or a definition written out, and what happens at the edges."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn import metrics

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.metrics.temperature import NllSlope, fit, fit_without_each


def sample(n=300, k=7, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 2
    y = np.where(rng.random(n) < 0.6, z.argmax(axis=1), rng.integers(k - 1, size=n))
    return z, y


def fold_of(row: bytes) -> int:
    """The fold of a row's bytes, in whole numbers: 8-byte words times SplitMix64's odd numbers, mixed like Murmur."""
    mask, total = 2**64 - 1, 0
    for i, start in enumerate(range(0, len(row), 8), 1):
        z = i * 0x9E3779B97F4A7C15 & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        total += int.from_bytes(row[start : start + 8], "little") * ((z ^ z >> 31) | 1)
    total &= mask
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        total = (total ^ total >> 33) * factor & mask
    return (total ^ total >> 33) % 20 % 5


def test_plain_numbers_are_their_definitions():  # the others are those of scikit-learn: test_oracles
    z, y = sample()
    found, p = ev.evaluate(logits=z, labels=y), softmax(z, axis=1)
    assert found.accuracy == metrics.accuracy_score(y, p.argmax(axis=1))
    assert found.brier == pytest.approx(np.mean(((p - np.eye(7)[y]) ** 2).sum(axis=1)), rel=1e-12)
    assert found.signed_gap == pytest.approx(p.max(axis=1).mean() - found.accuracy, abs=1e-13)
    assert found.gamma == pytest.approx(np.mean(1 - p[np.arange(300), y]) * 7 / 6, rel=1e-12)
    others = (z.sum(axis=1) - z[np.arange(300), y]) / 6
    assert found.logit_gap == pytest.approx(np.mean(z[np.arange(300), y] - others), rel=1e-12)
    assert found.logit_norm == pytest.approx(np.mean(np.sqrt(7) * z.std(axis=1)), rel=1e-12)


def test_macro_f1_counts_a_class_that_is_only_predicted():
    z, y = np.eye(3)[[0, 0, 1, 2]], np.array([0, 0, 1, 1])
    found = ev.evaluate(logits=z, labels=y)
    assert found.macro_f1 == pytest.approx(metrics.f1_score(y, [0, 0, 1, 2], average="macro", zero_division=0.0))
    assert found.balanced_accuracy == 0.75


def test_ranking_and_calibration_are_those_of_the_columns():
    z, y = sample()
    found, p = ev.evaluate(logits=z, labels=y), softmax(z, axis=1)
    score, right = p.max(axis=1), p.argmax(axis=1) == y
    ranked = RankedGroups(score, right)
    assert found.aurc == pytest.approx(ranked.aurc(), abs=1e-12)
    assert found.eaurc == pytest.approx(ranked.eaurc(), abs=1e-12)
    assert found.augrc == pytest.approx(ranked.augrc(), abs=1e-12)
    assert found.coverage_at_1_risk == ranked.coverage_at(0.01)
    assert found.coverage_at_5_risk == ranked.coverage_at(0.05)
    assert found.risk_at_80_coverage == pytest.approx(ranked.risk_at(0.8), abs=1e-12)
    assert found.ece == pytest.approx(ev.ece(score, right), abs=1e-12)
    assert found.ece_equal_mass == pytest.approx(ev.ece(score, right, equal_mass=True), abs=1e-12)
    assert found.ece_noise_low < found.ece_noise_floor < found.ece_noise_high


def test_numbers_after_temperature_use_temperatures_of_the_other_folds():
    z, y = sample()
    found = ev.evaluate(logits=z, labels=y)
    fold = np.array([fold_of(row.tobytes()) for row in z])
    assert set(fold) == {0, 1, 2, 3, 4}
    scaled = np.empty_like(z)
    for f in range(5):
        scaled[fold == f] = z[fold == f] / ev.fit_temperature(logits=z[fold != f], labels=y[fold != f]).value
    p = softmax(scaled, axis=1)
    right = p.argmax(axis=1) == y
    assert found.nll_after_temperature == pytest.approx(
        -log_softmax(scaled, axis=1)[np.arange(300), y].mean(), rel=1e-9
    )
    assert found.brier_after_temperature == pytest.approx(((p - np.eye(7)[y]) ** 2).sum(axis=1).mean(), rel=1e-9)
    assert found.ece_after_temperature == pytest.approx(ev.ece(p.max(axis=1), right), abs=1e-9)
    assert found.signed_gap_after_temperature == pytest.approx(p.max(axis=1).mean() - right.mean(), abs=1e-9)
    assert found.eaurc_after_temperature == pytest.approx(RankedGroups(p.max(axis=1), right).eaurc(), abs=1e-9)
    assert found.temperature == ev.fit_temperature(logits=z, labels=y).value


def test_large_folds_get_the_same_temperatures_from_the_series_as_from_a_fit(monkeypatch):
    z, y = sample(n=20_000, k=3)
    objective = NllSlope(z, y)
    fold = np.arange(20_000) % 5
    whole = fit(objective)
    truth = [ev.fit_temperature(logits=z[fold != f], labels=y[fold != f]).value for f in range(5)]
    monkeypatch.setattr("sfumato.evaluate.metrics.temperature.fit", None)  # the series must do
    found = fit_without_each(objective, fold, whole, objective.cumulants(1 / whole.value))
    assert [found[f].value for f in range(5)] == pytest.approx(truth, rel=1e-9)


def test_torch_numpy_and_another_order_of_rows_give_the_same_numbers():
    z, y = sample()
    half = z.astype(np.float16)  # rows of 14 bytes: the last word of a row's hash is not full
    found = ev.evaluate(logits=torch.from_numpy(half), labels=torch.from_numpy(y))
    assert found == ev.evaluate(logits=half, labels=y)
    order = np.random.default_rng(1).permutation(300)
    moved = ev.evaluate(logits=half[order], labels=y[order]).to_dict()
    assert moved == pytest.approx(found.to_dict(), abs=1e-11)


def in_decimals(p, decimals):
    p = np.round(p, decimals)
    return p / p.sum(axis=1, keepdims=True)


FROM_LOGITS = {
    "temperature", "temperature_at_bound", "nll_after_temperature", "brier_after_temperature", "ece_after_temperature",
    "signed_gap_after_temperature", "eaurc_after_temperature", "logit_gap", "logit_norm", "roc_auc_after_temperature",
    "average_precision_after_temperature",
}  # fmt: skip
OF_FOLDS = {name for name in FROM_LOGITS if name.endswith("_after_temperature")}


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda p: p, False),
        (lambda p: p.astype(np.float32), False),
        (lambda p: np.maximum(p, 1e-7) / np.maximum(p, 1e-7).sum(axis=1, keepdims=True), False),
        (lambda p: np.round(p, 6), False),  # of this sample none is so small that the sixth decimal matters
        (lambda p: in_decimals(p, 3), True),
        (lambda p: in_decimals(p.astype(np.float32), 4), True),
        (lambda p: np.where(np.arange(len(p))[:, None] == 3, np.eye(p.shape[1])[0], p), True),
    ],
    ids=["as they are", "float32", "clipped", "six decimals", "three decimals", "four, float32", "one zero"],
)
def test_probabilities_give_the_numbers_of_logits_unless_zeros_or_rounding_have_lost_them(change, lost):
    z, y = sample()
    y[3] = 0
    p = change(softmax(z, axis=1))
    found = ev.evaluate(probs=p, labels=y).to_dict()
    with np.errstate(divide="ignore"):
        truth = ev.evaluate(logits=np.log(p.astype(np.float64)), labels=y).to_dict()
    missing = {name for name, value in found.items() if value is None}
    assert missing - {"agreement", "kl", "kl_after_temperature"} == (FROM_LOGITS if lost else set())
    for name in found.keys() - missing:  # a row of probabilities has the fold of its logits but for rounding
        assert found[name] == pytest.approx(truth[name], abs=0.02 if name in OF_FOLDS else 1e-5), name


def test_folds_without_an_error_get_a_finite_temperature():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(60, 3))
    y = z.argmax(axis=1)
    y[0] = (y[0] + 1) % 3  # one error: four folds of five see it, the fifth fits on none
    found = ev.evaluate(logits=z, labels=y)
    assert found.nll_after_temperature < 1.0


def test_all_right_and_all_wrong():
    z = np.array([[800.0, 0.0], [0.0, 800.0]] * 10) + np.arange(20)[:, None] * [1.0, -1.0]
    found = ev.evaluate(logits=z, labels=z.argmax(axis=1))
    assert (found.accuracy, found.nll, found.brier, found.ece, found.eaurc) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert (found.temperature, found.temperature_at_bound, found.coverage_at_1_risk) == (1e-3, True, 1.0)
    found = ev.evaluate(logits=z, labels=z.argmin(axis=1))
    assert (found.accuracy, found.macro_f1, found.brier, found.ece, found.aurc) == (0.0, 0.0, 2.0, 1.0, 1.0)
    assert (found.temperature, found.temperature_at_bound, found.gamma) == (1e3, True, 2.0)


def test_one_row_and_a_label_that_was_ruled_out_leave_numbers_out():
    found = ev.evaluate(logits=np.array([[1.0, 0.0]]), labels=np.array([1]))
    assert found.nll == pytest.approx(1 + np.log1p(np.exp(-1)))
    assert (found.nll_after_temperature, found.top5) == (None, None)
    z = np.array([[0.0, 1.0, -np.inf], [0.0, 1.0, 2.0]])
    found = ev.evaluate(logits=z, labels=np.array([2, 0]))
    assert (found.nll, found.temperature, found.nll_after_temperature) == (np.inf, None, None)
