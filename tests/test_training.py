"""The options of the training loop: each does what it says, and none by default."""

from __future__ import annotations

import pytest
import torch

from sfumato.lab.arms import Arm
from sfumato.lab.budget import notes_on_training, training_of
from sfumato.lab.models import build
from sfumato.lab.options import OptionError, Options, from_toml, to_toml
from sfumato.lab.train import Plan, train

SMOOTHED = Arm("smoothed", 0.1, "others")


def toy(rows=100, features=6, classes=3, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (rows,), generator=generator)
    return (torch.randn(rows, features, generator=generator) + 2 * torch.eye(classes, features)[y]).to(dtype), y


def trained(plan, *, dtype=torch.float32, weight=None, arm=SMOOTHED, rows=100, model="mlp"):
    """The model that this plan makes of the toy data, and its epochs."""
    made = build(model, 6, 3, seed=5).to(dtype)
    epochs = []
    train(made, arm.loss(), toy(rows, dtype=dtype), toy(60, seed=1, dtype=dtype), plan, seed=5, floor=0.0,
          on_epoch=epochs.append, weight=weight)  # fmt: skip
    return made, epochs


def test_weight_decay_is_taken_off_every_weight_beside_the_step_of_adam():
    start = build("mlp", 6, 3, seed=5).double()
    plain, _ = trained(Plan(1, 100, 1e-2), dtype=torch.float64)
    decayed, _ = trained(Plan(1, 100, 1e-2, weight_decay=0.3), dtype=torch.float64)
    for before, without, with_decay in zip(*(m.parameters() for m in (start, plain, decayed)), strict=True):
        torch.testing.assert_close(with_decay, without - 1e-2 * 0.3 * before, rtol=0, atol=1e-15)


def test_weight_decay_is_said_in_the_record_and_noted():
    plain, decayed = Plan(1, 64, 1e-3), Plan(1, 64, 1e-3, weight_decay=0.01)
    assert training_of(plain, 100)["optimiser"] == "Adam, no weight decay"
    assert training_of(decayed, 100)["optimiser"] == "AdamW, weight decay 0.01"
    assert notes_on_training(plain) == []
    (note,) = notes_on_training(decayed)
    assert note.startswith("Trained with weight decay 0.01, which holds the logits back: gaps stay below")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_decay": -0.1}, "--weight-decay must be a finite number, at least 0, got -0.1; 0 leaves it out"),
        ({"weight_decay": torch.inf}, "--weight-decay must be a finite number, at least 0, got inf; 0 leaves it out"),
        (
            {"weight_decay": 30.0, "learning_rate": 0.1},
            "--weight-decay 30 at --learning-rate 0.1 would turn the sign of every weight at each step; use at most 10",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_a_value_that_cannot_be_trained_with_is_refused_with_the_way_out(values, message):
    with pytest.raises(OptionError) as caught:
        Options("digits", **values).check()
    assert str(caught.value) == message


@pytest.mark.parametrize("values", [{"weight_decay": 0.05}])
def test_a_run_that_goes_on_trains_as_it_was_asked_to(values):
    options = Options("digits", **values)
    assert from_toml(to_toml(options, {}, {})) == options
