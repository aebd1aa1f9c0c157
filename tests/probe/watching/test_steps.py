"""Which steps count, what becomes of gradients after the backward passes, and two ranks under torchrun at night."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer

from sfumato.adapters.hf import compute_loss
from sfumato.probe.watching.normaliser import (
    RankPlace,
    SmallParameters,
    exchange,
    multiplier,
    place_among_ranks,
    step_counts,
)
from sfumato.probe.watching.targets_seen import ReadStep, Record
from tests.adapters.hf.small import arguments, data, llama, logged
from tests.conftest import environment
from tests.probe.watching.test_targets_seen import of_each, one_pass

PASS = one_pass(of_each([0.1] * 24))


def step(**how) -> ReadStep:
    return ReadStep([PASS], **how)


def test_steps_that_the_optimiser_did_not_take_are_left_out_unless_it_took_none():
    taken, skipped = step(stepped=True), step()
    assert Record([taken, skipped]).complete_steps() == [taken]
    assert Record([skipped]).complete_steps() == [skipped]


def test_a_first_step_that_began_before_is_left_out_unless_gradients_are_never_cleared():
    begun, whole = step(stepped=True, began_with_gradients=True), step(stepped=True)
    assert Record([begun, whole]).complete_steps() == [whole]
    assert Record([begun, begun]).complete_steps() == [begun, begun]
    assert Record([begun]).complete_steps() == [begun]


def test_a_step_of_one_process_has_its_rows_factor_and_multiplier():
    made = step(stepped=True, arrived=[1.0, -2.0], at_the_optimiser=[0.5, -1.0])
    (found,), apart = step_counts(Record([made]), 0.1)
    assert (found.after, found.ranks, apart) == (0.5, 1, False)
    assert found.passes[0].factor == pytest.approx(1 / 24)


def test_an_optimiser_that_averages_passes_itself_divides_the_factor():
    (found,), _ = step_counts(Record([step(stepped=True, divided_by=4)]), 0.1)
    assert found.passes[0].factor == pytest.approx(1 / 96)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def backward(model):
    model(torch.randn(5, 3)).square().sum().backward()


@pytest.mark.parametrize("factor", [1.0, 0.5, 1 / 65536])
def test_the_multiplier_of_accumulated_gradients_is_read(model, factor):
    small = SmallParameters(model.parameters())
    backward(model)
    backward(model)
    for parameter in model.parameters():
        parameter.grad *= factor
    assert multiplier(*small.entries()) == pytest.approx(factor, rel=1e-5)
    small.remove()


def test_gradients_that_point_elsewhere_have_no_multiplier(model):
    small = SmallParameters(model.parameters())
    backward(model)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert multiplier(*small.entries()) is None
    small.remove()


def test_gradients_that_were_cleared_are_known_only_where_some_had_arrived(model):
    small = SmallParameters(model.parameters())
    assert not small.cleared()
    backward(model)
    assert not small.cleared()
    model.zero_grad()
    assert small.cleared()
    small.remove()


def test_parameters_that_moved_are_seen(model):
    small = SmallParameters(model.parameters())
    small.remember()
    assert not small.moved()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    assert small.moved()
    small.remove()


def test_a_model_of_large_or_frozen_parameters_alone_is_borne():
    frozen = nn.Linear(2, 2).requires_grad_(False)
    small = SmallParameters(frozen.parameters())
    assert (small.entries(), small.cleared(), small.has_gradients()) == (([], []), False, False)
    large = SmallParameters([nn.Parameter(torch.zeros(100_000))])
    assert large.entries() == ([], [])
    large.remove()


TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")


def seen_by_two_ranks(folder: Path, *what: str, launcher: tuple[str, ...] = ()) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.probe.watching.two_ranks", str(folder), *what],
        cwd=Path(__file__).parents[3],
        env={**environment(), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "seen.json").read_text())


@pytest.fixture(scope="module", params=["forked", pytest.param("torchrun", marks=pytest.mark.nightly)])
def loops(request, tmp_path_factory) -> dict[str, Any]:
    launcher = TORCHRUN if request.param == "torchrun" else ()
    return seen_by_two_ranks(tmp_path_factory.mktemp("ranks"), launcher=launcher)


def test_two_ranks_that_train_rightly_raise_no_alarm(loops):
    right = {name: told for name, told in loops.items() if name.startswith("right")}
    assert {name: (told["eps"], told["normaliser"], told["ranks"]) for name, told in right.items()} == dict.fromkeys(
        right, (0.1, "rows", 2)
    )
    assert [each for told in right.values() for each in told["findings"] if each["level"] != "note"] == []


@pytest.mark.parametrize(
    ("name", "normaliser", "code", "words"),
    [
        ("mean of each rank", "micro-batches", "mean-of-means", "ranks of"),
        ("wrong rank count", "twice", "divided-twice", "by the 2 ranks"),
        ("ranks are multiplied and added", "twice", "not-divided", "by the 2 ranks"),
        ("apart", "micro-batches", "ranks-apart", "each of the 2 ranks"),
    ],
)
def test_a_fault_between_ranks_is_named(loops, name, normaliser, code, words):
    assert loops[name]["normaliser"] == normaliser
    assert any(each["code"] == code and words in each["text"] for each in loops[name]["findings"])


@pytest.mark.nightly  # two processes that load transformers: half a minute
def test_trainer_on_two_ranks_divides_by_the_rows_of_both_and_has_the_gradient_norms_of_one(tmp_path):
    found = seen_by_two_ranks(tmp_path, "hf", launcher=TORCHRUN)
    assert {name: told["normaliser"] for name, told in found.items()} == {
        "its own": "rows",
        "its own, each rank its tokens": "micro-batches",
        "ours": "rows",
        "ours, accumulated": "rows",
    }
    assert [told["eps"] for told in found.values()] == [pytest.approx(0.1, abs=1e-3)] * 4
    alone = Trainer(
        llama(500),
        arguments(tmp_path / "alone"),
        train_dataset=data(vocabulary=500),
        compute_loss_func=compute_loss(0.1),
    )
    alone.train()
    for name in ("ours", "ours, accumulated"):
        assert found[name]["grad_norm"] == pytest.approx(logged(alone, "grad_norm"), rel=1e-5)


def test_notes_are_exchanged_through_the_store_and_a_silent_rank_is_absent():
    store, found = torch.distributed.HashStore(), {}
    wait = timedelta(milliseconds=200)

    def leave(rank):
        found[rank] = exchange([rank], RankPlace(store, rank, 3), 0, wait=wait)

    both = [threading.Thread(target=leave, args=(rank,)) for rank in (0, 1)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert found == {0: {0: [0], 1: [1]}, 1: {0: [0], 1: [1]}}


def test_one_process_has_no_store():
    assert place_among_ranks() is None
