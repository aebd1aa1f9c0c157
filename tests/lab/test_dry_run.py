"""What a comparison will cost, said before anything is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sfumato.lab.compare import compare
from sfumato.lab.dry_run import dry_run
from sfumato.lab.options import Options
from tests.conftest import run_sfumato


def test_a_dry_run_counts_what_the_run_will_do_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = dry_run(Options("digits", seeds=4, workers=2, arm="onehot,all:0.1,prior:0.1"))
    assert (found.arms, found.runs, found.workers) == (("one-hot", "all-0.1", "prior-0.1"), 12, 2)
    assert (found.epochs, found.steps) == (59, 59 * 17)
    assert found.parameters == 64 * 256 + 256 + 256 * 256 + 256 + 2560 + 10
    assert 0 < found.seconds_per_step < found.seconds
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_it_in_text_and_in_json(tmp_path):
    text = run_sfumato("compare", "digits", "--dry-run", "-q", folder=tmp_path)
    assert text.code == 0, text.err
    for word in (
        "arms     one-hot, smoothed",
        "runs     10",
        "59 epochs",
        "85,002 parameters",
        "time     about",
        "disk",
    ):
        assert word in text.out
    found = run_sfumato(
        "compare", "digits", "--ladder", "0,0.1,0.2", "--dry-run", "--json", "-q", folder=tmp_path
    ).json()
    assert found["schema"] == "sfumato.dry-run/1"
    assert found["arms"] == ["one-hot", "smoothed-0.1", "smoothed-0.2"]
    assert list(tmp_path.iterdir()) == []


def test_the_disk_it_names_is_that_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Options("digits", model="linear", seeds=3, epochs=1)
    expected = dry_run(options)
    compare(replace(options, out="run"))
    files = [*(tmp_path / "run" / "logits").iterdir(), *(tmp_path / "run" / "weights").iterdir()]
    used = sum(path.stat().st_size for path in files if "seed0" not in path.name)  # of which features are kept too
    assert used * 3 / 2 == pytest.approx(expected.disk, rel=0.3)
