"""docs/metrics.md: it is written from the registry, and leaves out no metric."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from sfumato.evaluate import METRICS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def made(monkeypatch) -> ModuleType:
    """The module that writes the page."""
    monkeypatch.syspath_prepend(str(DOCS))
    import make_metrics

    yield make_metrics
    del sys.modules["make_metrics"]


def test_the_page_is_written_from_the_registry(made):
    # Where this fails: python docs/make_metrics.py
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == made.page()


def test_each_metric_stands_in_one_family(made):
    assert sorted(name for names in made.FAMILIES.values() for name in names) == sorted(METRICS)
