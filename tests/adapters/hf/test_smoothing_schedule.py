"""A schedule of the strength under a real Trainer."""

from __future__ import annotations

import pytest
import torch
from transformers import Trainer

import sfumato as sf
from sfumato.adapters.hf import ScheduleSmoothing, compute_loss, fuse_head
from tests.adapters.hf.small import arguments, batch, data, llama, logged, torch_loss


def falling(step: int, steps: int) -> float:
    return sf.schedules.linear(step, steps, 0.4, 0.0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_step_of_the_optimiser_has_its_strength(tmp_path, accumulate):
    loss, seen = compute_loss(0.1), []

    def watched(outputs, labels, num_items_in_batch=None):
        seen.append(loss.label_smoothing)
        return loss(outputs, labels, num_items_in_batch)

    args = arguments(tmp_path, accumulate)
    trainer = Trainer(
        llama(), args, train_dataset=data(), compute_loss_func=watched, callbacks=[ScheduleSmoothing(loss, falling)]
    )
    trainer.train()
    steps = trainer.state.max_steps
    assert steps > 1
    assert seen == [falling(step, steps) for step in range(steps) for _ in range(accumulate)]


def test_a_fused_head_has_the_strength_of_its_step(tmp_path):
    model, rows = llama(500), batch(8, vocabulary=500)
    fused = fuse_head(model, label_smoothing=0.1)
    scheduled = ScheduleSmoothing(fused, falling)
    args = arguments(tmp_path, learning_rate=0.0)
    trainer = Trainer(model, args, train_dataset=data(8, vocabulary=500), callbacks=[scheduled])
    trainer.train()
    logits = model(rows["input_ids"]).logits.detach()
    wanted = [torch_loss(logits, rows["labels"], eps=falling(step, 3)).item() for step in range(3)]
    assert logged(trainer, "loss") == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(ValueError, match=r"^label_smoothing must be in \[0, 1\], got 1\.5$"):
        fused.label_smoothing = 1.5


def test_a_strength_that_is_none_names_its_step(tmp_path):
    loss = compute_loss(0.1)
    scheduled = ScheduleSmoothing(loss, lambda step, steps: 1.5)
    trainer = Trainer(
        llama(), arguments(tmp_path, 1), train_dataset=data(), compute_loss_func=loss, callbacks=[scheduled]
    )
    with pytest.raises(ValueError, match=r"gives step 0 no strength: label_smoothing must be in \[0, 1\], got 1.5"):
        trainer.train()


def test_a_loss_without_a_strength_is_refused():
    with pytest.raises(TypeError, match="must have a label_smoothing to set, which MSELoss has not"):
        ScheduleSmoothing(torch.nn.MSELoss(), falling)
