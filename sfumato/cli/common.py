"""What the commands share: the application, exit codes, kinds of option, and the words that were typed."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from cyclopts import App, Parameter, Token

from sfumato.version import __version__

OK, FAILURE, USAGE, FINDING, INTERRUPTED = 0, 1, 2, 3, 130

app = App(
    name="sfumato",
    help="""Label smoothing and softened training targets: decide, train and check.

Start with: sfumato compare digits""",
    version=__version__,
    help_format="markdown",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

app.register_install_completion_command(help="Let the Tab key complete commands, options and values in your shell.")

_Value = TypeVar("_Value", int, float)


class UsageError(ValueError):
    """A command line or configuration that cannot be used."""


def number(kind: Any, tokens: Sequence[Token]) -> float:
    """A number, or a sentence that says what stands in its place."""
    return _read(float, "a number", tokens[0])


def _read(kind: Callable[[str], _Value], words: str, token: Token) -> _Value:
    try:
        return kind(token.value)
    except ValueError:
        where = "" if token.source in ("cli", "env") else f" (in {os.path.basename(token.source)})"
        raise ValueError(f'"{token.value}" is not {words}{where}') from None


def width(most: int = 100) -> int:
    """Columns of the terminal, or of a page where the output goes to a file."""
    import shutil  # not above: it loads three packers, for which `sfumato --help` has no use

    return min(shutil.get_terminal_size((100, 24)).columns, most)


def write_every_letter() -> None:
    """Let both streams take every letter: Windows gives pipes and files an encoding that has no ε.

    A file or a pipe gets UTF-8. A terminal of another encoding gets a question mark for what it cannot show.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8")


def close_stdout() -> None:
    """Let what is still to be printed go nowhere: the reader has left (`| head`), which is its right.

    Python must not flush into the pipe at exit, which would be a traceback.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole(kind: Any, tokens: Sequence[Token]) -> int:
    """A whole number as it was written: 1.5 is refused, not rounded."""
    return _read(int, "a whole number", tokens[0])


if TYPE_CHECKING:
    FileName: TypeAlias = str
else:  # cyclopts converts to the first of a union, and completes files where one of them is a path
    FileName = str | Path

Whole = Annotated[int, Parameter(converter=whole)]
Number = Annotated[float, Parameter(converter=number)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]

typed: list[str] = []
"""The words after the program's name, of the command that runs now."""

sources: dict[str, str] = {}
"""Where each option of that command came from."""
