"""Write docs/glossary.md from sfumato.pages.glossary: ``python docs/make_glossary.py``."""

from pathlib import Path

from sfumato.pages.glossary import GLOSSARY

HEAD = """\
# Glossary

<!-- Written by docs/make_glossary.py from sfumato.pages.glossary: change those. -->

The terms of every page, table and message. The pages that `sfumato compare`, `audit`, `report` and `explain` write link
each term to these words at their own end.
"""


def page() -> str:
    """The glossary as a page of the docs: a heading of its own for each term, so that it can be linked."""
    return "\n".join([HEAD, *(f"## {entry.title}\n\n{entry.text}\n" for entry in GLOSSARY.values())])


if __name__ == "__main__":
    Path(__file__).with_name("glossary.md").write_text(page(), encoding="utf-8")
