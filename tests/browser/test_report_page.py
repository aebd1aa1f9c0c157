"""The report page in a real browser, offline: narrow and wide, light and dark, on paper."""

from pathlib import Path

import pytest

from sfumato.report.changed_rows import rows_to_show
from sfumato.report.compare_page import render
from sfumato.report.several_page import render_merged
from tests.browser.looks import (
    BLOCKS,
    CUT,
    FITS,
    LABELS_ON_POINTS,
    SAME_NAME,
    SCROLLING,
    STICKING_OUT,
    TEXTS_OF_FIGURES,
    opened,
    too_faint,
)
from tests.report.run_folders import write_examples, write_run

pytestmark = pytest.mark.slow

HEADINGS = [
    "Use it",
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
    "Glossary",
    "Repeat it",
]
MERGED = ["Verdicts", "Differences on common axes", "What differs between the runs"]


PAGES = ["digits", pytest.param("two arms", marks=pytest.mark.nightly), "four arms", "three runs"]


@pytest.fixture(scope="module", params=PAGES)
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


def test_page_opens_offline_without_errors_or_requests(view, page_file):
    assert view.wrong == []
    assert [url for url in view.asked if not url.startswith("data:image/png;base64,")] == [page_file.as_uri()]


def test_nothing_is_wider_than_the_window(view):
    assert view.evaluate(FITS)
    assert view.evaluate(STICKING_OUT) == []
    assert view.evaluate(SCROLLING) == []


def test_a_phone_of_390_pixels_shows_all_of_it(browser, page_file):
    page = opened(browser, page_file, 390)
    for script in (SCROLLING, CUT, BLOCKS):
        assert page.evaluate(script) == []
    for script in (TEXTS_OF_FIGURES, LABELS_ON_POINTS):
        assert page.evaluate(script, "figure svg") == []
    page.context.close()


def test_no_label_covers_a_point(view):
    assert view.locator("figure svg use").count() > 5
    assert view.evaluate(LABELS_ON_POINTS, "figure svg") == []


def test_every_link_leads_to_a_place_of_the_page(view):
    links = view.locator("a[href^='#']").evaluate_all("all => all.map(a => [a.textContent.trim(), a.hash.slice(1)])")
    assert len(links) > 20
    assert all(text for text, _ in links)
    missing = "ids => ids.filter(id => document.querySelectorAll('[id=\"' + id + '\"]').length !== 1)"
    assert view.evaluate(missing, [target for _, target in links]) == []


def test_regions_have_names_of_their_own(view):
    assert view.evaluate(SAME_NAME) == []


def test_a_term_leads_to_its_explanation(browser, page_file):
    page = opened(browser, page_file, 390)
    link = page.locator("section a.term", has_text="accuracy").first
    link.click()
    assert page.evaluate("location.hash") == "#term-accuracy"
    entry = page.locator("dt:target")
    assert entry.inner_text() == "accuracy"
    box = entry.bounding_box()
    assert 0 <= box["y"] < 900
    page.context.close()


def test_headings_stand_in_order(view):
    assert view.locator("h1").count() == 1
    shown = view.locator("h2").all_inner_texts()
    if shown[0] == MERGED[0]:
        assert shown[:3] == MERGED
        assert len(shown) == 4 + view.locator(".verdicts tbody tr").count()
        assert shown[-1] == "Glossary"
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
    assert view.evaluate(CUT) == []


def test_figure_text_stays_inside_its_figure_and_apart(view):
    assert view.evaluate(TEXTS_OF_FIGURES, "figure svg") == []


def test_blocks_of_the_page_do_not_overlap(view):
    assert view.evaluate(BLOCKS) == []


def test_text_and_lines_stand_out_from_the_paper(view):
    assert too_faint(view, ["--ink", "--faint", *(f"--arm-{n}" for n in range(5))]) == []


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
