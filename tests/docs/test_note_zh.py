"""docs/note.zh.md has what docs/note.md has: its formulas, code, numbers, figures and names, section by section."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

DOCS = Path(__file__).parents[2] / "docs"
ENGLISH, CHINESE = ((DOCS / name).read_text(encoding="utf-8") for name in ("note.md", "note.zh.md"))
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
CHARACTER = "[一-鿿]"


def sections(text: str) -> list[str]:
    """What stands under each heading, the heading included; a comment in code is no heading."""
    return re.split(r"^(?=##+ )", text, flags=re.MULTILINE)


PAIRS = [
    pytest.param(english, chinese, id=(english or "none").split("\n")[0].lstrip("# "))
    for english, chinese in zip_longest(sections(ENGLISH), sections(CHINESE))
]
both = pytest.mark.parametrize(("english", "chinese"), PAIRS)


def code(text: str) -> list[str]:
    """The lines of the fenced blocks, without comments, which are in the language of the page."""
    lines = "\n".join(FENCE.findall(text)).splitlines()
    return [line.partition("  #")[0] for line in lines]


def formulas(text: str, mark: str) -> list[str]:
    r"""What stands between marks, ``$`` or ``$$``, with the words in ``\text`` left out."""
    text = FENCE.sub("", text)
    if mark == "$":
        text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    found = re.findall(rf"{re.escape(mark)}(.*?){re.escape(mark)}", text, flags=re.DOTALL)
    return [re.sub(r"\\text\{.*?\}", "", " ".join(each.split())) for each in found]


def words(text: str) -> str:
    """The prose, with neither code nor formulas."""
    text = re.sub(r"\$\$.*?\$\$|`[^`]*`", "", FENCE.sub("", text), flags=re.DOTALL)
    return re.sub(r"\$[^$]*\$", "", text)


@both
def test_a_section_has_the_code_of_the_english_one(english, chinese):
    assert code(chinese) == code(english)


@both
def test_a_section_has_the_displayed_formulas_of_the_english_one(english, chinese):
    assert formulas(chinese, "$$") == formulas(english, "$$")


@both
def test_a_section_has_the_formulas_in_the_text_that_the_english_one_has(english, chinese):
    assert sorted(formulas(chinese, "$")) == sorted(formulas(english, "$"))


@both
def test_a_section_names_the_functions_that_the_english_one_names(english, chinese):
    named = [sorted(re.findall(r"`([^`\n]+)`", FENCE.sub("", text))) for text in (chinese, english)]
    assert named[0] == named[1]


@both
def test_a_section_tells_the_numbers_that_the_english_one_tells(english, chinese):
    """All but the date of the note, whose month is a word in English."""
    told = [re.findall(r"\d+(?:\.\d+)?", re.sub("6 月", "", words(text))) for text in (chinese, english)]
    assert sorted(told[0]) == sorted(told[1])


@both
def test_a_section_shows_the_figures_of_the_english_one(english, chinese):
    shown = [re.findall(r"\]\((note/\w+\.svg)\)", text) for text in (chinese, english)]
    assert shown[0] == shown[1]


def test_each_page_links_the_other():
    assert "](note.zh.md)" in ENGLISH
    assert "](note.md)" in CHINESE


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]*)\)", CHINESE))))
def test_links_within_the_page_lead_to_a_heading(anchor):
    headings = re.findall(r"^#+ (.*)$", CHINESE, re.MULTILINE)
    assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_half_width_mark_or_broken_line_stands_between_chinese_characters():
    text = re.sub(r"\]\([^)]*\)", "]", words(CHINESE))
    assert re.findall(rf"{CHARACTER}[,.;:?!()]|[,;:?!(]{CHARACTER}|{CHARACTER}\n{CHARACTER}|\d %", text) == []


def test_no_star_of_an_emphasis_is_shown():
    """Markdown does not read ``**`` as one where a Chinese mark stands within it and a character behind."""
    assert "*" not in re.sub("<[^>]+>", "", MarkdownIt().render(words(CHINESE)))
