"""docs/when.md: its tables are those of the rows, and every row was made by the rule of the page."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
PAGE = (ROOT / "docs" / "when.md").read_text(encoding="utf-8")


def lines(name):
    return [json.loads(line) for line in (BENCHMARKS / name).read_text(encoding="utf-8").splitlines()]


ROWS, CARDS = lines("when.jsonl"), lines("data_sets.jsonl")


@pytest.fixture
def page(monkeypatch):
    """The module that writes the page."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("when_page")
    for name in ("when_page", "foretell"):
        sys.modules.pop(name, None)


def test_the_results_of_the_page_are_those_of_the_rows(page):
    assert page.MARKED.search(PAGE)[0].split("\n", 1)[1].rsplit("<!--", 1)[0] == page.results(ROWS, CARDS)


def test_every_row_is_of_a_set_of_the_list_and_of_the_bytes_of_its_card():
    hashes = {card["set"]: card["sha256"] for card in CARDS}
    assert all(row["sha256"] == hashes[row["set"]] for row in ROWS)


def test_every_set_has_one_row_for_an_arm():
    pairs = [(row["set"], row["arm"]) for row in ROWS]
    assert len(set(pairs)) == len(pairs)


def test_every_row_has_five_seeds_or_more_and_is_against_one_hot():
    assert all(row["seeds"] >= 5 and row["against"] == "one-hot" for row in ROWS)


def test_a_finding_follows_from_its_interval_and_margin():
    """Better and worse are reliable, the same is not; a word of little has its difference within the margin."""
    for row in ROWS:
        for each in row.get("differences", {}).values():
            word = each["finding"]
            if word is None:
                continue
            reliable = each["p_adjusted"] < 0.05
            assert reliable == (word.split()[0] in ("better", "worse")), row["set"]
            if "little" in word or word == "the same":
                assert abs(each["mean"]) <= each["margin"], row["set"]


def test_the_words_of_the_page_count_each_set_once(page):
    for arm in page.ARMS:
        rows = [row for row in ROWS if row["arm"] == arm]
        for metric in page.METRICS:
            assert {page.finding(row, metric) for row in rows} <= set(page.COUNTED)


def test_the_advice_quotes_the_rows(page):
    def count(arm, word, metric="nll_after_temperature", kind=None):
        kinds = {card["set"] for card in CARDS if kind in (None, card["kind"])}
        return sum(page.finding(row, metric) == word for row in ROWS if row["arm"] == arm and row["set"] in kinds)

    ladder = [row for row in ROWS if row["arm"] == "ladder"]
    quoted = (
        f"better on {count('all:0.1', 'better')}, worse on {count('all:0.1', 'worse')}, and on most nothing was "
        "settled",
        f"3 gained, and of {len({r['set'] for r in ROWS if r['kind'] == 'text'})} sets of texts "
        f"{count('all:0.1', 'worse', kind='text')} lost",
        f"It kept one-hot on {sum(not row.get('differences') for row in ladder)}, and in log loss it was better on "
        f"{count('ladder', 'better')}",
        f"was better in log loss on {count('online:0.5', 'better')} and worse on {count('online:0.5', 'worse')}",
    )
    advice = " ".join((BENCHMARKS.parent / "docs" / "decide.md").read_text(encoding="utf-8").split())
    assert [words for words in quoted if words not in advice] == []
    assert count("all:0.1", "better", kind="image") == 3
    assert [count("ladder", "worse", metric) for metric in page.METRICS] == [0] * len(page.METRICS)
