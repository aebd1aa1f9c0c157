"""The interactive page before any script has run, and its sentences, which are the same in both languages."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest

from sfumato import conventions, theory
from sfumato.explain import page as render
from sfumato.explain.page import LANGUAGES, page, table, write


def text_of(part):
    return re.sub(r"<.*?>", "", part).strip()


def cells(text):
    """The numbers of both conventions: over the others, over all."""
    text = text.partition('<table id="numbers">')[2].partition("</table>")[0]
    rows = re.findall(r'<tr[^>]*>\s*<th scope="row"[^>]*>(.*?)</th>(.*?)</tr>', text, re.DOTALL)
    return {name: [text_of(cell) for cell in re.findall(r"<td.*?</td>", rest)] for name, rest in rows}


def by_id(text, name):
    return text_of(re.search(rf'id="{name}"[^>]*>(.*?)</(?:p|td)>', text, re.DOTALL)[1])


def frameworks(text):
    return dict(re.findall(r'data-to="\w+" data-key="([^"]*)">([^<]*)<', text))


def test_the_table_has_the_closed_forms_of_both_conventions():
    found = cells(page(4, 0.2))
    assert found["target of the label"] == ["0.8", "0.85"]
    assert found["target of each other class"] == ["0.0666667", "0.05"]
    assert found["gap at the optimum, nats"] == [f"{math.log(12):.6g}", f"{math.log(17):.6g}"]
    floors = [-0.8 * math.log(0.8) - 0.2 * math.log(0.2 / 3), -0.85 * math.log(0.85) - 0.15 * math.log(0.05)]
    assert found["floor of the loss, nats"] == [f"{floor:.6g}" for floor in floors]


def test_what_is_infinite_and_what_is_negative_have_their_signs():
    assert cells(page(4, 0.0))["gap at the optimum, nats"] == ["∞", "∞"]
    assert cells(page(4, 0.9))["gap at the optimum, nats"][0] == f"−{-math.log(3 * 0.1 / 0.9):.6g}"
    assert cells(page(4, 1.0))["gap at the optimum, nats"] == ["−∞", "0"]


@pytest.mark.parametrize("eps", [0.1, 1e-8, 0.123456789])
def test_the_page_opens_at_the_strength_that_was_asked_for(eps):
    values = dict(re.findall(r'<input type="number" id="(\w+)"[^>]*\bvalue="([^"]*)"', page(7, eps)))
    opened = {"k": 7, "eps": eps, "temperature": 1, "noise": 0, "weight": 1, "rate": 1}
    assert {name: float(value) for name, value in values.items()} == opened


def test_a_page_has_up_to_a_million_classes(tmp_path):
    with pytest.raises(ValueError, match="the page shows up to 1000000 classes, got 1000001"):
        write(tmp_path / "page.html", 1_000_001, 0.1)
    assert list(tmp_path.iterdir()) == []
    path = write(str(tmp_path / "page.html"), 1_000_000, 0.1)
    assert path.read_text("utf-8") == page(1_000_000, 0.1)


@pytest.mark.parametrize(("k", "eps"), [(2, 0.1), (10, 0.1), (1000, 0.1), (10, 1e-4)])
def test_the_gaps_after_steps_stand_there_without_script(k, eps):
    gaps = [theory.gap_after_time(t, k, eps=e, over="others") for e in (0.0, eps) for t in (1e3, 1e4)]
    said = [f"{gap:.4g}" for gap in gaps]
    found = re.findall(r"\d+\.\d+(?= nats| after 10,000| at both|\. | and)", by_id(page(k, eps), "after"))
    assert found == (said if said[2] != said[3] else said[:3])


@pytest.mark.parametrize(
    ("k", "eps", "said"),
    [
        (10, 0.1, "stands 4.394 nats above each other one; the loss is then 0.5448."),
        (10, 0.12346, "ε = 0.1235 over the 9 other classes leaves 0.8765 on the label and gives 0.01372 to each"),
        (10, 0.95, "stands 0.7472 nats below each other one"),
        (2, 0.5, "The target is uniform"),
        (2, 0.4, "stands 0.4055 nats above each other one"),
        (10, 0.0, "ε = 0 is one-hot: all of the target is on the label. There is no finite optimum"),
        (10, 1.0, "Nothing of the target is left on the label"),
    ],
)
def test_the_sentence_stands_there_without_script(k, eps, said):
    assert said in by_id(page(k, eps), "said")


def test_the_formulas_have_the_numbers_in_them():
    text = page(10, 0.1)
    assert "log((K − 1)(1 − ε)/ε) = log(9 × 0.9/0.1) = log 81 = 4.39445" in by_id(text, "f-others-row")
    assert "log(1 + K(1 − ε)/ε) = log(1 + 10 × 0.9/0.1) = log 91 = 4.51086" in by_id(text, "f-all-row")


def test_each_framework_is_told_what_conventions_converts_to():
    told = frameworks(page(10, 0.1))
    assert next(iter(told)) == "torch.index"
    wanted = {key: f"{conventions.convert_eps(0.1, 10, frm='sfumato.others', to=key):.6g}" for key in told}
    assert told == wanted
    assert told["torch.index"] == "0.111111"
    assert frameworks(page(10, 0.95))["torch.index"] == "no value up to 1"


def test_what_is_told_of_the_steps_names_its_strength_in_four_digits():
    assert "ε = 0.1235 over the 9 other classes" in by_id(page(10, 0.12346), "after")


def test_both_rows_of_sfumato_have_its_name():
    assert page(10, 0.1).count('<th scope="row">sfumato</th>') == 2


FOLDER = Path(render.__file__).parent
TEMPLATES = "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.jinja")))
SCRIPT = "".join((FOLDER / "script" / f"{name}.js").read_text(encoding="utf-8") for name in render.SCRIPTS)
PYTHON = (FOLDER / "__init__.py").read_text(encoding="utf-8")
ENTRIES = {f"{name}.{key}": entry for name in ("text", "live") for key, entry in table(name).items()}
CHINESE = re.compile("[\u4e00-\u9fff]")
SYMBOLS_ALONE = (
    "one-hot", "ε = 0", "T = 2", "p = softmax(z)", "p = softmax(z/T)", "logit z", "K = {k}，ε = {eps}",
)  # fmt: skip


def unlike(found):
    """The keys of the sentences of which something differs between the languages."""
    return [key for key, entry in ENTRIES.items() if found(entry["en"]) != found(entry["zh"])]


def tags(words):
    """The marks of a sentence; a formula in the middle of one may be said in words in the other language."""
    words = re.sub("<span lang.*?</span>|</?su[bp]>", "", words)
    return Counter(re.findall(r"</?\w+", words))


def test_both_languages_are_there():
    wrong = [
        key for key, entry in ENTRIES.items() if tuple(entry) != LANGUAGES or not all(map(str.strip, entry.values()))
    ]
    assert wrong == []


def test_both_languages_are_filled_in_with_the_same_numbers():
    assert unlike(lambda words: Counter(re.findall(r"\{\w+\}", words))) == []


def test_both_languages_have_the_same_marks():
    assert unlike(tags) == []


def test_both_languages_have_the_same_formulas():
    assert unlike(lambda words: re.findall(r'<p class="eq">(.*?)</p>', words)) == []


def test_chinese_is_chinese_and_english_is_not():
    assert [
        key for key, entry in ENTRIES.items() if not CHINESE.search(entry["zh"]) and entry["zh"] not in SYMBOLS_ALONE
    ] == []
    assert [key for key, entry in ENTRIES.items() if CHINESE.search(entry["en"].replace("原理", ""))] == []


def test_every_sentence_of_the_script_is_in_the_table():
    said = set(re.findall(r'\bsay\("(\w+)"', SCRIPT)) | set(re.findall(r'data-(?:say|label)="(\w+)"', TEMPLATES))
    said |= set(re.findall(r"live\.(\w+)\.en", TEMPLATES))
    assert said - set(table("live")) == set()
    names = re.findall(r'slider\("(\w+)"', TEMPLATES)
    assert {f"{name}_slide" for name in names} | {f"wrong_{name}" for name in [*names, "rate"]} <= set(table("live"))


def test_no_sentence_is_left_over():
    named = set(re.findall(r'"(\w+)"', TEMPLATES + SCRIPT + PYTHON)) | set(re.findall(r"live\.(\w+)", TEMPLATES))
    built = {f"{name}{end}" for name in named for end in ("_h", "_slide")} | {f"wrong_{name}" for name in named}
    built |= {f"{start}_{name}" for name in named for start in ("try", "to", "show")} | {
        "to_all",
        "to_others",
        "to_classy",
    }
    for name in ("text", "live"):
        assert set(table(name)) - named - built == set()


def test_every_heading_stands_on_the_page_in_both_languages():
    text = page(10, 0.1)
    for key in render.SECTIONS:
        for language in LANGUAGES:
            assert text.count(table("text")[f"{key}_h"][language]) >= 2  # in the contents and above its section
