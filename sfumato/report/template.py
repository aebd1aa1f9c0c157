"""Pages from templates: a value is escaped, a missing name is an error, and a page is written whole or not at all."""

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.io.atomic import make_folder, write_text
from sfumato.report.links import finished
from sfumato.runs.read import ReportError

if TYPE_CHECKING:
    from jinja2 import Environment

_GENERATORS = {"one run": "sfumato compare", "several runs": "sfumato report"}


@cache
def environment() -> "Environment":
    """The templates beside this module, for all pages."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["held"] = held
    return environment


def rendered(template: str, **values: Any) -> str:
    """A page made of a template, with its contents, its terms linked, and the glossary that explains them.

    Beside the values, a template knows the metrics in words, by name, as ``called``.
    """
    called = {name: defined.words for name, defined in METRICS.items()}
    return finished(environment().get_template(template).render(values, called=called))


def as_script(data: Any) -> Markup:
    """An object as JSON that may stand in a page, also in a script."""
    return Markup(json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"))


def write(path: Path, text: str) -> Path:
    """Write a page or a figure, whole or not at all, and its folders where they are missing."""
    make_folder(path.parent)
    write_text(path, text)
    return path


def refuse_other_file(out: Path, of: str) -> None:
    """Refuse to write a page over anything but such a page, which its line about its generator tells.

    Raises:
        ReportError: ``out`` is a folder or another file.
    """
    if out.is_dir():
        raise ReportError(f"{out} is a folder; name a file for the page")
    made_by = f'<meta name="generator" content="{_GENERATORS[of]}">'
    if out.exists() and made_by not in out.read_text(encoding="utf-8", errors="replace"):
        raise ReportError(f"{out} exists and is not a page of {of}; name another file with --out")


def held(text: str) -> Markup:
    """A sentence of a page: escaped, with its numbers beside their units, and with its options as code.

    >>> print(held("give more --epochs"))
    give more <code class="option">--epochs</code>
    """
    escaped = str(escape(with_units_held(text)))
    return Markup(re.sub(r"(?<![\w-])--[a-z][a-z-]*", r'<code class="option">\g<0></code>', escaped))


def with_units_held(text: str) -> str:
    """A sentence, not escaped, whose numbers stay with their units at the end of a line.

    >>> with_units_held("5.0 % at T = 2").count(chr(160))
    3
    """
    text = text.replace("E-AURC", "E\N{NON-BREAKING HYPHEN}AURC")
    return re.sub(r" (?=[%=×])|(?<=[=×]) ", "\N{NO-BREAK SPACE}", text)
