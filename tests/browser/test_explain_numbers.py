"""The numbers that the page of `sfumato explain` shows, read back in a real browser, against `sf.theory`.

Noise and weight make one target over the others: δ = ε + ρ − ερK/(K−1), then δ/(w(1−δ) + δ) of its weighted
mass. So every number has its closed form in `sf.theory`.
"""

from __future__ import annotations

import math
import random
import re

import pytest

from sfumato import conventions, theory
from sfumato.explain.page import table, write
from tests.browser.looks import opened

pytestmark = pytest.mark.slow

READ = """settings => settings.map(([k, eps, over, noise, weight, temperature, rate]) => {
    const pulled = { k, eps, over, noise, weight, temperature, rate };
    putAll(Object.entries(pulled).map(each => each.join('=')).join(' '));
    draw();
    const text = id => el(id).textContent, label = id => el(id).querySelector('svg').ariaLabel;
    const cells = [...document.querySelectorAll('#frameworks td[data-key]')];
    const row = key => ['others', 'all'].map(over => text(`t-${key}-${over}`));
    const bold = id => document.querySelector(`#${id} b`).textContent;
    return { said: text('said'), table: ['true', 'other', 'gap', 'floor'].map(row), time: label('time'),
        moved: bold('f-moved'),
        frameworks: Object.fromEntries(cells.map(cell => [cell.dataset.key, cell.textContent])), gaps: label('gaps'),
        formulas: [bold('f-others'), bold('f-all')], after: text('after') };
})"""

RETRAIN = """settings => settings.map(([k, eps, over, noise, weight, temperature, rate]) => {
    const pulled = { k, eps, over, noise, weight, temperature, rate };
    putAll(Object.entries(pulled).map(each => each.join('=')).join(' '));
    startAgain();
    state.mode = "trained"; state.steps = 10000;
    follow();
    draw();
    return ['z', 'p', 'q', 'g'].map(name => document.getElementById(`n-${name}-0-1`).textContent);
})"""

SPECIAL = [
    (10, 0.1, "others", 0, 1, 1, 1),
    (10, 0.1, "all", 0, 1, 1, 1),
    (2, 0.1, "all", 0, 1, 1, 1),
    (10, 0, "all", 0, 1, 1, 1),
    (10, 0.9, "others", 0, 1, 1, 1),
    (10, 1, "others", 0, 1, 1, 1),
    (10, 1, "all", 0, 1, 1, 1),
    (49, 1, "all", 0, 1, 1, 1),
    (10**6, 1e-4, "all", 0.5, 10, 5, 0.1),
]


def settings(many, seed):
    draw = random.Random(seed)
    found = list(SPECIAL)
    while len(found) < many:
        k = draw.choice([2, 3, 10, 37, 100, 1000, 50_257, 10**6])
        eps = draw.choice([0.0, 1e-6, 0.01, 0.05, 0.1, 0.3, 0.9, 0.95, round(draw.random(), 4)])
        rest = draw.choice([(0, 1, 1), (0.2, 1, 1), (0, 5, 1), (0, 1, 2), (0.05, 0.1, 0.2), (0.5, 10, 5)])
        found.append((k, eps, draw.choice(["others", "all"]), *rest, draw.choice([1, 0.1, 2])))
    return found


def number(text):
    return float(text.replace("−", "-").replace(",", "").replace("∞", "inf"))


def filled(key, language, text):
    """The numbers that were filled into a sentence of the page, by name."""
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.*?)", re.escape(table("live")[key][language]))
    found = re.fullmatch(pattern, text)
    assert found is not None, text
    return {name: number(words) for name, words in found.groupdict().items() if name != "over"}


def effective(setting, eps=None):
    """Strength over the others, and weighted mass, of the target after noise and weight."""
    k, own, over, noise, weight, _, _ = setting
    e = theory.convert_eps(own if eps is None else eps, k, frm=over, to="others")
    e = e + noise - e * noise * k / (k - 1)
    mass = weight * (1 - e) + e
    return e, min(e / mass, 1.0), mass


def gap_after(setting, eps, steps):
    k, _, _, _, _, temperature, rate = setting
    _, e, mass = effective(setting, eps)
    return temperature * theory.gap_after_time(steps, k, eps=e, over="others", lr=rate * mass / temperature**2)


@pytest.fixture(scope="module")
def reading(browser, tmp_path_factory):
    page = opened(browser, write(tmp_path_factory.mktemp("explain") / "page.html", 10, 0.1))
    yield page
    assert page.wrong == []
    page.context.close()


def check_table(setting, told):
    k, eps = setting[:2]
    for column, over in enumerate(("others", "all")):
        true, other = conventions.CONVENTIONS[over].target(eps, k)
        gap, floor = theory.optimal_gap(eps, k, over=over), theory.loss_floor(eps, k, over=over)
        cells = [number(row[column]) for row in told["table"]]
        assert cells == pytest.approx([true, other, gap, floor], rel=6e-6, abs=1e-12), setting
        assert number(told["formulas"][column]) == pytest.approx(gap, rel=6e-6, abs=1e-12)


def check_optimum(setting, told, language):
    k, eps, over, *_, temperature, _ = setting
    _, e, mass = effective(setting)
    gap = temperature * theory.optimal_gap(e, k, over="others")
    assert number(told["moved"]) == pytest.approx(gap, rel=6e-6, abs=1e-9), setting
    floor = mass * theory.loss_floor(e, k, over="others")
    if math.isfinite(gap) and abs(gap) > 1e-9:
        stop = re.search(r"([\d.e−]+) nats? (?:above|below)[^;]*; the loss is then ([\d.e−]+)\.(?: |$)", told["said"])
        stop = stop or re.search(r"每个都[高低] ([\d.e−]+) nat 的位置，此时损失为 ([\d.e−]+)。", told["said"])
        assert [number(each) for each in stop.groups()] == pytest.approx([abs(gap), floor], rel=6e-4), setting
    else:
        assert not re.search("above each|每个都高", told["said"])
    told_of_chart = filled("eps_alt", language, told["gaps"])
    assert told_of_chart["gap"] == pytest.approx(theory.optimal_gap(eps, k, over=over), rel=6e-4, abs=1e-12), setting


def check_times(setting, told, language):
    want = {
        name: gap_after(setting, e, t)
        for name, (t, e) in zip("abcd", [(t, e) for t in (1e3, 1e4) for e in (0.0, setting[1])], strict=True)
    }
    found = filled("time_alt", language, told["time"])
    assert {name: found[name] for name in "abcd"} == pytest.approx(want, rel=6e-4, abs=1e-9), setting
    assert found["eta"] == setting[-1]
    plain = (*setting[:3], 0, 1, 1, 1)
    want = {
        name: gap_after(plain, e, t)
        for name, (t, e) in zip("abcd", [(t, e) for e in (0.0, setting[1]) for t in (1e3, 1e4)], strict=True)
    }
    same = f"{want['c']:.4g}" == f"{want['d']:.4g}"
    found = filled("after_same" if same else "after", language, told["after"])
    assert {name: found.get(name, found["c"]) for name in "abcd"} == pytest.approx(want, rel=6e-4, abs=1e-9), setting


def check_frameworks(setting, told):
    k, eps, over = setting[:3]
    for key, value in told["frameworks"].items():
        try:
            want = conventions.convert_eps(eps, k, frm=f"sfumato.{over}", to=key)
        except conventions.ConversionError:
            assert value in table("live")["no_value"].values(), (setting, key)
        else:
            assert number(value) == pytest.approx(want, rel=6e-6, abs=1e-12), (setting, key)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("many", "seed"), [(40, 1), pytest.param(400, 2, marks=pytest.mark.nightly)])
def test_every_number_that_is_shown_is_the_theorys(reading, language, many, seed):
    drawn = settings(many, seed)
    reading.evaluate("which => speak(which)", language)
    for setting, told in zip(drawn, reading.evaluate(READ, drawn), strict=True):
        check_table(setting, told)
        check_optimum(setting, told, language)
        check_times(setting, told, language)
        check_frameworks(setting, told)


@pytest.mark.parametrize(("many", "seed"), [(40, 3), pytest.param(400, 4, marks=pytest.mark.nightly)])
def test_the_row_after_training_is_the_theorys(reading, many, seed):
    drawn = settings(many, seed)
    for setting, told in zip(drawn, reading.evaluate(RETRAIN, drawn), strict=True):
        k, eps, _, _, weight, temperature, _ = setting
        e, _, mass = effective(setting)
        d = gap_after(setting, eps, 1e4)
        p = 1 / (1 + (k - 1) * math.exp(-d / temperature))
        want = [d * (k - 1) / k, p, 1 - e, (mass * p - weight * (1 - e)) / temperature]
        assert [number(each) for each in told] == pytest.approx(want, rel=1e-6, abs=6e-4), setting


def test_the_alternative_text_says_what_the_formula_gives_after_1000_steps(reading):
    reading.evaluate("speak('en')")
    told = reading.evaluate(READ, [SPECIAL[0]])[0]["time"]
    assert "after 1,000 steps the exact gap is 9.202 nats for one-hot and 4.394 for smoothed" in told
