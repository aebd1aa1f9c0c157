"""What must hold of the files of the repository: nothing left over, links that work."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    + [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/gallery/*.md")]
)

LEFT_OVER = re.compile(r"\b(?:TO[D]O|FIXM[E])\b")
# A folder of one machine, where a path starts with it: not "…/network/work" and not "https://host/home".
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:root|work|home|tmp)(?![\w-])")
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|pypi\.python|download\.pytorch|anaconda\.(?:org|com)|npmjs\.|index[-]url"
)
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)|(?:src|href)="([^"]+)\"""")
FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)


def tracked() -> list[Path]:
    """The files that git knows, those that were deleted and not yet committed left out."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says which files belong to the repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """``path:line: text`` of every line that a pattern is found in; files that are not text have none."""
    found: list[str] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        found += [f"{name}:{n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    return found


def headings(document: Path) -> set[str]:
    """What a link may name behind ``#``: the headings, as GitHub and the site write them."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    if included := re.search(r"\{include\} (\S+)", document.read_text(encoding="utf-8")):
        return headings(document.parent / included[1])
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(document: Path) -> list[str]:
    """Relative links of a Markdown file whose file, or heading, is not there; code is left out."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", document.read_text(encoding="utf-8")))
    broken: list[str] = []
    for markdown, html in LINK.findall(text):
        link = markdown or html
        path, _, part = link.partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        there = document.parent / path if path else document
        if not there.exists() or (part and there.suffix == ".md" and part not in headings(there)):
            broken.append(link)
    return broken


def test_no_result_of_a_command_lies_in_the_root():
    results = {".html", ".json", ".npz", ".npy", ".csv"}  # where audit, judge and explain write if nothing else is said
    assert [path.name for path in tracked() if path.parent == ROOT and path.suffix in results] == []


def test_every_folder_of_modules_is_a_package_that_git_knows():
    files = {p.relative_to(ROOT) for p in tracked() if p.suffix == ".py"}
    folders = {p.parent for p in files if p.parts[0] in ("sfumato", "tests")}
    assert {folder.as_posix() for folder in folders if folder / "__init__.py" not in files} == set()


def test_nothing_is_left_over_to_do():
    assert lines_with(LEFT_OVER, tracked()) == []


def test_no_file_names_a_folder_of_one_machine():
    assert lines_with(MACHINE_PATH, tracked()) == []


def test_no_file_names_a_package_registry():
    assert lines_with(REGISTRY, tracked()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file(document: Path):
    assert broken_links(document) == []


@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if path.name != "upstream.md"],  # it names tests of other projects
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_test_that_a_document_names_is_a_file(document: Path):
    named = re.findall(r"`((?:\w+/)*test_\w+\.py)`", document.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "tests" / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[here](there.md) and [out](https://example.org/none.md)", []),
        ("[part](there.md#a-part), [top](#top), [post](mailto:a@example.org)\n\n# Top", []),
        ("[lost](there.md#lost) and [none](#none)", ["there.md#lost", "#none"]),
        ("[gone](gone.md)", ["gone.md"]),
        ('![picture](gone.svg "title") and <img src="lost.png">', ["gone.svg", "lost.png"]),
        ("`[code](gone.md)` and\n```\n[code](gone.md)\n```\n", []),
        ("[folder](sub/) and [up](../gone.md)", ["sub/", "../gone.md"]),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, text: str, broken: list[str]):
    (tmp_path / "there.md").write_text("## A part\n", encoding="utf-8")
    document = tmp_path / "document.md"
    document.write_text(text, encoding="utf-8")
    assert broken_links(document) == broken


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        (MACHINE_PATH, "cd /{}/main".format("work"), True),
        (MACHINE_PATH, 'path = "/{}"'.format("tmp"), True),
        (MACHINE_PATH, "(/{}/me/data.csv)".format("home"), True),
        (MACHINE_PATH, 'self.path / "work" and https://example.org/home', False),
        (MACHINE_PATH, "runs/tmp and /workers", False),
        (LEFT_OVER, "# TO" + "DO: later", True),
        (LEFT_OVER, "nothing to do", False),
        (REGISTRY, "https://files.python" + "hosted.org/x", True),
    ],
)
def test_what_must_not_stand_in_a_file_is_found(tmp_path: Path, pattern: re.Pattern[str], line: str, found: bool):
    file = tmp_path / "file.txt"
    file.write_text(f"first\n{line}\n", encoding="utf-8")
    assert lines_with(pattern, [file]) == ([f"file.txt:2: {line}"] if found else [])
