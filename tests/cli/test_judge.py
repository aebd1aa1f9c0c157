"""`sfumato judge` as a stranger runs it: text, JSON, page, run folders of comparisons, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import sfumato as sf
from sfumato.cli import OK, USAGE, main

LABELS = np.random.default_rng(0).integers(0, 3, 500)


def logits(seed, strength=1.5):
    return strength * np.eye(3)[LABELS] + np.random.default_rng(seed).normal(size=(500, 3))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arm, strength in (("one-hot", 1.5), ("smoothed", 3.0)):
        for seed in range(3):
            sf.save_scores("scores", arm=arm, seed=seed, logits=logits((len(arm), seed), strength), labels=LABELS)
    return tmp_path


def run(capsys, *words):
    code = main(["judge", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_folder_is_judged_in_words_with_a_page_and_a_json_file(here, capsys):
    code, out, err = run(capsys, "scores")
    assert (code, err) == (OK, "")
    assert out.startswith("Take the smoothed models: they are better than the one-hot models.\n")
    assert out.endswith("wrote scores-judged/report.html\n")
    cards = {f"{name}.{end}" for name in ("card", "card-dark") for end in ("svg", "png")}
    assert {each.name for each in (here / "scores-judged").iterdir()} == {"report.html", "judgement.json", *cards}
    code, out, err = run(capsys, "scores", "--json")
    assert json.loads(out) == json.loads((here / "scores-judged" / "judgement.json").read_text(encoding="utf-8"))
    assert err == "wrote scores-judged/report.html\n"
    assert not (here / "scores-judged-2").exists()  # the same judgement needs no second folder


def test_another_judgement_goes_into_a_folder_of_its_own(here, capsys):
    run(capsys, "scores")
    page = (here / "scores-judged" / "report.html").read_bytes()
    assert run(capsys, "scores", "--margin", "accuracy=3")[1].endswith("wrote scores-judged-2/report.html\n")
    assert (here / "scores-judged" / "report.html").read_bytes() == page
    code, out, err = run(capsys, "scores", "--out", "scores-judged")
    assert (code, out) == (USAGE, "")
    assert "scores-judged exists already and is never written over; choose another --out" in err


def test_patterns_name_the_arms(here, capsys):
    code, out, _ = run(capsys, "hard=scores/one-hot/*.npz", "soft=scores/smoothed/*", "--paired", "--json")
    told = json.loads(out)
    assert (code, told["paired"]["equal"], [arm["name"] for arm in told["arms"]]) == (OK, True, ["hard", "soft"])
    assert told["arms"][0]["files"] == [f"scores/one-hot/{seed}.npz" for seed in range(3)]


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_no_line_of_text_is_wider_than_the_terminal(here, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = run(capsys, "scores")[1]
    assert max(map(len, out.splitlines())) <= columns


@pytest.mark.slow
def test_a_comparison_is_judged_as_it_was(digits, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, str(digits.folder / digits.json()["run"]), "--json")
    assert code == OK, err
    told = json.loads(out)
    for field in ("differences", "verdict", "warnings"):
        assert told[field] == digits.json()[field]
    assert [arm["metrics"] for arm in told["arms"]] == [arm["metrics"] for arm in digits.json()["arms"]]


FLAWS = {
    "no arms": ([], "judge needs a FOLDER with a folder for each arm, or NAME=PATTERN words"),
    "no folder": (["nowhere"], "nowhere is not there; judge takes a folder"),
    "no match": (["a=x*.npz", "b=scores/one-hot/*"], "no file matches x*.npz, for the arm a"),
    "no name": (["scores", "scores"], '"scores" is neither one folder nor NAME=PATTERN'),
    "one arm": (["one-hot=scores/one-hot/*"], "a judgement needs two arms, and there is only one-hot"),
    "no base": (["a=scores/one-hot/*", "b=scores/smoothed/*"], "say --against ARM. Arms: a, b"),
    "other base": (["scores", "--against", "one-hott"], 'there is no arm "one-hott"; arms: one-hot, smoothed'),
    "margin": (["scores", "--margin", "f1=2"], '"f1" has no margin'),
    "loose files": (["scores/one-hot"], "put the files of each arm into a folder of its own"),
    "group": (["scores", "--group", "patient"], 'has no array or column "patient", which --group names'),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_cannot_be_judged_is_said_and_nothing_is_written(here, capsys, flaw):
    words, message = FLAWS[flaw]
    code, out, err = run(capsys, *words)
    assert (code, out) == (USAGE, "")
    assert message in err
    assert err.count("\n") == 1
    assert {each.name for each in here.iterdir()} == {"scores"}
