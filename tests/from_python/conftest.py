"""Comparisons that the tests of this folder make in their own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sfumato.report import compare_page
from tests.warm import FIGURES


@pytest.fixture(scope="module", autouse=True)
def few_figures() -> Iterator[None]:
    """Their pages have the figures that are quick, as those of forked commands."""
    every = compare_page.FIGURES
    compare_page.FIGURES = {name: every[name] for name in FIGURES}
    yield
    compare_page.FIGURES = every
