"""Targets beyond one-hot and smoothed, and a comparison of several."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from sfumato.lab.arms import KINDS, Arm, ArmKind, arm_of, parse_arm
from sfumato.lab.arms.kind import Parameter
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.options import schema
from tests.conftest import run_sfumato

LABELS = np.repeat([0, 1, 2], [5, 3, 2])


def test_the_prior_arm_trains_towards_its_target_for_every_label():
    arm = arm_of("prior:0.1", LABELS, 3)
    assert (arm.name, arm.eps, arm.over) == ("prior-0.1", 0.1, "prior")
    for label in range(3):
        assert arm.target(label, 3) == pytest.approx(0.1 * np.array([0.5, 0.3, 0.2]) + 0.9 * np.eye(3)[label])
    assert arm.verify(arm.loss(), 3) == pytest.approx([0.9 + 0.1 * 0.2, 0.1 * 0.5])


def test_the_prior_arm_refuses_a_loss_that_spreads_otherwise():
    arm = arm_of("prior:0.1", LABELS, 3)
    with pytest.raises(ArmError, match="should train towards"):
        arm.verify(Arm("all-0.1", 0.1, "all").loss(), 3)


def test_the_prior_arms_floor_and_gap_are_those_of_the_logits_that_minimise_it():
    arm = arm_of("prior:0.3", LABELS, 3)
    loss, labels = arm.loss(), torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    logits = torch.zeros(10, 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], lr=1, max_iter=300, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = loss(logits, labels)
        value.backward()
        return value

    optimiser.step(closure)
    assert arm.floor(3) == pytest.approx(loss(logits, labels).item(), rel=1e-9)
    z = logits.detach()
    true = z[torch.arange(10), labels]
    assert arm.gap(3) == pytest.approx((true - (z.sum(1) - true) / 2).mean().item(), abs=1e-4)


def test_where_a_class_has_no_rows_no_gap_is_best():
    """The targets of the others leave that class nothing. Its own target, 0 on itself at ε = 1, does not count."""
    arm = arm_of("prior:1", np.array([0, 1]), 3)
    assert arm.gap(3) == math.inf
    assert arm.floor(3) == pytest.approx(math.log(2))


@pytest.mark.parametrize(("spec", "over", "cut"), [("mixup:0.2", "mixup", False), ("cutmix:1", "cutmix", True)])
def test_cutmix_pastes_and_mixup_blends(spec, over, cut):
    arm = arm_of(spec, LABELS, 3)
    assert (arm.over, arm.loss().cut) == (over, cut)


@pytest.mark.parametrize(
    ("over", "classes", "words"),
    [
        ("others", 3, "the other classes"),
        ("others", 2, "the other class"),
        ("all", 3, "all 3 classes"),
        ("all", 2, "both classes"),
    ],
)
def test_a_strength_is_told_with_the_classes_that_it_is_spread_over(over, classes, words):
    assert Arm("smoothed", 0.1, over).describe(classes).startswith(f"ε = 0.1 over {words} (label_smoothing=0.")


def test_with_even_classes_the_prior_arm_is_torchs_smoothing():
    arm, even = arm_of("prior:0.1", np.arange(4), 4), Arm("all-0.1", 0.1, "all")
    z, y = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 4
    assert arm.loss()(z, y).item() == pytest.approx(even.loss()(z, y).item(), rel=1e-14)
    assert (arm.floor(4), arm.gap(4)) == pytest.approx((even.floor(4), even.gap(4)), rel=1e-12)


@pytest.mark.parametrize("spec", ["", "smooth:0.1", "all", "all:", "all:nan", "all:0", "prior:1.01", "onehot:0.1"])
def test_an_arm_that_is_none_is_refused(spec):
    with pytest.raises(OptionError, match="^--arm "):
        parse_arm(spec)


def test_an_unknown_arm_is_told_which_there_are():
    with pytest.raises(OptionError) as error:
        parse_arm("other:0.1")
    assert str(error.value) == (
        '--arm "other:0.1" is not a target that compare knows. Did you mean "others"? Use one of: '
        + ", ".join(kind.example for kind in KINDS.values())
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("onehot:0.1", "--arm onehot takes no strength, got 0.1"),
        ("all", "--arm all needs a strength: all:0.1"),
        ("all:", "--arm all needs a strength: all:0.1"),
        ("all:0.1:2", '--arm all:0.1:2 has a word too many, "2": all:0.1'),
        ("all:x", "--arm all:x: its strength must be above 0 and at most 1"),
        ("mixup:101", "--arm mixup:101: α of its Beta distribution must be above 0 and at most 100"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said_with_the_way_out(spec, said):
    with pytest.raises(OptionError) as error:
        parse_arm(spec)
    assert str(error.value) == said


RANGED = {f"{kind.name} {each.name}": each for kind in KINDS.values() for each in kind.parameters if each.holds}


@pytest.mark.parametrize("parameter", RANGED.values(), ids=RANGED)
def test_a_number_is_taken_where_the_words_of_its_range_say_so(parameter):
    bounds = re.findall(r"(at least|above|at most|below) (-?[\d.]+)", parameter.range)
    assert len(bounds) == 2
    for word, number in bounds:
        outwards = -math.inf if word in ("at least", "above") else math.inf
        bound = float(number)
        assert parameter.holds(bound) == (word in ("at least", "at most"))
        assert parameter.holds(math.nextafter(bound, -outwards))
        assert not parameter.holds(math.nextafter(bound, outwards))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_example_of_a_kind_is_an_arm_of_that_kind(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree.json").write_text('{"few": ["0"], "many": ["1", "2"]}')
    (tmp_path / "counts.csv").write_text(",0,1,2\n0,8,2,0\n1,1,9,0\n2,0,0,9\n")
    (tmp_path / "likeness.csv").write_text(",0,1,2\n0,1,0.5,0\n1,0.5,1,0\n2,0,0,1\n")
    asked = parse_arm(kind.example)
    assert asked.kind is kind
    assert asked.kind.name == kind.example.partition(":")[0]
    arm = arm_of(kind.example, LABELS, 3, np.eye(3)[LABELS], ("0", "1", "2"))
    assert isinstance(arm, Arm)
    assert pickle.loads(pickle.dumps(arm)) == arm  # it is sent to the processes that train


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("similarity:C:\\likeness.csv:0.25", ("C:\\likeness.csv", 0.25)),
        ("ordinal:0.5:C:\\order.csv", (0.5, "C:\\order.csv")),
        ("hierarchy:a:b:c.json:5", ("a:b:c.json", 5.0)),
    ],
)
def test_a_path_may_have_colons(spec, values):
    assert parse_arm(spec).values == values


def test_texts_and_defaults_of_a_kind_are_read_in_their_places(monkeypatch):
    file, weight = Parameter("file", "its file"), Parameter("beta", "its weight", "above 0", lambda b: b > 0, 5.0)
    made = ArmKind("hierarchy", "hierarchy:tree.json:5", "R_y", isinstance, (file, weight))
    monkeypatch.setitem(KINDS, "hierarchy", made)
    assert parse_arm("hierarchy:a/tree.json:2").named == {"file": "a/tree.json", "beta": 2.0}
    assert parse_arm("hierarchy:tree.json").values == parse_arm("hierarchy:tree.json:5").values
    with pytest.raises(OptionError, match="^--arm hierarchy needs a file: hierarchy:tree.json:5$"):
        parse_arm("hierarchy")


def test_help_and_the_file_of_options_name_every_kind():
    words = schema()["arm"].words
    assert [kind.example for kind in KINDS.values() if kind.example not in words] == []


@pytest.mark.slow
def test_four_arms_on_real_data_end_in_one_verdict_with_every_arm_in_it(tmp_path):
    words = [word for arm in ("onehot", "others:0.1", "all:0.1", "prior:0.1") for word in ("--arm", arm)]
    ran = run_sfumato("compare", "digits", "--seeds", "3", "--epochs", "8", *words, "--json", "-q", folder=tmp_path)
    assert ran.code == 0, ran.err
    summary = ran.json()
    assert [arm["name"] for arm in summary["arms"]] == ["one-hot", "others-0.1", "all-0.1", "prior-0.1"]
    assert [arm["over"] for arm in summary["arms"]] == ["others", "others", "all", "prior"]
    assert {d["against"] for d in summary["differences"]} == {"one-hot"}
    prior = summary["arms"][3]
    counts = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])  # of digits, nearly even
    q = 0.1 * counts / counts.sum() + 0.9 * np.eye(10)
    z = log_softmax(np.log(q), 1)
    gaps = [z[k, k] - np.delete(z[k], k).mean() for k in range(10)]
    assert prior["closed_form_gap"] == pytest.approx(np.mean(gaps), abs=0.01)
    said = summary["verdict"]["sentences"]
    assert "ε = 0.1 over" in said[0]  # the arm that speaks for all
    assert sum(f"{name} makes" in " ".join(said) for name in ("others-0.1", "all-0.1", "prior-0.1")) == 2
