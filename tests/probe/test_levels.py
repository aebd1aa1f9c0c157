"""Readings, and the levels in them: two, or one for each class."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe.gradients import Reading
from sfumato.probe.levels import (
    ClassSpread,
    Levels,
    Prior,
    as_typed,
    class_levels,
    levels,
    prior_of,
    without_weights,
)

K = 4


def reading(targets, masses=None, kind="softmax", **more):
    targets = np.array(targets, dtype=float)
    masses = targets.sum(axis=1) if masses is None else np.array(masses, dtype=float)
    return Reading(targets.shape[1], tuple(range(len(targets))), kind, targets, masses, 0.0, 0.0, **more)


@pytest.mark.parametrize(("coarse", "alive"), [(False, [True, True, False]), (True, [True, False, False])])
def test_what_differences_of_float32_leave_is_no_gradient(coarse, alive):
    found = reading([[0.8, 0.1, 0.1], [1e-7, 0.0, 0.0], [1e-10, 0.0, 0.0]], [1.0, 0.0, 0.0], coarse=coarse)
    assert found.alive.tolist() == alive
    assert found.live_labels == np.flatnonzero(alive).tolist()


def test_of_another_kind_the_slope_says_whether_a_label_has_a_gradient():
    found = reading(np.zeros((2, 3)), [0.0, 0.0], "other", slopes=np.array([0.3, 0.0]))
    assert found.live_labels == [0]


def test_floors_are_entropies_times_the_mass():
    q = np.array([0.8, 0.15, 0.05])
    (floor,) = reading([2 * q], [2.0]).floors
    assert floor == pytest.approx(-2 * (q * np.log(q)).sum(), rel=1e-12)
    (coins,) = reading([0.5 * q], [0.5], "sigmoid").floors
    assert coins == pytest.approx(-0.5 * (q * np.log(q) + (1 - q) * np.log(1 - q)).sum(), rel=1e-12)
    assert reading([[0.0, 1.0, 0.0]], [1.0]).floors.tolist() == [0.0]
    assert reading([[0.0, 1.0, 0.0]], [1.0], "sigmoid").floors.tolist() == [0.0]


def test_a_batch_takes_the_live_labels_in_turn_the_second_first():
    z, labels = reading([[0.8, 0.1, 0.1], [0.0, 0.0, 0.0], [0.1, 0.1, 0.8]], [1.0, 0.0, 1.0]).batch(5, seed=3)
    assert z.shape == (5, 3)
    assert labels.tolist() == [2, 0, 2, 0, 2]


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
    ("level", "hard", "drifts"),
    [
        (Levels(K, "softmax", 1.0, 1e-6, 1.0), True, False),
        (Levels(K, "softmax", 1.0, 1e-5, 1.0), False, False),
        (Levels(K, "softmax", 1.0, 1e-5, 1.0, coarse=True), True, False),
        (Levels(K, "softmax", 2.0, 0.0, 2.0, factor=2.0), True, False),
        (Levels(K, "softmax", 1.0, 0.0, 1.0, factor=1.1), True, True),
        (Levels(K, "softmax", 100.0, 0.0, 100.0005, factor=100.0), True, False),
        (Levels(K, "softmax", 0.01, 0.0, 0.010001, factor=0.01), True, True),
        (Levels(K, "sigmoid", 1.0, 0.0, 1.0), True, False),
        (Levels(K, "sigmoid", 0.9, 0.0, 0.9), False, False),
    ],
)
def test_hard_and_drifting_levels(level, hard, drifts):
    assert (level.is_hard, level.drifts) == (hard, drifts)


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


Y = torch.arange(60) % 6
PRIOR = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.07, 0.03], dtype=torch.float64)


def read(loss, labels=Y):
    z = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    loss(z).backward()
    return class_levels(z.detach().softmax(1), z.grad, labels)


@pytest.mark.parametrize("eps", [0.05, 0.3])
@pytest.mark.parametrize("labels", [Y, Y % 4])
def test_a_strength_under_class_weights_is_read_with_the_weight_of_each_row(eps, labels):
    weight = torch.linspace(0.5, 3, 6, dtype=torch.float64)
    found = read(lambda z: F.cross_entropy(z, labels, weight=weight, label_smoothing=eps), labels)
    assert (found.spread, found.eps) == (ClassSpread.WEIGHTS, pytest.approx(eps, abs=1e-6))
    assert found.factor[labels] == pytest.approx((weight[labels] / weight[labels].sum()).numpy())


@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_a_strength_towards_a_prior_is_read(eps):
    found = read(lambda z: sf.cross_entropy(z, sf.smooth_prior(Y, PRIOR, eps)))
    assert (found.spread, found.eps) == (ClassSpread.PRIOR, pytest.approx(eps, abs=1e-6))


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: F.cross_entropy(z, z.detach().flip(0).softmax(1)),
        lambda z: F.cross_entropy(z / 2, Y, label_smoothing=0.1),
        lambda z: z.square().sum(),
    ],
)
def test_other_targets_have_no_such_levels(loss):
    assert read(loss) is None


def test_few_rows_or_two_classes_are_left_alone():
    z = torch.zeros(8, 6, dtype=torch.float64)
    assert class_levels(z.softmax(1), z, Y[:8]) is None
    assert class_levels(z[:, :2].softmax(1), z[:, :2], Y[:8] % 2) is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_gradients_that_no_levels_explain_have_none_at_any_scale(scale, noise):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(60, 6, generator=generator, dtype=torch.float64).requires_grad_()
    sf.cross_entropy(z, sf.smooth_prior(Y, PRIOR, 0.3)).backward()
    off = 1 + noise * torch.randn(60, 6, generator=generator, dtype=torch.float64)
    found = class_levels(z.detach().softmax(1), scale * off * z.grad, Y)
    assert (found is None) == (noise > 0)
