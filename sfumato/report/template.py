"""The templates of the pages: one environment for all, in which a value is escaped and a missing name is an error."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folder: Path) -> "Environment":
    """Templates of a folder, and those that all pages share.

    Args:
        folder: looked into first; the style sheet stands beside this module.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["held"] = held
    return made


def held(text: str) -> str:
    """A sentence whose numbers stay with their units at the end of a line.

    >>> held("5.0 % at T = 2").count(chr(160))
    3
    """
    text = text.replace("E-AURC", "E\N{NON-BREAKING HYPHEN}AURC")
    return re.sub(r" (?=[%=×])|(?<=[=×]) ", "\N{NO-BREAK SPACE}", text)
