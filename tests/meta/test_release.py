"""What a release is made of: one version in every file, workflows that their schema allows, and what they may do."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sfumato.version import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def newest_heading() -> tuple[str, str]:
    """Version and date of the newest release in the changelog."""
    found = re.search(r"^## \[(\d+\.\d+\.\d+)\] – (\d{4}-\d\d-\d\d)$", text_of("CHANGELOG.md"), flags=re.M)
    assert found is not None
    return found[1], found[2]


def cited(key: str) -> str:
    return re.search(rf"^{key}: (.+)$", text_of("CITATION.cff"), flags=re.M)[1]


def test_the_version_is_the_same_in_every_file():
    assert {PROJECT["version"], __version__, cited("version"), newest_heading()[0]} == {__version__}


def test_the_citation_has_the_date_of_the_release():
    assert cited("date-released") == newest_heading()[1]


def test_the_security_page_names_the_version_that_is_supported():
    assert f"Version {'.'.join(__version__.split('.')[:2])} is supported." in text_of("SECURITY.md")


@pytest.mark.parametrize("name", PROJECT["license-files"])
def test_a_licence_that_a_wheel_needs_is_here(name):
    assert text_of(name).strip()


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-workflows", WORKFLOWS), ("citation-file-format", [ROOT / "CITATION.cff"])],
    ids=["workflows", "citation"],
)
def test_a_file_that_others_read_is_what_its_schema_says(schema, files):
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert files
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_uses_actions_by_a_whole_version(path):
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})", each)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_the_sources_and_only_the_job_that_publishes_more(path):
    text = path.read_text(encoding="utf-8")
    workflow = pytest.importorskip("ruamel.yaml").YAML(typ="safe").load(text)
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more == ({"publish": {"id-token": "write"}} if path.name == "release.yml" else {})
    assert "secrets." not in text


def test_the_workflow_of_a_release_installs_the_compilers_that_make_names():
    named = re.search(r"^COMPILERS := (.+)$", text_of("Makefile"), flags=re.M)[1].split()
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    installed = re.search(r"--no-install-recommends ((?:.+\\\n)*.+)\n", workflow)[1].replace("\\", " ").split()
    assert installed == named
