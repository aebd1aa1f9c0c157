"""Every page: its code runs, what a script writes into it is current, its names exist, and it is in the site's list."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from markdown_it import MarkdownIt

from tests.conftest import run_sfumato
from tests.docs.alike import differences
from tests.warm import environment

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = {
    "adapters.md": "tests/adapters runs each block in its framework",
    "scale.md": "its blocks need ranks; its program runs at night, below",
}
"""Pages whose blocks run in other tests."""


class Block(NamedTuple):
    language: str
    code: str
    printed: str | None  # the block without a language that follows at once


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = re.findall(
        r"^```(\w*)\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    return [Block(language, code, printed or None) for language, code, printed in found]


def run(code: str, space: dict[str, Any], page: str) -> str:
    """What a block prints; the examples of a session are compared with what they show."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if ">>> " not in code:
            exec(code, space)
            return printed.getvalue()
        examples = doctest.DocTestParser().get_doctest(code, space, page, page, 0)
        runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failures: list[str] = []
        runner.run(examples, out=failures.append, clear_globs=False)
        space.update(examples.globs)
    assert "".join(failures) == ""
    return ""


PAGES = [
    path
    for path in sorted(DOCS.glob("*.md"))
    if path.name not in ELSEWHERE and any(block.language in ("python", "pycon") for block in blocks(path))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_code_of_a_page_runs_and_prints_what_the_page_shows(page, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page.name == "methods.md":  # it reads a comparison whose folder is called "first"
        digits = request.getfixturevalue("digits")
        (tmp_path / "first").symlink_to(digits.folder / digits.json()["run"])
    space: dict[str, Any] = {}
    for block in blocks(page):
        if block.language in ("python", "pycon"):
            printed = run(block.code, space, page.name)
            assert block.printed is None or differences(printed, block.printed) == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_the_sessions_of_a_page_run(page):
    space: dict[str, Any] = {}
    for block in blocks(ROOT / page):
        if ">>> " in block.code:
            run(block.code, space, page)


def test_the_first_steps_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = blocks(DOCS / "start.md")
    exec(next(block.code for block in steps if "flowers.csv" in block.code and block.language == "python"), {})
    commands = [line.split() for block in steps if not block.language for line in block.code.splitlines()]
    commands = [words for words in commands if words[0] == "sfumato" and "flowers.csv" in words]
    assert [words[1] for words in commands] == ["doctor", "compare"]
    for words in commands:
        shorter = ["--epochs", "2"] if words[1] == "compare" else []
        ran = run_sfumato(*words[1:], *shorter, folder=tmp_path)
        assert ran.code == 0, ran.out + ran.err


@pytest.mark.nightly  # four processes
def test_the_loop_of_the_page_of_scale_prints_what_the_page_shows(tmp_path):
    (loop,) = (block for block in blocks(DOCS / "scale.md") if "torchrun" in block.code)
    (tmp_path / "train.py").write_text(loop.code, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4", "train.py"]
    env = {**environment(), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    shown = (DOCS / "scale.md").read_text(encoding="utf-8").split("It prints\n\n```\n")[1].split("```")[0]
    assert differences(done.stdout, shown, rel=0, abs=2e-4) == []


@pytest.mark.parametrize("name", sorted(path.stem for path in DOCS.glob("make_*.py") if path.stem != "make_picture"))
def test_what_a_script_writes_into_a_page_is_current(load, name):
    made = load("docs", name)  # where this fails: python docs/make_NAME.py
    assert (DOCS / f"{name.removeprefix('make_')}.md").read_text(encoding="utf-8") == made.page()


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROOT / "benchmarks" / name).read_text(encoding="utf-8").splitlines()]


def test_the_results_of_the_claims_are_those_of_the_benchmark_and_each_holds_by_its_numbers(load):
    page, claims = load("benchmarks", "claims_page"), load("benchmarks", "claims").CLAIMS
    text, rows = (DOCS / "claims.md").read_text(encoding="utf-8"), rows_of("claims.jsonl")
    assert page.MARKED.sub(lambda found: found[1] + page.results(claims, rows) + found[2], text) == text
    by_name = {claim.name: claim for claim in claims}
    assert [row["claim"] for row in rows if by_name[row["claim"]].holds(row["measured"]) != row["holds"]] == []


def test_the_results_of_the_data_sets_are_those_of_the_benchmark_on_the_bytes_of_its_cards(load):
    page, text = load("benchmarks", "when_page"), (DOCS / "when.md").read_text(encoding="utf-8")
    rows, cards = rows_of("when.jsonl"), rows_of("data_sets.jsonl")
    assert page.MARKED.sub(lambda found: found[1] + page.results(rows, cards) + found[2], text) == text
    hashes = {card["set"]: card["sha256"] for card in cards}
    assert all(row["sha256"] == hashes[row["set"]] for row in rows)


def test_the_table_of_the_note_is_what_counting_again_gives(load):
    figures = load("benchmarks", "note_figures")
    rows = figures.rows()
    assert figures.markdown(rows) in (DOCS / "note.md").read_text(encoding="utf-8")
    for row in rows:
        assert row.counted == pytest.approx(row.formula, rel=0.1)


def names() -> list[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *DOCS.glob("*.md")])
    return sorted(set(re.findall(r"`(sf(?:\.[a-zA-Z]\w*)+)", text)))


def test_every_name_of_the_pages_exists():
    def exists(name: str) -> bool:
        value: Any = importlib.import_module("sfumato")
        for part in name.split(".")[1:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True

    assert [name for name in names() if not exists(name)] == []


def test_every_page_is_in_the_list_of_the_front_page():
    listed = set(re.findall(r"^\w.* <([\w.]+)>$", (DOCS / "index.md").read_text(encoding="utf-8"), flags=re.M))
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} == listed


TRANSLATED = [(DOCS / "note.md", DOCS / "note.zh.md"), (ROOT / "README.md", ROOT / "README.zh.md")]


def code_lines(page: Path) -> list[str]:
    """The lines of code, without comments, which are in the language of the page."""
    return [line.partition(" #")[0].rstrip() for block in blocks(page) for line in block.code.splitlines()]


def formulas(page: Path) -> list[str]:
    """The displayed formulas, without the words in them."""
    found = re.findall(r"\$\$(.*?)\$\$", page.read_text(encoding="utf-8"), flags=re.S)
    return [" ".join(re.sub(r"\\text\{.*?\}", "", each).split()) for each in found]


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED, ids=["note", "README"])
def test_a_translation_has_the_code_and_the_formulas_of_its_original(english, chinese):
    assert set(code_lines(chinese)) <= set(code_lines(english))
    displayed = [
        [
            " ".join(re.sub(r"\\text\{.*?\}", "", each).split())
            for each in re.findall(r"\$\$(.*?)\$\$", text, flags=re.S)
        ]
        for text in (path.read_text(encoding="utf-8") for path in (english, chinese))
    ]
    assert displayed[0] == displayed[1]


@pytest.mark.parametrize("page", [pages[1] for pages in TRANSLATED], ids=lambda path: path.name)
def test_no_star_of_an_emphasis_is_shown(page):
    """Markdown does not read ``**`` as one where a Chinese mark is within it and a character behind."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|^```.*?^```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert "*" not in re.sub("<[^>]+>", "", MarkdownIt().render(text))
