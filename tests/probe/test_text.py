"""A probe in words: the headline of each convention, the table of facts, and lines that fit."""

from __future__ import annotations

import dataclasses

import pytest

from sfumato.probe import Probe, ProbeFinding, Recipe, as_text

FOUND = Probe(
    name="my_losses:smoothed",
    called="logits[N, K], labels[N]",
    classes=10,
    convention="others",
    eps=0.1,
    eps_all=1 / 9,
    eps_others=0.1,
    target=(0.9, 0.1 / 9),
    mass=1.0,
    ignore_index=-100,
    reduction="mean",
    findings=(ProbeFinding("defect", "rows", "word " * 40), ProbeFinding("note", "half precision", "fine")),
    why="one strength at K = 4, 7, 10, 25",
    recipe=Recipe(0.1, "others", 10),
)


def headline(**changes):
    return as_text(dataclasses.replace(FOUND, **changes)).splitlines()[0]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "smoothed is label smoothing with ε = 0.1 over the other classes"),
        ({"convention": "all"}, "smoothed is label smoothing with ε = 0.1 over all classes"),
        ({"convention": "all", "mass": -1.0}, "smoothed is minus label smoothing with ε = 0.1 over all classes"),
        ({"convention": "classy"},
         "smoothed is label smoothing with ε = 0.1 added over all classes, then normalised (ClassyVision's)"),
        ({"convention": "classy", "mass": 1.1},
         "smoothed is label smoothing with ε = 0.1 added over all classes, not normalised"),
        ({"convention": "one-hot", "why": "all mass is on the label"},
         "smoothed is not smoothed: all mass is on the label"),
        ({"convention": None, "why": "the target has not two levels"}, "smoothed: the target has not two levels"),
        ({"convention": "nopad"}, "smoothed is label smoothing with ε = 0.1 over the other classes, padding left out"),
        ({"convention": "sigmoid-half"}, "smoothed is label smoothing with ε = 0.1 of each class towards one half"),
    ],
)  # fmt: skip
def test_the_headline_names_the_convention(changes, line):
    assert headline(**changes) == line


def test_the_facts_stand_in_one_column_and_long_findings_are_wrapped_under_themselves():
    lines = as_text(FOUND, 80).splitlines()
    assert lines[1:4] == [
        "It trains a model to give 90 % of its probability to the right class and 1.111 %",
        "to each other class (of 10), instead of everything to the right one.",
        "",
    ]
    lines = lines[:1] + lines[3:]
    assert lines[2:9] == [
        "called         loss(logits[N, K], labels[N])",
        "convention     others: 1 − ε and ε/(K−1); one strength at K = 4, 7, 10, 25",
        "target         0.9 on the label, 0.0111111 on each other class, at K = 10",
        "total mass     1",
        "same optimum   0.111111 over all or 0.1 over the others",
        "reduction      mean",
        "ignored label  -100",
    ]
    assert lines[10] == "         findings      "
    assert lines[11].startswith("defect   rows            word word")
    assert lines[12].startswith(" " * 25 + "word")
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-2:] == [
        "The same loss in sfumato (import sfumato as sf):",
        '  sf.cross_entropy(logits, labels, label_smoothing=0.1, over="others")',
    ]


def test_what_is_not_known_is_left_out_and_a_missing_line_has_its_reason():
    unknown = dict.fromkeys(("convention", "target", "mass", "eps_all", "eps_others", "ignore_index"))
    found = dataclasses.replace(FOUND, **unknown, findings=(), recipe="there is no line: it is random")
    lines = as_text(found).splitlines()
    assert lines[1] == "It trains a model towards no fixed probabilities that could be read off its gradient."
    assert lines[2] == ""
    lines = lines[:1] + lines[2:]
    assert [line.split("  ")[0] for line in lines[2:]] == ["called", "reduction", "ignored label", "", "In sfumato", ""]
    assert lines[4] == "ignored label  none found"
    assert lines[-1] == "  there is no line: it is random"


def test_the_object_for_json_has_the_line_and_findings_as_text():
    told = FOUND.to_dict()
    assert list(told) == [
        "schema", "loss", "called", "classes", "convention", "eps", "eps_all", "eps_others", "target", "mass",
        "ignore_index", "reduction", "findings", "why", "line", "where",
    ]  # fmt: skip
    assert (told["schema"], told["loss"], told["target"]) == ("sfumato.probe/1", "my_losses:smoothed", [0.9, 0.1 / 9])
    assert told["findings"][1] == "note: half precision: fine"
    assert told["line"] == FOUND.line == FOUND.recipe.code


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target": (1.0, 0.0), "convention": "one-hot"},
         "It trains a model to give all probability to the right class, and none to any other."),
        ({"target": (1.0, 0.1), "mass": 1.9, "convention": None},
         "It trains a model to give 52.63 % of its probability to the right class and 5.263 % to each other class "
         "(of 10), instead of everything to the right one."),
        ({"target": (0.95, 0.05), "convention": "sigmoid-half"},
         "It trains a model to say yes to the right class with chance 0.95, and to each other with 0.05."),
        ({"target": None, "convention": "prior"},
         "It trains a model to give a part of its probability to the right class, and the rest as π says."),
    ],
)  # fmt: skip
def test_the_second_line_says_in_plain_words_what_is_trained(changes, sentence):
    assert as_text(dataclasses.replace(FOUND, **changes), 200).splitlines()[1] == sentence


def test_what_logits_are_stands_above_the_line():
    lines = as_text(dataclasses.replace(FOUND, called="labels[N], probabilities[N, K]")).splitlines()
    assert lines[-2] == "  Here logits are probabilities.log(), or the logits before them."


@pytest.mark.parametrize("width", [60, 80, 160])
def test_every_line_but_the_code_fits(width):
    told = "the target is not one of two levels, and the loss is no cross entropy " * 3
    changes = {"findings": FOUND.findings[:1], "recipe": f"there is no line: {told}", "why": told, "convention": None}
    assert max(map(len, as_text(dataclasses.replace(FOUND, **changes), width).splitlines())) <= width
