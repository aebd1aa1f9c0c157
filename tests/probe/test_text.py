"""The results of probe and watch in words and as JSON."""

import dataclasses
import json

import pytest

from sfumato.probe import Probe, ProbeFinding, Recipe, Watched, as_text
from tests.snapshots import assert_snapshot

FOUND = Probe(
    name="my_losses:smoothed", called="logits[N, K], labels[N]", classes=10, convention="others", eps=0.1,
    eps_all=1 / 9, eps_others=0.1, target=(0.9, 0.1 / 9), mass=1.0, ignore_index=-100, reduction="mean",
    findings=(ProbeFinding("defect", "rows-leak", "word " * 40), ProbeFinding("note", "strength-one", "fine")),
    why="one strength at K = 4, 7, 10, 25", recipe=Recipe(0.1, "others", 10),
)  # fmt: skip
UNKNOWN = dict.fromkeys(("convention", "target", "mass", "eps_all", "eps_others", "ignore_index"))
VARIANTS = [
    {},
    {"convention": "all"},
    {"convention": "all", "mass": -1.0},
    {"convention": "classy"},
    {"convention": "classy", "mass": 1.1},
    {"convention": "one-hot", "why": "all mass is on the label", "target": (1.0, 0.0)},
    {"convention": "nopad"},
    {"convention": "sigmoid-half", "target": (0.95, 0.05)},
    {"convention": "prior", "target": None},
    {"convention": None, "target": (1.0, 0.1), "mass": 1.9},
    {"called": "labels[N], probabilities[N, K]"},
    {"moved_by": "class weights move the optimum"},
    {**UNKNOWN, "findings": (), "recipe": "there is no line: it is random"},
]
SEEN = Watched(
    eps=0.1, eps_others=0.09, mass=0.99, normaliser="micro-batches", steps=3, evaluation_eps=0.1, model="Tiny",
    classes=10, findings=(ProbeFinding("warning", "evaluation-smoothed", "its loss is smoothed " * 12),), rows=40,
    ignored=2, micro_batches=4, ranks=2,
)  # fmt: skip
SEEN_VARIANTS = [{}, {"classes": None}, {"eps": None}, {"eps": 0.0, "evaluation_eps": 0.0}, {"eps_others": None}]


def test_a_probe_in_words():
    shown = [as_text(dataclasses.replace(FOUND, **changes), 80) for changes in VARIANTS]
    assert_snapshot("\n\n---\n\n".join(shown), "probe/probe.txt")


def test_what_was_watched_in_words():
    shown = [dataclasses.replace(SEEN, **changes).as_text(80) for changes in SEEN_VARIANTS]
    assert_snapshot("\n\n---\n\n".join(shown), "probe/watch.txt")


@pytest.mark.parametrize("width", [60, 80, 160])
def test_every_line_but_the_code_fits(width):
    words = "the target is not one of two levels, and the loss is no cross entropy " * 3
    long = ProbeFinding("defect", "strength-negative-gradient-wrong", words)
    changes = {
        "findings": (*FOUND.findings[:1], long),
        "recipe": f"there is no line: {words}",
        "why": words,
        "convention": None,
    }
    for text in (as_text(dataclasses.replace(FOUND, **changes), width), SEEN.as_text(width)):
        assert max(map(len, text.splitlines())) <= width


def test_the_objects_for_json():
    probed, watched = json.loads(json.dumps(FOUND.to_dict())), json.loads(json.dumps(SEEN.to_dict()))
    assert list(probed) == [
        "schema", "loss", "called", "classes", "convention", "eps", "eps_all", "eps_others", "target", "mass",
        "ignore_index", "reduction", "findings", "why", "line", "corrected", "where",
    ]  # fmt: skip
    assert (probed["schema"], watched["schema"]) == ("sfumato.probe/1", "sfumato.watch/1")
    assert probed["findings"][1] == {"level": "note", "code": "strength-one", "text": "fine"}
    assert watched["findings"][0]["code"] == "evaluation-smoothed"
    assert probed["line"] == FOUND.line == FOUND.recipe.code
