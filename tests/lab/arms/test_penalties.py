"""Arms with penalties: their strength is proved on the loss that trained, and their numbers are those of the theory."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.evaluate import Margins
from sfumato.lab.arms import Arm, arm_of, parse_arm
from sfumato.lab.arms.penalties import PENALTIES, PenaltyArm, _drawn, _scale_at_hinge
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.train.objectives import PenaltyLoss
from sfumato.report.arms import arm_title, closed_form, torch_strength
from sfumato.verdict.analyse import differences
from sfumato.verdict.arms import compared_arm
from sfumato.verdict.sentences import verdict
from tests.conftest import run_sfumato
from tests.verdict.results import result

LABELS = np.repeat([0, 1, 2], [5, 3, 2])
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


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(ArmError, match="where its loss has nan"):
        arm("maxsup:0.1").verify(lambda z, y: (z * math.nan).sum(), 3)


@pytest.mark.parametrize(("off", "refused"), [(0.5e-9, False), (1.5e-9, True)])
def test_a_gradient_is_that_of_the_formula_to_9_digits(off, refused):
    made = arm("l2:0.1")
    right = made.loss()

    def nearly(z, y):  # the mean of this loss over the rows has one gradient that is off
        return right(z, y) + off / len(z) * z[7, 2]

    if refused:
        with pytest.raises(ArmError, match="nothing of this comparison can be trusted"):
            made.verify(nearly, 3)
    else:
        assert made.verify(nearly, 3) == []


def test_the_logits_that_are_tried_are_near_0_spread_out_and_of_every_class_answered_well_or_not():
    z, labels = _drawn(50, {})
    assert set(_drawn(3, {})[1]) == {0, 1, 2}
    kinds = z[:24].reshape(3, 8, 50).std(axis=(1, 2))
    assert kinds == pytest.approx([0.5, 3.0, 12.0], rel=0.25)
    near, own = z[:8], z[np.arange(8), labels[:8]]
    assert (own - near.mean(1)).mean() == pytest.approx(2, abs=0.5)
    few, answers = _drawn(2, {})
    right = (few.argmax(1) == answers).mean()
    assert 0.2 < right < 0.9


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_rows_are_brought_to_where_the_hinge_opens(spread):
    z = spread * np.random.default_rng(0).normal(size=(9, 5))
    scaled = z * _scale_at_hinge(z, {"threshold": 0.4})
    p = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    assert -(p * np.log(p)).sum(1) == pytest.approx(np.full(9, 0.4), rel=1e-9)
    assert np.ptp(z * _scale_at_hinge(z, {"margin": 3.0}), axis=1) == pytest.approx(np.full(9, 3.0))
    for none in ({}, {"margin": 0.0}, {"threshold": math.log(5)}, {"threshold": 9.0}):
        assert (_scale_at_hinge(z, none) == 1).all()


@each_spec
def test_a_penalty_acts_beside_the_one_hot_target(spec):
    assert arm(spec).target(1, 3) == [0.0, 1.0, 0.0]


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


@pytest.mark.parametrize(
    ("better", "first"),
    [
        (0.02, "Train with the margin penalty (m = 10, α = 0.1)"),
        (0.0, "Keep one-hot labels"),
        (-0.02, "Keep one-hot labels: the margin penalty (m = 10, α = 0.1) makes the model worse."),
    ],
)
def test_the_verdict_names_the_loss_and_its_strengths(better, first):
    made = arm("margin:10", 10)
    results = [result(Arm("one-hot", 0.0, "others"), accuracy=0.9), result(made, accuracy=0.9 + better)]
    said = verdict(results, differences(results, Margins()))["sentences"][0]
    assert said.startswith(first)


def test_an_arm_that_was_read_back_is_told_as_the_one_that_trained():
    made = arm("l2:0.002")
    assert compared_arm(summary_of(made, 3), 3) == made.compared(3)
    assert made.describe(3) == "(β = 0.002)"


@pytest.mark.slow
def test_penalties_are_compared_in_one_run_whose_page_and_judgement_follow(tmp_path):
    specs = ("onehot", "margin:2", "negative:-0.2", "relax:0.1")
    words = [word for spec in specs for word in ("--arm", spec)]
    ran = run_sfumato(
        "compare", "digits", "--model", "linear", "--seeds", "3", "--epochs", "3", *words, "--json", "-q",
        "--out", "run", folder=tmp_path,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    arms = {each["name"]: each for each in ran.json()["arms"]}
    assert [(each["eps"], each["over"]) for each in arms.values()] == [(0.0, "others"), *[(None, None)] * 3]
    assert arms["margin-2-0.1"]["penalty"] == {"kind": "margin", "strengths": {"margin": 2.0, "alpha": 0.1}}
    assert arms["margin-2-0.1"]["closed_form_gap"] == pytest.approx(sf.theory.optimal_gap(0.1, 10, over="all"))
    assert [arms[name]["closed_form_gap"] for name in ("one-hot", "negative--0.2", "relax-0.1")] == [None] * 3
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"train_floor" in line for line in lines if line["arm"] == "negative--0.2"} == {False}
    assert {line["train_floor"] for line in lines if line["arm"] == "relax-0.1"} == {0.0}
    page = re.sub(r"<[^>]*>", "", (tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert "For negative--0.2 no single gap is best: the loss has no floor" in page
    assert "was compared with its formula at drawn logits" in page
    judged = run_sfumato("judge", "run", "--json", folder=tmp_path)
    assert judged.code == 0, judged.err
    assert judged.json()["verdict"] == ran.json()["verdict"]
    other = run_sfumato("judge", "run", "--against", "relax-0.1", "--json", folder=tmp_path)
    assert next(arm["name"] for arm in other.json()["arms"]) == "relax-0.1"


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
    ran = run_sfumato("compare", "digits", "--seeds", "3", "--epochs", epochs, *arms, "--json", "-q", folder=tmp_path)
    assert ran.code == 0, ran.err
    for spec, found in zip(specs, ran.json()["arms"], strict=True):
        assert isinstance(arm(spec), PenaltyArm)
        assert found["train_gap"] == pytest.approx(found["closed_form_gap"], rel=0.05)
