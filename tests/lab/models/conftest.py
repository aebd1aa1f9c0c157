"""Models of a user's own, in a file beside the run."""

from __future__ import annotations

import itertools

import pytest

NUMBERS = itertools.count()


@pytest.fixture
def module(request, tmp_path, monkeypatch):
    """The name of a module in the current folder that holds ``MODULE`` of the file of tests; each is another one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"own_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(request.module.MODULE)
    return name
