"""Smooth calibration error: against the integral that defines it, with every reflection of the kernel written out."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

import sfumato.evaluate as ev


def sample(n=60, seed=0):
    rng = np.random.default_rng(seed)
    confidence = np.concatenate([rng.beta(4, 1, size=n - 6), [0.0, 1.0, 1.0, 1.0, 0.5, 0.5]])
    return confidence, rng.random(n) < confidence**2


def by_integral(confidence, correct, sigma, weights=None):
    """∫|Σ w·(confidence − correct)·K(t, confidence)|/W, K with images out to 2n ± c for |n| ≤ 2, on 16 385 points."""
    t = np.linspace(0, 1, 16_385)
    density = np.zeros_like(t)
    w = np.ones(len(confidence)) if weights is None else weights
    for c, right, weight in zip(confidence, correct, w, strict=True):
        kernel = sum(np.exp(-0.5 * ((t - 2 * n - s * c) / sigma) ** 2) for n in range(-2, 3) for s in (1, -1))
        density += weight * (c - right) * kernel / (sigma * np.sqrt(2 * np.pi))
    return trapezoid(np.abs(density), t) / w.sum()


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.4])
def test_error_at_a_bandwidth_is_the_integral(sigma):
    confidence, correct = sample()
    found = ev.smooth_ece(confidence, correct, bandwidth=sigma).value
    assert found == pytest.approx(by_integral(confidence, correct, sigma), abs=1e-5)


def test_on_points_of_its_grid_it_is_the_integral_to_a_millionth():
    confidence, correct = sample()
    confidence = np.round(confidence * 4096) / 4096
    found = ev.smooth_ece(confidence, correct, bandwidth=0.05).value
    assert found == pytest.approx(by_integral(confidence, correct, 0.05), abs=1e-6)


def test_the_bandwidth_is_where_the_error_equals_it():
    confidence, correct = sample(120)
    found = ev.smooth_ece(confidence, correct)
    assert found.value == pytest.approx(found.bandwidth, abs=1e-7)
    assert found.value == pytest.approx(by_integral(confidence, correct, found.bandwidth), abs=1e-5)


def test_rows_add_up_to_the_error():
    confidence, correct = sample(200)
    weights = np.random.default_rng(1).uniform(0, 3, 200)
    found = ev.smooth_ece(confidence, correct, weights=weights)
    assert np.average(found.part, weights=weights) == pytest.approx(found.value, abs=1e-9)
    assert found.value == pytest.approx(by_integral(confidence, correct, found.bandwidth, weights), abs=1e-5)


def test_an_error_of_one_sign_is_the_distance_of_the_means():
    found = ev.smooth_ece([0.7, 0.8, 0.9], [False, False, False])
    assert found.value == pytest.approx(0.8, abs=1e-9)


def test_a_model_that_is_sure_and_right_has_none():
    assert ev.smooth_ece([1.0, 1.0], [True, True]).value == 0.0


def test_order_does_not_matter():
    confidence, correct = sample(100)
    order = np.random.default_rng(3).permutation(100)
    a, b = ev.smooth_ece(confidence, correct), ev.smooth_ece(confidence[order], correct[order])
    assert a.value == pytest.approx(b.value, abs=1e-13)


def test_a_bandwidth_that_is_not_positive_is_named():
    with pytest.raises(ValueError, match="bandwidth must be positive, got 0"):
        ev.smooth_ece([0.5], [True], bandwidth=0)
