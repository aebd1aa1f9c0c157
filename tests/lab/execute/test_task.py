"""A run as it is handed over, and whether its files are those that it wrote."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

import sfumato as sf
from sfumato.io.atomic import read_sealed, write_sealed
from sfumato.lab.arms import Arm
from sfumato.lab.data import Inputs, Part
from sfumato.lab.errors import ArmError
from sfumato.lab.execute import RunKey, RunTask
from sfumato.lab.execute.training_run import run
from sfumato.lab.resume import finished
from sfumato.lab.train import Plan

FILES = ("train", "validation", "test", "weights")
Y = np.arange(30) % 3
X = (np.random.default_rng(0).normal(size=(30, 4)) + 2 * np.eye(3, 4)[Y]).astype(np.float32)
PARTS = dict.fromkeys(FILES[:3], Part(np.arange(30), X, Y))


def task_in(folder, seed=1):
    for part in ("logits", "weights", "work"):
        (folder / part).mkdir(exist_ok=True)
    return RunTask(Arm("one-hot", 0.0, "all"), seed, "linear", 3, Plan(1, 8, 1e-2), folder, Inputs.dense(4))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of two runs, which differ in their seed."""
    folder = tmp_path_factory.mktemp("trained")
    for seed in (1, 2):
        run(task_in(folder, seed), PARTS, lambda epoch: None)
    return folder


@pytest.fixture
def task(trained, tmp_path):
    """The first of the runs, in a folder where its files may be changed."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return task_in(tmp_path)


def _swap(task, name):
    other = task.files[name].with_name(task.files[name].name.replace("seed1", "seed2"))
    task.files[name].write_bytes(other.read_bytes())


def _change(task):
    task.record.write_bytes(task.record.read_bytes().replace(b'"seed": 1', b'"seed": 2'))


def _take_another(task):
    write_sealed(task.record, read_sealed(task.record.with_name("one-hot-seed2.sealed")))


def _lack(task, key):
    write_sealed(task.record, {name: value for name, value in read_sealed(task.record).items() if name != key})


def test_a_run_is_finished_when_its_files_are_those_that_it_wrote(task):
    assert set(task.files) == set(FILES)
    record = finished(task)
    assert record is not None
    assert RunKey.of(record) == task.key == ("one-hot", 1)
    assert (task.key.name, task.key.pair) == ("one-hot-seed1", (1,))


@pytest.mark.parametrize(
    "spoil",
    [
        *(pytest.param(lambda task, name=name: _swap(task, name), id=f"{name} of another run") for name in FILES),
        *(pytest.param(lambda task, name=name: task.files[name].unlink(), id=f"no {name}") for name in FILES),
        pytest.param(_change, id="a changed record"),
        pytest.param(_take_another, id="the record of another run"),
        *(
            pytest.param(lambda task, key=key: _lack(task, key), id=f"a record without {key}")
            for key in ("files", "batches", "epochs")
        ),
    ],
)
def test_a_run_must_run_again_with(spoil, task):
    spoil(task)
    assert finished(task) is None


def test_a_run_whose_loss_is_not_its_arms_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(Arm, "loss", lambda self: sf.CrossEntropyLoss())
    wrong = replace(task_in(tmp_path), arm=Arm("smoothed", 0.1, "others"))
    with pytest.raises(ArmError):
        run(wrong, PARTS, lambda epoch: None)
    assert not wrong.record.exists()
