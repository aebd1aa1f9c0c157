"""docs/note.md: its examples run, its numbers are counted again, and it leaves out no equation of the note."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "note.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = (*(f"Equation ({i})" for i in range(1, 8)), "Conclusion of part 1", "Conclusion of part 2")


def load_figures() -> ModuleType:
    path = ROOT / "benchmarks" / "note_figures.py"
    spec = importlib.util.spec_from_file_location("note_figures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


note_figures = load_figures()


def only_examples(text: str) -> str:
    """The text with every line outside of a pycon fence blank, so that line numbers stay those of the page."""
    kept, inside = [], False
    for line in text.splitlines():
        fence = line.startswith("```")
        kept.append("" if fence or not inside else line)
        if fence:
            inside = not inside and line == "```pycon"
    return "\n".join(kept) + "\n"


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/note.md has no section {title!r}"
    return found[1]


def library_names(text: str) -> list[str]:
    return re.findall(r"`((?:sf|sfumato)(?:\.\w+)+)`", text)


def resolve(name: str) -> object:
    """What a dotted name stands for; modules are imported, everything else must be there."""
    value: object = importlib.import_module("sfumato")
    path = "sfumato"
    for part in name.split(".")[1:]:
        assert not part.startswith("_"), f"{name} is not public"
        path = f"{path}.{part}"
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(path)
    return value


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def test_every_example_of_the_page_runs_as_shown():
    test = doctest.DocTestParser().get_doctest(only_examples(TEXT), {}, PAGE.name, str(PAGE), 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    result = runner.run(test, out=report.append)
    assert result.failed == 0, "".join(report)
    assert sum(bool(example.want) for example in test.examples) >= 12


def test_no_example_stands_outside_of_the_fences_that_are_run():
    assert TEXT.count(">>> ") == only_examples(TEXT).count(">>> ")


def test_the_table_holds_what_counting_again_gives():
    table = note_figures.rows()
    assert note_figures.markdown(table) in section("Conclusion of part 1")


@pytest.mark.parametrize(
    ("target", "counted", "formula"),
    [
        ("one-hot", [44, 303, 2208], [45.6, 305.2, 2211.5]),
        ("smoothed, 0.1 over the 9 others", [13, 33, 55], [14.2, 35.7, 58.6]),
        ("smoothed, 0.1 over all 10", [14, 36, 60], [15.0, 38.6, 63.7]),
    ],
)
def test_steps_are_those_first_counted_and_near_the_formula(target, counted, formula):
    rows = [row for row in note_figures.rows() if row.target == target]
    assert [row.counted for row in rows] == counted
    assert [row.formula for row in rows] == pytest.approx(formula, abs=0.05)
    assert [row.counted for row in rows] == pytest.approx(formula, rel=0.1)


@pytest.mark.parametrize("name", ["descent", "optimum"])
def test_each_figure_is_there_and_its_alt_text_says_what_was_drawn(name):
    _, data = getattr(note_figures, f"plot_{name}")()
    found = re.search(rf"!\[([^\]]*)\]\(note/{name}\.svg\)", TEXT)
    assert found
    assert in_one_line(found[1]) == in_one_line(data.alt)
    assert (ROOT / "docs" / "note" / f"{name}.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_the_figures_write_the_closed_forms_on_their_lines():
    drawn = {
        name: (ROOT / "docs" / "note" / f"{name}.svg").read_text(encoding="utf-8") for name in ("descent", "optimum")
    }
    assert "closed form 4.394" in drawn["descent"]
    for value in ("2.197", "2.944", "4.394", "4.511"):
        assert value in drawn["optimum"]


@pytest.mark.parametrize("title", SECTIONS)
def test_each_equation_and_conclusion_has_a_section_that_names_a_function(title):
    text = section(title)
    functions = [name for name in library_names(text) if callable(resolve(name))]
    assert functions
    if number := re.search(r"\d\)$", title):
        assert rf"\tag{{{number[0][:-1]}}}" in text


@pytest.mark.parametrize("name", sorted(set(library_names(TEXT))))
def test_every_name_on_the_page_exists_and_is_public(name):
    resolve(name)


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]*)\)", TEXT))))
def test_links_within_the_page_lead_to_a_heading(anchor):
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
