"""Same seed, same machine, same bits: every file of a comparison, however many processes share the work."""

from __future__ import annotations

import os
import sys

import pytest

from tests.conftest import run_sfumato
from tests.faults.conftest import WORDS, bits

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for more")]


@pytest.mark.parametrize("workers", ["1", "2", "6"])
def test_every_file_of_a_run_has_the_same_bits_for_any_number_of_processes(workers, start, whole, tmp_path):
    words = [*WORDS, "--out", "run"]
    words[words.index("--workers") + 1] = workers
    assert start(*words).wait() == 0
    found, expected = bits(tmp_path / "here" / "run"), dict(whole.bits)
    for name in ("env.json", "report.html"):  # they hold the command, and so the number
        found[name] = found[name].replace(f"--workers {workers}".encode(), b"--workers 2")
    assert found == expected


@pytest.mark.nightly
def test_a_whole_comparison_with_every_default_has_the_same_bits_with_one_process_and_with_two(digits, tmp_path):
    words = ("compare", "digits", "--json", "--workers", "1")
    ran = run_sfumato(*words, folder=tmp_path)
    assert ran.code == 0, ran.err
    one, two = bits(tmp_path / ran.json()["run"]), bits(digits.folder / digits.json()["run"])
    one = {name: content.replace(b" --workers 1", b"") for name, content in one.items()}
    differ = {name for name in one if one[name] != two[name]}
    assert (
        differ <= {"config.toml", "summary.json", "report.html"}
        if os.path.basename(ran.json()["run"]) != os.path.basename(digits.json()["run"])
        else differ == set()
    )
