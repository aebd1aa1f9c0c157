"""The scripts beside the pages as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch) -> Iterator[Callable[[str, str], ModuleType]]:
    """The modules of ``docs`` and ``benchmarks``, by folder and name; none stays behind."""
    before = set(sys.modules)

    def load(folder: str, name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(ROOT / folder))
        return importlib.import_module(name)

    yield load
    places = (str(ROOT / "docs"), str(ROOT / "benchmarks"))
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(places):
            del sys.modules[name]
