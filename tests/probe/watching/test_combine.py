"""Which steps count, and what several ranks make of one step."""

from __future__ import annotations

import pytest

from sfumato.probe.watching.steps import complete_steps, step_counts
from sfumato.probe.watching.targets_seen import ReadStep, Record
from tests.probe.watching.test_targets_seen import of_each, one_pass

PASS = one_pass(of_each([0.1] * 24))


def step(**how) -> ReadStep:
    return ReadStep([PASS], **how)


def test_steps_that_the_optimiser_did_not_take_are_left_out_unless_it_took_none():
    taken, skipped = step(stepped=True), step()
    assert complete_steps(Record([taken, skipped])) == [taken]
    assert complete_steps(Record([skipped])) == [skipped]


def test_a_first_step_that_began_before_is_left_out_unless_gradients_are_never_cleared():
    begun, whole = step(stepped=True, began_with_gradients=True), step(stepped=True)
    assert complete_steps(Record([begun, whole])) == [whole]
    assert complete_steps(Record([begun, begun])) == [begun, begun]
    assert complete_steps(Record([begun])) == [begun]


def test_a_step_of_one_process_has_its_rows_factor_and_multiplier():
    made = step(stepped=True, arrived=[1.0, -2.0], at_the_optimiser=[0.5, -1.0])
    (found,), apart = step_counts(Record([made]), 0.1)
    assert (found.after, found.ranks, apart) == (0.5, 1, False)
    assert found.passes[0].factor == pytest.approx(1 / 24)


def test_an_optimiser_that_averages_passes_itself_divides_the_factor():
    (found,), _ = step_counts(Record([step(stepped=True, divided_by=4)]), 0.1)
    assert found.passes[0].factor == pytest.approx(1 / 96)
