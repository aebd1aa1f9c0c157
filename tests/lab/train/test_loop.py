"""The options of the training loop: each does what it says, and none by default."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sfumato.lab.arms import Arm, arms_of
from sfumato.lab.compare import compare
from sfumato.lab.config_file import from_toml, to_toml
from sfumato.lab.errors import ArmError, OptionError, TrainingError
from sfumato.lab.execute.training_run import run
from sfumato.lab.models import build, weights_hash
from sfumato.lab.options import Options
from sfumato.lab.train.early_stop import BestEpoch, nll_after_temperature
from sfumato.lab.train.loop import parts_of, train
from sfumato.lab.train.notes import notes_on_training, training_of
from sfumato.lab.train.plan import Plan
from sfumato.report import render

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
    arms = arms_of(0.1, "others")
    records = [{"arm": arm.name, "seed": seed, "train_gap": 2.2 + seed} for arm in arms for seed in (0, 1)]
    assert notes_on_training(plain, arms, 10, records) == []  # a mean of 2.7, and the closed form is 4.39
    (note,) = notes_on_training(decayed, arms, 10, records)
    assert note.startswith("Trained with weight decay 0.01, which holds the logits back: gaps stay below")


def test_a_gap_far_from_its_closed_form_is_noted_where_a_full_budget_should_have_reached_it():
    arms = arms_of(0.1, "others")
    records = [{"arm": arm.name, "seed": 0, "train_gap": 1.6, "kept_epoch": 1} for arm in arms]
    (note,) = notes_on_training(Plan(1, 64, 1e-3), arms, 10, records)
    assert note.startswith("The smoothed model's training gap (1.60) is far from its closed form (4.39): it is not")
    for plan in (Plan(1, 64, 1e-3, weight_decay=0.01), Plan(1, 64, 1e-3, early_stop=2)):
        assert not any("closed form (4.39)" in note for note in notes_on_training(plan, arms, 10, records))


def gradients(model, batch, accumulate, weight, monkeypatch):
    """What the first step of training is given as gradients, for a whole batch of these rows."""
    found = []
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        found.append([p.grad.clone() for group in self.param_groups for p in group["params"]])
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", spy)
        plan = Plan(1, len(batch[1]), 1e-3, accumulate=accumulate)
        train(model, SMOOTHED.loss(), batch, batch, plan, seed=0, floor=0.0, on_epoch=lambda e: None, weight=weight)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "row weights"])
@pytest.mark.parametrize("accumulate", [2, 3, 7, 25])
def test_the_parts_of_a_batch_add_up_to_its_gradient(accumulate, weighted, monkeypatch):
    batch = toy(50, dtype=torch.float64)
    weight = torch.linspace(0.1, 9.0, 50, dtype=torch.float64) if weighted else None
    whole, split = (
        gradients(build("mlp", 6, 3, seed=5).double(), batch, parts, weight, monkeypatch) for parts in (1, accumulate)
    )
    for a, b in zip(split, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


def test_a_batch_in_parts_reports_the_loss_and_gap_of_the_whole():
    weight = torch.linspace(0.1, 9.0, 100, dtype=torch.float64)
    for own in (None, weight):
        (_, [whole]), (_, [split]) = (
            trained(Plan(1, 30, 1e-3, accumulate=parts), dtype=torch.float64, weight=own) for parts in (1, 4)
        )
        assert (split.train_loss, split.train_gap) == pytest.approx((whole.train_loss, whole.train_gap), rel=1e-12)


def test_every_part_of_a_batch_has_two_rows_or_more():
    for rows in range(1, 70):
        for parts in range(1, 40):
            sizes = [len(part) for part in parts_of(torch.arange(rows), parts)]
            assert sum(sizes) == rows
            assert min(sizes) >= min(2, rows)
            assert max(sizes) - min(sizes) <= 1
            assert len(sizes) == min(parts, max(1, rows // 2))


def test_bf16_is_autocast_around_the_forward_pass_and_leaves_weights_and_loss_in_float32():
    seen = []
    loss = SMOOTHED.loss()
    loss.register_forward_hook(lambda module, inputs, value: seen.append((inputs[0].dtype, value.dtype)))
    model = build("mlp", 6, 3, seed=5)
    epochs = []
    plan = Plan(20, 25, 1e-2, precision="bf16")
    train(model, loss, toy(), toy(60, seed=1), plan, seed=5, floor=0.0, on_epoch=epochs.append)
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    _, wide = trained(Plan(20, 25, 1e-2))
    assert epochs[-1].train_loss != wide[-1].train_loss
    assert epochs[-1].train_loss == pytest.approx(wide[-1].train_loss, rel=0.05)
    assert epochs[-1].train_gap == pytest.approx(wide[-1].train_gap, rel=0.05)


def test_parts_and_precision_are_said_in_the_record():
    said = training_of(Plan(1, 64, 1e-3, accumulate=4, precision="bf16"), 100)
    assert said["optimiser"] == "Adam, no weight decay, each batch in 4 parts, forward pass in bfloat16"
    assert (said["accumulate"], said["precision"]) == (4, "bf16")


def test_a_plan_of_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match='^precision must be "float32" or "bf16", got "fp8"$'):
        Plan(1, 64, 1e-3, precision="fp8")


def test_more_parts_than_pairs_of_rows_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as caught:
        compare(Options("digits", accumulate=33))
    assert str(caught.value) == (
        "--accumulate 33 would split a batch of 64 rows into parts of less than two; use at most 32, or a larger "
        "--batch-size"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_in_the_last_part_of_a_batch_moves_no_weight():
    x, y = toy()
    last = torch.randperm(100, generator=torch.Generator().manual_seed(0))[-1]
    x[last] = 1e38
    model = build("linear", 6, 3, seed=0)
    with torch.no_grad():
        model.head.weight.fill_(1e5)
        model.head.weight[y[last]] = -1e5
    before, loss, values = weights_hash(model), SMOOTHED.loss(), []
    loss.register_forward_hook(lambda module, inputs, value: values.append(value.item()))
    told = r"^the loss is (inf|nan) in epoch 1; the features or the learning rate \(0\.001\) are too large$"
    with pytest.raises(TrainingError, match=told):
        train(model, loss, (x, y), (x, y), Plan(1, 100, 1e-3, accumulate=4), seed=0, floor=0, on_epoch=print)
    assert [math.isfinite(value) for value in values] == [True, True, True, False]
    assert weights_hash(model) == before


@pytest.mark.parametrize(
    ("patience", "nlls", "kept", "seen"),
    [
        (1, [3.0, 2.0, 2.5, 1.0], 2, 3),
        (2, [3.0, 2.0, 2.5, 1.0], 4, 4),
        (2, [1.0, 1.0, 1.0, 0.5], 1, 3),  # of equal epochs the first is the best
        (3, [np.inf, np.inf, np.inf, np.inf], 1, 4),
        (9, [3.0, 2.0, 1.0], 3, 3),
    ],
)
def test_the_best_epoch_is_kept_and_patience_counts_from_it(patience, nlls, kept, seen):
    model = torch.nn.Linear(1, 1)
    best = BestEpoch(model, patience)
    for epoch, nll in enumerate(nlls, 1):
        torch.nn.init.constant_(model.weight, epoch)
        if best.enough(epoch, nll):
            break
    best.restore()
    assert (best.epoch, epoch, model.weight.item()) == (kept, seen, kept)


def test_an_early_stop_keeps_the_weights_that_the_full_training_has_at_the_best_epoch():
    loss, plan = SMOOTHED.loss(), Plan(60, 10, 3e-2)
    rows, validation = toy(), toy(60, seed=1)
    model, weights, nlls = build("mlp", 6, 3, seed=5), [], []

    def note(epoch):
        weights.append(weights_hash(model))
        logits = model(validation[0]).detach().double()
        grid = torch.linspace(-5, 3, 8001).exp().double()[:, None, None]
        scores = (logits / grid).log_softmax(2)[:, torch.arange(60), validation[1]]
        nlls.append(-scores.mean(1).max().item())
        assert "validation_nll_after_temperature" not in epoch.to_dict()

    full = train(model, loss, rows, validation, plan, seed=5, floor=0.0, on_epoch=note)
    assert full.kept_epoch == 60

    stopped, epochs = build("mlp", 6, 3, seed=5), []
    early = train(stopped, loss, rows, validation, replace(plan, early_stop=4), seed=5, floor=0.0,
                  on_epoch=epochs.append)  # fmt: skip
    assert [e.validation_nll_after_temperature for e in epochs] == pytest.approx(nlls[: len(epochs)], abs=1e-6)
    assert early.kept_epoch == 1 + int(np.argmin(nlls[: len(epochs)]))
    assert len(epochs) == early.kept_epoch + 4 < 60
    assert weights_hash(stopped) == weights[early.kept_epoch - 1]
    assert early.batches == full.batches[: len(epochs)]


def test_logits_that_are_not_finite_are_no_better_epoch():
    assert nll_after_temperature(torch.tensor([[0.0, torch.nan]]), torch.tensor([0])) == np.inf


def in_this_process(tasks, parts, *, workers, progress):
    return [run(task, parts, lambda epoch: None) for task in tasks]


def test_arms_that_stopped_at_different_epochs_are_paired_on_the_batches_that_both_saw(tmp_path, monkeypatch):
    records = []

    def keep(*args, **kwargs):
        records.extend(in_this_process(*args, **kwargs))
        return records

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", keep)
    options = Options("digits", seeds=3, epochs=40, learning_rate=0.03, model="linear", early_stop=1, out="run")
    paired = compare(options)["paired"]
    lengths = {r["seed"]: [len(s["batches"]) for s in records if s["seed"] == r["seed"]] for r in records}
    assert any(len(set(each)) > 1 for each in lengths.values())
    for seed, each in lengths.items():
        both = {r["batches"][min(each) - 1] for r in records if r["seed"] == seed}
        assert both == {paired["batches"][seed]}
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    kept = {name: [r["kept_epoch"] for r in records if r["arm"] == name] for name in ("one-hot", "smoothed")}
    assert env["training"]["kept_epochs"] == kept
    assert [note for note in env["notes"] if "arms stop at different epochs" in note]
    assert render(tmp_path / "run").is_file()


def test_an_early_stop_does_not_hide_batches_that_differ(tmp_path, monkeypatch):
    def unpaired(*args, **kwargs):
        records = in_this_process(*args, **kwargs)
        records[1]["batches"] = ["another order"] * (len(records[1]["batches"]) + 1)
        return records

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", unpaired)
    with pytest.raises(ArmError, match="did not start from the same weights or see the same batches"):
        compare(Options("digits", seeds=3, epochs=2, model="linear", early_stop=1))


def test_an_early_stop_is_said_in_the_record_and_noted():
    plan = Plan(59, 64, 1e-3, early_stop=3)
    records = [{"arm": arm, "seed": seed, "kept_epoch": 5 + seed} for seed in (1, 0) for arm in ("one-hot", "smoothed")]
    records.append({"arm": "one-hot", "seed": 2, "kept_epoch": 1})
    said = training_of(plan, 100, records)
    assert (said["early_stop"], said["kept_epochs"]) == (3, {"one-hot": [5, 6, 1], "smoothed": [5, 6]})
    assert "kept_epochs" not in training_of(replace(plan, early_stop=None), 100, records)
    (note,) = notes_on_training(plan, arms_of(0.1, "others"), 10, records)
    assert note == (
        "Each run kept its epoch of least hard NLL after temperature on validation rows (one-hot 1 to 6; smoothed 5 to "
        "6; of at most 59) and stopped when 3 epochs had brought nothing better: arms stop at different epochs, and "
        "their gaps need not reach the closed forms."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_decay": -0.1}, "--weight-decay must be a finite number, at least 0, got -0.1; 0 leaves it out"),
        ({"weight_decay": torch.inf}, "--weight-decay must be a finite number, at least 0, got inf; 0 leaves it out"),
        (
            {"weight_decay": 30.0, "learning_rate": 0.1},
            "--weight-decay 30 at --learning-rate 0.1 would turn the sign of every weight at each step; use at most 10",
        ),
        ({"accumulate": 0}, "--accumulate must be at least 1, got 0"),
        ({"early_stop": 0}, "--early-stop must be at least 1, got 0"),
        ({"precision": "fp16"}, '--precision must be "float32" or "bf16", got "fp16"'),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_a_value_that_cannot_be_trained_with_is_refused_with_the_way_out(values, message):
    with pytest.raises(OptionError) as caught:
        Options("digits", **values).check()
    assert str(caught.value) == message


@pytest.mark.parametrize("values", [{"weight_decay": 0.05, "accumulate": 4, "precision": "bf16", "early_stop": 7}])
def test_a_run_that_goes_on_trains_as_it_was_asked_to(values):
    options = Options("digits", **values)
    assert from_toml(to_toml(options, {}, {})) == options
