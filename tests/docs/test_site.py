"""The site: at night it is built strictly, and every page is read in a browser without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  on a new machine it lists the fonts once, and says so where logs are on
import pytest

from tests.browser.conftest import browser  # noqa: F401  a fixture

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    built = tmp_path_factory.mktemp("site")
    words = ["--quiet", "--fail-on-warning", "--keep-going", "--builder", "html", "-d", str(built / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *words, str(DOCS), str(built / "html")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return built / "html"


@pytest.mark.nightly
def test_nothing_of_the_site_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'(?:<script[^>]* src|<img[^>]* src|<link[^>]* href)="https?:[^"]*"', text), page.name


@pytest.mark.nightly
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_of_the_site_opens_offline_and_fits(site, browser, width):  # noqa: F811
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900})
    for path in sorted(site.rglob("*.html")):
        page, said = context.new_page(), []
        page.on("console", lambda message, said=said: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.goto(path.as_uri())
        assert said == [], path.name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        page.close()
    context.close()


@pytest.mark.nightly
def test_the_search_of_the_site_works_offline(site, browser):  # noqa: F811
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((site / "search.html").as_uri() + "?q=temperature")
    page.wait_for_selector("#search-results li a[href*='audit.html']")  # results come one after the other
    context.close()
