"""What docs/design.md promises, read off the page: signatures, options, metrics, and the fields of each JSON object."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

TEXT = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, up to the next of the same rank."""
    return re.split(r"^## ", TEXT.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def block_after(words: str, text: str = TEXT) -> str:
    """The first fenced block after a phrase."""
    found = re.search(r"^```\w*\n(.*?)^```$", text.split(words, 1)[1], flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


def signatures(title: str) -> dict[str, str]:
    """Each name of the block below a heading, with its signature as it stands there; "" for a name without brackets."""
    found: dict[str, str] = {}
    for line in re.sub(r"\n +", " ", block_after(f"\n## {title}\n")).splitlines():
        call = re.fullmatch(r"([\w.]+)(\(.*)", line)
        found |= {call[1]: call[2]} if call else dict.fromkeys(re.split(r",? +", line), "") if line else {}
    return found


def usages() -> dict[str, tuple[set[str], set[str]]]:
    """Each command with the options and the arguments that the block of the commands shows."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for line in re.sub(r"\n +", " ", block_after("\n## Commands\n")).splitlines():
        _, command, rest = line.split(" ", 2)
        options, arguments = found.setdefault(command, (set(), set()))
        options |= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest))
        arguments |= set(re.findall(r"^\[?([A-Z]+)", rest))
    return found


def fields_unlike(words: str, value: Any) -> list[str]:
    """Where a JSON object has other fields than the block after a phrase, in either direction.

    In a block, ``"name"`` is a field, ``"name"?`` one that may be absent, a word in capitals any field; ``[X]`` is a
    list of X, and a field without a colon has a plain value. ``X | Y`` is either, where Y is plain.
    """
    tokens = re.findall(r'"[\w/.-]+"\??|[{}\[\]:,|]|[^\s{}\[\]:,|"]+', block_after(words))
    shape = _shape(tokens)
    assert tokens == []
    return _unlike(shape, value, "")


def _shape(tokens: list[str]) -> Any:
    """The next value: None if it is plain, else a dictionary or a list of one, in a tuple where it may be plain too."""
    found: Any = None
    opening = tokens[0]
    if opening == "{":
        found = {}
        while tokens.pop(0) != "}":
            key = tokens.pop(0)
            found[key] = None
            if tokens[0] == ":":
                tokens.pop(0)
                found[key] = _shape(tokens)
    elif opening == "[":
        tokens.pop(0)
        found = [_shape(tokens)]
        while tokens.pop(0) != "]":
            pass
    words: list[str] = []
    while tokens and tokens[0] not in ("}", "]", ","):  # of a plain value, or alternatives to fields
        words.append(tokens.pop(0))
    return found if found is None or words in ([], ["|", "null"]) else (found,)


def _unlike(shape: Any, value: Any, where: str) -> list[str]:
    if isinstance(shape, tuple):
        return _unlike(shape[0], value, where) if isinstance(value, (dict, list)) else []
    if value is None:
        return []
    if isinstance(value, dict):
        if not isinstance(shape, dict):
            return (
                [] if shape is None and not value else [f"{where} has fields that the page does not name: {[*value]}"]
            )
        plain = {key.rstrip("?").strip('"'): each for key, each in shape.items() if key.startswith('"')}
        rest = [each for key, each in shape.items() if not key.startswith('"')]
        absent = [key.strip('"') for key in shape if key.startswith('"') and not key.endswith("?")]
        found = [f"{where}.{key} is on the page and not there" for key in absent if key not in value]
        for key, each in value.items():
            if key in plain:
                found += _unlike(plain[key], each, f"{where}.{key}")
            elif rest:
                found += _unlike(rest[0], each, f"{where}.*")
            else:
                found.append(f"{where}.{key} is there and not on the page")
        return found
    if isinstance(value, list):
        if not isinstance(shape, list):
            return [f"{where} is a list, and the page has none"]
        return [line for each in value for line in _unlike(shape[0], each, f"{where}[]")]
    return [] if shape is None else [f"{where} is a plain value, and the page has fields"]
