"""Pages from templates: a value is escaped, a missing name is an error, and a page is written whole or not at all.

A finished page has links from its terms to the glossary, the glossary itself, and the contents. For these it is read as
tags and the text between them. Only text is changed, and only by adding links to the same page, so whatever a template
has escaped stays as it is. A template says where the two lists go by :data:`CONTENTS_HERE` and :data:`GLOSSARY_HERE`.
"""

import html
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.glossary import GLOSSARY
from sfumato.io.atomic import make_folder, write_text
from sfumato.runs.read import ReportError

if TYPE_CHECKING:
    from jinja2 import Environment

_GENERATORS = {"one run": "sfumato compare", "several runs": "sfumato report"}


@cache
def environment() -> "Environment":
    """The templates beside this module, for all pages."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["held"] = held
    return made


def rendered(template: str, **values: Any) -> str:
    """A page made of a template and values, among them ``called``, the metrics in words, by name."""
    called = {name: defined.words for name, defined in METRICS.items()}
    return finished(environment().get_template(template).render(values, called=called))


def finished(page: str) -> str:
    """A page with its terms linked, its glossary, which has the linked terms alone, and its contents."""
    linked, used = with_links(page)
    return with_contents(linked.replace(GLOSSARY_HERE, glossary(used)))


def as_script(data: Any) -> Markup:
    """An object as JSON that may stand in a page, also in a script."""
    return Markup(json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"))


def write(path: Path, text: str) -> Path:
    """Write a page or a figure, whole or not at all, and its folders where they are missing."""
    make_folder(path.parent)
    write_text(path, text)
    return path


def refuse_other_file(out: Path, of: str) -> None:
    """Refuse to write a page over anything but such a page, which its line about its generator tells."""
    if out.is_dir():
        raise ReportError(f"{out} is a folder; name a file for the page")
    made_by = f'<meta name="generator" content="{_GENERATORS[of]}">'
    if out.exists() and made_by not in out.read_text(encoding="utf-8", errors="replace"):
        raise ReportError(f"{out} exists and is not a page of {of}; name another file with --out")


def held(text: str) -> Markup:
    """A sentence of a page: escaped, with its numbers beside their units, and with its options as code."""
    escaped = str(escape(with_units_held(text)))
    return Markup(re.sub(r"(?<![\w-])--[a-z][a-z-]*", r'<code class="option">\g<0></code>', escaped))


def with_units_held(text: str) -> str:
    """A sentence, not escaped, whose numbers stay with their units at the end of a line."""
    text = text.replace("E-AURC", "E\N{NON-BREAKING HYPHEN}AURC")
    return re.sub(r" (?=[%=×])|(?<=[=×]) ", "\N{NO-BREAK SPACE}", text)


CONTENTS_HERE, GLOSSARY_HERE = "<!-- contents -->", "<!-- glossary -->"

UNTOUCHED = frozenset(
    ("a", "blockquote", "button", "code", "dt", "h1", "h2", "h3", "h4", "label", "noscript", "pre", "summary", "svg")
)
"""Elements whose text is left alone, beside those that say ``translate="no"``: names and values of the user's data."""

_TAG = re.compile(r"<(script|style)\b.*?</\1>|<!--.*?-->|<(/?)(\w+)([^>]*)>", re.DOTALL)
_HEADING = re.compile(r'<h2(?: id="([^"]*)")?>(.*?)</h2>', re.DOTALL)
_ID_ELSEWHERE = re.compile(r'<(?!h2\b)\w+\b[^>]*\sid="([^"]*)"')
_VOID = frozenset(("br", "img", "input", "meta", "link", "hr"))


def with_links(page: str) -> tuple[str, list[str]]:
    """The page with the first occurrence of each term in its sections linked, and the terms that were found."""
    parts, place, used, in_section = list[str](), 0, list[str](), False
    left_alone = list[str]()  # an element that is left alone, and those of its name inside it
    for tag in _TAG.finditer(page):
        text = page[place : tag.start()]
        parts += [_linked(text, used) if in_section and not left_alone else text, tag[0]]
        place = tag.end()
        closing, name = tag[2], tag[3]
        if name == "section":
            in_section = not closing
        elif left_alone:
            if name == left_alone[-1]:
                left_alone = left_alone[:-1] if closing else [*left_alone, name]
        elif name and not closing and name not in _VOID and (name in UNTOUCHED or 'translate="no"' in tag[4]):
            left_alone = [name]
    return "".join([*parts, page[place:]]), [term for term in GLOSSARY if term in used]


def glossary(terms: Iterable[str]) -> str:
    """The section that explains the terms, if any; a page that speaks of agreement has soft labels."""
    terms = list(terms)
    entries = list[str]()
    for term in terms:
        entry = GLOSSARY[term]
        title, text = entry.soft if entry.soft and "agreement" in terms else entry[:2]
        entries.append(f'<dt id="term-{term}">{html.escape(title)}</dt><dd>{html.escape(text)}</dd>')
    if not entries:
        return ""
    summary = f'<details><summary>{len(entries)} terms of this page</summary>\n<dl class="glossary">'
    return "\n".join(["<section>\n<h2>Glossary</h2>", summary, *entries, "</dl></details>\n</section>"])


def with_contents(page: str) -> str:
    """The page with an anchor at each ``<h2>``, and its contents, as links and a select, at :data:`CONTENTS_HERE`."""
    links, options, anchors = list[str](), list[str](), set(_ID_ELSEWHERE.findall(page))

    def with_anchor(heading: re.Match[str]) -> str:
        title = re.sub(r"<[^>]*>", "", heading[2]).strip()
        slug = re.sub(r"\W+", "-", html.unescape(title).lower()).strip("-") or "section"
        anchor = heading[1] or slug
        while anchor in anchors:
            anchor += "-more"
        anchors.add(anchor)
        links.append(f'<li><a href="#{anchor}">{title}</a></li>')
        options.append(f'<option value="#{anchor}">{title}</option>')
        return f'<h2 id="{anchor}">{heading[2]}</h2>'

    page = _HEADING.sub(with_anchor, page)
    select = '<select aria-label="Contents" onchange="location.hash = this.value"><option value="">Contents</option>'
    nav = ['<nav class="contents" aria-label="Contents">\n<ul>', *links, "</ul>", select, *options, "</select>\n</nav>"]
    contents = "\n".join(nav)
    return page.replace(CONTENTS_HERE, contents if links else "")


def _pattern(word: str) -> str:
    """A word with either case of its first letter, any kind of space and any kind of hyphen."""
    first = f"[{word[0].upper()}{word[0].lower()}]" if word[0].isalpha() else re.escape(word[0])
    rest = (
        re.escape(word[1:]).replace(r"\ ", r"(?:\s|&nbsp;)+").replace(r"\-", "(?:[-\N{NON-BREAKING HYPHEN}]|&#8209;)")
    )
    return first + rest


_WORDS = sorted(
    ((word, term) for term, entry in GLOSSARY.items() for word in entry.words), key=lambda entry: -len(entry[0])
)
_ANY_WORD = re.compile(rf"(?<![\w-])(?:{'|'.join(f'({_pattern(word)})' for word, _ in _WORDS)})(?![\w-])")


def _linked(text: str, used: list[str]) -> str:
    """A text with the terms that are not in ``used`` linked; they are added to it."""

    def link(match: re.Match[str]) -> str:
        assert match.lastindex is not None  # every word is a group
        term = _WORDS[match.lastindex - 1][1]
        if term in used:
            return match[0]
        used.append(term)
        return f'<a class="term" href="#term-{term}">{match[0]}</a>'

    return _ANY_WORD.sub(link, text) if text.strip() else text
