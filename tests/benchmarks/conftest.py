"""The scripts of benchmarks/ as modules, for the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """The modules of benchmarks/, by name; none stays behind."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield lambda name: __import__(name)
    own = {path.stem for path in BENCHMARKS.glob("*.py")}
    for name in [name for name in sys.modules if name in own]:
        del sys.modules[name]
