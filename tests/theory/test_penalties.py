"""The optima of penalties against mpmath: roots with 200 digits, minima searched for, and limits."""

from __future__ import annotations

import math

import mpmath
import pytest

from sfumato import theory

CLASSES = (2, 3, 10, 1000)
mpmath.mp.dps = 200  # 1 − p_y is e^−d, and d is up to 100


def p_of(d, k):
    return 1 / (1 + (k - 1) * mpmath.exp(-d))


def entropy(d, k):
    p = p_of(d, k)
    rest = (1 - p) / (k - 1)
    return -p * mpmath.log(p) - (k - 1) * rest * mpmath.log(rest)


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5, 2.0, 100.0])
def test_the_confidence_penalty_is_smallest_where_beta_p_d_is_1(beta, k):
    found = theory.confidence_optimum(beta, k)
    exact = mpmath.findroot(lambda d: mpmath.mpf(beta) * p_of(d, k) * d - 1, found.gap)
    assert found.gap == pytest.approx(float(exact), rel=1e-12)
    assert found.probability == pytest.approx(float(p_of(exact, k)), rel=1e-12)
    floor = -mpmath.log(p_of(exact, k)) - mpmath.mpf(beta) * entropy(exact, k)
    assert found.floor == pytest.approx(float(floor), rel=1e-12)


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.65])
def test_a_hinge_that_opens_before_the_optimum_ends_it_at_its_entropy(threshold, k):
    found = theory.confidence_optimum(50.0, k, threshold=threshold)
    exact = mpmath.findroot(lambda d: entropy(d, k) - mpmath.mpf(threshold), found.gap)
    assert found.gap == pytest.approx(float(exact), rel=1e-12)
    assert found.floor == pytest.approx(float(-mpmath.log(p_of(exact, k))), rel=1e-10)


def test_a_hinge_that_stays_closed_changes_the_floor_and_not_the_gap():
    plain, hinged = theory.confidence_optimum(0.5, 10), theory.confidence_optimum(0.5, 10, threshold=2.0)
    assert hinged.gap == plain.gap
    assert hinged.floor == pytest.approx(plain.floor + 0.5 * 2.0, rel=1e-14)
    assert theory.confidence_optimum(0.5, 10, threshold=50.0).gap == plain.gap


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("beta", [1e-310, 1e-6, 0.002, 0.3, 50.0])
def test_squared_logits_are_smallest_at_the_root(beta, k):
    found = theory.l2_optimum(beta, k)
    with mpmath.workdps(1000):
        exact = mpmath.findroot(lambda d: d * (mpmath.exp(d) + k - 1) - k / mpmath.mpf(beta), found.gap)
        floor = -mpmath.log(p_of(exact, k)) + mpmath.mpf(beta) / 2 * exact**2 * (k - 1) / k
    assert found.gap == pytest.approx(float(exact), rel=1e-12)
    assert found.floor == pytest.approx(float(floor), rel=1e-12)


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.6])
def test_max_suppression_has_the_optimum_of_smoothing_over_all(alpha, k):
    found = theory.maxsup_optimum(alpha, k)
    assert found.gap == theory.optimal_gap(alpha, k, over="all")
    assert found.probability == pytest.approx(1 - alpha + alpha / k, rel=1e-12)
    assert found.floor == pytest.approx(theory.loss_floor(alpha, k, over="all"), rel=1e-12)


@pytest.mark.parametrize(("margin", "gap"), [(0.0, "smoothing"), (2.0, "smoothing"), (6.0, 6.0), (10.0, 10.0)])
def test_a_margin_holds_the_gap_unless_the_pull_beyond_it_is_weak(margin, gap):
    found = theory.margin_optimum(0.1, 10, margin=margin)
    assert found.gap == (theory.optimal_gap(0.1, 10, over="all") if gap == "smoothing" else gap)
    d, a = mpmath.mpf(found.gap), mpmath.mpf(0.1)
    floor = -mpmath.log(p_of(d, 10)) + a * 9 / 10 * (d - margin)
    assert found.floor == pytest.approx(float(floor), rel=1e-12)


def test_from_a_pull_of_1_on_nothing_is_learnt_beyond_the_margin():
    assert theory.maxsup_optimum(1.5, 10) == theory.Optimum(0.0, 0.1, math.log(10))
    assert theory.margin_optimum(1.5, 10, margin=2.0).gap == 2.0


@pytest.mark.parametrize("k", CLASSES)
def test_relaxation_ends_at_the_gap_of_smoothing_over_the_others(k):
    assert theory.relaxation_optimum(0.1, k) == (theory.optimal_gap(0.1, k, over="others"), 0.9, 0.0)


@pytest.mark.parametrize(
    "found",
    [
        theory.confidence_optimum(0.0, 10),
        theory.confidence_optimum(0.5, 10, threshold=0.0),
        theory.margin_optimum(0.0, 10, margin=10),
        theory.maxsup_optimum(0.0, 10),
        theory.relaxation_optimum(0.0, 10),
        theory.focal_optimum(3.0, 10),
        theory.l2_optimum(0.0, 10),
        theory.negative_optimum(0.0, 10),
    ],
)
def test_without_strength_the_optimum_is_that_of_the_cross_entropy(found):
    assert found == (math.inf, 1.0, 0.0)


def test_negative_smoothing_has_no_floor():
    assert theory.negative_optimum(-0.1, 10) == (math.inf, 1.0, -math.inf)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: theory.confidence_optimum(-1, 10), "beta must be a finite number, at least 0, got -1"),
        (lambda: theory.confidence_optimum(1, 10, threshold=-1), "threshold must be a finite number, at least 0, got"),
        (
            lambda: theory.margin_optimum(0.1, 10, margin=math.inf),
            "margin must be a finite number, at least 0, got inf",
        ),
        (lambda: theory.maxsup_optimum(math.nan, 10), "alpha must be a finite number, at least 0, got nan"),
        (lambda: theory.relaxation_optimum(1.0, 10), "alpha must be at least 0 and below 1, got 1"),
        (lambda: theory.focal_optimum(-1, 10), "gamma must be a finite number, at least 0, got -1"),
        (lambda: theory.l2_optimum(0.1, 1), "num_classes must be a whole number from 2, got 1"),
        (lambda: theory.focal_optimum(1, 2.5), "num_classes must be a whole number from 2, got 2.5"),
        (lambda: theory.l2_optimum(0.1, math.inf), "num_classes must be a whole number from 2, got inf"),
        (lambda: theory.negative_optimum(0.1, 10), "rate must be a finite number, at most 0, got 0.1"),
    ],
)
def test_what_has_no_optimum_is_refused(ask, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ask()
