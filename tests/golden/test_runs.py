"""Whole comparisons and judgements on small data find what they found before: numbers, findings and codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.make_runs import OUT, everything

FROZEN: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8"))


def test_every_case_is_stored():
    assert list(FROZEN) == list(everything())


@pytest.mark.slow
@pytest.mark.parametrize("name", FROZEN)
def test_a_result_is_the_stored_one(name: str, tmp_path: Path):
    found, stored = everything()[name](tmp_path), FROZEN[name]
    assert found == approximately(stored)


def approximately(stored: Any) -> Any:
    """The stored result, with each number to what training on another processor may change."""
    if isinstance(stored, dict):
        return {name: approximately(value) for name, value in stored.items()}
    if isinstance(stored, list):
        return [approximately(value) for value in stored]
    return pytest.approx(stored, rel=5e-3, abs=5e-4) if isinstance(stored, float) else stored
