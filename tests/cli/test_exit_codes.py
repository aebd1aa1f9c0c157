"""Exit codes: 2 for input that cannot be used, 1 for a run that failed, a traceback for a fault of this program."""

from __future__ import annotations

import pytest

from sfumato.cli import main
from sfumato.cli.common import UsageError
from sfumato.io.atomic import WriteError
from sfumato.lab.data import DataError
from sfumato.lab.errors import ArmError, OptionError, Stopped, TrackingError, TrainingError, WorkerError
from sfumato.runs.folder import RunError, TakenError
from sfumato.runs.read import ReportError

USAGE = (UsageError, DataError, OptionError, RunError, TakenError, NotADirectoryError)
FAILURE = (ArmError, TrainingError, WorkerError, WriteError, TrackingError, ReportError, OSError)


def raising(error, monkeypatch):
    """What the command gives if a comparison ends in this error."""

    def compare(*args, **kwargs):
        raise error

    monkeypatch.setattr("sfumato.lab.compare.compare", compare)
    return main(["compare", "digits", "--quiet"])


@pytest.mark.parametrize(
    ("kind", "code"),
    [*((kind, 2) for kind in USAGE), *((kind, 1) for kind in FAILURE), (Stopped, 130), (KeyboardInterrupt, 130)],
)
def test_an_error_is_one_line_and_its_own_exit_code(kind, code, monkeypatch, capsys):
    assert raising(kind("what happened, and what to do"), monkeypatch) == code
    assert capsys.readouterr() == ("", "sfumato: what happened, and what to do\n")


def test_an_interrupt_without_a_word_is_said_to_be_one(monkeypatch, capsys):
    assert raising(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr() == ("", "sfumato: stopped\n")


@pytest.mark.parametrize("kind", [AssertionError, ValueError, KeyError, RuntimeError])
def test_a_fault_of_the_program_keeps_its_traceback(kind, monkeypatch):
    with pytest.raises(kind):
        raising(kind("a bug"), monkeypatch)


def test_what_comes_from_a_file_cannot_break_the_line_or_steer_the_terminal(monkeypatch, capsys):
    assert raising(DataError("column a\nb\x1b[2J"), monkeypatch) == 2
    assert capsys.readouterr().err == "sfumato: column a\\nb\\x1b[2J\n"
