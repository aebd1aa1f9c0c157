"""The commands: each reads options, calls the lab and the report, and prints the result.

Results go to stdout, progress to stderr. Nothing heavy is imported before a command needs it, so that ``--help`` and
``explain`` answer at once. One file a command; :func:`main` runs one and says what went wrong.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from types import FrameType

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from sfumato.cli import (
    audit,
    common,
    compare,
    doctor,
    explain,
    init,
    judge,
    option_sources,
    probe,
    report,
)
from sfumato.cli.common import (
    FAILURE,
    FINDING,
    INTERRUPTED,
    OK,
    USAGE,
    UsageError,
    app,
    close_stdout,
    write_every_letter,
)

__all__ = ["FAILURE", "FINDING", "OK", "USAGE", "app", "main"]

COMMANDS = (audit, compare, doctor, explain, init, judge, probe, report)
"""The files of the commands: each adds its own to the application."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after the program's name; those of the process if None.

    Returns:
        Exit code: 0 ok, 1 failure, 2 usage, 3 a finding under --strict, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    common.typed[:] = words
    common.sources.clear()
    write_every_letter()
    with _terminable():
        return _run(words)


def _run(words: list[str]) -> int:
    try:
        app.config = option_sources.configuration(words)
        result = app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except MissingArgumentError as error:
        lacking = "" if error.argument is None else error.argument.field_info.name
        return _fail(_LACKING.get(lacking, " ".join(str(error).split())), USAGE)
    except UnusedCliTokensError as error:
        extra = " ".join(error.unused_tokens or ())
        return _fail(f'"{extra}" is more than the command takes; options begin with --, as in --help', USAGE)
    except UnknownOptionError as error:
        return _fail(_unknown(words, error), USAGE)
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()), USAGE)
    except BrokenPipeError:
        close_stdout()
        return OK
    except KeyboardInterrupt as error:
        return _fail(str(error) or "stopped", INTERRUPTED)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        return _fail(str(error), code)


def _unknown(words: Sequence[str], error: UnknownOptionError) -> str:
    """What is wrong with an option, and where to look: doctor takes but some of those that compare takes."""
    from sfumato.lab.options import schema

    typed = (error.token.keyword or error.token.value).split("=", 1)[0]
    if words[:1] == ["doctor"] and typed.removeprefix("--").replace("-", "_") in schema():
        return f"{typed} is an option of compare, and doctor has no use for it; leave it out"
    said = " ".join(str(error).split())
    return said if "?" in said else f"{said} Options: sfumato {' '.join([*words[:1], '--help'])}"


_LACKING = {
    "logits": "audit needs LOGITS: an .npz, .npy, .safetensors, .pt, .csv or .parquet file, a run folder, or -",
}


@contextlib.contextmanager
def _terminable() -> Generator[None]:
    """Take SIGTERM, which batch systems send, for an interrupt: it ends workers too, and says how to go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_code(error: Exception) -> int | None:
    """2 for bad input, 1 for a run that failed, None for what is a bug and deserves its traceback."""
    from sfumato.extras import MissingExtraError
    from sfumato.io.atomic import WriteError
    from sfumato.lab.data import DataError
    from sfumato.lab.errors import ArmError, OptionError, TrackingError, TrainingError, WorkerError

    # Where a module was never imported, nothing of it was raised, and it may need packages that are not installed.
    of = ("sfumato.io.arrays", "sfumato.runs.read", "sfumato.runs.folder")
    files, runs, folder = map(sys.modules.get, of)
    if files is not None and isinstance(error, files.FileError):
        return USAGE
    if runs is not None and isinstance(error, runs.ReportError):
        return FAILURE
    if folder is not None and isinstance(error, folder.RunError):
        return USAGE
    if isinstance(error, (UsageError, DataError, MissingExtraError, OptionError, NotADirectoryError)):
        return USAGE
    failures = (ArmError, TrainingError, WorkerError, WriteError, TrackingError, OSError)
    return FAILURE if isinstance(error, failures) else None


def _fail(message: str, code: int) -> int:
    # Names and values may come from a file: they must not break the line or steer the terminal.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    print(f"sfumato: {shown}", file=sys.stderr)
    return code
