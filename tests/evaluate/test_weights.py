"""Row weights and intervals: a weight of 2 is the row twice, and intervals hold the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.registry import compute_metrics
from sfumato.evaluate.scores.measure import measure
from sfumato.evaluate.scores.score_matrix import FOLDS, group_of, row_hash
from tests.evaluate.samples import ece_classwise


def sample(n=300, k=7, seed=0, rng=None):
    rng = rng or np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 2
    p = softmax(z / 1.7, axis=1)
    return z, np.minimum((p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), k - 1)


def test_every_metric_under_whole_weights_is_that_of_repeated_rows():
    z, y = sample()
    weights = np.random.default_rng(1).integers(0, 4, size=300)
    weights[0] += -weights.sum() % 15  # runs of equal weight are then runs of whole rows
    again = np.repeat(np.arange(300), weights)
    weighted = compute_metrics(measure(logits=z, labels=y, weights=weights))
    repeated = compute_metrics(measure(logits=z[again], labels=y[again]))
    assert weighted.keys() == repeated.keys()
    for name, number in weighted.items():
        if name != "ece_noise_floor":  # a row drawn once with weight 2 is noisier than two rows
            assert number.value == pytest.approx(repeated[name].value, abs=1e-8), name


def test_the_noise_floor_under_weights_is_that_of_rows_drawn_once_each():
    n, p = 4000, 0.8
    w = np.random.default_rng(0).uniform(0, 2, n)
    floor = ev.noise_floor(np.full(n, p), weights=w, resamples=4000)
    spread = np.sqrt(p * (1 - p) * np.square(w).sum()) / w.sum()
    assert floor.mean == pytest.approx(spread * np.sqrt(2 / np.pi), rel=0.05)


def test_rows_of_weight_0_are_not_there():
    z, y = sample()
    weights = np.ones(300)
    weights[100:] = 0
    some = compute_metrics(measure(logits=z, labels=y, weights=weights))
    few = compute_metrics(measure(logits=z[:100], labels=y[:100]))
    for name in ("accuracy", "nll", "ece", "aurc", "temperature"):
        assert some[name].value == pytest.approx(few[name].value, abs=1e-10)
        assert (some[name].low, some[name].high) == pytest.approx((few[name].low, few[name].high), rel=0.02), name


def test_weight_in_one_fold_alone_is_fitted_and_not_cross_fitted():
    z, y = sample()
    one = group_of(row_hash(z)) % FOLDS == 2
    weighted = compute_metrics(measure(logits=z, labels=y, weights=one.astype(float)))
    alone = compute_metrics(measure(logits=z[one], labels=y[one]))
    assert weighted.keys() == alone.keys()
    assert "nll_after_temperature" not in weighted


def test_a_common_factor_of_the_weights_changes_no_mean():
    z, y = sample()
    w = np.random.default_rng(2).uniform(0.5, 2, 300)
    for name in ("accuracy", "nll", "ece", "ece_equal_mass", "smooth_ece", "augrc", "temperature", "macro_f1"):
        a = ev.metric(name, logits=z, labels=y, weights=w)
        b = ev.metric(name, logits=z, labels=y, weights=3 * w)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-10), name


@pytest.fixture(scope="module")
def widths():
    """Mean half width over 1.96 standard deviations of 80 values: known to about 8 %."""
    rng = np.random.default_rng(5)
    results = [compute_metrics(measure(logits=z, labels=y)) for z, y in (sample(400, rng=rng) for _ in range(80))]
    found = {}
    for name in results[0]:
        values = np.array([each[name].value for each in results])
        half = np.array([(each[name].high - each[name].low) / 2 for each in results])
        found[name] = float(half.mean() / (1.96 * values.std(ddof=1)))
    return found


@pytest.mark.parametrize(
    "name",
    [
        "accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece", "ece_equal_mass", "ece_classwise",
        "smooth_ece", "signed_gap", "temperature", "nll_after_temperature", "aurc", "eaurc", "augrc",
        "risk_at_80_coverage", "logit_gap", "gamma",
    ],
)  # fmt: skip
def test_the_width_of_an_interval_is_that_seen_over_samples(widths, name):
    assert widths[name] == pytest.approx(1.0, abs=0.3)


def test_the_interval_of_a_coverage_holds_the_coverage():
    z, _ = sample(1000)
    found = ev.metric("coverage_at_5_risk", logits=z * 3, labels=z.argmax(axis=1))
    assert (found.value, found.high) == (1.0, 1.0)
    wrong = ev.metric("coverage_at_1_risk", logits=z * 3, labels=z.argmin(axis=1))
    assert (wrong.value, wrong.low, wrong.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: ev.metric("ecce", logits=z, labels=y), 'there is no metric "ecce". Did you mean "ece"?'),
        (
            lambda z, y: ev.metric("top5", logits=z[:, :3], labels=y % 3),
            "these scores have no top5: it needs more than 5",
        ),
        (lambda z, y: ev.metric("logit_gap", probs=np.eye(7)[y], labels=y), "have no logit_gap: it needs logits"),
        (lambda z, y: ev.evaluate(logits=z, labels=y, weights=[1.0]), r"weights must be \(300,\), one a row"),
        (lambda z, y: ev.evaluate(logits=z, labels=y, weights=-np.ones(300)), "not negative, got -1.0 in row 0"),
        (lambda z, y: ev.evaluate(logits=z, labels=y, weights=np.zeros(300)), "weights are all 0: no row counts"),
        (lambda z, y: ev.ece([0.5, 0.5], [True, False], weights=[1, np.nan]), "not negative, got nan in row 1"),
    ],
)
def test_what_cannot_be_weighed_or_measured_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*sample())


def test_every_metric_is_defined_and_every_definition_measured():
    z, y = sample()
    assert set(ev.METRICS) == set(compute_metrics(measure(logits=z, label_counts=np.eye(z.shape[1])[y])))
    soft = {"agreement", "kl", "kl_after_temperature"}
    found = compute_metrics(measure(logits=z, labels=y))
    assert set(ev.METRICS) - soft == set(found)
    for name, number in found.items():
        defined = ev.METRICS[name]
        assert defined.lowest <= number.low <= number.value <= number.high <= defined.highest, name
    assert all(entry.text and entry.interval for entry in ev.METRICS.values())


def test_the_interval_of_the_class_wise_error_leaves_out_each_tenth_of_the_rows_in_turn():
    z, y = sample(200)
    tenth = group_of(row_hash(z)) % 10
    left = [ece_classwise(softmax(z[tenth != g], axis=1), y[tenth != g]) for g in range(10)]
    half = stats.t.ppf(0.975, 9) * np.sqrt(9 / 10 * np.square(left - np.mean(left)).sum())
    found = ev.metric("ece_classwise", logits=z, labels=y)
    assert found.value == pytest.approx(ece_classwise(softmax(z, axis=1), y), rel=1e-12)
    assert found.low == pytest.approx(max(found.value - half, 0), rel=1e-3)  # t to four digits
    assert found.high == pytest.approx(found.value + half, rel=1e-3)
