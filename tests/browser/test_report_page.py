"""The report page in a real browser, offline: narrow and wide, light and dark, on paper."""

import os
import shutil
from pathlib import Path

import pytest

from sfumato.report import render, render_merged, rows_to_show
from tests.report_runs import write_examples, write_run

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HEADINGS = [
    "What each arm does on the test rows",
    "Was it a fair comparison?",
    "Does confidence match accuracy?",
    "How far apart the logits are",
    "What the last layer sees",
    "How far the loss is from its floor",
    "Which strength was chosen",
    "Does it know when it is wrong?",
    "Is it more than a temperature?",
    "What changed, row by row",
    "Use it",
    "Glossary",
    "Repeat it",
]
MERGED = ["Verdicts", "Differences on common axes", "What differs between the runs"]
VIEWS = [(width, scheme) for width in (1280, 360) for scheme in ("light", "dark")]


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


@pytest.fixture(scope="module", params=["digits", "two arms", "four arms", "three runs"])
def page_file(request, tmp_path_factory):
    if request.param == "digits":
        ran = request.getfixturevalue("digits")
        return ran.folder / ran.json()["run"] / "report.html"
    folder = tmp_path_factory.mktemp("runs") / "run"
    if request.param == "three runs":
        return merged(folder.parent)
    if request.param == "two arms":
        write_run(folder, ladder=(0.0, 0.02, 0.05, 0.1, 0.2))
        write_examples(folder, rows_to_show(folder), "image")
        return render(folder)
    names = ["a-class-name-without-any-place-to-break-it-" * 3, *map(str, range(99))]
    sentences = ("No difference you can rely on.", "Keep one-hot, which is simplest.")
    write_run(
        folder,
        smoothed=(0.02, 0.05, 0.1),
        classes=100,
        seeds=2,
        choice="",
        sentences=sentences,
        class_names=names,
        name="data/a_long_file_name_for_a_data_set_of_many_classes.parquet",
        learned=0.7,
        width=140,
    )
    write_examples(folder, rows_to_show(folder), "text")
    return render(folder)


def merged(parent):
    long = "data/a_long_file_name_for_a_data_set_of_many_classes.parquet"
    runs = [
        write_run(parent / "first", seeds=2, epochs=2, test=90),
        write_run(parent / "second", seeds=1, epochs=2, test=90, name=long, smoothed=(0.05, 0.2), choice="one-hot"),
        write_run(parent / "third", seeds=1, epochs=3, test=90),
    ]
    return render_merged(runs, parent / "comparison.html")


@pytest.fixture(scope="module", params=VIEWS, ids=[f"{width}-{scheme}" for width, scheme in VIEWS])
def view(request, browser, page_file):
    """The page opened at one size and scheme, with everything it logged and asked for; the tests only look at it."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.wrong, page.asked = [], []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(page_file.as_uri(), wait_until="load")
    yield page
    context.close()


def test_page_opens_offline_without_errors_or_requests(view, page_file):
    assert view.wrong == []
    assert [url for url in view.asked if not url.startswith("data:image/png;base64,")] == [page_file.as_uri()]


def test_nothing_is_wider_than_the_window(view):
    assert view.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    sticking_out = """() => [...document.querySelectorAll('main *')].filter(e =>
        !e.closest('.wide, pre, svg') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"""
    assert view.evaluate(sticking_out) == []


def test_headings_stand_in_order(view):
    assert view.locator("h1").count() == 1
    shown = view.locator("h2").all_inner_texts()
    if shown[0] == MERGED[0]:
        assert shown[:3] == MERGED
        assert len(shown) == 3 + view.locator(".verdicts tbody tr").count()
    else:
        assert shown == [heading for heading in HEADINGS if heading in shown]
        assert set(HEADINGS) - set(shown) <= {"Which strength was chosen"}


def test_every_figure_has_a_name_and_a_size(view):
    figures = view.locator("svg[role=img]").all()
    shown = view.locator("h2").all_inner_texts()
    assert len(figures) == (1 if shown[0] == MERGED[0] else 9 + ("Which strength was chosen" in shown))
    for figure in figures:
        assert len(figure.get_attribute("aria-label")) > 40
        box = figure.bounding_box()
        assert box["width"] > 250
        assert box["height"] > 150


def test_every_thumbnail_is_loaded_and_has_a_name(view):
    broken = """() => [...document.querySelectorAll('img')].filter(i => !i.naturalWidth || i.alt.length < 10)
        .map(i => i.alt)"""
    assert view.evaluate(broken) == []


def test_no_text_is_cut_or_needs_scrolling_sideways(view):
    cut = """() => [...document.querySelectorAll('.wide, pre, .cards li, dd, td, th')]
        .filter(e => e.scrollWidth > e.clientWidth + 1)
        .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 80))"""
    assert view.evaluate(cut) == []


def test_figure_text_stays_inside_its_figure_and_apart(view):
    overlaps = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
        const frame = svg.getBoundingClientRect();
        const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent.trim(), t.getBoundingClientRect()]);
        const out = boxes.filter(([t, b]) => t && (b.left < frame.left - 2 || b.right > frame.right + 2 ||
            b.top < frame.top - 2 || b.bottom > frame.bottom + 2)).map(([t]) => 'outside: ' + t);
        for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
            const [s, a] = boxes[i], [t, b] = boxes[j];
            const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (s && t && width > 1 && height > 0.35 * Math.min(a.height, b.height)) out.push(s + ' on ' + t);
        }
        return out;
    })"""
    assert view.evaluate(overlaps) == []


def test_blocks_of_the_page_do_not_overlap(view):
    overlaps = """() => [...document.querySelectorAll('section > *, figure > *')].flatMap(e => {
        const next = e.nextElementSibling;
        if (!next || getComputedStyle(e.parentElement).display === 'grid') return [];
        return next.getBoundingClientRect().top < e.getBoundingClientRect().bottom - 1 ? [next.outerHTML] : [];
    })"""
    assert view.evaluate(overlaps) == []


def test_text_and_lines_stand_out_from_the_paper(view):
    ratios = """() => {
        const style = getComputedStyle(document.documentElement);
        const light = name => {
            const hex = style.getPropertyValue(name).trim();
            const part = i => { const v = parseInt(hex.slice(i, i + 2), 16) / 255;
                return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
            return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
        };
        const ratio = name => { const [a, b] = [light(name), light('--paper')].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05); };
        return ['--ink', '--faint', '--arm-0', '--arm-1', '--arm-2', '--arm-3', '--arm-4'].map(n => [n, ratio(n)]);
    }"""
    for name, ratio in view.evaluate(ratios):
        assert ratio >= (4.5 if name in ("--ink", "--faint") else 3), (name, ratio)


def test_figures_follow_the_scheme(view):
    colours = """() => [getComputedStyle(document.querySelector('figure svg text')).fill,
        getComputedStyle(document.body).color]"""
    text, body = view.evaluate(colours)
    assert text == body


def test_page_prints(browser, page_file, tmp_path):
    page = browser.new_page()
    page.goto(Path(page_file).as_uri())
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    pdf = (tmp_path / "report.pdf").read_bytes()
    page.close()
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") <= 20
