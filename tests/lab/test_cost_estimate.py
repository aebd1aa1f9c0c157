"""What a comparison will cost, said before anything is written, and a budget of time that cuts it or is refused."""

from __future__ import annotations

import itertools
import json
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sfumato.lab.compare import compare, resume
from sfumato.lab.cost_estimate import AROUND, Cost, clock_after, dry_run, estimate, trial, trial_as_text, within
from sfumato.lab.errors import OptionError, WorkerError
from sfumato.lab.options import Options
from sfumato.lab.prepared import prepared
from sfumato.lab.train import Plan
from sfumato.lab.train.augment import Augmentation
from tests.conftest import run_sfumato

COST = Cost(("one-hot", "smoothed"), 6, 2, 40, 680, 1000, 0.001, AROUND + 100.0, 10**6, 10**6)


def test_a_budget_cuts_epochs_in_proportion_and_is_refused_where_fewer_than_three_are_left():
    plan = Plan(40, 64, 1e-3)
    assert within(plan, COST, AROUND + 100) is plan
    assert within(plan, COST, AROUND + 26).epochs == 10
    way_out = r"take about 2 min here, and less than 3 epochs would be left; give more time"
    with pytest.raises(OptionError, match=way_out):
        within(plan, COST, AROUND + 5)


def test_a_cut_budget_is_noted_and_the_disk_is_that_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Options("digits", model="linear", folds=1, seeds=3, epochs=10, workers=1)
    expected = dry_run(options)
    monkeypatch.setattr("sfumato.lab.cost_estimate.estimate", lambda *given: replace(COST, seconds=280.0, epochs=10))
    compare(replace(options, time_budget=2.0, out="run"), sources={"epochs": "command line"})
    config = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert "epochs = 4  # time budget" in config
    assert "time" not in tomllib.loads(config)
    notes = json.loads((tmp_path / "run" / "env.json").read_text(encoding="utf-8"))["notes"]
    assert any("Cut from 10 to 4 epochs by --time-budget" in note["text"] for note in notes)
    files = [*(tmp_path / "run" / "logits").iterdir(), *(tmp_path / "run" / "weights").iterdir()]
    used = sum(path.stat().st_size for path in files if "seed0" not in path.name)  # of which features are kept too
    assert used * 3 / 2 == pytest.approx(expected.disk, rel=0.3)


def test_a_comparison_that_takes_far_more_than_its_budget_is_stopped_and_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr("sfumato.lab.compare.in_time", lambda ready: ready)  # an estimate that is far too low
    options = Options("digits", model="linear", folds=1, seeds=3, epochs=2, workers=1, out=str(tmp_path / "run"))
    with pytest.raises(WorkerError, match=r"time budget of 0\.001 minutes is used up; .* `sfumato compare --resume"):
        compare(replace(options, time_budget=0.001))
    assert resume(tmp_path / "run", workers=1)["verdict"]["state"]


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


def test_a_dry_run_counts_what_the_run_will_do_and_writes_nothing(tmp_path):
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
    words = ("--ladder", "0,0.1,0.2", "--folds", "1", "--seeds", "4", "--workers", "2")
    counted = run_sfumato("compare", "digits", *words, "--dry-run", "--json", "-q", folder=tmp_path).json()
    assert (counted["schema"], counted["arms"]) == ("sfumato.dry-run/1", ["one-hot", "smoothed-0.1", "smoothed-0.2"])
    assert (counted["runs"], counted["workers"], counted["epochs"], counted["steps"]) == (12, 2, 59, 59 * 17)
    assert counted["parameters"] == 64 * 256 + 256 + 256 * 256 + 256 + 2560 + 10
    assert 0 < counted["seconds_per_step"] < counted["seconds"]
    assert list(tmp_path.iterdir()) == []


DEAR = Cost(("one-hot", "smoothed"), 6, 2, 1200, 20_400, 85_002, 0.00123456, 600.0, 12_345_678, 9_876)


@pytest.fixture
def counted(monkeypatch):
    """The cost of a comparison on the digits, every look at the clock taking a second."""
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr("sfumato.lab.cost_estimate.time", clock)
    return lambda **options: estimate(prepared(Options("digits", model="linear", **options)))


def test_steps_rows_and_bytes_are_counted(counted):
    found = counted(folds=1, seeds=3, epochs=4, batch_size=100, workers=4)
    rows, train, validation, test = 1797, 1078, 360, 359
    parameters, steps = 64 * 10 + 10, 4 * 11
    assert (found.arms, found.runs, found.workers) == (("one-hot", "smoothed"), 6, 4)
    assert (found.epochs, found.steps, found.parameters) == (4, steps, parameters)
    assert found.seconds_per_step == 1.0
    looks = 4 * validation + train + validation + test  # rows whose logits are computed, at 1/100 of a second each
    assert found.seconds == pytest.approx(AROUND + 2 * (steps + looks / 100 + 4))  # two turns, a temperature per epoch
    assert found.memory == rows * 64 * 4 + 16 * parameters
    assert found.disk == 6 * (4 * parameters + rows * (4 * 10 + 24))


def test_runs_take_turns_in_the_processes(counted):
    once = counted(folds=1, seeds=3, epochs=4, workers=6).seconds - AROUND
    for workers, turns in ((1, 6), (60, 1)):
        cost = counted(folds=1, seeds=3, epochs=4, workers=workers)
        assert cost.seconds == pytest.approx(AROUND + turns * once)
        assert cost.workers == min(workers, 6)


def test_the_time_of_a_step_is_the_median_of_five_after_two_that_warm_up(monkeypatch):
    ticks = iter([tick for step in (100, 90, 1, 2, 3, 40, 50) for tick in (0, step)] + [0, 10, 20, 30])
    monkeypatch.setattr("sfumato.lab.cost_estimate.clock_after", lambda device: float(next(ticks)))
    norms, step = [], torch.optim.Adam.step

    def spy(self, *given):
        norms.append(sum(float(p.grad.norm()) for group in self.param_groups for p in group["params"]))
        return step(self, *given)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    options = Options("digits", model="linear", folds=1, seeds=3, epochs=1, learning_rate=1e-6)
    assert estimate(prepared(options)).seconds_per_step == 3
    assert len(norms) == 7
    assert norms[0] > 0
    assert norms == pytest.approx([norms[0]] * 7, rel=0.01)  # each is a whole step, whose gradient is not added up


def test_the_steps_that_are_tried_change_the_pictures_as_training_does(counted, monkeypatch):
    changed, call = [], Augmentation.__call__
    monkeypatch.setattr(Augmentation, "__call__", lambda *given: changed.append(1) or call(*given))
    counted(folds=1, seeds=3, epochs=1)
    assert changed == []
    counted(folds=1, seeds=3, epochs=1, augment="flip")
    assert len(changed) == 7


def test_a_cost_is_told_in_units_for_a_person():
    assert DEAR.describe().splitlines() == [
        "arms     one-hot, smoothed",
        "runs     6, in 2 processes",
        "steps    20,400 a run, in 1,200 epochs; 1.23 ms each",
        "model    85,002 parameters",
        "time     about 10 min, besides reading the data",
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


def test_a_cost_for_a_program_has_its_schema_and_every_number():
    told = DEAR.to_json()
    assert told.pop("schema") == "sfumato.dry-run/1"
    assert Cost(**told | {"arms": tuple(told["arms"])}) == DEAR
    assert told["arms"] == ["one-hot", "smoothed"]


A_SECOND_EACH_EPOCH = Cost(("one-hot", "smoothed"), 10, 2, 60, 1020, 650, 1 / 17, 600.0, 10**6, 10**6)


@pytest.mark.parametrize(("seconds", "asked", "epochs"), [(7.0, None, 3), (20.0, 4, 4), (3.9, None, 2)])
def test_both_arms_together_train_for_the_time_there_is_or_for_two_epochs(seconds, asked, epochs, monkeypatch):
    monkeypatch.setattr("sfumato.lab.cost_estimate.estimate", lambda ready: A_SECOND_EACH_EPOCH)
    found = trial(prepared(Options("digits", model="linear", folds=1, batch_size=64, epochs=asked)), seconds)
    assert sum(arm["seconds"] for arm in found["arms"]) > 0
    assert [(arm["name"], arm["epochs"]) for arm in found["arms"]] == [("one-hot", epochs), ("smoothed", epochs)]
    assert all(arm["nll"][1] < arm["nll"][0] for arm in found["arms"])
    assert found["data"] == {
        "name": "digits", "classes": 10, "inputs": "64 features (8 × 8)", "train": 1078, "validation": 360, "test": 359,
        "duplicates": 0, "missing": {},
    }  # fmt: skip
    assert found["whole"] == A_SECOND_EACH_EPOCH.to_json()


FOUND = {
    "data": {
        "name": "flowers.csv", "classes": 3, "inputs": "4 features", "train": 1200, "validation": 400, "test": 401,
        "duplicates": 1002, "missing": {"petal": 1234},
    },
    "notes": [{"code": "some", "text": "Something to know."}],
    "whole": replace(A_SECOND_EACH_EPOCH, epochs=1500).to_json(),
    "arms": [
        {"name": "one-hot", "epochs": 4, "nll": [1.25, 0.5], "seconds": 7.6},
        {"name": "smoothed", "epochs": 4, "nll": [0.5, 0.5], "seconds": 8.1},
    ],
}  # fmt: skip


def test_a_trial_is_told_with_copies_missing_values_and_an_arm_that_did_not_learn():
    assert trial_as_text(FOUND).splitlines() == [
        "data          flowers.csv: 4 features, 3 classes; rows: train 1,200, validation 400, test 401",
        "duplicates    1,002 rows duplicate an earlier one",
        "note          Something to know.",
        "trial         one-hot: validation log loss (NLL) 1.250 to 0.500 in 4 epochs (8 s)",
        "trial         smoothed: validation log loss (NLL) 0.500 to 0.500 in 4 epochs (8 s); it did not fall: "
        "look at the data, or at --learning-rate",
        "full run      10 runs of 1,500 epochs: about 10 min",
    ]
    plain = FOUND | {"data": FOUND["data"] | {"duplicates": 0, "missing": {}}, "notes": []}
    assert [line.split()[0] for line in trial_as_text(plain).splitlines()] == ["data", "trial", "trial", "full"]
