"""Same seed, same machine, same bits: every file of a comparison, however many processes share the work."""

import os
import sys

import numpy as np
import pytest

from tests.conftest import run_sfumato
from tests.faults.conftest import WORDS, bits

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for more")]


# The whole run is that of two processes; two again, and as many as there are runs, are tried each night.
@pytest.mark.parametrize("workers", ["1", *(pytest.param(count, marks=pytest.mark.nightly) for count in ("2", "6"))])
def test_every_file_of_a_run_has_the_same_bits_for_any_number_of_processes(workers, start, whole, tmp_path):
    words = [*WORDS, "--out", "run"]
    words[words.index("--workers") + 1] = workers
    assert start(*words).wait() == 0
    found, expected = bits(tmp_path / "here" / "run"), dict(whole.bits)
    for name in ("env.json", "report.html"):  # they hold the command, and so the number
        found[name] = found[name].replace(f"--workers {workers}".encode(), b"--workers 2")
    assert found == expected


@pytest.mark.nightly  # the draws hang on seed, epoch and row alone, as tests/lab/train/test_augment.py shows each day
def test_pictures_are_augmented_to_the_same_bits_by_one_process_by_two_and_after_a_kill(start, tmp_path):
    here, rng = tmp_path / "here", np.random.default_rng(0)
    np.savez(here / "pictures.npz", X=rng.integers(0, 255, (90, 16, 16), np.uint8), y=np.arange(90) % 3)
    words = ("compare", "pictures.npz", "--augment", "flip,crop", "--epochs", "2", "--folds", "1", "--seeds", "3", "-q")
    found = []
    for workers in ("1", "2"):
        assert start(*words, "--workers", workers, "--out", "run").wait() == 0
        found.append(bits(here / "run"))
        (here / "run").rename(here / f"run-{workers}")
    assert start(*words, "--workers", "1", "--out", "run", name="smoothed-seed1-test.npz").wait() == -9
    assert start("compare", "--resume", "run", "--workers", "2").wait() == 0
    found.append(bits(here / "run"))
    for each in found:  # they hold the command, and so the number
        for name in ("env.json", "report.html"):
            each[name] = each[name].replace(b"--workers 2", b"--workers 1")
    assert found[0] == found[1] == found[2]


@pytest.mark.nightly
def test_a_whole_comparison_with_every_default_has_the_same_bits_with_one_process_and_with_two(digits, tmp_path):
    words = ("compare", "digits", "--json", "--workers", "1")
    ran = run_sfumato(*words, folder=tmp_path, figures=True)
    assert ran.code == 0, ran.err
    one, two = bits(tmp_path / ran.json()["run"]), bits(digits.folder / digits.json()["run"])
    one = {name: content.replace(b" --workers 1", b"") for name, content in one.items()}
    differ = {name for name in one if one[name] != two[name]}
    assert (
        differ <= {"config.toml", "summary.json", "report.html"}
        if os.path.basename(ran.json()["run"]) != os.path.basename(digits.json()["run"])
        else differ == set()
    )
