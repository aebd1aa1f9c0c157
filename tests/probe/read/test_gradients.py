"""What a reading says of labels without a gradient, and of where a target's loss is smallest."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.probe.read.gradients import Reading


def reading(targets, masses, kind="softmax", **more):
    targets = np.array(targets)
    return Reading(targets.shape[1], tuple(range(len(targets))), kind, targets, np.array(masses), 0.0, 0.0, **more)


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
