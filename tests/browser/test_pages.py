"""The pages of compare, report, audit and judge in a real browser, offline: narrow and wide, light, dark, on paper."""

import numpy as np
import pytest

import sfumato as sf
from sfumato.report.changed_rows import rows_to_show
from sfumato.report.compare_page import render
from sfumato.report.several_page import render_merged
from tests.browser.conftest import made_once
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
from tests.conftest import run_sfumato
from tests.evaluate.samples import drawn, smoothed
from tests.report.run_folders import write_examples, write_run

pytestmark = pytest.mark.slow

HEADINGS = {
    "compare": ["Test metrics", "Changed rows", "More figures", "Inputs", "Reproduce", "Glossary"],
    "judge": ["Test metrics", "Inputs", "Glossary"],
    "audit": ["Findings", "Metrics", "How far apart are the logits?", "Inputs", "Glossary"],
}
LONG = "data/a_long_file_name_for_a_data_set_of_many_classes.parquet"
SAMPLES = {
    "much to say": drawn(4000, 10, 1, scale=4.0, sharp=2.5, noise=0.05),
    "smoothed, many classes": smoothed(3000, 120, 0.1, 0.3, 2, wrong=0.1),
    "one row": drawn(1, 3, 3),
}


def two_arms(folder):
    write_run(folder / "run", ladder=(0.0, 0.02, 0.05, 0.1, 0.2))
    write_examples(folder / "run", rows_to_show(folder / "run"), "image")
    return render(folder / "run")


def four_arms(folder):
    names = ["a-class-name-without-any-place-to-break-it-" * 3, *map(str, range(99))]
    sentences = ("No difference you can rely on.", "Keep one-hot, which is simplest.")
    words = {"choice": "", "sentences": sentences, "class_names": names, "name": LONG}
    write_run(folder / "run", smoothed=(0.02, 0.05, 0.1), classes=100, seeds=2, learned=0.7, width=140, **words)
    write_examples(folder / "run", rows_to_show(folder / "run"), "text")
    return render(folder / "run")


def three_runs(folder):
    runs = [
        write_run(folder / "first", seeds=2, epochs=2, test=90),
        write_run(folder / "second", seeds=1, epochs=2, test=90, name=LONG, smoothed=(0.05, 0.2), choice="one-hot"),
        write_run(folder / "third", seeds=1, epochs=3, test=90),
    ]
    return render_merged(runs, folder / "comparison.html")


def audit(name):
    def make(folder):
        file = "a_long_file_name_without_any_place_to_break_it_for_the_logits_of_a_model.npz"
        np.savez(folder / file, **SAMPLES[name])
        ran = run_sfumato("audit", file, *(["--against", file] if name == "much to say" else []), folder=folder)
        assert ran.code == 0, ran.err
        return folder / f"{file.removesuffix('.npz')}-audit.html"

    return make


def audit_of_a_run(folder):
    """A run of three arms and two seeds, of which the table over seeds has its own columns."""
    (folder / "run" / "logits").mkdir(parents=True)
    for arm in ("one-hot", "smoothed 0.1 over the others", "cutmix 0.2"):
        for seed in (0, 1):
            np.savez(folder / "run" / "logits" / f"{arm}-seed{seed}-test.npz", **drawn(800, 5, seed))
    ran = run_sfumato("audit", "run", folder=folder)
    assert ran.code == 0, ran.err
    return folder / "cutmix 0.2-seed0-test-audit.html"


def judge(arms, *, soft=False):
    def make(folder):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 5, 400)
        truth = {"label_counts": np.eye(5)[labels] * 3 + rng.integers(0, 2, (400, 5))} if soft else {"labels": labels}
        for number, arm in enumerate(["one-hot", "smoothed", "smoothed-over-the-others", "mixup"][:arms]):
            for seed in range(3):
                logits = (1.5 + number / 4) * np.eye(5)[labels] + rng.normal(size=(400, 5))
                sf.save_scores(folder / "scores", arm=arm, seed=seed, logits=logits, **truth)
        ran = run_sfumato("judge", "scores", folder=folder)
        assert ran.code == 0, ran.err
        return folder / "scores-judged" / "report.html"

    return make


COMPARE = {"digits": None, "two arms": two_arms, "four arms": four_arms}
PAGES = {
    **COMPARE,
    "three runs": three_runs,
    **{name: audit(name) for name in SAMPLES},
    "seeds of a run": audit_of_a_run,
    "judge, two arms": judge(2),
    "judge, four arms": judge(4),
    "judge, soft labels": judge(3, soft=True),
}
NIGHTLY = ("two arms",)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.nightly] if name in NIGHTLY else []) for name in PAGES],
)
def page_name(request):
    return request.param


@pytest.fixture(scope="module")
def page_file(page_name, request, tmp_path_factory):
    if page_name == "digits":
        ran = request.getfixturevalue("digits")
        return ran.folder / ran.json()["run"] / "report.html"
    return made_once(tmp_path_factory, page_name, PAGES[page_name])


def test_page_opens_offline_without_errors_or_requests(view, page_file):
    assert view.wrong == []
    assert [url for url in view.asked if not url.startswith("data:image/png;base64,")] == [page_file.as_uri()]


def test_nothing_is_wider_than_the_window_cut_or_on_top_of_another(view):
    assert view.evaluate(FITS)
    for script in (STICKING_OUT, SCROLLING, CUT, BLOCKS):
        assert view.evaluate(script) == []
    for script in (TEXTS_OF_FIGURES, LABELS_ON_POINTS):
        assert view.evaluate(script, "figure svg") == []


def test_a_phone_of_390_pixels_shows_all_of_it(browser, page_file):
    page = opened(browser, page_file, 390)
    for script in (SCROLLING, CUT, BLOCKS):
        assert page.evaluate(script) == []
    for script in (TEXTS_OF_FIGURES, LABELS_ON_POINTS):
        assert page.evaluate(script, "figure svg") == []
    page.context.close()


def test_every_link_leads_to_a_place_of_the_page(view):
    links = view.locator("a[href^='#']").evaluate_all("all => all.map(a => [a.textContent.trim(), a.hash.slice(1)])")
    assert len(links) > 4
    assert all(text for text, _ in links)
    missing = "ids => ids.filter(id => document.querySelectorAll('[id=\"' + id + '\"]').length !== 1)"
    assert view.evaluate(missing, [target for _, target in links]) == []


def test_regions_have_names_of_their_own(view):
    assert view.evaluate(SAME_NAME) == []


def test_a_term_leads_to_its_explanation(browser, page_file):
    page = opened(browser, page_file, 390)
    link = page.locator("section a.term").first
    target = link.evaluate("a => a.hash")
    link.click()
    assert page.evaluate("location.hash") == target
    assert 0 <= page.locator("dt:target").bounding_box()["y"] < 900
    page.context.close()


def test_headings_stand_in_order(view, page_name):
    assert view.locator("h1").count() == 1
    shown = view.locator("h2").all_inner_texts()
    kind = "compare" if page_name in COMPARE else page_name.partition(",")[0]
    if page_name == "three runs":
        assert [shown[0], len(shown)] == ["What differs between the runs", 2 + view.locator(".runs li").count()]
        assert shown[-1] == "Glossary"
    else:
        notes = ["Notes" if heading == "Notes" else "" for heading in shown]  # of an audit without findings
        assert [h for h, note in zip(shown, notes, strict=True) if not note] == [
            heading for heading in HEADINGS.get(kind, HEADINGS["audit"]) if heading in shown
        ]
        assert {"Metrics", "Test metrics"} & {*shown}


def test_the_verdict_and_its_figure_are_seen_at_once(browser, page_file, page_name):
    """They are within 900 pixels of the top of a wide page; of several runs, the first panel of the forest is."""
    page = opened(browser, page_file)
    *words, figure = [page.locator(each).first.bounding_box() for each in (".chip", "h1", "svg[role=img]")]
    assert all(box["y"] + box["height"] <= 400 for box in words)
    assert figure["y"] + figure["height"] / (3 if page_name == "three runs" else 1) <= 900
    assert page.locator(".contents ul").is_visible()
    assert not page.locator(".contents select").is_visible()
    page.context.close()


def test_the_select_of_a_phone_leads_to_each_section(browser, page_file):
    page = opened(browser, page_file, 390)
    assert not page.locator(".contents ul").is_visible()
    page.locator(".contents select").select_option(label="Glossary")
    assert page.evaluate("location.hash") == "#glossary"
    page.context.close()


@pytest.mark.nightly
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_on_a_page_with_all_of_it_unfolded(browser, page_file, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(browser, page_file, width, scheme)
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert [each["id"] for each in axe.Axe().run(page).response["violations"]] == []
    page.context.close()


def test_every_figure_has_a_name_and_a_size(view, page_name):
    figures = view.locator("svg[role=img]").all()
    assert len(figures) == 7 + (page_name == "two arms") if page_name in COMPARE else len(figures) >= 1
    for figure in figures:
        assert len(figure.get_attribute("aria-label")) > 30
        box = figure.bounding_box()
        assert (box["width"] > 250, box["height"] > 50) == (True, True)


def test_every_thumbnail_is_loaded_and_has_a_name(view):
    broken = """() => [...document.querySelectorAll('img')].filter(i => !i.naturalWidth || i.alt.length < 10)
        .map(i => i.alt)"""
    assert view.evaluate(broken) == []


def test_text_and_lines_stand_out_from_the_paper_and_figures_follow_the_scheme(view):
    assert too_faint(view, ["--ink", "--faint", *(f"--arm-{n}" for n in range(5))]) == []
    colours = """() => [getComputedStyle(document.querySelector('figure svg text')).fill,
        getComputedStyle(document.body).color]"""
    text, body = view.evaluate(colours)
    assert text == body


def test_page_prints(browser, page_file, page_name, tmp_path):
    page = opened(browser, page_file)
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    page.context.close()
    pages = (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n")
    # the JSON of a run has every metric of every arm and seed
    most = 7 if page_name in SAMPLES else 10 if page_name == "seeds of a run" else 20
    assert (3 if page_name in COMPARE else 1) <= pages <= most
