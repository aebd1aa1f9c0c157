"""A real browser for the tests of pages, and what every page is asked."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.browser.looks import VIEWS, opened

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path, reason = None, "playwright is not installed"
    else:
        reason = f"no browser found: none of {', '.join(BROWSERS)} is on the path"
    if path is None:
        if os.environ.get("SFUMATO_REQUIRE_BROWSER") == "1":
            pytest.fail(f"SFUMATO_REQUIRE_BROWSER=1, but {reason}")
        pytest.skip(reason)
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=VIEWS)
def view(request, browser, page_file):
    """The ``page_file`` of a file of tests, opened at one size and scheme; tests only look at it."""
    page = opened(browser, page_file, *request.param)
    yield page
    page.context.close()
