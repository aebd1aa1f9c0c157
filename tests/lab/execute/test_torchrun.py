"""Comparisons of several ranks, one of them under a real torchrun: the results of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from sfumato.lab.errors import OptionError
from sfumato.lab.execute.torchrun import TorchrunRanks, is_first, started_by_torchrun
from sfumato.lab.options import Options
from sfumato.lab.train import Plan
from tests.conftest import run_sfumato
from tests.warm import environment

pytestmark = pytest.mark.slow


def torchrun(ranks, *words, folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "sfumato", *words]
    env = {**environment(), "TMPDIR": str(folder)}  # torchrun leaves a folder of its own there
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def as_ranks(warm, tmp_path, tmp_path_factory):
    """Run a command as so many ranks, with the variables that torchrun gives; each must end by itself."""
    if sys.platform != "linux":
        pytest.skip("forks, and asks Linux for more")
    streams = tmp_path_factory.mktemp("streams")
    ranks = []

    def run(count, *words, code=0):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        told = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for rank in range(count):
            env = {**environment(), **told, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            ranks.append(warm.start(*words, folder=tmp_path, streams=streams, env=env))
        for rank in ranks:
            assert rank.wait() == code, rank.err
        assert [rank.out for rank in ranks[1:]] == [""] * (count - 1)
        return ranks

    yield run
    for rank in ranks:
        rank.kill()


def arrays(run):
    found = {}
    for path in sorted((run / "logits").iterdir()):
        with np.load(path) as file:
            found[path.name] = file["index"], file["logits"], file["labels"]
    return found


@pytest.mark.parametrize(
    ("ranks", "more"),
    [
        pytest.param(2, (), marks=pytest.mark.nightly),  # the one by day is this and more
        # 1,078 rows: a last batch of one row, which leaves two ranks with none
        pytest.param(3, ("--batch-size", "359"), marks=pytest.mark.nightly),
        (
            2,
            (
                "--batch-size",
                "97",
                "--accumulate",
                "3",
                "--weight-decay",
                "0.01",
                "--early-stop",
                "1",
                "--noise",
                "0.4",
            ),
        ),
        # Every rank is told each step, and the mass of the whole batch, as tests/lab/train/test_loop.py shows each day.
        pytest.param(2, ("--arm", "onehot", "--arm", "linear:0.3:0"), marks=pytest.mark.nightly),
        # Draws hang on seed, epoch and row, as the unit tests of augment show each day.
        pytest.param(2, ("--augment", "flip,crop"), marks=pytest.mark.nightly),
    ],
)
def test_the_results_are_those_of_one_process(ranks, more, as_ranks, tmp_path):
    words = (
        "compare",
        "digits",
        "--model",
        "linear",
        "--folds",
        "1",
        "--seeds",
        "3",
        "--epochs",
        "3",
        *more,
        "-q",
        "--json",
    )
    together = json.loads(as_ranks(ranks, *words, "--out", "many")[0].out)
    alone = run_sfumato(*words, "--out", "one", folder=tmp_path).json()
    many, one = arrays(tmp_path / "many"), arrays(tmp_path / "one")
    assert many.keys() == one.keys()
    for name in one:
        assert np.array_equal(many[name][0], one[name][0])  # each row once, in the same order
        assert np.array_equal(many[name][2], one[name][2])  # wrong labels are the same everywhere
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
        assert ours["train_floor"] == theirs["train_floor"]  # where the strength moves, it is that of the step alone
        assert ours["train_gap"] == pytest.approx(theirs["train_gap"], rel=1e-3, abs=1e-4)
    notes = json.loads((tmp_path / "many" / "env.json").read_text(encoding="utf-8"))["notes"]
    assert any(f"Trained by {ranks} processes under torchrun" in note["text"] for note in notes)


def test_one_rank_speaks_and_one_folder_is_written(tmp_path):
    words = ("compare", "digits", "--model", "linear", "--folds", "1", "--seeds", "3", "--epochs", "1")
    done = torchrun(2, *words, folder=tmp_path)
    assert len(os.listdir(tmp_path / "runs")) == 1
    assert done.stdout.count("report  runs/") == 1
    assert done.stderr.count("seed 0  epoch   1/1") == 1


def test_a_loss_that_is_not_finite_on_one_rank_stops_all(as_ranks):
    ranks = as_ranks(
        2, "compare", "digits", "--folds", "1", "--seeds", "3", "--epochs", "2", "--learning-rate", "1e30", "-q", code=1
    )
    assert any("too large" in rank.err for rank in ranks)


def test_a_name_that_is_taken_stops_every_rank(as_ranks, tmp_path):
    (tmp_path / "taken").mkdir()
    ranks = as_ranks(2, "compare", "digits", "--epochs", "1", "--out", "taken", "-q", code=2)
    assert any("taken" in rank.err for rank in ranks)


def test_a_model_with_batch_norm_is_noted_to_differ_by_more_than_last_digits():
    given = Options("digits"), Plan(1, 8, 1e-3)
    for batch_norm, code in ((False, "torchrun"), (True, "torchrun-batch-norm")):
        (note,) = TorchrunRanks(0, 2).accept(*given, rows=64, batch_norm=batch_norm)
        assert note["code"] == code


@pytest.mark.parametrize(
    ("size", "rows", "world", "way_out"),
    [
        (2, 1078, 2, "--batch-size 6 leaves none"),
        (64, 130, 2, "--batch-size 63 leaves none"),
        (64, 131, 2, "--batch-size 63 leaves none"),
        (3, 3, 2, "use fewer ranks"),
    ],
)
def test_a_rank_with_one_row_of_a_batch_is_refused_where_the_model_normalises_over_it(size, rows, world, way_out):
    with pytest.raises(OptionError) as caught:
        TorchrunRanks(0, world).accept(Options("digits"), Plan(1, size, 1e-3), rows=rows, batch_norm=True)
    assert str(caught.value) == (
        f"--batch-size {size} leaves one of {world} ranks one row of a batch of the {rows:,} training rows, and the "
        f"model normalises over the rows of a rank; {way_out}"
    )


@pytest.mark.parametrize(("size", "rows", "world"), [(64, 128, 2), (64, 132, 2), (64, 134, 3), (500, 20, 2)])
def test_batches_that_give_each_rank_two_rows_or_none_are_taken(size, rows, world):
    for last in {min(size, rows), rows % size} - {0}:
        assert min(len(TorchrunRanks(rank, world).rows(torch.arange(last))) for rank in range(world)) >= 2
    TorchrunRanks(0, world).accept(Options("digits"), Plan(1, size, 1e-3), rows=rows, batch_norm=True)


def test_a_rank_may_have_one_row_of_a_batch_where_rows_do_not_mix():
    TorchrunRanks(0, 2).accept(Options("digits"), Plan(1, 2, 1e-3), rows=1078, batch_norm=False)


def test_shares_of_a_batch_are_every_row_once():
    batch = torch.arange(10)
    shares = [TorchrunRanks(rank, 4).rows(batch) for rank in range(4)]
    assert sorted(torch.cat(shares).tolist()) == list(range(10))
    assert max(len(share) for share in shares) - min(len(share) for share in shares) <= 1


def test_a_process_of_its_own_is_the_first():
    assert not started_by_torchrun()
    assert is_first()
