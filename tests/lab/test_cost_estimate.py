"""What a comparison will cost, counted by hand, with a clock that ticks once whenever it is looked at."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sfumato.lab.cost_estimate import Cost, duration, estimate
from sfumato.lab.options import Options
from sfumato.lab.prepared import prepared

COST = Cost(("one-hot", "smoothed"), 6, 2, 1200, 20_400, 85_002, 0.00123456, 600.0, 12_345_678, 9_876)


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


def test_the_threads_of_torch_are_put_back(counted):
    before = torch.get_num_threads()
    counted(seeds=3, epochs=1)
    assert torch.get_num_threads() == before


def test_a_cost_is_told_in_units_for_a_person():
    assert COST.told().splitlines() == [
        "arms     one-hot, smoothed",
        "runs     6, in 2 processes",
        "steps    20,400 a run, in 1,200 epochs; 1.23 ms each",
        "model    85,002 parameters",
        "time     about 10 min, besides reading the data and writing the report",
        "memory   about 12 MB a process, besides torch itself",
        "disk     about 9 kB",
    ]
    assert "in 1 process\n" in replace(COST, workers=1).told()


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999 B"), (1000, "1 kB"), (999_999, "999 kB"), (10**6, "1 MB"), (10**9, "1 GB"), (5 * 10**12, "5,000 GB")],
)
def test_bytes_are_told_in_the_largest_unit_that_holds_one(count, words):
    assert replace(COST, disk=count).told().endswith(f"disk     about {words}")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (99.4, "99 s"), (100, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (90_000, "25.0 h")],
)
def test_times_are_told_in_seconds_minutes_or_hours(seconds, words):
    assert duration(seconds) == words


def test_a_cost_for_a_program_has_its_schema_and_every_number():
    told = COST.to_json()
    assert told.pop("schema") == "sfumato.dry-run/1"
    assert Cost(**told | {"arms": tuple(told["arms"])}) == COST
    assert told["arms"] == ["one-hot", "smoothed"]
