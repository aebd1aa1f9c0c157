"""One run of one arm and seed: the loss that trained is the loss of its arm, or the run fails."""

from __future__ import annotations

import numpy as np
import pytest

import sfumato as sf
from sfumato.lab.arms import Arm
from sfumato.lab.data import Inputs, Part
from sfumato.lab.errors import ArmError
from sfumato.lab.execute import RunTask
from sfumato.lab.execute.training_run import run
from sfumato.lab.train import Plan
from tests.lab.test_lab import toy


def test_a_run_whose_loss_is_not_its_arms_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(Arm, "loss", lambda self: sf.CrossEntropyLoss())
    for part in ("logits", "weights", "work"):
        (tmp_path / part).mkdir()
    x, y = (tensor.numpy() for tensor in toy())
    task = RunTask(Arm("smoothed", 0.1, "others"), 0, "linear", 3, Plan(1, 32, 1e-3), tmp_path, Inputs.dense(6))
    with pytest.raises(ArmError):
        run(task, dict.fromkeys(("train", "validation", "test"), Part(np.arange(100), x, y)), lambda epoch: None)
    assert not task.record.exists()
