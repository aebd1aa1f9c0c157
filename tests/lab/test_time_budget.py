"""A budget of time: epochs are cut to fit, or the budget is refused."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import pytest

from sfumato.lab.compare import compare
from sfumato.lab.cost_estimate import Cost
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options
from sfumato.lab.time_budget import within
from sfumato.lab.train.plan import Plan

COST = Cost(("one-hot", "smoothed"), 6, 2, 40, 680, 1000, 0.001, 100.0, 10**6, 10**6)


def test_a_budget_that_is_enough_changes_nothing():
    plan = Plan(40, 64, 1e-3)
    assert within(plan, COST, 100) is plan


def test_a_budget_cuts_epochs_in_proportion():
    assert within(Plan(40, 64, 1e-3), COST, 26).epochs == 10


def test_a_budget_too_short_for_three_epochs_is_refused_with_the_way_out():
    with pytest.raises(
        OptionError, match=r"take about 2 min here, and less than 3 epochs would be left; give more time"
    ):
        within(Plan(40, 64, 1e-3), COST, 5)


def test_a_cut_budget_is_noted_and_goes_to_the_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.time_budget.estimate", lambda *given: replace(COST, seconds=600.0, epochs=20))
    options = Options("digits", model="linear", seeds=3, epochs=20, time_budget=2.0, out="run")
    compare(options, sources={"epochs": "command line"})
    config = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert "epochs = 4  # time budget" in config
    assert "time" not in tomllib.loads(config)
    notes = json.loads((tmp_path / "run" / "env.json").read_text(encoding="utf-8"))["notes"]
    assert any("Cut from 20 to 4 epochs by --time-budget" in note for note in notes)


def test_no_budget_of_no_time():
    with pytest.raises(OptionError, match="a number of minutes above 0, got 0"):
        Options("digits", time_budget=0.0).check()
