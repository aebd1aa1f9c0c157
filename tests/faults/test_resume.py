"""What ``--resume`` takes and prints, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from sfumato.io.atomic import read_sealed, write_sealed
from tests.faults.conftest import WORDS, bits

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for more")]


def test_of_a_whole_run_it_prints_what_is_stored(start, whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "here" / "run")
    command = start("compare", "--resume", "run", "--json")
    assert (command.wait(), command.err) == (0, "")
    assert json.loads(command.out) == json.loads(whole.bits["summary.json"])
    command = start("compare", "--resume", "run/")
    assert (command.wait(), command.err) == (0, "")
    told = " ".join(command.out.split())
    assert " ".join(json.loads(whole.bits["summary.json"])["verdict"]["sentences"]) in told
    assert command.out.endswith("report  run/report.html\n")


def test_what_a_kill_left_half_written_is_gone_when_the_run_has_gone_on(start, whole, tmp_path):
    stopped(start)
    partial = tmp_path / "here" / "run.partial"
    for path in (partial / ".config.toml.123", partial / "logits" / ".smoothed-seed0-test.npz.45"):
        path.write_bytes(b"half")
    assert start("compare", "--resume", "run").wait() == 0
    assert bits(tmp_path / "here" / "run") == whole.bits  # whose files are all


def test_when_a_run_was_begun_and_gone_on_with_is_told(start, tmp_path):
    stopped(start)
    for _ in range(2):
        assert start("compare", "--resume", "run", name="summary.json").wait() == -9
    assert start("compare", "--resume", "run").wait() == 0
    env = json.loads((tmp_path / "here" / "run" / "env.json").read_text(encoding="utf-8"))
    assert len(env["resumed"]) == 3
    times = [env["started"], *env["resumed"]]
    assert times == sorted(times)


def test_a_run_is_resumed_from_another_folder(start, whole, tmp_path):
    start(*WORDS, "--out", "run", name="smoothed-seed0-test.npz").wait()
    other = tmp_path / "other"
    other.mkdir()
    command = start("compare", "--resume", "../here/run", folder=other)
    assert command.wait() == 0, command.err
    found = bits(tmp_path / "here" / "run")
    assert {name for name in found if found[name] != whole.bits[name]} == {"summary.json", "report.html"}


def stopped(start):
    assert start(*WORDS, "--out", "run", name="smoothed-seed0-test.npz").wait() == -9


def refused(start, *words, code=2):
    command = start("compare", *words)
    assert (command.wait(), command.out) == (code, "")
    assert command.err.startswith("sfumato: ")
    assert command.err.count("\n") == 1
    return command.err


def test_other_data_are_refused(start, tmp_path):
    stopped(start)
    data = tmp_path / "here" / "pets.csv"
    data.write_text(data.read_text().replace("ant\n", "bee\n", 1))
    assert "pets.csv has changed since run.partial was begun" in refused(start, "--resume", "run")
    data.unlink()
    assert 'no file "' in refused(start, "--resume", "run")


def test_other_options_are_refused(start, tmp_path):
    stopped(start)
    config = tmp_path / "here" / "run.partial" / "config.toml"
    config.write_text(config.read_text().replace("seeds = 3", "seeds = 4"))
    assert "run.partial/config.toml was changed since the run was begun" in refused(start, "--resume", "run")
    config.unlink()
    assert "run.partial/config.toml cannot be read" in refused(start, "--resume", "run")


@pytest.mark.parametrize("name", ["sfumato", "torch"])
def test_another_version_is_refused(name, start, tmp_path):
    stopped(start)
    path = tmp_path / "here" / "run.partial" / "work" / "start.sealed"
    begun = read_sealed(path)
    begun["versions"][name] = "0.0.1"
    write_sealed(path, begun)
    assert f"the run was begun with {name} 0.0.1 and this is " in refused(start, "--resume", "run")


def test_another_processor_is_noted(start, whole, tmp_path):
    stopped(start)
    path = tmp_path / "here" / "run.partial" / "work" / "start.sealed"
    begun = read_sealed(path)
    begun["machine"]["cpu"] = "an abacus"
    write_sealed(path, begun)
    command = start("compare", "--resume", "run")
    assert command.wait() == 0
    note = "Note: This run was stopped, and gone on with under other conditions (cpu an abacus, then "
    assert note in " ".join(command.out.split())
    assert note.removeprefix("Note: ") in (tmp_path / "here" / "run" / "report.html").read_text()


@pytest.mark.parametrize("text", ["", "\n", "{}", "0" * 64 + '\n{"schema": "sfumato.work/1"}\n', "changed"])
def test_a_beginning_that_cannot_be_read_is_refused(text, start, tmp_path):
    stopped(start)
    path = tmp_path / "here" / "run.partial" / "work" / "start.sealed"
    path.write_text(path.read_text().replace("pets", "pots") if text == "changed" else text)
    said = refused(start, "--resume", "run")
    assert "run.partial/work/start.sealed does not say how the run was begun, so it cannot go on; start" in said


def test_no_run_is_refused(start, tmp_path):
    (tmp_path / "here" / "runs" / "pets-1.partial").mkdir(parents=True)
    assert refused(start, "--resume", "runs/pets-l") == (
        'sfumato: no run runs/pets-l, and no runs/pets-l.partial to go on with; did you mean "runs/pets-1"?\n'
    )
    assert "runs is not a run folder: it has no summary.json" in refused(start, "--resume", "runs")
    assert "there is no" not in refused(start, "--resume", "runs/pets-1")


def test_with_anything_else_it_is_refused(start, tmp_path):
    assert refused(start, "pets.csv", "--resume", "run") == (
        "sfumato: --resume takes everything from the run; leave out DATA\n"
    )
    assert "leave out --eps" in refused(start, "--resume", "run", "--eps", "0.2")
    stopped(start)
    assert "--workers must be at least 1, got 0" in refused(start, "--resume", "run", "--workers", "0")
    (tmp_path / "here" / "c.toml").write_text('resume = "run"\n')
    assert 'c.toml has an unknown key "resume"' in refused(start, "-c", "c.toml")
