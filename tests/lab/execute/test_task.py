"""A run as it is handed over, and whether its files are those that it wrote."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.io.atomic import read_sealed, write_sealed
from sfumato.lab.arms import Arm
from sfumato.lab.data import Inputs, Part
from sfumato.lab.execute import RunTask
from sfumato.lab.execute.training_run import run
from sfumato.lab.resume import finished
from sfumato.lab.train import Plan

FILES = ("train", "validation", "test", "weights")


@pytest.fixture
def task(tmp_path):
    """A run that has been trained, and one like it with another seed in the same folder."""
    for part in ("logits", "weights", "work"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    x = (rng.normal(size=(30, 4)) + 2 * np.eye(3, 4)[y]).astype(np.float32)
    parts = dict.fromkeys(("train", "validation", "test"), Part(np.arange(30), x, y))
    arm, plan, inputs = Arm("one-hot", 0.0, "all"), Plan(1, 8, 1e-2), Inputs.dense(4)
    tasks = [RunTask(arm, seed, "linear", 3, plan, tmp_path, inputs) for seed in (1, 2)]
    for each in tasks:
        run(each, parts, lambda epoch: None)
    return tasks[0]


def test_a_run_is_finished_when_its_files_are_those_that_it_wrote(task):
    assert set(task.files) == set(FILES)
    record = finished(task)
    assert record is not None
    assert (record["arm"], record["seed"]) == ("one-hot", 1)


@pytest.mark.parametrize("name", FILES)
def test_a_run_with_a_whole_file_of_another_run_must_run_again(task, name):
    other = task.files[name].with_name(task.files[name].name.replace("seed1", "seed2"))
    task.files[name].write_bytes(other.read_bytes())
    assert finished(task) is None


@pytest.mark.parametrize("name", FILES)
def test_a_run_without_one_of_its_files_must_run_again(task, name):
    task.files[name].unlink()
    assert finished(task) is None


def test_a_run_whose_record_was_changed_must_run_again(task):
    task.record.write_bytes(task.record.read_bytes().replace(b'"seed": 1', b'"seed": 2'))
    assert finished(task) is None


def test_a_run_whose_record_is_that_of_another_must_run_again(task):
    record = read_sealed(task.record.with_name("one-hot-seed2.sealed"))
    write_sealed(task.record, record)
    assert finished(task) is None


@pytest.mark.parametrize("key", ["files", "batches", "epochs"])
def test_a_run_whose_record_lacks_something_must_run_again(task, key):
    record = read_sealed(task.record)
    del record[key]
    write_sealed(task.record, record)
    assert finished(task) is None
