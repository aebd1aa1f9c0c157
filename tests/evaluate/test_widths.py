"""Intervals of the metrics are as wide as what is seen over samples, and every metric is defined and measured."""

import numpy as np
import pytest
from scipy.special import softmax

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.registry import compute_metrics
from sfumato.evaluate.scores.measure import measure


def sample(n=300, k=7, seed=0, rng=None):
    rng = rng or np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 2
    p = softmax(z / 1.7, axis=1)
    return z, np.minimum((p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), k - 1)


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
        "accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece", "ece_equal_mass", "signed_gap",
        "temperature", "nll_after_temperature", "aurc", "eaurc", "augrc", "risk_at_80_coverage", "logit_gap", "gamma",
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
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
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
