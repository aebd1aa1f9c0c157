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

from sfumato.cli import audit, common, compare, doctor, explain, init, judge, option_sources, probe, report
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
    """Run the command line, by default the words of the process.

    Returns 0 for ok, 1 for a failure, 2 for wrong usage, 3 for a finding under --strict, and 130 if interrupted.
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
    except CycloptsError as error:
        return _fail(_misused(words, error), USAGE)
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


def _misused(words: Sequence[str], error: CycloptsError) -> str:
    """What is wrong with the words, and where to look: doctor takes but some of the options that compare takes."""
    said = " ".join(str(error).split())
    if isinstance(error, MissingArgumentError):
        lacking = "" if error.argument is None else error.argument.field_info.name
        return _LACKING.get(lacking, said)
    if isinstance(error, UnusedCliTokensError):
        extra = " ".join(error.unused_tokens or ())
        return f'"{extra}" is more than the command takes; options begin with --, as in --help'
    if not isinstance(error, UnknownOptionError):
        return said
    from sfumato.lab.options import schema

    typed = (error.token.keyword or error.token.value).split("=", 1)[0]
    if words[:1] == ["doctor"] and typed.removeprefix("--").replace("-", "_") in schema():
        return f"{typed} is an option of compare, and doctor has no use for it; leave it out"
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
    for module, name, code in (
        ("sfumato.io.arrays", "FileError", USAGE),
        ("sfumato.runs.read", "ReportError", FAILURE),
        ("sfumato.runs.folder", "RunError", USAGE),
    ):
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return code
    if isinstance(error, (UsageError, DataError, MissingExtraError, OptionError, NotADirectoryError)):
        return USAGE
    failures = (ArmError, TrainingError, WorkerError, WriteError, TrackingError, OSError)
    return FAILURE if isinstance(error, failures) else None


def _fail(message: str, code: int) -> int:
    # Names and values may come from a file: they must not break the line or steer the terminal.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    print(f"sfumato: {shown}", file=sys.stderr)
    return code
