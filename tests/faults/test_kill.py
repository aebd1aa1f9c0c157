"""Killed at any moment, a run is whole, or absent with a ``.partial`` that goes on to the bits of one never killed."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import WORDS, Start, Whole, bits, write_pets
from tests.warm import Warm

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for more")]

KILLS = 6  # of one run, before it may finish


def kill_often(seed: int, start: Start, warm: Warm, whole: Whole, here: Path) -> None:
    """Begin a run and kill it six times at random moments, as it goes on; in the end it must be the whole one."""
    rng = random.Random(seed)
    run, partial = here / "run", here / "run.partial"
    killed = 0
    while True:
        words = ("compare", "--resume", "run", "--workers", "2", "-q") if partial.exists() else (*WORDS, "--out", "run")
        if killed == KILLS:
            code = (command := start(*words)).wait()
        elif rng.random() < 0.5:
            code = (command := start(*words, at=rng.randrange(whole.changes))).wait()
        else:
            code = (command := start(*words)).wait(kill_after=rng.uniform(0, whole.seconds))
        assert code in (0, -signal.SIGKILL), f"seed {seed}: {command.err}"
        killed += code != 0
        if code == 0:
            assert bits(run) == whole.bits, f"seed {seed}"
            assert not partial.exists()
            if killed == KILLS:
                return
            run.rename(here / f"done-{killed}-{rng.random()}")  # and once more from the start
        else:
            assert not (run.exists() and partial.exists())
            if run.exists():  # the kill came after the last rename
                assert bits(run) == whole.bits, f"seed {seed}"
                run.rename(here / f"done-{killed}-{rng.random()}")


@pytest.mark.parametrize("seed", [0])  # forty-one more each night
def test_a_run_killed_six_times_at_random_moments_ends_in_the_same_bits(seed, start, warm, whole, tmp_path):
    kill_often(seed, start, warm, whole, tmp_path / "here")


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 141))
def test_many_more_runs_killed_six_times_end_in_the_same_bits(seed, start, warm, whole, tmp_path):
    kill_often(seed, start, warm, whole, tmp_path / "here")


@pytest.mark.nightly
def test_a_run_killed_before_any_of_its_changes_ends_in_the_same_bits(start, whole, tmp_path):
    here = tmp_path / "here"
    for number in range(whole.changes + 5):
        start(*WORDS, "--out", "run", at=number).wait()
        again = ("compare", "--resume", "run", "-q")
        if not (here / "run").exists() and not (here / "run.partial").exists():
            again = (*WORDS, "--out", "run")
        command = start(*again)
        assert command.wait() == 0, f"change {number}: {command.err}"
        assert bits(here / "run") == whole.bits, f"change {number}"
        (here / "run").rename(here / f"done-{number}")


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(12))
def test_a_command_of_its_own_whose_first_process_alone_is_killed_goes_on_to_the_same_bits(seed, whole, tmp_path):
    write_pets(tmp_path)
    rng = random.Random(seed)
    command = [sys.executable, "-m", "sfumato"]
    process = subprocess.Popen(
        [*command, *WORDS, "--out", "run"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(timeout=rng.uniform(1, 8))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    words = ["compare", "--resume", "run"]
    if not (tmp_path / "run").exists() and not (tmp_path / "run.partial").exists():
        words = [*WORDS, "--out", "run"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert bits(tmp_path / "run") == whole.bits
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("run")] == ["run"]


def test_what_is_finished_is_not_trained_again(start, whole, tmp_path):
    assert start(*WORDS, "--out", "run", name="smoothed-seed1-test.npz").wait() == -signal.SIGKILL
    here = tmp_path / "here"
    records = {path.name: path.stat() for path in (here / "run.partial" / "work").glob("*-seed*")}
    assert records
    assert start("compare", "--resume", "run", name="summary.json").wait() == -signal.SIGKILL
    for name, stat in records.items():
        assert os.stat(here / "run.partial" / "work" / name).st_ino == stat.st_ino  # the same file, not written again
    command = start("compare", "--resume", "run")
    assert command.wait() == 0
    assert "kept   6 of 6 runs, finished before" in command.err
    assert bits(here / "run") == whole.bits


@pytest.mark.parametrize("damage", [pytest.param("gone", marks=pytest.mark.nightly), "changed"])
def test_a_finished_run_whose_files_are_not_what_they_were_is_trained_again(damage, start, whole, tmp_path):
    assert start(*WORDS, "--out", "run", name="report.html").wait() == -signal.SIGKILL
    path = tmp_path / "here" / "run.partial" / "logits" / "one-hot-seed1-validation.npz"
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:200] + b"!" + content[201:])
    command = start("compare", "--resume", "run")
    assert command.wait() == 0
    assert "kept   5 of 6 runs, finished before" in command.err
    assert bits(tmp_path / "here" / "run") == whole.bits


def test_a_worker_dies_of_sigterm_though_the_command_handles_it(start):
    """As one that starts from nothing does: the command ends its workers by it, and waits for them."""
    command = start(*WORDS, "--out", "run", name="one-hot-seed0-train.npz", signal="stop")
    command.wait_for_stop()
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    states = [Path(f"/proc/{pid}/status").read_text() for pid in (command.pid, *children)]
    handled = [int(re.search(r"SigCgt:\s*(\w+)", state)[1], 16) >> signal.SIGTERM - 1 & 1 for state in states]
    assert len(handled) >= 3
    assert handled == [1] + [0] * len(children)
