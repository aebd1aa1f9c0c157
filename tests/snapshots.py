"""Texts that are pinned once: verdicts, pages and what the terminal shows, each a file in ``tests/snapshots/``.

After a change of words, ``make renew`` writes them anew, and so does ``SFUMATO_RENEW=1 pytest …`` for a few tests. Read
the diff before you commit it. A text whose last digits depend on the machine is pinned ``without_numbers``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "snapshots"
NUMBER = re.compile(r"[−+-]?(?:\d[\d,]*)?\.?\d+(?:e[−+-]?\d+)?")


def assert_snapshot(text: str, name: str, *, without_numbers: bool = False) -> None:
    """Compare a text with the file of that name, such as ``"verdict/smooth.txt"``, or write the file."""
    path = FOLDER / name
    text = (NUMBER.sub("#", text) if without_numbers else text).rstrip("\n") + "\n"
    if os.environ.get("SFUMATO_RENEW") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"there is no tests/snapshots/{name}: make renew writes it"
    assert text == path.read_text(encoding="utf-8")
