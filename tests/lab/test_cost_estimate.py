"""What a comparison will cost, said before anything is written, and a budget of time that cuts it or is refused."""

from __future__ import annotations

import itertools
import json
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sfumato.lab.compare import compare
from sfumato.lab.cost_estimate import Cost, clock_after, dry_run, estimate, within
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options
from sfumato.lab.prepared import prepared
from sfumato.lab.train import Plan
from sfumato.lab.train.augment import Augmentation
from sfumato.text import duration
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
    assert any("Cut from 20 to 4 epochs by --time-budget" in note["text"] for note in notes)


def test_no_budget_of_no_time():
    with pytest.raises(OptionError, match="a number of minutes above 0, got 0"):
        Options("digits", time_budget=0.0).check()


@pytest.mark.parametrize(
    ("device", "waits"), [("cpu", []), ("cuda", ["cuda"]), ("cuda:1", ["cuda:1"]), ("mps", ["mps"])]
)
def test_steps_are_timed_until_the_device_has_done_them(device, waits, monkeypatch):
    waited = []
    monkeypatch.setattr("torch.cuda.synchronize", waited.append)
    monkeypatch.setattr("torch.mps.synchronize", lambda: waited.append("mps"))
    monkeypatch.setattr("time.perf_counter", lambda: len(waited))
    assert clock_after(device) == len(waits)  # the clock is read after the wait
    assert waited == waits


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


DEAR = Cost(("one-hot", "smoothed"), 6, 2, 1200, 20_400, 85_002, 0.00123456, 600.0, 12_345_678, 9_876)


@pytest.fixture
def counted(monkeypatch):
    """The cost of a comparison on the digits, every look at the clock taking a second."""
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr("sfumato.lab.cost_estimate.time", clock)
    return lambda **options: estimate(prepared(Options("digits", model="linear", **options)))


def test_steps_rows_and_bytes_are_counted(counted):
    found = counted(seeds=3, epochs=4, batch_size=100, workers=4)
    rows, train, validation, test = 1797, 1078, 360, 359
    parameters, steps = 64 * 10 + 10, 4 * 11
    assert (found.arms, found.runs, found.workers) == (("one-hot", "smoothed"), 6, 4)
    assert (found.epochs, found.steps, found.parameters) == (4, steps, parameters)
    assert found.seconds_per_step == 1.0
    looks = 4 * validation + train + validation + test  # rows whose logits are computed, at 1/100 of a second each
    assert found.seconds == pytest.approx(2 * (steps + looks / 100))  # six runs in four processes take two turns
    assert found.memory == rows * 64 * 4 + 16 * parameters
    assert found.disk == 6 * (4 * parameters + rows * (4 * 10 + 24))


@pytest.mark.parametrize(("workers", "turns"), [(1, 6), (3, 2), (6, 1), (60, 1)])
def test_runs_take_turns_in_the_processes(workers, turns, counted):
    once = counted(seeds=3, epochs=4, workers=6).seconds
    found = counted(seeds=3, epochs=4, workers=workers)
    assert found.seconds == pytest.approx(turns * once)
    assert found.workers == min(workers, 6)


def test_the_time_of_a_step_is_the_median_of_five_after_two_that_warm_up(monkeypatch):
    ticks = iter([tick for step in (100, 90, 1, 2, 3, 40, 50) for tick in (0, step)] + [0, 10])
    monkeypatch.setattr("sfumato.lab.cost_estimate.clock_after", lambda device: float(next(ticks)))
    norms, step = [], torch.optim.Adam.step

    def spy(self, *given):
        norms.append(sum(float(p.grad.norm()) for group in self.param_groups for p in group["params"]))
        return step(self, *given)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    options = Options("digits", model="linear", seeds=3, epochs=1, learning_rate=1e-6)
    assert estimate(prepared(options)).seconds_per_step == 3
    assert len(norms) == 7
    assert norms[0] > 0
    assert norms == pytest.approx([norms[0]] * 7, rel=0.01)  # each is a whole step, whose gradient is not added up


def test_the_steps_that_are_tried_change_the_pictures_as_training_does(counted, monkeypatch):
    changed, call = [], Augmentation.__call__
    monkeypatch.setattr(Augmentation, "__call__", lambda *given: changed.append(1) or call(*given))
    counted(seeds=3, epochs=1)
    assert changed == []
    counted(seeds=3, epochs=1, augment="flip")
    assert len(changed) == 7


def test_the_threads_of_torch_are_put_back(counted):
    before = torch.get_num_threads()
    counted(seeds=3, epochs=1)
    assert torch.get_num_threads() == before


def test_a_cost_is_told_in_units_for_a_person():
    assert DEAR.describe().splitlines() == [
        "arms     one-hot, smoothed",
        "runs     6, in 2 processes",
        "steps    20,400 a run, in 1,200 epochs; 1.23 ms each",
        "model    85,002 parameters",
        "time     about 10 min, besides reading the data and writing the report",
        "memory   about 12 MB a process, besides torch itself",
        "disk     about 9 kB",
    ]
    assert "in 1 process\n" in replace(DEAR, workers=1).describe()


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999 B"), (1000, "1 kB"), (999_999, "999 kB"), (10**6, "1 MB"), (10**9, "1 GB"), (5 * 10**12, "5,000 GB")],
)
def test_bytes_are_told_in_the_largest_unit_that_holds_one(count, words):
    assert replace(DEAR, disk=count).describe().endswith(f"disk     about {words}")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (99.4, "99 s"), (100, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (90_000, "25.0 h")],
)
def test_times_are_told_in_seconds_minutes_or_hours(seconds, words):
    assert duration(seconds) == words


def test_a_cost_for_a_program_has_its_schema_and_every_number():
    told = DEAR.to_json()
    assert told.pop("schema") == "sfumato.dry-run/1"
    assert Cost(**told | {"arms": tuple(told["arms"])}) == DEAR
    assert told["arms"] == ["one-hot", "smoothed"]
