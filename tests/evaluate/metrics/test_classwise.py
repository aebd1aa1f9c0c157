"""Class-wise calibration error: against binary errors and class frequencies."""

import numpy as np
import pytest

import sfumato.evaluate as ev
from tests.evaluate.metrics.test_calibration import ece_by_loop


@pytest.mark.parametrize("k", [2, 3, 12])
def test_classwise_error_is_the_mean_of_binary_errors(k):
    rng = np.random.default_rng(k)
    p, y = rng.dirichlet(np.full(k, 0.3), size=200), rng.integers(k, size=200)
    truth = np.mean([ece_by_loop(p[:, c], y == c, 15) for c in range(k)])
    assert ev.ece_classwise(p, y) == pytest.approx(truth, abs=1e-13)


def test_classwise_error_with_one_bin_is_the_error_of_class_frequencies():
    p, y = np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([0, 0])
    assert ev.ece_classwise(p, y, bins=1) == pytest.approx(0.375)
