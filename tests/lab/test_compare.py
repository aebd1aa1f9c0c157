"""What a comparison refuses before it begins, and the time that it says it took."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sfumato.lab.compare import _times, compare
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.execute.training_run import run
from sfumato.lab.options import Options


def test_options_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="--eps must be above 0 and at most 1, got 1.5"):
        compare(Options("digits", eps=1.5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sessions", "times"),
    [
        ([{"started": "noon"}], {"started": "noon", "seconds": 10.13}),
        (
            [{"started": "noon", "seconds": 5.0}, {"started": "one", "seconds": 7.5}, {"started": "two"}],
            {"started": "noon", "seconds": 22.63, "resumed": ["one", "two"]},
        ),
    ],
)
def test_the_time_of_all_sessions_is_added_up(sessions, times, monkeypatch):
    monkeypatch.setattr("sfumato.lab.compare.time", SimpleNamespace(perf_counter=lambda: 110.128))
    assert _times(SimpleNamespace(folder=SimpleNamespace(start={"sessions": sessions}), clock=100.0)) == times


def test_arms_that_differ_in_more_than_their_loss_are_refused(tmp_path, monkeypatch):
    def unpaired(tasks, rows, *, workers, progress):
        records = [run(task, rows(task.fold), lambda epoch: None) for task in tasks]
        records[1]["batches"] = ["another order"]
        return records

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", unpaired)
    with pytest.raises(ArmError, match="did not start from the same weights or see the same batches"):
        compare(Options("digits", folds=1, seeds=3, epochs=1, model="linear"))
    assert len(list((tmp_path / "runs").glob("*.partial"))) == 1
