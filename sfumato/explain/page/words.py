"""The sentences of the page in English and in Chinese, from two tables: what stands there, and what the script says."""

import tomllib
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")

Table = dict[str, dict[str, str]]


@cache
def table(name: str) -> Table:
    """A table by its name, ``"text"`` or ``"live"``: for each key, the words of each language.

    >>> table("live")["pause"]
    {'en': 'Pause', 'zh': '暂停'}
    """
    return tomllib.loads((Path(__file__).parent / "sentences" / f"{name}.toml").read_text(encoding="utf-8"))
