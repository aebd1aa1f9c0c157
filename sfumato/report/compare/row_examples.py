"""Pictures, texts or values of single rows, read from ``examples.json`` where a run has one.

The file may come from anyone and its entries go into the page, so a thumbnail that is no PNG in a data URI is refused.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sfumato.runs.read import ReportError, read_object

KINDS = ("image", "text", "table")
_PNG = "data:image/png;base64,"
_LONGEST = 400_000  # characters of a thumbnail: the page stays below 1 MB


@dataclass(frozen=True)
class Example:
    """One row to look at: a thumbnail (data URI), a text, or names with values; the other two are empty."""

    thumbnail: str = ""
    text: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])


def load_examples(folder: Path) -> dict[int, Example]:
    """Examples of a run by row number; none where it has no ``examples.json``.

    Raises:
        ReportError: the file is not of the form
            ``{"kind": "image" | "text" | "table", "rows": {ROW: {"thumbnail"} | {"text"} | {"values"}}}``.
    """
    path = folder / "examples.json"
    if not path.exists():
        return {}
    content = read_object(path)
    kind, rows = content.get("kind"), content.get("rows")
    if kind not in KINDS or not isinstance(rows, dict):
        raise ReportError(f"{path} should hold a kind ({', '.join(KINDS)}) and rows, got kind {kind!r}")
    for key in cast(dict[str, Any], rows):
        if not re.fullmatch(r"[0-9]{1,18}", key):
            raise ReportError(f"{path}: {key!r} is not the number of a row")
    return {int(key): _example(path, key, value) for key, value in cast(dict[str, Any], rows).items()}


def _example(path: Path, key: str, value: Any) -> Example:
    entry = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    if isinstance(entry.get("thumbnail"), str):
        return Example(thumbnail=_thumbnail(path, key, entry["thumbnail"]))
    if isinstance(entry.get("text"), str):
        return Example(text=entry["text"])
    if isinstance(entry.get("values"), dict):
        return Example(values={str(name): _shown(cell) for name, cell in entry["values"].items()})
    raise ReportError(f"{path} row {key} has no thumbnail, text or values")


def _thumbnail(path: Path, key: str, uri: str) -> str:
    try:
        start = base64.b64decode(uri.removeprefix(_PNG), validate=True)[:8] if uri.startswith(_PNG) else b""
    except binascii.Error:
        start = b""
    where = f"{path} row {key}: the thumbnail"
    if start != b"\x89PNG\r\n\x1a\n":
        raise ReportError(f"{where} is not a PNG as {_PNG}…")
    if len(uri) > _LONGEST:
        raise ReportError(f"{where} has {len(uri):,} characters; at most {_LONGEST:,} are shown")
    return uri


def _shown(cell: Any) -> str:
    return f"{cell:.4g}".replace("-", "−") if isinstance(cell, float | int) else str(cell)
