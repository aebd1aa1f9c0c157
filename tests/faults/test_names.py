"""Two processes with one name, and signals at awkward moments."""

import sys
import time

import pytest

from tests.faults.conftest import WORDS, bits

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for more")]


def test_of_two_runs_with_one_name_the_second_is_refused_and_so_is_resuming_a_run_at_work(start, whole, tmp_path):
    late = start(*WORDS, "--out", "run", name="start.sealed", signal="stop")  # it has looked, and not yet taken it
    late.wait_for_stop()
    first = start(*WORDS, "--out", "run", name="logits/one-hot-seed0", signal="stop")
    first.wait_for_stop()
    late.resume()
    for second in (late, start("compare", "--resume", "run")):
        assert second.wait() == 2
        assert second.err == "sfumato: another process is at work in run.partial; wait for it, or stop it first\n"
    first.resume()
    assert first.wait() == 0
    assert bits(tmp_path / "here" / "run") == whole.bits
    assert [path.name for path in (tmp_path / "here").iterdir() if "run" in path.name] == ["run"]


def test_a_run_that_comes_to_its_name_when_another_has_finished_under_it_is_refused(start, whole, tmp_path):
    late = start(*WORDS, "--out", "run", name="start.sealed", signal="stop")
    late.wait_for_stop()
    assert start(*WORDS, "--out", "run").wait() == 0
    late.resume()
    assert late.wait() == 2
    assert late.err == "sfumato: run exists already and a run folder is never overwritten; choose another --out\n"
    assert bits(tmp_path / "here" / "run") == whole.bits
    assert [path.name for path in (tmp_path / "here").iterdir() if "run" in path.name] == ["run"]


def test_without_a_name_two_runs_take_different_numbers(start, whole, tmp_path):
    late = start(*WORDS, name="-1.partial", signal="stop")
    late.wait_for_stop()
    assert start(*WORDS).wait() == 0
    late.resume()
    assert late.wait() == 0
    day = time.strftime("%Y-%m-%d")
    runs = tmp_path / "here" / "runs"
    assert sorted(path.name for path in runs.iterdir()) == [f"pets-{day}-1", f"pets-{day}-2"]
    one, two = (bits(path) for path in sorted(runs.iterdir()))
    assert {name for name in one if one[name] != two[name]} == {"summary.json", "report.html"}  # they hold their name


@pytest.mark.parametrize(
    ("moment", "kind"),
    [
        ("figures/gap.svg", "SIGINT"),
        # what is written before and after it ends in the same way: a kill at every change is tried each night, too
        pytest.param("env.json", "SIGTERM", marks=pytest.mark.nightly),
        pytest.param("report.html", "SIGTERM", marks=pytest.mark.nightly),
        pytest.param("metrics.jsonl", "SIGINT", marks=pytest.mark.nightly),
    ],
)
def test_a_signal_while_the_results_are_written_leaves_a_run_to_go_on_with(moment, kind, start, whole, tmp_path):
    command = start(*WORDS, "--out", "run", name=moment, signal=kind)
    assert command.wait() == 130
    assert command.err.splitlines()[-1] == "sfumato: stopped; `sfumato compare --resume run` goes on from here"
    assert "Traceback" not in command.err
    here = tmp_path / "here"
    assert not (here / "run").exists()
    command = start("compare", "--resume", "run.partial", "-q")  # as a shell completes it
    assert command.wait() == 0, command.err
    assert bits(here / "run") == whole.bits
    assert not (here / "run.partial").exists()


def test_a_command_that_does_not_end_or_stop_is_killed_at_the_limit_and_fails_its_test(start):
    command = start(*WORDS, "--out", "run", name="run.partial", signal="stop")
    command.wait_for_stop()
    with pytest.raises(AssertionError, match=r"^still at work after 0\.5 seconds"):
        command.wait(limit=0.5)
    running = start(*WORDS, "--out", "run")
    with pytest.raises(AssertionError, match=r"^not stopped after 0\.1 seconds"):
        running.wait_for_stop(limit=0.1)
