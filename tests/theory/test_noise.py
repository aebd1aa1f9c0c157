"""Noise of labels: against mpmath, and against an expectation written out."""

from __future__ import annotations

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


@given(st.floats(0, 1), st.integers(2, 6), OVER)
def test_the_table_of_a_noise_is_that_of_smoothed_targets(noise, k, over):
    smoothed = sf.smooth(torch.arange(k), k, noise, over=over).to_dense(torch.float64).numpy()
    np.testing.assert_allclose(theory.noise_transition(noise, k, over=over), smoothed, rtol=1e-14, atol=1e-16)


@given(st.floats(0, 0.45), st.integers(2, 6), OVER)
def test_backward_rows_are_the_inverse_of_the_table(noise, k, over):
    with mpmath.workdps(40):
        exact = dense(noise, k, over) ** -1
        largest = float(max(abs(each) for each in exact))
        found = theory.backward_rows(theory.noise_transition(noise, k, over=over))
        assert np.abs(found - np.array(exact.tolist(), dtype=float)).max() <= 1e-12 * largest**2


@given(st.floats(0, 0.9), st.integers(3, 20))
def test_a_noise_converts_as_a_strength_does(noise, k):
    others = theory.convert_eps(noise, k, frm="all", to="others")
    one, other = (theory.noise_transition(n, k, over=over) for n, over in ((noise, "all"), (others, "others")))
    np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-16)


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
        (lambda: theory.noise_transition(0.2, 3, over="rest"), "over must be .* got 'rest'"),
        (lambda: theory.backward_rows([[0.5, 0.5], [0.5, 0.5]]), "cannot be inverted: the labels of some classes"),
        (lambda: theory.backward_rows([[0.5, 0.6], [0.5, 0.5]]), "row 0 of transition must be .* got .0.5, 0.6."),
        (lambda: theory.backward_rows([[0.5, 0.5]]), r"transition must be \(K, K\), K at least 2, got \(1, 2\)"),
    ],
)
def test_what_is_wrong_is_said(act, message):
    with pytest.raises(ValueError, match=message):
        act()
