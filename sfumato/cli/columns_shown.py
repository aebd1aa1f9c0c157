"""How the columns of a table were read, as ``doctor`` and ``compare`` print it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfumato.text import listing, plural, short, wrapped

if TYPE_CHECKING:
    from sfumato.runs.schema import ColumnSummary

FEW = 12
"""Columns up to which ``compare`` prints one line a column."""

_NAME = 24


def line_a_column(columns: Sequence[ColumnSummary], width: int | None = None) -> str:
    """A table with a head: name, what the column was read as, different values, gaps, and why.

    Args:
        columns: as of a summary.
        width: columns of the terminal, within which the reasons are wrapped; None for one line a column.

    >>> print(line_a_column([{"name": "age", "read_as": "number", "distinct": 71, "missing": 2, "note": ""}]))
    column  read as  distinct  missing  note
    age     number         71        2
    """
    rows = [
        (short(_printable(c["name"]), _NAME), c["read_as"], f"{c['distinct']:,}", f"{c['missing']:,}", c["note"])
        for c in columns
    ]
    rows.insert(0, ("column", "read as", "distinct", "missing", "note"))
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


def in_short(columns: Sequence[ColumnSummary]) -> str:
    """How many columns were read as what, and which are left out, and why.

    >>> told = {"distinct": 9, "missing": 0}
    >>> in_short(
    ...     [
    ...         {"name": "age", "read_as": "number", "note": "", **told},
    ...         {"name": "code", "read_as": "id", "note": "left out: has another code in every row", **told},
    ...     ]
    ... )
    '1 number; left out: code (has another code in every row)'
    """
    counts = Counter(c["read_as"] for c in columns if not c["note"].startswith("left out"))
    out = [
        f"{short(_printable(c['name']), _NAME)} ({c['note'].removeprefix('left out').lstrip(': ')})"
        for c in columns
        if c["note"].startswith("left out")
    ]
    kinds = {"category": "categories", "label-probs": "soft labels"}
    told = ", ".join(plural(count, kind, kinds.get(kind)) for kind, count in counts.items())
    return told + (f"; left out: {listing(out, 6, longest=90)}" if out else "")


def _printable(name: str) -> str:
    """A name that breaks no line and steers no terminal."""
    return "".join(c if c.isprintable() else " " for c in name)
