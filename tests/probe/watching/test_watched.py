"""The result as a sentence, as text, and as JSON."""

from __future__ import annotations

import json

import pytest

from sfumato.probe import Watched
from sfumato.probe.result import warning

SEEN = Watched(
    eps=0.1, eps_others=0.09, mass=0.99, normaliser="micro-batches", steps=3, evaluation_eps=0.1, model="Tiny",
    classes=10, findings=(warning("evaluation", "its loss is smoothed " * 12),), rows=40, ignored=2,
    micro_batches=4, ranks=2,
)  # fmt: skip


@pytest.mark.parametrize("width", [60, 100])
def test_text_fits_its_width(width):
    assert max(map(len, SEEN.as_text(width).splitlines())) <= width


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({}, "Nothing was read of Tiny."),
        ({"classes": 10}, "No one strength could be read off the gradients of Tiny."),
        ({"classes": 10, "eps": 0.0}, "Tiny was trained on hard labels: no smoothing reached its logits."),
        ({"classes": 10, "eps": 1.0}, "Tiny was trained with label smoothing of ε = 1 over all classes."),
    ],
)
def test_the_sentence_says_what_could_be_read(known, sentence):
    assert Watched(model="Tiny", **known).sentence == sentence


def test_the_facts_stand_under_the_sentence():
    lines = str(SEEN).splitlines()
    assert lines[0] == "Tiny was trained with label smoothing of ε = 0.1 over all classes (0.09 over the others)."
    assert lines[3] == "steps       3, each of 4 backward passes on each of 2 ranks"
    assert lines[4] == "rows        40 with a gradient, and 2 rows without"
    assert lines[6] == "mass        0.99"


def test_the_json_has_the_findings():
    told = json.loads(json.dumps(SEEN.to_dict()))
    assert told["findings"] == [str(SEEN.findings[0])]
