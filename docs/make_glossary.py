"""Write docs/glossary.md from sfumato.glossary: ``python docs/make_glossary.py``."""

from pathlib import Path

from sfumato.glossary import GLOSSARY, Entry
from sfumato.text import wrapped

HEAD = """\
# Glossary

<!-- Written by docs/make_glossary.py from sfumato.glossary: change those. -->

The terms of every page, table and message. The pages that `sfumato compare`, `audit` and `report` write link each term
to these words at their own end. Where labels are soft, they say what stands here under “With soft labels”. The page of
`sfumato explain` explains its own words, in two languages.
"""


def page() -> str:
    """The glossary as a page of the docs: a heading of its own for each term, so that it can be linked."""
    entries = (f"## {entry.title}\n\n{wrapped(entry.text, 120)}\n{_soft(entry)}" for entry in GLOSSARY.values())
    return "\n".join([HEAD, *entries])


def _soft(entry: Entry) -> str:
    """What the term means where labels are soft, as a paragraph of its own, or nothing."""
    if entry.soft is None:
        return ""
    title, text = entry.soft
    called = f", under the name “{title}”" if title != entry.title else ""
    told = wrapped(f"With soft labels{called}: {text[0].lower()}{text[1:]}", 120)
    return f"\n{told}\n"


if __name__ == "__main__":
    Path(__file__).with_name("glossary.md").write_text(page(), encoding="utf-8")
