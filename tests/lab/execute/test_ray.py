"""Comparisons on a real Ray: the bits of a run here, whatever dies on the way, and errors as they are told here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import run_sfumato

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds Ray's processes in /proc"),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]

WORDS = ("compare", "digits", "--folds", "1", "--seeds", "3", "--epochs", "4", "-q", "--out", "run")


def bits(run: Path) -> dict[str, bytes]:
    """All that a run must reproduce."""
    files = [*(run / "logits").iterdir(), *(run / "weights").iterdir(), run / "metrics.jsonl", run / "summary.json"]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("here")
    ran = run_sfumato(*WORDS, folder=folder)
    assert ran.code == 0, ran.err
    return bits(folder / "run")


def workers_of_ray(driver: int) -> list[int]:
    """Processes below ``driver`` that are at work on a run, by the title that Ray gives them."""
    parents, at_work = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if (path / "cmdline").read_bytes().startswith(b"ray::_run"):
                at_work.append(int(path.name))
        except OSError:
            continue

    def is_below(pid: int) -> bool:
        return pid == driver or (pid in parents and is_below(parents[pid]))

    return [pid for pid in at_work if is_below(pid)]


@pytest.mark.nightly  # a cluster and its workers take most of a minute
def test_a_comparison_on_ray_has_the_bits_of_one_here_though_a_worker_is_killed_on_the_way(here, begin, tmp_path):
    command = ("-m", "sfumato", *WORDS, "--on", "ray", "--workers", "2")
    process = begin(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = 0
    while process.poll() is None and not killed:
        for pid in workers_of_ray(process.pid):
            os.kill(pid, signal.SIGKILL)
            killed += 1
            break
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert killed == 1
    assert bits(tmp_path / "run") == here
    assert "run/report.html" in out


@pytest.mark.nightly  # that a run goes on, and that Ray has the bits of a run here, are asked by day one by one
def test_a_run_that_was_stopped_here_goes_on_on_ray_to_the_same_bits(here, begin, tmp_path):
    process = begin("-m", "sfumato", *WORDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = tmp_path / "run.partial"
    while process.poll() is None and not list(partial.glob("work/*seed*.sealed")):
        pass
    process.kill()
    process.wait()
    ran = run_sfumato("compare", "--resume", "run", "--on", "ray", "-q", folder=tmp_path)
    assert ran.code == 0, ran.err
    assert bits(tmp_path / "run") == here


@pytest.mark.nightly  # the draws hang on seed, epoch and row alone, as tests/lab/train/test_augment.py shows each day
def test_an_augmented_comparison_on_ray_has_the_bits_of_one_here(tmp_path):
    words = (*WORDS, "--model", "cnn", "--augment", "flip,crop")
    for place, more in (("here", ()), ("there", ("--on", "ray", "--workers", "2"))):
        (tmp_path / place).mkdir()
        ran = run_sfumato(*words, *more, folder=tmp_path / place)
        assert ran.code == 0, ran.err
    assert bits(tmp_path / "there" / "run") == bits(tmp_path / "here" / "run")


@pytest.mark.nightly  # labels are drawn before a run is handed on, as tests/lab/data/test_noise.py shows each day
def test_a_comparison_with_wrong_labels_on_ray_has_the_bits_of_one_here(tmp_path):
    words = (*WORDS, "--noise", "0.4", "--arm", "onehot", "--arm", "linear:0.4:0")
    for place, more in (("here", ()), ("there", ("--on", "ray", "--workers", "2"))):
        (tmp_path / place).mkdir()
        ran = run_sfumato(*words, *more, folder=tmp_path / place)
        assert ran.code == 0, ran.err
    assert bits(tmp_path / "there" / "run") == bits(tmp_path / "here" / "run")


@pytest.mark.nightly  # it starts a cluster of its own for one sentence
def test_a_run_that_fails_on_ray_says_what_it_says_here(tmp_path):
    words = ("compare", "digits", "--folds", "1", "--seeds", "3", "--epochs", "2", "--learning-rate", "1e30", "-q")
    on_ray, locally = (run_sfumato(*words, *more, folder=tmp_path) for more in (("--on", "ray"), ()))
    assert on_ray.code == locally.code == 1
    assert on_ray.err == locally.err
    assert "the loss is" in on_ray.err
