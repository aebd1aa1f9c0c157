"""Comparisons under a real torchrun: the results of one process, whatever is left over in a batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sfumato.lab.execute.torchrun_group import Ranks, is_first, started_by_torchrun
from tests.conftest import run_sfumato

pytestmark = pytest.mark.slow


def torchrun(ranks, *words, folder, code=0):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SFUMATO_")}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "sfumato", *words]
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode == 0) == (code == 0), done.stderr
    return done


def arrays(run):
    found = {}
    for path in sorted((run / "logits").iterdir()):
        with np.load(path) as file:
            found[path.name] = file["index"], file["logits"], file["labels"]
    return found


@pytest.mark.parametrize(
    ("ranks", "more"),
    [
        (2, ()),
        (3, ("--batch-size", "359")),  # 1,078 rows: a last batch of one row, which leaves two ranks with none
        (2, ("--batch-size", "97", "--accumulate", "3", "--weight-decay", "0.01", "--early-stop", "1")),
    ],
)
def test_the_results_are_those_of_one_process(ranks, more, tmp_path):
    words = ("compare", "digits", "--model", "linear", "--seeds", "3", "--epochs", "3", *more, "-q", "--json")
    together = json.loads(torchrun(ranks, *words, "--out", "many", folder=tmp_path).stdout)
    alone = run_sfumato(*words, "--out", "one", folder=tmp_path).json()
    many, one = arrays(tmp_path / "many"), arrays(tmp_path / "one")
    assert many.keys() == one.keys()
    for name in one:
        assert np.array_equal(many[name][0], one[name][0])  # each row once, in the same order
        assert np.abs(many[name][1] - one[name][1]).max() < 1e-4
    assert together["paired"] == alone["paired"]
    for ours, theirs in zip(together["arms"], alone["arms"], strict=True):
        for metric in ("accuracy", "nll", "brier"):
            assert ours["metrics"][metric]["mean"] == pytest.approx(theirs["metrics"][metric]["mean"], rel=1e-4)
    curves = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("many", "one")
    ]
    for ours, theirs in zip(*curves, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert ours["train_gap"] == pytest.approx(theirs["train_gap"], rel=1e-3, abs=1e-4)
    notes = json.loads((tmp_path / "many" / "env.json").read_text(encoding="utf-8"))["notes"]
    assert any(f"Trained by {ranks} processes under torchrun" in note for note in notes)


def test_one_rank_speaks_and_one_folder_is_written(tmp_path):
    words = ("compare", "digits", "--model", "linear", "--seeds", "3", "--epochs", "1")
    done = torchrun(2, *words, folder=tmp_path)
    assert len(os.listdir(tmp_path / "runs")) == 1
    assert done.stdout.count("report  runs/") == 1
    assert done.stderr.count("seed 0  epoch   1/1") == 1


def test_a_loss_that_is_not_finite_on_one_rank_stops_all(tmp_path):
    words = ("compare", "digits", "--seeds", "3", "--epochs", "2", "--learning-rate", "1e30", "-q")
    done = torchrun(2, *words, folder=tmp_path, code=1)
    assert "too large" in done.stderr


def test_a_name_that_is_taken_stops_every_rank(tmp_path):
    (tmp_path / "taken").mkdir()
    done = torchrun(2, "compare", "digits", "--epochs", "1", "--out", "taken", "-q", folder=tmp_path, code=2)
    assert "taken" in done.stderr


def test_shares_of_a_batch_are_every_row_once():
    batch = torch.arange(10)
    shares = [Ranks(rank, 4).rows(batch) for rank in range(4)]
    assert sorted(torch.cat(shares).tolist()) == list(range(10))
    assert max(len(share) for share in shares) - min(len(share) for share in shares) <= 1


def test_a_process_of_its_own_is_the_first():
    assert not started_by_torchrun()
    assert is_first()
