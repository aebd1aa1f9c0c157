"""A real browser for the tests of pages, and what every page is asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.browser.looks import VIEWS, opened
from tests.limits import SECONDS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="package")
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


def made_once(tmp_path_factory, name, make):
    """The page that ``make`` writes into a folder, made once for all of xdist's workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, told = shared / name, shared / f"{name}.path"
    with FileLock(shared / f"{name}.lock", timeout=SECONDS):
        if not told.exists():
            folder.mkdir()
            told.write_text(str(make(folder)), encoding="utf-8")
    return Path(told.read_text(encoding="utf-8"))
