"""Noise of labels: against mpmath, and against an expectation written out."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sfumato as sf
from sfumato import theory

OVER = st.sampled_from(["others", "all"])


def dense(eps: float, k: int, over: str) -> mpmath.matrix:
    """The table of smoothing by ε, of either sign, in 40 digits."""
    eps = mpmath.mpf(eps)
    other = eps / (k - 1) if over == "others" else eps / k
    return mpmath.matrix(k, k).apply(lambda _: other) + mpmath.eye(k) * ((1 - eps) - (other if over == "others" else 0))


def close(found: np.ndarray, exact: mpmath.matrix, scale: float = 1.0) -> None:
    assert np.abs(found - np.array(exact.tolist(), dtype=float)).max() <= 1e-12 * scale


@given(st.floats(0, 1), st.integers(2, 6), OVER)
def test_the_table_of_a_noise_is_that_of_smoothed_targets(noise, k, over):
    smoothed = sf.smooth(torch.arange(k), k, noise, over=over).to_dense(torch.float64).numpy()
    np.testing.assert_allclose(theory.noise_transition(noise, k, over=over), smoothed, rtol=1e-14, atol=1e-16)


@given(st.floats(0, 0.45), st.integers(2, 6), OVER)
def test_the_inverse_of_a_noise_is_smoothing_by_the_negative_strength(noise, k, over):
    eps = theory.correction_eps(noise, k, over=over)
    with mpmath.workdps(40):
        table = dense(noise, k, over)
        exact = table**-1
        largest = float(max(abs(each) for each in exact))
        close(theory.backward_rows(theory.noise_transition(noise, k, over=over)), exact, largest**2)
        close(np.array(dense(eps, k, over).tolist(), dtype=float), exact, largest**2)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(2, 6), OVER)
def test_smoothing_on_noise_is_the_product_of_their_tables(eps, noise, k, over):
    with mpmath.workdps(40):
        total = theory.total_eps(eps, noise, k, over=over)
        close(np.array(dense(total, k, over).tolist(), dtype=float), dense(noise, k, over) * dense(eps, k, over))


@given(st.floats(0, 0.45), st.integers(2, 20), OVER)
def test_the_correction_on_its_noise_leaves_nothing(noise, k, over):
    eps = theory.correction_eps(noise, k, over=over)
    assert theory.total_eps(eps, noise, k, over=over) == pytest.approx(0, abs=1e-12 * (1 - eps))


@given(st.floats(0, 0.9), st.integers(3, 20))
def test_a_noise_converts_as_a_strength_does(noise, k):
    others = theory.convert_eps(noise, k, frm="all", to="others")
    one, other = (theory.noise_transition(n, k, over=over) for n, over in ((noise, "all"), (others, "others")))
    np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-16)


def test_the_noisy_posterior_is_that_of_counting_all_cases():
    rng = np.random.default_rng(0)
    p, table = rng.dirichlet(np.ones(4), (3, 2)), rng.dirichlet(np.ones(4), 4)
    counted = np.zeros((3, 2, 4))
    for y in range(4):
        for k in range(4):
            counted[..., k] += p[..., y] * table[y, k]
    np.testing.assert_allclose(theory.noisy_posterior(p, table), counted, rtol=1e-14)


def test_a_number_of_classes_may_be_a_float_that_is_whole():
    np.testing.assert_array_equal(
        theory.noise_transition(0.1, 3.0, over="all"), theory.noise_transition(0.1, 3, over="all")
    )


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: theory.noise_transition(1.2, 3, over="all"), r"noise must be in \[0, 1\], got 1.2"),
        (lambda: theory.noise_transition(0.2, 1, over="all"), "num_classes must be a whole number from 2, got 1"),
        (lambda: theory.noise_transition(0.1, 2.5, over="others"), "num_classes must be a whole .* got 2.5"),
        (lambda: theory.correction_eps(0.1, 2.5, over="others"), "num_classes must be a whole .* got 2.5"),
        (lambda: theory.total_eps(0.1, 0.1, math.nan, over="all"), "num_classes must be a whole .* got nan"),
        (lambda: theory.noise_transition(0.2, 3, over="rest"), "over must be .* got 'rest'"),
        (lambda: theory.correction_eps(0.5, 2, over="others"), 'noise must be below 0.5 over "others", got 0.5'),
        (lambda: theory.correction_eps(3 * 0.3, 10, over="others"), 'noise must be below 0.9 over "others", got 0.9'),
        (lambda: theory.correction_eps(1.0, 4, over="all"), 'noise must be below 1 over "all", got 1'),
        (lambda: theory.total_eps(1.5, 0.1, 4, over="all"), "eps must be at most 1, got 1.5"),
        (lambda: theory.backward_rows([[0.5, 0.5], [0.5, 0.5]]), "cannot be inverted: the labels of some classes"),
        (lambda: theory.backward_rows([[0.5, 0.6], [0.5, 0.5]]), "row 0 of transition must be .* got .0.5, 0.6."),
        (lambda: theory.backward_rows([[0.5, 0.5]]), r"transition must be \(K, K\), K at least 2, got \(1, 2\)"),
        (lambda: theory.noisy_posterior([0.5, 0.6], np.eye(2)), "posterior must hold distributions, got .0.5, 0.6."),
        (lambda: theory.noisy_posterior([1.0], np.eye(2)), r"posterior must be \(…, 2\), got \(1,\)"),
    ],
)
def test_what_is_wrong_is_said(act, message):
    with pytest.raises(ValueError, match=message):
        act()
