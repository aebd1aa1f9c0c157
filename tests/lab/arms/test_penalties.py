"""Arms with penalties: their strength is proved on the loss that trained, and their numbers are those of the theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.lab.arms import arm_of, parse_arm
from sfumato.lab.arms.penalties import PENALTIES, PenaltyArm
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.train.objectives import PenaltyLoss
from sfumato.report.arms import arm_title, closed_form, torch_strength
from sfumato.verdict.arms import compared_arm
from tests.conftest import run_sfumato

SPECS = [kind.example for kind in PENALTIES] + ["confidence:0.5:0.4", "margin:2:0.5", "focal:0.5"]
each_spec = pytest.mark.parametrize("spec", SPECS)


def arm(spec, classes=3):
    return arm_of(spec, np.arange(classes), classes)


def summary_of(made, classes=10):
    gap = made.gap(classes)
    return {
        "name": made.name, "eps": made.eps, "over": made.over, "train_gap": 1.0, "metrics": {},
        "closed_form_gap": gap if math.isfinite(gap) else None,
        "penalty": made.penalty, "description": made.description(classes),
    }  # fmt: skip


def test_every_kind_of_penalty_has_its_words_its_gradient_and_its_function():
    assert {kind.function for kind in PENALTIES} == {
        name
        for name, value in vars(sf.penalty).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == sf.penalty.__name__
    }


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@each_spec
def test_the_loss_of_an_arm_has_the_gradient_of_its_formula(spec, classes):
    made = arm(spec, classes)
    assert made.verify(made.loss(), classes) == []
    assert made.target(1, classes)[:2] == [0.0, 1.0]  # it acts beside the one-hot target


@pytest.mark.parametrize("classes", [2, 10])
@each_spec
def test_every_strength_that_is_one_per_cent_off_is_refused(spec, classes):
    made = arm(spec, classes)
    for name, value in made.strengths:
        wrong = PenaltyLoss(made.record.function, dict(made.strengths) | {name: 1.01 * value})
        with pytest.raises(ArmError, match="nothing of this comparison can be trusted"):
            made.verify(wrong, classes)


@each_spec
def test_another_loss_in_its_place_is_refused(spec):
    for wrong in (torch.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(reduction="sum")):
        with pytest.raises(ArmError, match=r"^arm \".*\" \(.*\) should have the gradient"):
            arm(spec).verify(wrong, 3)


def test_a_gradient_is_that_of_the_formula_to_9_digits_and_finite():
    made = arm("l2:0.1")
    right = made.loss()

    def off_by(amount):  # the mean of this loss over the rows has one gradient that is off
        return lambda z, y: right(z, y) + amount / len(z) * z[7, 2]

    assert made.verify(off_by(0.5e-9), 3) == []
    with pytest.raises(ArmError, match="nothing of this comparison can be trusted"):
        made.verify(off_by(1.5e-9), 3)
    with pytest.raises(ArmError, match="where its loss has nan"):
        made.verify(off_by(math.nan), 3)


def test_weights_of_rows_reach_the_loss():
    z, y, weight = torch.randn(8, 3), torch.arange(8) % 3, torch.rand(8)
    found = arm("margin:1:0.5").loss()(z, y, sample_weight=weight)
    rows = sf.penalty.margin(z, y, margin=1, alpha=0.5, reduction="none")
    torch.testing.assert_close(found, (rows * weight).sum() / weight.sum())


@pytest.mark.parametrize(
    ("spec", "gap", "floor"),
    [
        ("confidence:0.5", sf.theory.confidence_optimum(0.5, 10).gap, sf.theory.confidence_optimum(0.5, 10).floor),
        ("margin:10", 10.0, sf.theory.margin_optimum(0.1, 10, margin=10).floor),
        ("maxsup:0.1", sf.theory.optimal_gap(0.1, 10, over="all"), sf.theory.loss_floor(0.1, 10, over="all")),
        ("l2:0.002", sf.theory.l2_optimum(0.002, 10).gap, sf.theory.l2_optimum(0.002, 10).floor),
        ("relax:0.1", math.inf, 0.0),
        ("focal:3", math.inf, 0.0),
        ("negative:-0.2", math.inf, -math.inf),
    ],
)
def test_gap_and_floor_are_those_of_the_theory_and_infinite_where_no_gap_is_fixed(spec, gap, floor):
    made = arm(spec, 10)
    assert made.gap(10) == pytest.approx(gap, rel=1e-12)
    assert made.floor(10) == pytest.approx(floor, rel=1e-9)


def test_parameters_have_their_place_their_default_and_their_name():
    assert arm("margin:10") == arm("margin:10:0.1")
    assert arm("margin:10").name == "margin-10-0.1"
    assert arm("confidence:0.1").strengths == (("beta", 0.1),)
    assert arm("confidence:0.1:0.5").strengths == (("beta", 0.1), ("threshold", 0.5))
    assert (arm("l2:0.002").eps, arm("l2:0.002").over) == (None, None)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("negative:0.2", "--arm negative:0.2: its rate r must be at least -10 and below 0"),
        ("margin", "--arm margin needs a margin m: margin:10:0.1"),
        ("margin:-1", "--arm margin:-1: its margin m must be at least 0 and at most 1000"),
        ("margin:10:0", "--arm margin:10:0: its strength α must be above 0 and at most 100"),
        ("maxsup:1", "--arm maxsup:1: its strength α must be above 0 and below 1"),
        ("focal:-3", "--arm focal:-3: its exponent γ must be above 0 and at most 100"),
        ("confidence:1:0", "--arm confidence:1:0: its threshold Γ must be above 0 and at most 100, or left out"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_with_the_range(spec, said):
    with pytest.raises(OptionError) as error:
        parse_arm(spec)
    assert str(error.value) == said


def test_a_summary_tells_the_penalty_and_its_closed_form_or_a_dash():
    told = {spec: summary_of(arm(spec, 10)) for spec in SPECS}
    assert [arm_title(each) for each in told.values()] == [arm(spec).name for spec in SPECS]
    assert {torch_strength(each, 10) for each in told.values()} == {None}
    assert closed_form(told["margin:10:0.1"]) == 10.0
    assert all(math.isnan(closed_form(told[spec])) for spec in ("relax:0.1", "focal:3", "negative:-0.2"))
    assert told["margin:10:0.1"]["description"]["strength"] == "(m = 10, α = 0.1)"


def test_an_arm_that_was_read_back_is_told_as_the_one_that_trained():
    made = arm("l2:0.002")
    assert compared_arm(summary_of(made, 3), 3) == made.compared(3)
    assert made.describe(3) == "(β = 0.002)"


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("epochs", "specs"),
    [
        ("59", ("margin:3", "confidence:0.5", "maxsup:0.1", "l2:0.002")),
        ("600", ("margin:6", "margin:10", "confidence:0.3")),  # these hardly push a class that has next to nothing
    ],
)
def test_trained_gaps_on_digits_are_those_of_the_closed_forms(epochs, specs, tmp_path):
    arms = [word for spec in specs for word in ("--arm", spec)]
    ran = run_sfumato(
        "compare", "digits", "--folds", "1", "--seeds", "3", "--epochs", epochs, *arms, "--json", "-q", folder=tmp_path
    )
    assert ran.code == 0, ran.err
    for spec, found in zip(specs, ran.json()["arms"], strict=True):
        assert isinstance(arm(spec), PenaltyArm)
        assert found["train_gap"] == pytest.approx(found["closed_form_gap"], rel=0.05)
