"""The page of `sfumato explain` under axe-core: no violation in either language, scheme or size."""

from __future__ import annotations

import pytest

from sfumato.explain.page import write
from tests.browser.looks import opened

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

PULLED = """language => {
    speak(language);
    for (const details of document.querySelectorAll('details')) details.open = true;
    for (let i = 0; i < 4; i++) oneStep();
    el('eps').value = '2';
    read();
    draw();
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("explain") / "page.html", 10, 0.1)


def violations(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    return [each["id"] for each in axe.Axe().run(page).response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_axe_finds_nothing_in_any_state(browser, page_file, width, scheme, language):
    page = opened(browser, page_file, width, scheme)
    assert violations(page) == []
    page.evaluate(PULLED, language)
    assert violations(page) == []
    page.context.close()


def test_axe_finds_a_label_that_is_taken_away(browser, page_file):
    page = opened(browser, page_file)
    page.evaluate("document.querySelector('label[for=eps]').remove()")
    assert "label" in violations(page)
    page.context.close()
