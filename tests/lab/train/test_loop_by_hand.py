"""The training loop against one written by hand: bitwise equal on a CPU in float32, bookkeeping and options apart."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato.lab.arms import Arm
from sfumato.lab.models import build, weights_hash
from sfumato.lab.train import Plan
from sfumato.lab.train.loop import train

ROWS, FEATURES, CLASSES, SEED = 100, 6, 3, 5


def data(seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    return torch.randn(ROWS, FEATURES, generator=generator) + 2 * torch.eye(CLASSES, FEATURES)[y], y


def train_by_hand(model, x, y, loss, *, epochs, size, lr, seed, weight=None, decay=0.0):
    """What anyone would write."""
    if decay:
        optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
    else:
        optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    steps = epochs * -(-len(y) // size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    shuffle = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(y), generator=shuffle)
        for start in range(0, len(y), size):
            batch = order[start : start + size]
            optimiser.zero_grad()
            logits = model(x[batch])
            value = loss(logits, y[batch], None if weight is None else weight[batch])
            value.backward()
            optimiser.step()
            schedule.step()


@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize("decay", [0.0, 0.05], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "row weights"])
@pytest.mark.parametrize("arm", [Arm("one-hot", 0.0, "all"), Arm("a", 0.1, "all"), Arm("b", 0.1, "others")],
                         ids=["one-hot", "over all", "over others"])  # fmt: skip
def test_training_is_bitwise_the_loop_written_by_hand(arm, weighted, decay, model):
    weight = torch.linspace(0.1, 3.0, ROWS) if weighted else None
    ours, theirs = (build(model, FEATURES, CLASSES, seed=SEED) for _ in range(2))
    plan = Plan(epochs=4, batch_size=16, learning_rate=1e-2, weight_decay=decay)  # the last batch is a short one
    epochs = []
    train(ours, arm.loss(), data(0), data(1), plan, seed=SEED, floor=0.0, on_epoch=epochs.append, weight=weight)
    assert len(epochs) == 4

    loss = sf.CrossEntropyLoss(label_smoothing=arm.eps, over=arm.over)
    start = weights_hash(theirs)
    train_by_hand(theirs, *data(0), loss, epochs=4, size=16, lr=1e-2, seed=SEED, weight=weight, decay=decay)
    assert weights_hash(ours) == weights_hash(theirs) != start


def test_what_is_looked_at_on_the_way_changes_no_bit_of_the_weights():
    arm = Arm("smoothed", 0.1, "others")
    hashes = set()
    for patience, validation in ((None, data(1)), (None, data(2)), (1000, data(1))):
        model = build("mlp", FEATURES, CLASSES, seed=SEED)
        kept = []
        plan = Plan(epochs=4, batch_size=16, learning_rate=1e-2, early_stop=patience)
        train(model, arm.loss(), data(0), validation, plan, seed=SEED, floor=0.0,
              on_epoch=lambda epoch, model=model, kept=kept: kept.append(weights_hash(model)))  # fmt: skip
        hashes.add(tuple(kept))
    assert len(hashes) == 1
