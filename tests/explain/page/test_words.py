"""The sentences of the page: both languages of each are there, with the same numbers and marks, and each is used."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from sfumato.explain import page as render
from sfumato.explain.page import LANGUAGES, page, table

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


def test_no_file_of_the_page_is_long():
    files = [*FOLDER.glob("*"), *FOLDER.glob("*/*")]
    assert {path.name for path in files if path.is_file() and path.suffix != ".pyc"
            and len(path.read_bytes().splitlines()) > 450} == set()  # fmt: skip
