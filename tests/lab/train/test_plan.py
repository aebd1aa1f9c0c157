"""The plan of a training: its default budget, and what it refuses."""

from __future__ import annotations

import pytest

from sfumato.lab.train.plan import default_plan


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"), [(20, 300, 8), (1078, 59, 64), (4199, 40, 64), (100_000, 40, 256), (10**6, 5, 256)]
)
def test_the_default_budget_is_full_for_small_data_and_bounded_for_large(rows, epochs, batch):
    plan = default_plan(rows, epochs=None, batch_size=None, learning_rate=1e-3)
    assert (plan.epochs, plan.batch_size) == (epochs, batch)
