"""Schedules of the strength: their ends, their middle, and a loss that follows one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sfumato as sf

STRENGTHS = st.floats(0, 1)


@given(st.integers(2, 1000), STRENGTHS, STRENGTHS)
@pytest.mark.parametrize("schedule", [sf.schedules.linear, sf.schedules.cosine])
def test_it_starts_at_the_first_strength_and_keeps_the_last(schedule, steps, start, end):
    assert schedule(0, steps, start, end) == start
    assert schedule(steps - 1, steps, start, end) == end
    assert schedule(2 * steps, steps, start, end) == end


@given(st.integers(2, 1000), STRENGTHS, STRENGTHS, st.integers(0, 1000))
def test_a_line_and_a_cosine_are_their_formulas(steps, start, end, step):
    s = min(step / (steps - 1), 1)
    assert sf.schedules.linear(step, steps, start, end) == pytest.approx(start + s * (end - start), abs=1e-15)
    wave = end + (start - end) / 2 * (1 + math.cos(math.pi * s))
    assert sf.schedules.cosine(step, steps, start, end) == pytest.approx(wave, abs=1e-15)


def test_of_one_step_the_strength_is_the_first():
    assert sf.schedules.linear(0, 1, 0.2, 0.1) == sf.schedules.cosine(0, 1, 0.2, 0.1) == 0.2


@pytest.mark.parametrize(("after", "smoothed"), [(0.0, 0), (0.5, 5), (0.8, 8), (0.85, 9), (1.0, 10)])
def test_the_last_part_of_the_steps_is_not_smoothed(after, smoothed):
    assert [sf.schedules.drop_late(step, 10, 0.3, after=after) for step in range(10)].count(0.3) == smoothed


def test_a_loss_trains_towards_the_strength_that_was_set_last():
    loss = sf.CrossEntropyLoss(label_smoothing=0.1)
    for step in range(4):
        loss.label_smoothing = sf.schedules.linear(step, 4, 0.3, 0.0)
        implied = sf.probe.implied_target(loss, 5)
        eps = [0.3, 0.2, 0.1, 0.0][step]
        expected = sf.smooth(torch.tensor(0), 5, eps, over="all").to_dense(torch.float64)
        assert torch.allclose(torch.as_tensor(implied.target), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: sf.schedules.linear(0, 10, 1.2, 0.0), r"start must be in \[0, 1\], got 1.2"),
        (lambda: sf.schedules.cosine(0, 10, 0.1, -0.1), r"end must be in \[0, 1\], got -0.1"),
        (lambda: sf.schedules.linear(-1, 10, 0.1, 0.0), "step must be at least 0, got -1"),
        (lambda: sf.schedules.linear(math.nan, 10, 0.1, 0.0), "step must be at least 0, got nan"),
        (lambda: sf.schedules.linear(0, 0, 0.1, 0.0), "steps must be at least 1, got 0"),
        (lambda: sf.schedules.drop_late(0, 10, 0.1, after=1.5), r"after must be in \[0, 1\], got 1.5"),
    ],
)
def test_what_is_wrong_is_said(act, message):
    with pytest.raises(ValueError, match=message):
        act()
