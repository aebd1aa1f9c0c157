"""Watching on two ranks with uneven batches: forked by day, and under a real torchrun at night."""

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
from transformers import Trainer

from sfumato.adapters.hf import compute_loss
from sfumato.probe.watching.steps import exchange, store_of_ranks
from tests.adapters.hf.small import arguments, data, llama, logged
from tests.conftest import environment

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
        found[rank] = exchange([rank], (store, rank, 3), 0, wait=wait)

    both = [threading.Thread(target=leave, args=(rank,)) for rank in (0, 1)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert found == {0: {0: [0], 1: [1]}, 1: {0: [0], 1: [1]}}


def test_one_process_has_no_store():
    assert store_of_ranks() is None
