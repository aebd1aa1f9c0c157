"""Online smoothing against a few lines of numpy, through checkpoints, and over real ranks."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import distributed
from torch.multiprocessing.spawn import start_processes

import sfumato as sf
from sfumato import reference

K, ROWS, EPS = 5, 60, 0.4


def batches(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three batches of logits that are right about half the time, one row of each ignored; class 4 is never right."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(3):
        y = torch.randint(0, K, (ROWS,), generator=generator)
        z = torch.randn(ROWS, K, generator=generator, dtype=torch.float64)
        z[torch.arange(ROWS), y] += 1.0
        z[y == 4, 4] = -9.0
        y[7] = -100
        found.append((z, y))
    return found


def softmax(z: ndarray) -> ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def by_hand(epochs: list[list[tuple[torch.Tensor, torch.Tensor]]]) -> ndarray:
    """S after these epochs, row by row."""
    table = np.full((K, K), 1 / K)
    for epoch in epochs:
        total, count = np.zeros((K, K)), np.zeros(K)
        for z, y in epoch:
            for row, label in zip(z.numpy(), y.tolist(), strict=True):
                if label >= 0 and row.argmax() == label:
                    total[label] += softmax(row)
                    count[label] += 1
        table = np.stack([total[k] / count[k] if count[k] else np.full(K, 1 / K) for k in range(K)])
    return table


def trained(epochs: list[list[tuple[torch.Tensor, torch.Tensor]]]) -> sf.OnlineSmoothing:
    loss = sf.OnlineSmoothing(K, EPS)
    for epoch in epochs:
        for z, y in epoch:
            loss(z, y)
        loss.end_epoch()
    return loss


def test_the_table_is_that_of_a_loop_over_rows():
    epochs = [batches(0), batches(1)]
    np.testing.assert_allclose(trained(epochs).rows.numpy(), by_hand(epochs), rtol=1e-12, atol=0)


def test_the_loss_is_that_of_the_dense_target():
    epochs = [batches(0)]
    loss = trained(epochs).eval()
    z, y = batches(5)[0]
    q = (1 - EPS) * torch.eye(K).double()[y.clamp(min=0)] + EPS * torch.from_numpy(by_hand(epochs))[y.clamp(min=0)]
    counted = y >= 0
    expected = -(q * z.log_softmax(1)).sum(1)[counted].mean()
    torch.testing.assert_close(loss(z, y), expected, rtol=1e-12, atol=0)
    assert reference.cross_entropy(z, loss.target(y, z.dtype)).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_first_epoch_is_smoothing_over_all():
    z, y = batches(0)[0]
    expected = sf.cross_entropy(z, y, label_smoothing=EPS, over="all")
    torch.testing.assert_close(sf.OnlineSmoothing(K, EPS)(z, y), expected, rtol=1e-14, atol=0)


def test_a_class_without_a_right_prediction_gets_an_even_row():
    assert torch.equal(trained([batches(0)]).rows[4], torch.full((K,), 1 / K, dtype=torch.float64))


def test_what_was_right_before_is_forgotten_after_an_epoch():
    np.testing.assert_allclose(trained([batches(0), batches(1)]).rows, trained([batches(1)]).rows, rtol=0, atol=0)


def test_nothing_is_learnt_in_evaluation():
    loss = sf.OnlineSmoothing(K, EPS).eval()
    for z, y in batches(0):
        loss(z, y)
    assert loss.hits.sum() == 0
    assert loss.sums.sum() == 0


def test_no_gradient_comes_through_the_table():
    loss = trained([batches(0)])
    z, y = batches(1)[0]
    z.requires_grad_()
    (grad,) = torch.autograd.grad(loss(z, y), z)
    valid = y >= 0
    q = loss.target(y, z.dtype).to_dense(torch.float64)
    expected = torch.where(valid.unsqueeze(1), z.detach().softmax(1) - q, 0.0) / valid.sum()
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_checkpoint_within_an_epoch_goes_on_to_the_same_bits(stop: int, tmp_path: Path):
    whole = trained([batches(0), batches(1)])
    first = trained([batches(0)])
    for z, y in batches(1)[:stop]:
        first(z, y)
    torch.save(first.state_dict(), tmp_path / "checkpoint.pt")
    second = sf.OnlineSmoothing(K, EPS)
    second.target(torch.tensor([0]))  # a table that is kept must not outlive the checkpoint
    second.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    q = first.target(torch.tensor([0])).probs()
    assert torch.equal(second.target(torch.tensor([0])).probs(), q)
    for z, y in batches(1)[stop:]:
        second(z, y)
    second.end_epoch()
    assert torch.equal(second.rows, whole.rows)


def test_pixels_are_positions():
    loss, flat = sf.OnlineSmoothing(K, EPS), sf.OnlineSmoothing(K, EPS)
    z, y = batches(0)[0]
    loss(z.reshape(4, 3, 5, K).movedim(-1, 1), y.reshape(4, 3, 5))
    flat(z, y)
    assert torch.equal(loss.sums, flat.sums)
    assert torch.equal(loss.hits, flat.hits)


def test_one_position_is_learnt_from_too():
    loss = sf.OnlineSmoothing(3)
    loss(torch.tensor([0.0, 2.0, 1.0]), torch.tensor(1))
    assert loss.hits.tolist() == [0, 1, 0]


def test_the_state_keeps_its_type_and_follows_to_another_device():
    loss = trained([batches(0)])
    rows = loss.rows.clone()
    moved = copy.deepcopy(loss).bfloat16().half().float()
    assert torch.equal(moved.rows, rows)
    assert copy.deepcopy(loss).to("meta").rows.device.type == "meta"


def on_a_rank(rank: int, world: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    loss = sf.OnlineSmoothing(K, EPS)
    for epoch in (batches(0), batches(1)):
        for z, y in epoch:
            if rank < world - 1:  # the last rank has no rows at all
                loss(z[rank :: world - 1], y[rank :: world - 1])
        loss.end_epoch()
    torch.save(loss.rows, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_have_one_table_and_it_is_that_of_one_process(tmp_path: Path):
    start_processes(on_a_rank, (3, str(tmp_path)), nprocs=3, start_method="spawn")
    tables = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(3)]
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])
    torch.testing.assert_close(tables[0], trained([batches(0), batches(1)]).rows, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: sf.OnlineSmoothing(1), ValueError, "num_classes must be at least 2, got 1"),
        (lambda: sf.OnlineSmoothing(3, 1.5), ValueError, r"eps must be in \[0, 1\], got 1.5"),
        (lambda: sf.OnlineSmoothing(3, reduction="max"), ValueError, "reduction must be .* got 'max'"),
        (
            lambda: sf.OnlineSmoothing(3)(torch.zeros(2, 3), torch.tensor([0, 3])),
            IndexError,
            "label 3 in row 1 is not a class",
        ),
        (lambda: sf.OnlineSmoothing(3)(torch.zeros(2, 4), torch.tensor([0, 1])), ValueError, "3 classes.* 4"),
    ],
)
def test_what_is_wrong_is_said(act, error, message):
    with pytest.raises(error, match=message):
        act()
