"""What a comparison will cost, said before anything is written, and a budget of time that cuts it or is refused."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import pytest

from sfumato.lab.compare import compare
from sfumato.lab.cost_estimate import Cost, dry_run, within
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options
from sfumato.lab.train.plan import Plan
from tests.conftest import run_sfumato

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
    monkeypatch.setattr("sfumato.lab.cost_estimate.estimate", lambda *given: replace(COST, seconds=600.0, epochs=20))
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


def test_a_dry_run_counts_what_the_run_will_do_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = dry_run(Options("digits", seeds=4, workers=2, arm="onehot,all:0.1,prior:0.1"))
    assert (found.arms, found.runs, found.workers) == (("one-hot", "all-0.1", "prior-0.1"), 12, 2)
    assert (found.epochs, found.steps) == (59, 59 * 17)
    assert found.parameters == 64 * 256 + 256 + 256 * 256 + 256 + 2560 + 10
    assert 0 < found.seconds_per_step < found.seconds
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_it_in_text_and_in_json(tmp_path):
    text = run_sfumato("compare", "digits", "--dry-run", "-q", folder=tmp_path)
    assert text.code == 0, text.err
    for word in (
        "arms     one-hot, smoothed",
        "runs     10",
        "59 epochs",
        "85,002 parameters",
        "time     about",
        "disk",
    ):
        assert word in text.out
    found = run_sfumato(
        "compare", "digits", "--ladder", "0,0.1,0.2", "--dry-run", "--json", "-q", folder=tmp_path
    ).json()
    assert found["schema"] == "sfumato.dry-run/1"
    assert found["arms"] == ["one-hot", "smoothed-0.1", "smoothed-0.2"]
    assert list(tmp_path.iterdir()) == []


def test_the_disk_it_names_is_that_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Options("digits", model="linear", seeds=3, epochs=1)
    expected = dry_run(options)
    compare(replace(options, out="run"))
    files = [*(tmp_path / "run" / "logits").iterdir(), *(tmp_path / "run" / "weights").iterdir()]
    used = sum(path.stat().st_size for path in files if "seed0" not in path.name)  # of which features are kept too
    assert used * 3 / 2 == pytest.approx(expected.disk, rel=0.3)
