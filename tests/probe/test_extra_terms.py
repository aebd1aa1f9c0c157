"""Fits of gradients that are made by hand from S, q and one known term."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.probe.gradients import (
    CONFIDENCE,
    DECAY,
    FOCAL,
    SUPPRESSION,
    TEMPERATURE,
    Z_LOSS,
    fit,
    log_partition,
    with_extra_term,
)

K, LABELS = 5, (0, 3, 4)
RNG = np.random.default_rng(21)
Z = 1.5 * RNG.standard_normal((6, K))
E = np.exp(Z)
P = E / E.sum(axis=1, keepdims=True)
LSE = np.log(E.sum(axis=1, keepdims=True))
Q = np.stack([np.where(np.arange(K) == y, 0.8, 0.05) for y in LABELS])
PLAIN = P[None] - Q[:, None, :]  # ∂L/∂z of three labels at six logits
ENTROPY = -(P * np.log(P)).sum(axis=1, keepdims=True)


def test_mass_and_target_of_a_cross_entropy_are_recovered():
    masses = np.array([1.0, 0.5, -2.0])
    found = fit(P, masses[:, None, None] * P[None] - Q[:, None, :], 1.0)
    np.testing.assert_allclose(found.masses, masses, rtol=1e-12)
    np.testing.assert_allclose(found.targets, Q, atol=1e-14)
    assert found.residual < 1e-13


def test_a_gradient_that_is_off_at_one_place_is_what_the_fit_leaves():
    off = PLAIN.copy()
    off[1, 2, 3] += 0.1
    assert 0.02 < fit(P, off, 2.0).residual < 0.05  # at most half of it, for the scale is 2


TERMS = {
    Z_LOSS: 2 * LSE * P,
    CONFIDENCE: P * (np.log(P) + ENTROPY),
    DECAY: Z,
    SUPPRESSION: np.eye(K)[Z.argmax(axis=1)] - 1 / K,
}


@pytest.mark.parametrize("kind", TERMS, ids=lambda kind: kind.formula)
@pytest.mark.parametrize("size", [0.01, 0.3, -0.2])
def test_a_penalty_and_its_coefficient_are_recovered_beside_the_target(kind, size):
    found = with_extra_term(Z, PLAIN + size * TERMS[kind], LABELS, 1.0, 3e-5)
    assert found is not None
    best, (term, coefficient) = found
    assert term is kind
    assert coefficient == pytest.approx(size, rel=1e-9)
    np.testing.assert_allclose(best.targets, Q, atol=1e-12)
    np.testing.assert_allclose(best.masses, 1.0, rtol=1e-12)


@pytest.mark.parametrize("t", [0.05, 0.7, 3.0, 40.0])
def test_a_temperature_is_recovered_and_the_target_is_that_of_the_cooled_logits(t):
    cooled = np.exp(Z / t - (Z / t).max(axis=1, keepdims=True))
    cooled /= cooled.sum(axis=1, keepdims=True)
    best, (term, value) = with_extra_term(Z, (cooled[None] - Q[:, None, :]) / t, LABELS, 1 / t, 3e-5)
    assert term is TEMPERATURE
    assert value == pytest.approx(t, rel=1e-6)
    np.testing.assert_allclose(best.targets, Q, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_a_focal_exponent_is_recovered(gamma):
    def loss(z, y):
        p = np.exp(z[y]) / np.exp(z).sum()
        return -3 * (1 - p) ** gamma * np.log(p)

    step = 1e-5
    moves = step * np.eye(K)
    gradients = [[[(loss(z + m, y) - loss(z - m, y)) / (2 * step) for m in moves] for z in Z] for y in LABELS]
    best, (term, value) = with_extra_term(Z, np.array(gradients), LABELS, 1.0, 3e-5)
    assert (term, value) == (FOCAL, pytest.approx(gamma, rel=1e-4))
    np.testing.assert_allclose(best.targets, 3 * np.eye(K)[list(LABELS)], rtol=1e-4)


def test_a_penalty_of_another_size_for_each_label_is_no_penalty():
    sizes = np.array([0.1, 0.2, 0.3])[:, None, None]
    assert with_extra_term(Z, PLAIN + sizes * TERMS[Z_LOSS], LABELS, 1.0, 3e-5) is None


def test_a_squared_error_is_no_weight_decay_beside_a_cross_entropy():
    assert with_extra_term(Z, Z[None] - Q[:, None, :], LABELS, 1.0, 3e-5) is None


def test_the_log_partition_of_sigmoids_is_a_sum_over_classes():
    np.testing.assert_allclose(log_partition(Z, "sigmoid"), np.log(1 + E).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(log_partition(Z + 900, "softmax"), LSE[:, 0] + 900, rtol=1e-13)
