"""Calibration errors: against loops over bins, and arithmetic by hand."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.calibration import ece_without_each


def sample(seed, n=400):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.1, 1, n)
    return confidence, rng.random(n) < confidence**2


def ece_by_loop(confidence, correct, bins):
    total = 0.0
    for b in range(bins):
        lower, upper = b / bins, (b + 1) / bins
        inside = (confidence > lower) & (confidence <= upper) | ((confidence == 0) & (b == 0))
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return total


EQUAL_MASS = functools.partial(ev.ece, equal_mass=True)


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_ece_is_a_loop_over_bins(bins):
    confidence, correct = sample(0)
    assert ev.ece(confidence, correct, bins=bins) == pytest.approx(ece_by_loop(confidence, correct, bins), abs=1e-14)


@pytest.mark.parametrize(
    ("metric", "confidence", "correct", "value"),
    [
        (ev.ece, [1.0, 1.0], [True, True], 0.0),
        (ev.ece, [1.0, 1.0], [False, False], 1.0),
        (ev.ece, [0.75], [True], 0.25),
        (EQUAL_MASS, [0.6, 0.9], [True, False], (0.4 + 0.9) / 2),  # fewer rows than bins
    ],
)
def test_errors_of_a_few_rows_are_those_by_hand(metric, confidence, correct, value):
    assert metric(confidence, correct) == pytest.approx(value, abs=1e-9)


def test_edges_belong_to_the_bin_below_and_an_empty_bin_is_nan():
    assert ev.reliability([0.0, 0.25, 0.5, 0.75, 1.0], [True] * 5, bins=4).count.tolist() == [2, 1, 1, 1]
    table = ev.reliability([0.9], [True], bins=2)
    assert table.count.tolist() == [0, 1]
    assert np.isnan([table.confidence[0], table.accuracy[0], table.low[0], table.high[0]]).all()


def test_equal_mass_bins_are_runs_of_the_sorted_rows():
    confidence, correct = sample(1, 103)
    order = np.argsort(confidence)
    parts = zip(np.array_split(confidence[order], 10), np.array_split(correct[order], 10), strict=True)
    truth = sum(abs((c - r).sum()) for c, r in parts) / 103
    assert EQUAL_MASS(confidence, correct, bins=10) == pytest.approx(truth, abs=1e-14)


@given(st.randoms(use_true_random=False))
def test_order_of_tied_rows_does_not_matter(random):
    confidence = [random.choice([0.5, 0.7, 0.9]) for _ in range(30)]
    correct = [random.random() < 0.6 for _ in range(30)]
    order = random.sample(range(30), 30)
    moved = [confidence[i] for i in order], [correct[i] for i in order]
    for metric in (ev.ece, EQUAL_MASS):
        assert metric(*moved) == pytest.approx(metric(confidence, correct), abs=1e-13)
    assert ev.noise_floor(moved[0], resamples=10) == ev.noise_floor(confidence, resamples=10)


@pytest.mark.parametrize("n", [2, 3, 60])
def test_values_without_each_row_are_errors_of_the_other_rows(n):
    confidence, correct = sample(2, n)
    truth = [ece_by_loop(np.delete(confidence, i), np.delete(correct, i), 15) for i in range(n)]
    np.testing.assert_allclose(ece_without_each(confidence, correct, 15), truth, atol=1e-14)


def test_wilsons_interval_is_scipys():
    table = ev.reliability([0.9] * 10 + [0.3] * 4, [True] * 7 + [False] * 7, bins=2)
    for b, (k, n) in enumerate([(0, 4), (7, 10)]):
        truth = binomtest(k, n).proportion_ci(method="wilson")
        assert (table.low[b], table.high[b]) == pytest.approx((truth.low, truth.high), abs=1e-12)


def test_noise_floor_of_one_bin_is_the_mean_absolute_deviation_of_a_binomial():
    n, p = 50, 0.8
    k = np.arange(n + 1)
    truth = float((binom.pmf(k, n, p) * abs(k / n - p)).sum())
    floor = ev.noise_floor(np.full(n, p), resamples=20_000, seed=5)
    # the standard error of the mean of 20 000 resamples is below 0.00025
    assert floor.mean == pytest.approx(truth, abs=0.001)
    assert (floor.low, floor.high) == pytest.approx((0.0, 0.12), abs=0.021)


@pytest.mark.parametrize("rows", [5000, 20_000])  # of the first, labels are redrawn; of the second, their sum
def test_noise_floor_of_many_rows_is_that_of_a_folded_normal(rows):
    p = 0.94
    floor = ev.noise_floor(np.full(rows, p), resamples=4000)
    spread = np.sqrt(p * (1 - p) / rows)
    assert floor.mean == pytest.approx(np.sqrt(2 / np.pi) * spread, rel=0.04)
    assert floor.high == pytest.approx(spread * norm.ppf(0.5 + 0.975 / 2), rel=0.05)  # one redraw in forty is above


def test_noise_floor_of_a_sure_model_is_0():
    floor = ev.noise_floor([1.0] * 10)
    assert (floor.mean, floor.low, floor.high) == (0.0, 0.0, 0.0)


def test_noise_floor_drawn_in_small_blocks_has_the_same_mean(monkeypatch):
    confidence, _ = sample(7, 300)
    whole = ev.noise_floor(confidence, resamples=400)
    monkeypatch.setattr("sfumato.evaluate.metrics.calibration._DRAWS", 64)
    assert ev.noise_floor(confidence, resamples=400).mean == pytest.approx(whole.mean, rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ev.ece([0.5, 1.5], [True, True]), r"confidence must be in \[0, 1\], got 1.5 in row 1"),
        (lambda: ev.ece([np.nan], [True]), "got nan in row 0"),
        (lambda: ev.ece([0.5], [True, False]), r"confidence must be \(2,\) like correct, got shape \(1,\)"),
        (lambda: ev.ece([], []), "not empty"),
        (lambda: ev.ece([0.5], [0.7]), "correct must be true or false, got 0.7 in row 0"),
        (lambda: ev.ece([0.5], [True], bins=0), "bins must be at least 1, got 0"),
        (lambda: ece_without_each(np.array([0.5]), np.array([True]), 15), "at least 2 rows, got 1"),
        (lambda: ev.noise_floor([0.5], resamples=0), "resamples must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
