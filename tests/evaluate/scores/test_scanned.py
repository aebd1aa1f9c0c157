"""What an audit in blocks computes at one temperature and carries to another, against the same computed there."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.temperature import NllSlope, from_series
from sfumato.evaluate.scores.block_scan import Expansion
from sfumato.evaluate.scores.per_row import per_row


def near(z, y, beta):
    """The columns at β by their definition, in float64."""
    rows = len(z)
    found = Expansion(beta, rows)
    at = np.arange(rows)
    top = z.argmax(axis=1)
    z = z - z.max(axis=1, keepdims=True)
    e = np.exp(beta * z)
    found.lse[:] = np.log(e.sum(axis=1))
    p = e / e.sum(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    second, third, fourth = (((p * (z - mean[:, None]) ** power).sum(axis=1)) for power in (2, 3, 4))
    found.cumulants = (mean - z[at, y], second, third, fourth - 3 * second**2)
    square = np.exp(2 * beta * z)
    square[at, top] = 0
    found.squares = tuple((square * z**power).sum(axis=1) for power in range(3))
    return found, -z[at, y]


@pytest.mark.parametrize("step", [-0.03, 0.02, 0.05])
@pytest.mark.parametrize("lead", [0.0, 3.0, 40.0])
def test_columns_moved_to_another_temperature_are_those_computed_there(step, lead):
    rng = np.random.default_rng(5)
    z, y = rng.normal(size=(80, 12)) * 2, rng.integers(12, size=80)
    z[np.arange(80), np.where(np.arange(80) % 3 == 0, (y + 1) % 12, y)] += lead
    beta = 0.8
    there = beta * (1 + step)
    found, deficit = near(z, y, beta)
    moved = found.move(per_row(logits=z, labels=y), deficit, np.full(80, there))
    truth = per_row(logits=z * there, labels=y)
    for each in fields(ev.Rows):
        a, b = (np.asarray(getattr(rows, each.name), float) for rows in (moved, truth))
        exact = each.name not in ("slope", "brier")  # the slope moves along its tangent, others as their last cumulant
        np.testing.assert_allclose(a, b, rtol=3e-7 if exact else 0, atol=3e-7 if exact else 2e-2, err_msg=each.name)
    if lead == 40:  # sure of the class: the digits are in how far from sure
        np.testing.assert_allclose(moved.log_confidence, truth.log_confidence, rtol=0.1)


def test_the_slope_moves_along_its_tangent():
    rng = np.random.default_rng(6)
    z, y = rng.normal(size=(50, 6)), rng.integers(6, size=50)
    found, deficit = near(z, y, 1.0)
    errors = []
    for step in (0.02, 0.01):
        moved = found.move(per_row(logits=z, labels=y), deficit, np.full(50, 1 + step))
        errors.append(np.abs(moved.slope - per_row(logits=z * (1 + step), labels=y).slope).max())
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # what is left out is of the second order


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_the_temperature_from_a_series_near_by_is_the_one_fitted(right, weighted):
    rng = np.random.default_rng(7)
    z = rng.normal(size=(60, 5)) * 2
    y = z.argmax(axis=1) if right else rng.integers(5, size=60)
    y[:40] = z[:40].argmax(axis=1)
    w = rng.uniform(0.5, 2, size=60) if weighted else None
    truth = 1 / ev.fit_temperature_small(logits=z, labels=y, weights=w).value
    objective = NllSlope(z, y, w)
    beta = truth * 1.002
    found, known = from_series(beta, objective.cumulants(beta), slice(None), w, objective.centre if right else None)
    assert known
    assert found == pytest.approx(truth, rel=1e-7)


def test_a_series_from_far_off_is_not_trusted():
    z, y = np.random.default_rng(8).normal(size=(60, 5)) * 2, np.arange(60) % 5
    y[:40] = z[:40].argmax(axis=1)
    truth = 1 / ev.fit_temperature(logits=z, labels=y).value
    objective = NllSlope(z, y)
    assert not from_series(truth * 1.5, objective.cumulants(truth * 1.5), slice(None), None)[1]
