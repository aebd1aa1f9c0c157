"""What a probe found, one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["defect", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        level: ``"defect"``: trains towards something nobody asked for, or fails; ``"warning"``: will surprise;
            ``"note"``: good to know.
        about: what was looked at, in a word or two.
        text: what was seen.

    >>> str(Finding("defect", "total mass", "Σq = 0.99"))
    'defect: total mass: Σq = 0.99'
    """

    level: Level
    about: str
    text: str

    def __str__(self) -> str:
        """As one line."""
        return f"{self.level}: {self.about}: {self.text}"


def defect(about: str, text: str) -> Finding:
    """A finding of level ``"defect"``.

    >>> defect("a", "b").level
    'defect'

    Source: :class:`Finding`.
    """
    return Finding("defect", about, text)


def warning(about: str, text: str) -> Finding:
    """A finding of level ``"warning"``.

    >>> warning("a", "b").level
    'warning'

    Source: :class:`Finding`.
    """
    return Finding("warning", about, text)


def note(about: str, text: str) -> Finding:
    """A finding of level ``"note"``.

    >>> note("a", "b").level
    'note'

    Source: :class:`Finding`.
    """
    return Finding("note", about, text)
