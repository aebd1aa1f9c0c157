"""Rows that vary together: what they are collapsed to, and the intervals that follow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sfumato import evaluate as ev
from sfumato.evaluate.statistics.groups import RowGroups


def interval(values, group):
    groups = RowGroups.of(group)
    units = None if groups.single else groups.effective
    return ev.estimate_interval(groups.collapse(values)[None], estimate=values.mean(), units=units)


def test_rows_of_their_own_are_left_as_they_are():
    values = np.random.default_rng(0).normal(size=40)
    groups = RowGroups.of(np.arange(40)[::-1])
    assert groups.single
    assert groups.collapse(values) is values


def test_eight_copies_of_every_row_give_the_interval_of_the_rows():
    values = np.random.default_rng(1).normal(size=200)
    alone = interval(values, np.arange(200))
    copied = interval(np.tile(values, 8), np.tile(np.arange(200), 8))
    assert (copied.mean, copied.se, copied.df) == pytest.approx((alone.mean, alone.se, alone.df), rel=1e-12)


def test_groups_of_one_size_have_the_t_interval_of_their_means():
    values = np.random.default_rng(2).normal(size=(12, 5)) + np.arange(12)[:, None] % 3
    found, truth = interval(values.reshape(-1), np.repeat(np.arange(12), 5)), stats.ttest_1samp(values.mean(axis=1), 0)
    low, high = truth.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, truth.pvalue), rel=1e-9)


def test_uneven_groups_have_the_variance_of_their_raised_contributions():
    rng = np.random.default_rng(3)
    sizes = np.array([1, 2, 30, 7, 4])
    group, values = np.repeat(["e", "d", "c", "b", "a"], sizes), rng.normal(size=44)
    off = np.array([(values[group == g] - values.mean()).sum() / 44 for g in "abcde"])
    share = sizes[::-1] / 44
    raised = off / np.sqrt(1 - share)
    groups = RowGroups.of(group)
    found = interval(values, group)
    assert groups.collapse(values).mean() == pytest.approx(values.mean(), abs=1e-12)
    assert found.se**2 == pytest.approx(np.square(raised).sum() - 5 * raised.mean() ** 2, rel=1e-9)
    assert found.df == pytest.approx(1 / np.square(share).sum() - 1, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [10, 30, 100])
@pytest.mark.parametrize("uneven", [False, True])
def test_intervals_of_groups_cover_and_those_of_rows_do_not(groups, uneven):
    rng = np.random.default_rng([groups, uneven])
    covered = naive = 0
    for _ in range(1000):
        sizes = rng.geometric(0.05, groups) if uneven else np.full(groups, 20)
        group = np.repeat(np.arange(groups), sizes)
        values = 0.5 * rng.normal(size=groups)[group] + rng.normal(size=len(group))
        found = interval(values, group)
        covered += found.low <= 0 <= found.high
        rows = ev.estimate_interval(values[None])
        naive += rows.low <= 0 <= rows.high
    assert 0.93 <= covered / 1000 <= 0.97  # its standard error is 0.007
    assert naive < 850
