"""What the commands share: the application, exit codes, kinds of option, the words typed, and the terminal."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import App, Parameter, Token

from sfumato.text import listing, plural, short, wrapped
from sfumato.version import __version__

if TYPE_CHECKING:
    from sfumato.runs.schema import ColumnSummary

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


class UsageError(ValueError):
    """A command line or configuration that cannot be used."""


def _converter(kind: type, words: str) -> Callable[[Any, Sequence[Token]], Any]:
    """A converter that says what stands in place of a number: 1.5 for a whole one is refused, not rounded."""

    def convert(_: Any, tokens: Sequence[Token]) -> Any:
        """The value of the first token."""
        try:
            return kind(tokens[0].value)
        except ValueError:
            source = tokens[0].source
            where = "" if source in ("cli", "env") else f" (in {os.path.basename(source)})"
            raise ValueError(f'"{tokens[0].value}" is not {words}{where}') from None

    return convert


number, whole = _converter(float, "a number"), _converter(int, "a whole number")

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


def line_a_column(columns: Sequence[ColumnSummary], width: int | None = None) -> str:
    """A table of how the columns of some data were read: a line each, whose reasons are wrapped within a ``width``.

    >>> print(line_a_column([{"name": "age", "read_as": "number", "distinct": 71, "missing": 2, "note": ""}]))
    column  read as  distinct  missing  note
    age     number         71        2
    """
    rows = [("column", "read as", "distinct", "missing", "note")]
    rows += [(_name(c), c["read_as"], f"{c['distinct']:,}", f"{c['missing']:,}", c["note"]) for c in columns]
    name, read_as, distinct, missing = (max(len(row[k]) for row in rows) for k in range(4))
    fixed = [
        f"{row[0]:<{name}}  {row[1]:<{read_as}}  {row[2]:>{distinct}}  {row[3]:>{missing}}  {row[4]}".rstrip()
        for row in rows
    ]
    if width is None:
        return "\n".join(fixed)
    start = len(fixed[0]) - len("note")
    rest = " " * (start if width - start >= 24 else 4)  # where little is left beside the numbers, below them
    return "\n".join(wrapped(line, width, rest=rest) for line in fixed)


def columns_in_short(columns: Sequence[ColumnSummary]) -> str:
    """How many columns were read as what, and which are left out, and why.

    >>> told = {"distinct": 9, "missing": 0}
    >>> columns_in_short(
    ...     [
    ...         {"name": "age", "read_as": "number", "note": "", **told},
    ...         {"name": "code", "read_as": "id", "note": "left out: has another code in every row", **told},
    ...     ]
    ... )
    '1 number; left out: code (has another code in every row)'
    """
    left = [c for c in columns if c["note"].startswith("left out")]
    out = [f"{_name(c)} ({c['note'].removeprefix('left out').lstrip(': ')})" for c in left]
    counts = Counter(c["read_as"] for c in columns if c not in left)
    kinds = {"category": "categories", "label-probs": "soft labels"}
    told = ", ".join(plural(count, kind, kinds.get(kind)) for kind, count in counts.items())
    return told + (f"; left out: {listing(out, 6, longest=90)}" if out else "")


def _name(column: ColumnSummary) -> str:
    """The name of a column, which breaks no line and steers no terminal."""
    return short("".join(c if c.isprintable() else " " for c in column["name"]), 24)
