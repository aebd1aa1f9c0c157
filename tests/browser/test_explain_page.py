"""The page of `sfumato explain` in a real browser, offline: numbers, controls, narrow and wide, light and dark."""

import math

import pytest

from sfumato import theory
from tests.browser.looks import (
    FITS,
    LABELS_ON_CURVES,
    LABELS_ON_POINTS,
    SCROLLING,
    TEXTS_OF_FIGURES,
    VIEWS,
    opened,
    too_faint,
)
from tests.conftest import run_sfumato

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    ran = run_sfumato("explain", "--classes", "10", "--eps", "0.1", "--page", "page.html", folder=folder)
    assert (ran.code, ran.out) == (0, "page.html\n"), ran.err
    return folder / "page.html"


@pytest.fixture(params=VIEWS)
def view(request, browser, page_file):
    page = opened(browser, page_file, *request.param)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def wide(browser, page_file):
    page = opened(browser, page_file)
    yield page
    page.context.close()


def put(page, classes, eps, over="others"):
    page.fill("#k", str(classes))
    page.fill("#eps", str(eps))
    page.check(f"input[value={over}]")


def test_page_is_one_small_file(page_file):
    assert page_file.stat().st_size < 200_000
    text = page_file.read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text


def test_page_opens_offline_without_errors_or_requests(view, page_file):
    assert view.wrong == []
    assert view.asked == [page_file.as_uri()]


STATES = [
    (10, 0.1, "others"),
    (10, 0.01, "others"),
    (10, 0.03, "all"),
    (10, 0.5, "all"),
    (10, 0.97, "others"),
    (2, 0.9, "others"),
    (1000, 0, "all"),
    (3, 1, "all"),
    (10**6, 0.001, "all"),
]


@pytest.mark.parametrize(("classes", "eps", "over"), STATES)
def test_nothing_is_wider_than_the_window_or_on_top_of_another(view, classes, eps, over):
    put(view, classes, eps, over)
    assert view.wrong == []
    assert view.evaluate(FITS)
    assert view.evaluate(TEXTS_OF_FIGURES, ".chart svg") == []
    assert view.evaluate(LABELS_ON_POINTS, ".chart svg") == []
    assert view.evaluate(LABELS_ON_CURVES, ".chart svg") == []
    assert view.evaluate(SCROLLING) == []


def test_terms_lead_to_the_glossary_and_sections_to_their_places(wide):
    links = wide.locator("a[href^='#']").evaluate_all("all => all.map(a => a.hash.slice(1))")
    assert {"the-floor-of-the-loss", "term-floor", "term-one-hot", "term-logit_gap"} <= set(links)
    assert wide.evaluate("ids => ids.filter(id => !document.getElementById(id))", links) == []


def test_text_stands_out_from_the_paper(view):
    assert too_faint(view, ["--ink", "--faint", "--arm-0", "--arm-1"]) == []


def test_it_opens_at_the_values_asked_for(wide):
    put(wide, 10, 0.1)
    assert wide.input_value("#k") == "10"
    assert wide.input_value("#eps") == "0.1"
    assert "4.394 nats above each other one" in wide.inner_text("#said")
    assert wide.inner_text("tr[data-key=gap] td[data-over=all]") == "4.51086"


CASES = [(2, 0.1), (10, 0.0), (10, 0.1), (10, 0.9), (10, 1.0), (1000, 0.5), (3, 0.8), (1_000_000, 1e-4)]


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize(("k", "eps"), CASES)
def test_the_scripts_closed_forms_are_the_theorys(wide, k, eps, over):
    told = wide.evaluate(
        f"""() => {{ const t = sfumato.theory, text = x => String(x);
        return {{ gap: text(t.gap({k}, {eps}, '{over}')), floor: t.floor({k}, {eps}, '{over}'),
                  target: t.target({k}, {eps}, '{over}') }}; }}"""
    )
    assert float(told["gap"]) == pytest.approx(theory.optimal_gap(eps, k, over=over), rel=1e-12, abs=1e-12)
    assert told["floor"] == pytest.approx(theory.loss_floor(eps, k, over=over), rel=1e-10, abs=1e-12)
    best = theory.optimal_gap(eps, k, over=over)
    for share in (0.1, 0.5, 0.99):
        d = share * best if math.isfinite(best) else math.copysign(8 * share, best)
        if abs(best) > 1e-9:
            time = wide.evaluate(f"String(sfumato.theory.time({k}, {eps}, '{over}', {d!r}))")
            assert float(time) == pytest.approx(theory.time_to_gap(d, k, eps=eps, over=over), rel=1e-8)


@pytest.mark.parametrize(
    ("classes", "eps", "over", "words"),
    [
        (2, 0.1, "all", "ε = 0.1 over all of 2 classes trains the label's logit to stand 2.944 nats above"),
        (10, 0, "others", "is one-hot: there is no finite optimum"),
        (10, 0.95, "others", "below each other one: the target favours the wrong classes"),
        (10, 0.95, "others", "No strength over all is the same target."),
        (10, 1, "all", "is the uniform target"),
        (10, 0.1, "others", "Over all that is ε = 0.1111."),
    ],
)
def test_the_sentence_says_what_the_controls_ask(wide, classes, eps, over, words):
    put(wide, classes, eps, over)
    assert words in wide.inner_text("#said")


def test_controls_work_by_keyboard(browser, page_file):
    page = opened(browser, page_file)
    page.focus("#eps-slide")
    before = page.evaluate("sfumato.state.eps")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("sfumato.state.eps") == pytest.approx(before + 0.005)
    page.focus("#k-slide")
    page.keyboard.press("End")
    assert page.evaluate("sfumato.state.k") == 100_000
    page.focus("input[value=others]")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("sfumato.state.over") == "all"
    page.keyboard.press("Tab")
    assert page.wrong == []
    page.context.close()


def test_a_value_that_means_nothing_is_said_and_changes_nothing(wide):
    put(wide, 10, 0.1)
    wide.fill("#eps", "1.5")
    assert wide.inner_text("#wrong") == "ε must be from 0 to 1."
    assert wide.evaluate("sfumato.state.eps") == 0.1
    assert wide.get_attribute("#eps", "aria-invalid") == "true"
    wide.fill("#k", "1")
    assert "K must be a whole number from 2" in wide.inner_text("#wrong")
    put(wide, 10, 0.1)
    assert wide.inner_text("#wrong") == ""


def test_every_chart_says_its_numbers(wide):
    put(wide, 10, 0.1)
    names = [svg.get_attribute("aria-label") for svg in wide.locator(".chart svg[role=img]").all()]
    assert len(names) == 4
    for name, text in zip(names, ("0.9 on the label", "4.394 nats", "0.5448 nats", "within 1 % of 4.394"), strict=True):
        assert text in name


def test_the_numbers_stand_without_script(browser, page_file):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.inner_text("tr[data-key=gap] td[data-over=others]") == "4.39445"
    context.close()


def test_page_prints(browser, page_file, tmp_path):
    page = opened(browser, page_file)
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    pdf = (tmp_path / "page.pdf").read_bytes()
    page.context.close()
    assert 1 <= pdf.count(b"/Type /Page\n") <= 4
