"""The gallery: each page shows its example as it is, and what a fresh run prints is what the page shows.

By day the examples run that take seconds; at night all of them do.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.alike import differences

ROOT = Path(__file__).parents[2]
EXAMPLES, DOCS = ROOT / "examples", ROOT / "docs"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))
DAILY = ("audit_scikit_learn",)
RUN = [
    pytest.param(name, marks=[pytest.mark.slow if name in DAILY else pytest.mark.nightly], id=name) for name in SCRIPTS
]


@pytest.fixture
def gallery(load) -> ModuleType:
    """The module that writes the pages."""
    return load("docs", "make_gallery")


def page(name: str) -> str:
    return (DOCS / "gallery" / f"{name}.md").read_text(encoding="utf-8")


def notebook(name: str) -> dict:
    return json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))


def test_every_example_is_listed_and_has_a_page(gallery):
    assert sorted(gallery.ORDER) == sorted([*SCRIPTS, *NOTEBOOKS])
    assert {path.stem for path in (DOCS / "gallery").glob("*.md")} == set(gallery.ORDER)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_page_shows_its_script_as_it_is(gallery, name):
    text = page(name)
    assert text == gallery.page_of_script(name, gallery.printed_on(text), re.findall(r"\]\((\S+\.svg)\)", text))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_page_shows_its_notebook_and_the_figures_in_it(gallery, name):
    kept = notebook(name)
    assert page(name) == gallery.page_of_notebook(name, kept)
    for number, image in enumerate(gallery.images(kept), 1):
        assert (DOCS / "gallery" / f"{name}-{number}.png").read_bytes() == image


@pytest.mark.parametrize("name", RUN)
def test_a_script_prints_what_its_page_shows(gallery, name, tmp_path):
    assert differences(gallery.run(name, tmp_path), gallery.printed_on(page(name))) == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_prints_what_it_keeps(gallery, name, tmp_path):
    pytest.importorskip("nbclient")
    again = (
        "import json, make_gallery, pathlib, sys; "
        "print(json.dumps(make_gallery.run_notebook(sys.argv[1], pathlib.Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", again, name, str(tmp_path)]
    ran = subprocess.run(command, cwd=DOCS, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    fresh, kept = json.loads(ran.stdout), notebook(name)
    assert len(gallery.images(fresh)) == len(gallery.images(kept)) > 0
    assert differences(printed(fresh), printed(kept)) == []


def printed(notebook: dict) -> str:
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", [])]
    return "".join("".join(each["text"]) for each in outputs if each["output_type"] == "stream")


@pytest.mark.parametrize(
    ("found", "kept", "alike"),
    [
        ("log loss .058 → .027", "log loss .059 → .027", True),
        ("log loss .58", "log loss .98", False),
        ("better by 3", "worse by 3", False),
        ("one line", "one line\nand another", False),
        ("750 MB", "610 MB", True),
        ("1,750 MB", "610 MB", False),
    ],
)
def test_a_difference_of_words_or_of_more_than_rounding_is_seen(found, kept, alike):
    assert (differences(found, kept) == []) == alike
