"""Two levels read off targets that are written down by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sfumato.probe.read.gradients import Reading
from sfumato.probe.read.levels import Levels, Prior, as_typed, levels, prior_of, without_weights

K = 4


def reading(targets, masses=None, kind="softmax"):
    targets = np.array(targets, dtype=float)
    masses = targets.sum(axis=1) if masses is None else np.array(masses, dtype=float)
    return Reading(targets.shape[1], tuple(range(len(targets))), kind, targets, masses, 0.0, 0.0)


def smoothed(true=0.7, other=0.1, k=K):
    return np.where(np.eye(k, dtype=bool), true, other)


def test_the_levels_of_a_smoothed_target():
    assert levels(reading(smoothed(), [1.0] * K)) == Levels(K, "softmax", 0.7, 0.1, 1.0, None, 1.0)
    doubled = levels(reading(2 * smoothed()))
    assert (doubled.mass, doubled.factor, doubled.optimum) == (2.0, pytest.approx(2.0), (0.7, 0.1))


def test_sigmoids_have_levels_in_units_of_their_factor_and_an_optimum_that_is_not_normalised():
    found = levels(reading(0.25 * smoothed(0.9, 0.05), [0.25] * K, "sigmoid"))
    assert found == Levels(K, "sigmoid", 0.9, 0.05, 1.05, None, 0.25)
    assert found.optimum == (0.9, 0.05)


def test_a_class_without_mass_is_padding_if_the_others_have_some():
    targets = smoothed(0.8, 0.1)
    targets[:, 0] = 0
    found = levels(dataclasses.replace(reading(targets[1:], [1.0] * 3), labels=(1, 2, 3)))
    assert found == Levels(K, "softmax without padding", 0.8, 0.1, 1.0, 0, 1.0)
    assert levels(reading(np.eye(K))).pad is None


@pytest.mark.parametrize(
    "targets",
    [
        [[0.7, 0.2, 0.1, 0.0], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.1, 0.7]],
        [[0.4, 0.2, 0.2, 0.2], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.1, 0.7]],
        np.diag([1.0, 1.0, 1.0, 2.0]),
    ],
)
def test_more_levels_or_other_masses_are_no_two_levels(targets):
    assert levels(reading(targets)) is None


def test_nothing_is_read_off_another_kind_or_off_no_gradient():
    assert levels(reading(smoothed(), kind="other")) is None
    assert levels(reading(np.zeros((K, K)))) is None


@pytest.mark.parametrize(
    ("level", "hard", "balanced"),
    [
        (Levels(K, "softmax", 1.0, 1e-6, 1.0), True, True),
        (Levels(K, "softmax", 1.0, 1e-5, 1.0), False, True),
        (Levels(K, "softmax", 1.0, 1e-5, 1.0, coarse=True), True, True),
        (Levels(K, "softmax", 2.0, 0.0, 2.0, factor=2.0), True, True),
        (Levels(K, "softmax", 1.0, 0.0, 1.0, factor=1.1), True, False),
        (Levels(K, "softmax", 100.0, 0.0, 100.0005, factor=100.0), True, True),
        (Levels(K, "softmax", 0.01, 0.0, 0.010001, factor=0.01), True, False),
        (Levels(K, "sigmoid", 1.0, 0.0, 1.0), True, True),
        (Levels(K, "sigmoid", 0.9, 0.0, 0.9), False, False),
    ],
)
def test_hard_and_balanced_levels(level, hard, balanced):
    assert (level.is_hard, level.is_balanced) == (hard, balanced)


@pytest.mark.parametrize(
    ("value", "coarse", "expected"),
    [
        (np.float64(np.float32(0.1)), False, 0.1), (0.1 + 3e-8, False, 0.10000003), (0.1 + 3e-7, True, 0.1),
        (0.12345 + 1e-9, False, 0.12345 + 1e-9), (0.123456789 + 1e-13, False, 0.123456789), (0.0, False, 0.0),
        (1 / 3, False, 1 / 3), (np.inf, False, np.inf),
    ],
)  # fmt: skip
def test_the_number_that_a_person_typed(value, coarse, expected):
    assert as_typed(float(value), coarse=coarse) == expected


def test_a_prior_is_recovered_and_a_target_of_another_form_is_not():
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    targets = 0.7 * np.eye(K) + 0.3 * prior
    assert prior_of(reading(5 * targets)) == Prior(0.3, tuple(prior))
    assert prior_of(reading(targets + 0.01 * np.tril(np.ones((K, K)), -1))) is None
    assert prior_of(reading(np.eye(K))) is None
    assert prior_of(reading(targets, kind="sigmoid")) is None


@pytest.mark.parametrize("rows", [np.ones(K), np.array([1.0, 2.0, 3.0, 0.5])])
@pytest.mark.parametrize(("true", "other"), [(0.7, 0.1), (1.0, 0.0)])
def test_class_weights_are_recovered_beside_row_weights(rows, true, other):
    weights = np.array([0.5, 1.0, 1.5, 1.0])
    found = without_weights(reading(rows[:, None] * weights * smoothed(true, other)))
    np.testing.assert_allclose(found.reading.targets, smoothed(true, other), atol=1e-9)
    if other:
        np.testing.assert_allclose(found.classes, weights / np.exp(np.log(weights).mean()) /
                                   (weights / np.exp(np.log(weights).mean())).mean(), rtol=1e-9)  # fmt: skip


def test_targets_that_no_weights_explain_have_none():
    assert without_weights(reading(smoothed() + np.diag([0.1, 0, 0, 0]))) is None
    strange = smoothed()
    strange[0, 1] *= 2
    assert without_weights(reading(strange)) is None
    assert without_weights(reading(smoothed(1.1, -0.1 / 3))) is None
    strange[0, 1] = 0  # no weight makes a share 0 beside others that are not
    assert without_weights(reading(strange)) is None
