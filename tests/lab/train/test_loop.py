"""The options of the training loop: each does what it says, and none by default."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.lab.arms import Arm
from sfumato.lab.errors import TrainingError
from sfumato.lab.execute.torchrun import TorchrunRanks
from sfumato.lab.models import build, weights_hash
from sfumato.lab.train import Plan
from sfumato.lab.train.loop import Epoch, parts_of, train
from sfumato.lab.train.objectives import MovingLoss

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


class Told(MovingLoss):
    """A loss that keeps what the loop tells it; its floor is the number of epochs."""

    def __init__(self):
        super().__init__()
        self.steps, self.ends = [], []

    def begin_step(self, step, steps, mass):
        self.steps.append((step, steps, mass))

    def end_epoch(self, labels):
        self.ends.append((len(self.steps), len(labels)))
        return float(len(self.ends))

    def forward(self, input, target, sample_weight=None):
        return torch.nn.functional.cross_entropy(input, target)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_loss_that_moves_is_told_each_step_with_its_mass_and_each_end_of_an_epoch(accumulate):
    loss, epochs = Told(), []
    plan = Plan(2, 30, 1e-3, accumulate=accumulate)
    train(build("linear", 6, 3, seed=5), loss, toy(), toy(), plan, seed=5, floor=9.0, on_epoch=epochs.append)
    assert loss.steps == [(step, 8, mass) for step, mass in enumerate([30, 30, 30, 10] * 2)]
    assert loss.ends == [(4, 100), (8, 100)]
    assert [epoch.train_floor for epoch in epochs] == [1.0, 2.0]
    assert epochs[1].train_excess == epochs[1].train_loss - 2.0


def test_the_mass_of_a_step_is_the_weight_of_its_rows():
    loss, weight = Told(), torch.linspace(0.1, 9.0, 100)
    plan = Plan(1, 30, 1e-3)
    train(build("linear", 6, 3, seed=5), loss, toy(), toy(), plan, seed=5, floor=0.0, on_epoch=print, weight=weight)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(5))
    assert [mass for *_, mass in loss.steps] == pytest.approx([weight[rows].sum().item() for rows in order.split(30)])


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


def test_what_is_above_the_floor_is_told_after_every_epoch():
    epochs = []
    made = build("mlp", 6, 3, seed=5)
    train(made, SMOOTHED.loss(), toy(), toy(60, seed=1), Plan(3, 20, 1e-3), seed=5, floor=0.25, on_epoch=epochs.append)
    assert [each.epoch for each in epochs] == [1, 2, 3]
    assert [each.train_floor for each in epochs] == [0.25] * 3
    for each in epochs:
        assert each.train_excess == pytest.approx(each.train_loss - 0.25, abs=1e-12)


class OneOfTwo(TorchrunRanks):
    """One of two ranks, which keeps what it would add to what the other has."""

    def __init__(self, rank):
        super().__init__(rank, 2)
        vars(self).update(gradients=[], numbers=[])

    def add_gradients(self, model, lost):
        self.gradients.extend(p.grad.clone() for p in model.parameters())
        return lost

    def sums(self, values):
        self.numbers.extend(values)
        return values

    def agree(self, value):
        return value


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "row weights"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_two_ranks_add_up_is_that_of_one_process(accumulate, weighted, monkeypatch):
    batch = toy(51, dtype=torch.float64)
    weight = torch.linspace(0.1, 9.0, 51, dtype=torch.float64) if weighted else None
    whole = gradients(build("mlp", 6, 3, seed=5).double(), batch, accumulate, weight, monkeypatch)
    _, [alone] = trained(Plan(1, 51, 1e-3), dtype=torch.float64, weight=weight, rows=51)
    ranks = OneOfTwo(0), OneOfTwo(1)
    for each in ranks:
        model = build("mlp", 6, 3, seed=5).double()
        train(model, SMOOTHED.loss(), batch, batch, Plan(1, 51, 1e-3, accumulate=accumulate), seed=5, floor=0.0,
              on_epoch=lambda epoch: None, weight=weight, ranks=each)  # fmt: skip
    for one, other, both in zip(*(each.gradients for each in ranks), whole, strict=True):
        torch.testing.assert_close(one + other, both, rtol=1e-12, atol=1e-15)
    loss, gaps, rows = (one + other for one, other in zip(*(each.numbers for each in ranks), strict=True))
    assert (loss, gaps / rows, rows) == pytest.approx((alone.train_loss, alone.train_gap, 51), rel=1e-12)


def test_an_epoch_is_written_without_what_it_has_not():
    scores = {"epoch": 1, "train_loss": 0.5, "train_gap": 2.0, "validation_nll": 0.0, "validation_accuracy": 0.9}
    without = Epoch(**scores, train_floor=None, train_excess=None)
    assert without.to_dict() == scores
    whole = {**scores, "train_floor": 0.0, "train_excess": 0.5, "validation_nll_after_temperature": 0.4}
    assert Epoch(**whole).to_dict() == whole


def test_every_step_is_made_in_training_and_every_look_in_between_is_not():
    model, states = build("linear", 6, 3, seed=5).eval(), []
    model.register_forward_pre_hook(lambda module, given: states.append((len(given[0]), module.training)))
    train(model, SMOOTHED.loss(), toy(20), toy(7, seed=1), Plan(2, 10, 1e-3), seed=5, floor=0.0,
          on_epoch=lambda epoch: None)  # fmt: skip
    assert {state for rows, state in states if rows == 10} == {True}
    assert [rows for rows, state in states if state] == [10] * 4


def test_weights_count_in_training_as_copies_of_rowswould():
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    weight = torch.tensor([1.0, 2.0] * 6)
    copies = torch.arange(12).repeat_interleave(weight.long())
    models = []
    for rows, weights in ((torch.arange(12), weight), (copies, None)):
        model = build("linear", 4, 3, seed=0)
        data = (x[rows], y[rows])
        plan = Plan(3, len(rows), 1e-2)
        train(model, SMOOTHED.loss(), data, data, plan, seed=0, floor=0.0, on_epoch=lambda e: None,
              weight=weights)  # fmt: skip
        models.append(model)
    assert torch.allclose(models[0].head.weight, models[1].head.weight, atol=1e-6)
