"""Notes and warnings that people read next to a result, each with a stable code.

Each has a ``code`` that stays the same when its words change: lower-case words with hyphens, one per kind of statement.
They are ordinary dictionaries, as the JSON files hold them.
"""

from collections.abc import Iterable
from typing import TypedDict


class Note(TypedDict):
    """One thing that a reader should know."""

    code: str
    text: str


class RunWarning(TypedDict):
    """What should be looked at before a verdict is trusted; ``column`` names one of the data, where one is meant."""

    code: str
    column: str | None
    text: str


def texts(notes: Iterable[Note]) -> tuple[str, ...]:
    """The sentences alone."""
    return tuple(note["text"] for note in notes)
