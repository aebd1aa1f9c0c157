"""What penalties are called, and how their strengths are told."""

from __future__ import annotations

import pytest

from sfumato.verdict.penalty_words import PENALTIES, PenaltyOfArm, penalty_of

TARGET = {"name": "one-hot", "eps": 0.0, "over": "others", "closed_form_gap": None, "train_gap": 1.0, "metrics": {}}


def test_a_target_has_no_penalty():
    assert penalty_of(TARGET) is None


@pytest.mark.parametrize(
    ("strengths", "told"),
    [
        ({"margin": 10.0, "alpha": 0.1}, "(m = 10, α = 0.1)"),
        ({"beta": 0.1, "threshold": 0.5}, "(β = 0.1, Γ = 0.5)"),
        ({"rate": -0.2}, "(r = −0.2)"),
    ],
)
def test_strengths_are_told_in_the_letters_of_the_docs(strengths, told):
    assert PenaltyOfArm("any", strengths).told() == told


def test_a_kind_of_a_later_version_is_called_by_its_name():
    found = penalty_of(TARGET | {"eps": None, "over": None, "penalty": {"kind": "poly", "strengths": {"c": 1.0}}})
    assert (found.words.name, found.told(), found.arguments()) == ("poly", "(c = 1)", ["c=1"])


def test_kinds_without_a_single_best_gap_say_why():
    assert {kind for kind, words in PENALTIES.items() if words.no_gap} == {"relax", "focal", "negative"}


@pytest.mark.parametrize(("margin", "gap", "below"), [(10.0, 10.0, True), (3.0, 4.51, False), (3.0, None, False)])
def test_why_a_gap_stays_below_is_said_where_the_best_one_is_the_margin(margin, gap, below):
    said = PenaltyOfArm("margin", {"margin": margin, "alpha": 0.1}).below(gap)
    assert (said != "") == below
