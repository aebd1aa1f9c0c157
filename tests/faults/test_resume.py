"""What ``--resume`` takes and prints, and what it refuses."""

import json
import shutil
import sys

import pytest

from sfumato.io.atomic import read_sealed, write_sealed
from tests.faults.conftest import WORDS, bits

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for more")]


@pytest.fixture
def here(tmp_path):
    return tmp_path / "here"


@pytest.fixture
def partial(start, here):
    """The folder of a run that was killed."""
    assert start(*WORDS, "--out", "run", name="smoothed-seed0-test.npz").wait() == -9
    return here / "run.partial"


def test_of_a_whole_run_it_prints_what_is_stored(start, whole, here):
    shutil.copytree(whole.folder, here / "run")
    command = start("compare", "--resume", "run", "--json")
    assert (command.wait(), command.err) == (0, "")
    assert json.loads(command.out) == json.loads(whole.bits["summary.json"])
    command = start("compare", "--resume", "run/")
    assert (command.wait(), command.err) == (0, "")
    told = " ".join(command.out.split())
    assert " ".join(json.loads(whole.bits["summary.json"])["verdict"]["sentences"]) in told
    assert command.out.endswith("report  run/report.html\n")


def test_what_a_kill_left_half_written_is_gone_and_when_the_run_was_gone_on_with_is_told(start, partial, whole, here):
    for path in (partial / ".config.toml.123", partial / "logits" / ".smoothed-seed0-test.npz.45"):
        path.write_bytes(b"half")
    for _ in range(2):
        assert start("compare", "--resume", "run", name="summary.json").wait() == -9
    assert start("compare", "--resume", "run").wait() == 0
    assert bits(here / "run") == whole.bits  # whose files are all
    env = json.loads((here / "run" / "env.json").read_text(encoding="utf-8"))
    times = [env["started"], *env["resumed"]]
    assert (len(times), times) == (4, sorted(times))


def test_a_run_is_resumed_from_another_folder(start, partial, whole, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    command = start("compare", "--resume", "../here/run", folder=other)
    assert command.wait() == 0, command.err
    found = bits(tmp_path / "here" / "run")
    assert {name for name in found if found[name] != whole.bits[name]} == {"summary.json", "report.html"}


def refused(start, *words):
    command = start("compare", *words)
    assert (command.wait(), command.out) == (2, "")
    assert command.err.startswith("sfumato: ")
    assert command.err.count("\n") == 1
    return command.err


@pytest.mark.parametrize(
    ("name", "old", "new", "changed", "gone"),
    [
        ("pets.csv", "ant\n", "bee\n", "pets.csv has changed since run.partial was begun", 'no file "'),
        ("run.partial/config.toml", "seeds = 3", "seeds = 4",
         "run.partial/config.toml was changed since the run was begun", "run.partial/config.toml cannot be read"),
    ],
)  # fmt: skip
def test_other_data_and_options_are_refused(name, old, new, changed, gone, start, partial, here):
    (here / name).write_text((here / name).read_text().replace(old, new, 1))
    assert changed in refused(start, "--resume", "run")
    (here / name).unlink()
    assert gone in refused(start, "--resume", "run")


def rewrite_start(partial, *keys, value):
    path = partial / "work" / "start.sealed"
    begun = place = read_sealed(path)
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_sealed(path, begun)


@pytest.mark.parametrize("name", ["sfumato", "torch"])
def test_another_version_is_refused(name, start, partial):
    rewrite_start(partial, "versions", name, value="0.0.1")
    assert f"the run was begun with {name} 0.0.1 and this is " in refused(start, "--resume", "run")


def test_another_processor_is_noted(start, partial, here):
    rewrite_start(partial, "machine", "cpu", value="an abacus")
    command = start("compare", "--resume", "run")
    assert command.wait() == 0
    note = "Note: This run was stopped, and gone on with under other conditions (cpu an abacus, then "
    assert note in " ".join(command.out.split())
    assert note.removeprefix("Note: ") in (here / "run" / "report.html").read_text()


def test_a_beginning_that_cannot_be_read_is_refused(start, partial):
    path = partial / "work" / "start.sealed"
    for text in (
        "",
        "\n",
        "{}",
        "0" * 64 + '\n{"schema": "sfumato.work/1"}\n',
        path.read_text().replace("pets", "pots"),
    ):
        path.write_text(text)
        said = refused(start, "--resume", "run")
        assert "run.partial/work/start.sealed does not say how the run was begun, so it cannot go on; start" in said


def test_no_run_is_refused(start, here):
    (here / "runs" / "pets-1.partial").mkdir(parents=True)
    assert refused(start, "--resume", "runs/pets-l") == (
        'sfumato: no run runs/pets-l, and no runs/pets-l.partial to go on with; did you mean "runs/pets-1"?\n'
    )
    assert "runs is not a run folder: it has no summary.json" in refused(start, "--resume", "runs")
    assert "there is no" not in refused(start, "--resume", "runs/pets-1")


def test_with_anything_else_it_is_refused(start, partial, here):
    (here / "c.toml").write_text('resume = "run"\n')
    for words, message in (
        (("pets.csv", "--resume", "run"), "sfumato: --resume takes everything from the run; leave out DATA\n"),
        (("--resume", "run", "--eps", "0.2"), "leave out --eps"),
        (("--resume", "run", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("-c", "c.toml"), 'c.toml has an unknown key "resume"'),
    ):
        assert message in refused(start, *words)
