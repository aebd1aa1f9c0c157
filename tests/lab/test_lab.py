"""The parts of the lab: the loop when it must stop, the proof of an arm, its workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.lab.arms import Arm, arms_of
from sfumato.lab.compare import compare
from sfumato.lab.data import Part
from sfumato.lab.errors import ArmError, TrainingError
from sfumato.lab.execute.task import RunTask
from sfumato.lab.execute.training_run import run
from sfumato.lab.models import build, weights_hash
from sfumato.lab.options import Options
from sfumato.lab.train.loop import train
from sfumato.lab.train.plan import Plan, default_plan


def toy(rows=100, features=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (rows,), generator=generator)
    return torch.randn(rows, features, generator=generator) + 2 * torch.eye(classes, features)[y], y


def test_a_loss_that_is_not_finite_stops_training_before_the_weights_move():
    x, y = toy()
    x[0, 0] = 1e38
    model = build("linear", 6, 3, seed=0)
    with torch.no_grad():
        model.head.weight.fill_(1e5)
    before = weights_hash(model)
    with pytest.raises(TrainingError, match="the loss is .* in epoch 1; the features or the learning rate"):
        train(model, arms_of(0.1, "all")[1].loss(), (x, y), (x, y), Plan(1, 100, 1e-3), seed=0, floor=0, on_epoch=print)
    assert weights_hash(model) == before


def test_a_seed_alone_makes_the_weights_and_leaves_the_callers_random_state():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert weights_hash(build("mlp", 4, 3, seed=1)) == weights_hash(build("mlp", 4, 3, seed=1))
    assert weights_hash(build("mlp", 4, 3, seed=1)) != weights_hash(build("mlp", 4, 3, seed=2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_an_arm_proves_its_own_loss_and_refuses_another(over, classes):
    arm = Arm("smoothed", 0.1, over)
    assert arm.verify(arm.loss(), classes) == pytest.approx(
        [0.9, 0.1 / (classes - 1)] if over == "others" else [0.9 + 0.1 / classes, 0.1 / classes]
    )
    for wrong in (
        sf.CrossEntropyLoss(),  # the knob that does nothing
        sf.CrossEntropyLoss(label_smoothing=0.1, over="all" if over == "others" else "others"),
        torch.nn.CrossEntropyLoss(label_smoothing=0.0999),
        sf.CrossEntropyLoss(weight=torch.full((classes,), 2.0), label_smoothing=0.1, over=over, reduction="sum"),
    ):
        with pytest.raises(ArmError, match='arm "smoothed" .* should train towards .* but its loss implies'):
            arm.verify(wrong, classes)


def test_a_run_whose_loss_is_not_its_arms_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(Arm, "loss", lambda self: sf.CrossEntropyLoss())
    for part in ("logits", "weights", "work"):
        (tmp_path / part).mkdir()
    x, y = (tensor.numpy() for tensor in toy())
    task = RunTask(Arm("smoothed", 0.1, "others"), 0, "linear", 3, Plan(1, 32, 1e-3), tmp_path)
    with pytest.raises(ArmError):
        run(task, dict.fromkeys(("train", "validation", "test"), Part(np.arange(100), x, y)), lambda epoch: None)
    assert not task.record.exists()


def test_arms_that_differ_in_more_than_their_loss_are_refused(tmp_path, monkeypatch):
    def unpaired(tasks, parts, *, workers, progress):
        records = [run(task, parts, lambda epoch: None) for task in tasks]
        records[1]["batches"] = ["another order"]
        return records

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", unpaired)
    with pytest.raises(ArmError, match="did not start from the same weights or see the same batches"):
        compare(Options("digits", seeds=3, epochs=1, model="linear"))
    assert [path.suffix for path in (tmp_path / "runs").iterdir()] == [".partial"]


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"), [(20, 300, 8), (1078, 59, 64), (4199, 40, 64), (100_000, 40, 256), (10**6, 5, 256)]
)
def test_the_default_budget_is_full_for_small_data_and_bounded_for_large(rows, epochs, batch):
    plan = default_plan(rows, epochs=None, batch_size=None, learning_rate=1e-3)
    assert (plan.epochs, plan.batch_size) == (epochs, batch)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(begin, tmp_path):
    code = "from sfumato.__main__ import main; raise SystemExit(main())"
    words = ("-c", code, "compare", "digits", "--epochs", "100000", "--out", "run")
    parent = begin(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    while "seed 0  epoch" not in (line := parent.stderr.readline()):
        assert parent.poll() is None, line
    children = [int(pid) for pid in children_of(parent.pid)]
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    parent.stderr.close()
    assert wait_until(lambda: not any(alive(pid) for pid in children))
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "run.partial").is_dir()


@pytest.mark.slow
def test_an_interrupt_from_the_terminal_reaches_only_the_parent(begin):
    import pty

    ours, theirs = pty.openpty()
    words = ("-m", "sfumato", "compare", "digits", "--epochs", "100000", "--out", "run")
    parent = begin(*words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"seed, epoch" not in shown or shown.count(b"NLL") < 5:
        shown += os.read(ours, 4096)
    os.killpg(parent.pid, signal.SIGINT)  # what a terminal does: every process of the group gets it
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the last process has closed its end
        pass
    os.close(ours)
    assert parent.wait() == 1
    assert b"Traceback" not in shown
    assert b"sfumato: stopped" in shown


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["plan ", "seed 0  epoch"], ids=["while workers start", "while they train"])
def test_an_interrupt_ends_the_run_with_a_sentence(moment, begin, tmp_path):
    words = ("-m", "sfumato", "compare", "digits", "--epochs", "100000", "--out", "run")
    parent = begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    while not (line := parent.stderr.readline()).startswith(moment):
        assert parent.poll() is None, line
    children = [int(pid) for pid in children_of(parent.pid)]
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "sfumato: stopped; `sfumato compare --resume run` goes on from here"
    assert wait_until(lambda: not any(alive(pid) for pid in children))
    assert not (tmp_path / "run").exists()


def children_of(pid: int) -> list[str]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 30.0) -> bool:
    """Poll a condition that another process fulfils; False if it never does."""
    event = multiprocessing.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return True
        event.wait(0.05)
    return False
