"""The page of `sfumato explain` in a real browser, offline: how it looks, both languages, keys, pointer, training."""

from __future__ import annotations

import math
import re

import pytest
import torch

import sfumato as sf
from sfumato import theory
from tests.browser.looks import (
    FITS,
    LABELS_ON_CURVES,
    LABELS_ON_POINTS,
    SCROLLING,
    TEXTS_OF_FIGURES,
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


@pytest.fixture(scope="module")
def wide(browser, page_file):
    page = opened(browser, page_file)
    yield page
    page.context.close()


@pytest.fixture
def fresh(browser, page_file):
    page = opened(browser, page_file)
    yield page
    assert page.wrong == []
    page.context.close()


START = "k=10 eps=0.1 over=others temperature=1 noise=0 weight=1 rate=1"


def put(page, words):
    """Set several controls, and draw at once."""
    page.evaluate("words => { putAll(words); again(); draw(); }", f"{START} {words}".strip())


STATES = [
    "",
    "eps=0.01",
    "eps=0.03 over=all",
    "eps=0.5 over=all noise=0.2",
    "eps=0.97",
    "k=2 eps=0.9 weight=5",
    "k=1000 eps=0 over=all",
    "k=3 eps=1 over=all",
    "k=1000000 eps=0.001 over=all temperature=5",
    "weight=10 temperature=0.2",
    "eps=1",
]
AFTER_STEPS = "steps => { for (let i = 0; i < steps; i++) advance(1); draw(); }"


def test_page_is_one_small_file(page_file):
    assert page_file.stat().st_size < 300_000
    text = page_file.read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text


def test_page_opens_offline_without_errors_or_requests(view, page_file):
    assert view.wrong == []
    assert view.asked == [page_file.as_uri()]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_wider_than_the_window_or_on_top_of_another(view, language):
    view.evaluate(
        "which => { speak(which); for (const d of document.querySelectorAll('details')) d.open = true; }", language
    )
    found = {}
    for state in STATES:
        for steps in (0, 3, 200):
            put(view, state)
            view.evaluate(AFTER_STEPS, steps)
            charts = [view.evaluate(look, ".chart svg") for look in (LABELS_ON_POINTS, LABELS_ON_CURVES)]
            seen = [*charts, view.evaluate(TEXTS_OF_FIGURES, ".chart svg, #row svg"), view.evaluate(SCROLLING)]
            if any(seen) or not view.evaluate(FITS):
                found[state, steps] = seen
    assert found == {}
    assert view.wrong == []


def test_every_link_leads_to_a_place_of_the_page(wide):
    links = wide.locator("a[href^='#']").evaluate_all("all => all.map(a => a.hash.slice(1))")
    assert len(links) == 12
    assert wide.evaluate("ids => ids.filter(id => !document.getElementById(id))", links) == []


def test_no_id_stands_twice(wide):
    ids = wide.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_text_stands_out_from_the_paper(view):
    assert too_faint(view, ["--ink", "--faint", "--arm-0", "--arm-1", "--control"]) == []
    assert min(ratio for _, ratio in view.evaluate(*contrasts("--ochre", "--bad"))) >= 4.5


def contrasts(*names):
    from tests.browser.looks import CONTRASTS

    return CONTRASTS, list(names)


@pytest.mark.parametrize(
    ("locale", "heading", "lang"),
    [
        ("en-GB", "Label smoothing in one moving picture", "en"),
        ("zh-CN", "一幅会动的图，讲清标签平滑", "zh-Hans"),
        ("zh-TW", "一幅会动的图，讲清标签平滑", "zh-Hans"),
        ("fr-FR", "Label smoothing in one moving picture", "en"),
    ],
)
def test_the_page_opens_in_the_language_of_the_browser(browser, page_file, locale, heading, lang):
    context = browser.new_context(locale=locale, offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.inner_text("h1") == heading
    assert page.evaluate("document.documentElement.lang") == lang
    context.close()


def test_the_switch_changes_every_word_that_is_seen_and_every_label(fresh):
    chinese = re.compile("[\u4e00-\u9fff]")
    fresh.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    put(fresh, "noise=0.1 weight=2 temperature=2")
    labelled = "[...document.querySelectorAll('main [aria-label]')].filter(e => e.checkVisibility())"
    labels = f"() => {labelled}.map(e => e.ariaLabel)"
    english = (
        fresh.inner_text("main").replace("中文", "").replace("Language, 语言", "").replace("LabelSmoothing原理", "")
    )
    assert not chinese.search(english)
    assert [label for label in fresh.evaluate(labels) if chinese.search(label)] == []
    fresh.check("#lang-zh")
    fresh.evaluate("draw()")
    assert [label for label in fresh.evaluate(labels) if not chinese.search(label)] == []
    lines = [
        line for line in fresh.inner_text("main").splitlines() if re.search(r"[a-z]{3,} [a-z]{3,} [a-z]{3,}", line)
    ]
    assert [line for line in lines if not chinese.search(line)] == []


def test_a_whole_session_is_possible_by_keyboard_alone(fresh):
    def tab_to(selector):
        for _ in range(80):
            fresh.keyboard.press("Tab")
            if fresh.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    state = "sfumato.state"
    tab_to("[name=language]")
    fresh.keyboard.press("ArrowRight")
    assert fresh.evaluate("document.documentElement.lang") == "zh-Hans"
    fresh.keyboard.press("ArrowLeft")
    tab_to("#k-slide")
    fresh.keyboard.press("End")
    assert fresh.evaluate(f"{state}.k") == 100_000
    fresh.keyboard.press("Home")
    assert fresh.evaluate(f"{state}.k") == 2
    tab_to("#k")
    fresh.keyboard.press("Control+A")
    fresh.keyboard.type("10")
    tab_to("#eps-slide")
    fresh.keyboard.press("ArrowRight")
    assert fresh.evaluate(f"{state}.eps") == pytest.approx(0.105)
    tab_to("[name=over]")
    fresh.keyboard.press("ArrowDown")
    assert fresh.evaluate(f"{state}.over") == "all"
    for name in ("temperature", "noise", "weight"):
        before = fresh.evaluate(f"{state}.{name}")
        tab_to(f"#{name}-slide")
        for _ in range(30):
            fresh.keyboard.press("ArrowRight")
        assert fresh.evaluate(f"{state}.{name}") > before
    tab_to("[data-put*='over=all']")
    fresh.keyboard.press("Enter")
    assert fresh.evaluate(f"[{state}.eps, {state}.noise, {state}.weight]") == [0.1, 0, 1]
    tab_to("#step")
    fresh.keyboard.press("Space")
    assert fresh.evaluate(f"{state}.steps") == 1
    tab_to("#row [role=slider]")
    fresh.keyboard.press("ArrowUp")
    assert fresh.evaluate(f"{state}.z.smoothed[0]") == pytest.approx(0.81 + 0.25)
    fresh.keyboard.press("PageDown")
    assert fresh.evaluate(f"{state}.z['one-hot'][0]") == pytest.approx(0.81 - 0.75)
    tab_to("summary")
    fresh.keyboard.press("Enter")
    assert fresh.evaluate("document.activeElement.parentElement.open")


def test_a_bar_follows_the_pointer_and_so_do_its_numbers(fresh):
    slider = fresh.locator("#row [role=slider]").nth(3)
    box = fresh.locator("#row .hit").nth(3).bounding_box()
    fresh.mouse.move(box["x"] + 10, box["y"] + box["height"] * 0.6)
    fresh.mouse.down()
    fresh.mouse.move(box["x"] + 10, box["y"] + box["height"] * 0.25)
    fresh.mouse.up()
    z = fresh.evaluate("sfumato.state.z.smoothed[3]")
    assert z == pytest.approx(5, abs=0.3)  # three quarters of the way from −4 to 8
    fresh.evaluate("draw()")
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(z, abs=0.01)
    p = math.exp(z) / (math.exp(z) + 9)
    assert fresh.inner_text("#chosen-name") == "class 3"
    told = [fresh.inner_text(f"#n-{name}-1-1") for name in "zpqg"]
    assert [float(each.replace("−", "-")) for each in told] == pytest.approx([z, p, 0.1 / 9, p - 0.1 / 9], abs=6e-4)


def test_the_point_of_the_chart_pulls_the_strength(fresh):
    fresh.locator("#gaps").scroll_into_view_if_needed()
    box = fresh.locator("#gaps svg").bounding_box()
    middle = box["x"] + 40 + (box["width"] - 54) / 2
    fresh.mouse.move(box["x"] + 100, box["y"] + 60)
    fresh.mouse.down()
    fresh.mouse.move(middle, box["y"] + 60)
    fresh.mouse.up()
    assert fresh.evaluate("sfumato.state.eps") == pytest.approx(0.5, abs=0.01)
    assert float(fresh.input_value("#eps")) == fresh.evaluate("sfumato.state.eps")


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_steps_are_gradient_descent_of_the_reference(wide, over, weight):
    put(wide, f"k=12 eps=0.2 over={over} weight={weight} rate=0.5")
    start = [0.3, -1.0, 2.0, *[0.1] * 6, -0.5]  # the last group is of three classes
    wide.evaluate("z => { for (const arm of ARMS) state.z[arm] = [...z]; advance(7); draw(); }", start)
    label, weights = torch.tensor(0), torch.ones(12, dtype=torch.float64)
    weights[0] = weight
    for arm, eps in (("one-hot", 0.0), ("smoothed", 0.2)):
        z = torch.tensor([*start, start[-1], start[-1]], dtype=torch.float64)
        for _ in range(7):
            z = z - 0.5 * sf.reference.gradient(
                z, label, weights, label_smoothing=eps, over=over, reduction="sum"
            )  # fmt: skip
        assert wide.evaluate(f"state.z['{arm}']") == pytest.approx(z[:10].tolist(), rel=1e-12)


def test_after_44_steps_one_hot_has_the_gap_that_the_note_counts(wide):
    put(wide, "")
    wide.evaluate(AFTER_STEPS, 44)
    assert wide.inner_text("#status").startswith("44 steps of size 1: one-hot’s gap 6.0")


def test_where_motion_is_unwelcome_training_is_done_at_once(browser, page_file):
    context = browser.new_context(reduced_motion="reduce", offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.click("#train")
    assert page.evaluate("[sfumato.state.mode, sfumato.state.steps]") == ["trained", 10_000]
    page.evaluate("draw()")
    assert page.inner_text("#status") == "10,000 steps of size 1: one-hot’s gap 11.512 nats, smoothed’s 4.394."
    page.evaluate("putValue('eps', 0.5); draw()")
    gap = theory.optimal_gap(0.5, 10, over="others")
    assert f"smoothed’s {gap:.3f}." in page.inner_text("#status")
    context.close()


def test_a_temperature_after_training_moves_p_and_leaves_z(wide):
    put(wide, "")
    wide.evaluate("() => { state.mode = 'trained'; state.steps = 10000; follow(); }")
    before = wide.evaluate("[...sfumato.state.z.smoothed]")
    assert before[0] - before[1] == pytest.approx(theory.optimal_gap(0.1, 10, over="others"), rel=1e-9)
    wide.evaluate("putValue('temperature', 2); draw()")
    assert wide.evaluate("[...sfumato.state.z.smoothed]") == before
    p = 1 / (1 + 9 * math.exp((before[1] - before[0]) / 2))
    assert float(wide.inner_text("#n-p-0-1")) == pytest.approx(p, abs=6e-5)


def test_training_runs_and_can_be_stopped(fresh):
    fresh.click("#train")
    fresh.wait_for_function("sfumato.state.steps >= 5")
    fresh.click("#train")
    assert fresh.evaluate("training.running") is False
    assert fresh.inner_text("#train") == "Train"
    fresh.click("#again")
    assert fresh.evaluate("[sfumato.state.steps, Math.max(...sfumato.state.z.smoothed)]") == [0, 0]


def test_steps_that_leave_the_exact_curve_say_so(wide):
    put(wide, "weight=10 rate=2")
    wide.evaluate(AFTER_STEPS, 2)
    assert "too large to follow the exact curve" in wide.inner_text("#status")
    put(wide, "rate=0.1")
    wide.evaluate(AFTER_STEPS, 50)
    assert "too large" not in wide.inner_text("#status")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("", "ε = 0.1 over the 9 other classes leaves 0.9 on the label and gives 0.01111 to each other class."),
        ("", "stands 4.394 nats above each other one; the loss is then 0.5448. One-hot never stops."),
        ("", "To get this target, tell torch 0.1111, and tell a library that spreads over the others 0.1."),
        ("over=all", "ε = 0.1 over all 10 classes leaves 0.91 on the label and gives 0.01 to each other class."),
        ("over=all", "To get this target, tell torch 0.1, and tell a library that spreads over the others 0.09."),
        ("k=2 over=all", "stands 2.944 nats above"),
        ("eps=0", "There is no finite optimum"),
        (
            "eps=0 noise=0.1",
            "With a share 0.1 of wrong labels, the mean target is 0.9 on the label and 0.01111 on each other class.",
        ),
        ("eps=0.95", "below each other one, since the target favours the wrong classes"),
        ("eps=0.95", "No label_smoothing of torch gives this target"),
        ("eps=1 over=all", "The target is uniform"),
        ("weight=5", "The weight 5 moves the optimum to 0.9783 on the label."),
        ("weight=5", f"stands {theory.optimal_gap(0.1, 10, over='others') + math.log(5):.4g} nats above"),
        ("temperature=2", f"stands {2 * theory.optimal_gap(0.1, 10, over='others'):.4g} nats above"),
    ],
)
def test_the_sentence_says_what_the_controls_ask(wide, state, words):
    put(wide, state)
    assert words in wide.inner_text("#said")


def test_a_value_that_means_nothing_is_said_and_changes_nothing(wide):
    put(wide, "")
    for name, value, said in [
        ("eps", "1.5", "ε must be from 0 to 1."),
        ("k", "1", "K must be a whole number from 2 to 1,000,000."),
        ("temperature", "0", "T must be from 0.2 to 5."),
        ("noise", "-1", "ρ must be from 0 to 0.9."),
        ("weight", "", "The weight w must be from 0.1 to 10."),
        ("rate", "3", "The step size η must be from 0.01 to 2."),
    ]:
        before = wide.evaluate(f"sfumato.state.{name}")
        wide.fill(f"#{name}", value)
        assert said in wide.inner_text("#wrong")
        assert wide.evaluate(f"sfumato.state.{name}") == before
        assert wide.get_attribute(f"#{name}", "aria-invalid") == "true"
        wide.fill(f"#{name}", str(before))
        assert wide.inner_text("#wrong") == ""


def test_a_screen_reader_hears_one_sentence_when_the_hand_rests(fresh):
    assert fresh.inner_text("#heard") == ""
    for eps in (0.2, 0.3, 0.4):
        fresh.fill("#eps", str(eps))
    fresh.wait_for_function("document.getElementById('heard').textContent !== ''")
    assert fresh.inner_text("#heard").startswith("ε = 0.4 over the 9 other classes")
    assert fresh.locator("[aria-live]").count() == 1


def test_the_numbers_stand_without_script(browser, page_file):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.inner_text("#t-gap-others") == "4.39445"
    assert page.inner_text("td[data-key='torch.index']") == "0.111111"
    assert "The picture needs a script" in page.inner_text("main")
    page.check("#lang-zh")
    assert page.inner_text("h1") == "一幅会动的图，讲清标签平滑"
    context.close()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_prints_with_every_step_of_the_derivation(browser, page_file, tmp_path, language):
    page = opened(browser, page_file)
    page.check(f"#lang-{language}")
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    pdf = (tmp_path / "page.pdf").read_bytes()
    page.emulate_media(media="print")
    hidden = "p => p.getClientRects().length === 0"
    assert page.evaluate(f"[...document.querySelectorAll('details .{language} p')].filter({hidden}).length") == 0
    page.context.close()
    assert 4 <= pdf.count(b"/Type /Page\n") <= 9
