"""docs/claims.md: its results are those of the rows, and each verdict follows from its row's numbers."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
PAGE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
ROWS = [json.loads(line) for line in (BENCHMARKS / "claims.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def load(monkeypatch):
    """The modules of the benchmark, by name; none stays behind."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    own = {path.stem for path in BENCHMARKS.glob("*.py")}
    for name in [name for name in sys.modules if name in own]:
        del sys.modules[name]


def test_the_results_of_the_page_are_those_of_the_rows(load):
    page, claims = load("claims_page"), load("claims").CLAIMS
    assert page.MARKED.search(PAGE)[0].split("\n", 1)[1].rsplit("<!--", 1)[0] == page.results(claims, ROWS)


def test_there_are_twelve_claims_or_more_each_with_a_name_of_its_own(load):
    claims = load("claims").CLAIMS
    assert len({claim.name for claim in claims}) == len(claims) >= 12


def test_whether_a_claim_holds_follows_from_its_numbers(load):
    claims = {claim.name: claim for claim in load("claims").CLAIMS}
    assert [row["claim"] for row in ROWS if claims[row["claim"]].holds(row["measured"]) != row["holds"]] == []


def test_a_claim_is_measured_once_and_on_five_seeds_or_more():
    assert len({row["claim"] for row in ROWS}) == len(ROWS)
    assert all(row["seeds"] >= 5 for row in ROWS)


def test_every_claim_names_its_source_data_and_condition_on_the_page(load):
    for claim in load("claims").CLAIMS:
        section = PAGE.split(f"\n### {claim.name.capitalize()}\n")[1].split("\n### ")[0]
        for text in (claim.source, claim.data, claim.condition):
            assert text in section, claim.name
