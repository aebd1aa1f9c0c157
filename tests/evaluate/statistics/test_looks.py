"""Looks at more and more models: their boundaries keep the error, against simulation and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from sfumato.evaluate.statistics.looks import MAX_LOOKS, SPENT, adjustment

LEVEL = 0.05 / 3


def test_the_parts_of_the_error_are_all_of_it():
    assert sum(SPENT) == pytest.approx(1)
    assert adjustment([], 2.0) == pytest.approx(1 / SPENT[0])


@pytest.mark.parametrize("errors", [(1, 0.9), (1, 0.8, 0.73, 0.69), (1, 0.99, 0.98, 0.97), (2, 0.5, 0.4)])
def test_all_looks_together_err_as_often_as_is_spent(errors):
    times = (errors[0] / np.array(errors)) ** 2
    steps = np.random.default_rng(0).normal(size=(400_000, len(times))) * np.sqrt(np.diff(times, prepend=0))
    p = 2 * norm.sf(np.abs(np.cumsum(steps, axis=1)) / np.sqrt(times))
    factors = [adjustment(errors[:look], errors[look]) for look in range(len(errors))]
    found = float((p * factors < LEVEL).any(axis=1).mean())
    spent = LEVEL * sum(SPENT[: len(errors)])
    assert found == pytest.approx(spent, abs=4 * np.sqrt(spent / len(p)) + 0.02 * spent)


def test_looks_far_apart_are_tests_of_their_own():
    before = LEVEL * SPENT[0]
    alone = LEVEL * SPENT[1] / (1 - before)  # independent of the first look, whose paths that crossed are gone
    assert adjustment([1.0], 1e-4) == pytest.approx(LEVEL / alone, rel=0.02)


def test_a_look_that_adds_nothing_may_use_what_is_left():
    assert adjustment([1.0] * (MAX_LOOKS - 1), 1.0) == pytest.approx(1, abs=0.1)
    assert adjustment([1.0], 1.3) == pytest.approx(adjustment([1.0], 1.0))


def test_without_a_standard_error_a_look_has_its_own_part():
    assert adjustment([0.0], 1.0) == adjustment([1.0], 0.0) == 1 / SPENT[1]
