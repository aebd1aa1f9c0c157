"""The parts of the lab: the loop when it must stop, the proof of an arm, its workers."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato.lab.arms import Arm, default_arms
from sfumato.lab.compare import compare
from sfumato.lab.errors import ArmError, TrainingError
from sfumato.lab.execute.training_run import run
from sfumato.lab.models import build, weights_hash
from sfumato.lab.options import Options
from sfumato.lab.train import Plan
from sfumato.lab.train.loop import train


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
        train(
            model,
            default_arms(0.1, "all")[1].loss(),
            (x, y),
            (x, y),
            Plan(1, 100, 1e-3),
            seed=0,
            floor=0,
            on_epoch=print,
        )
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


def test_arms_that_differ_in_more_than_their_loss_are_refused(tmp_path, monkeypatch):
    def unpaired(tasks, parts, *, workers, progress):
        records = [run(task, parts, lambda epoch: None) for task in tasks]
        records[1]["batches"] = ["another order"]
        return records

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", unpaired)
    with pytest.raises(ArmError, match="did not start from the same weights or see the same batches"):
        compare(Options("digits", seeds=3, epochs=1, model="linear"))
    assert len(list((tmp_path / "runs").glob("*.partial"))) == 1
