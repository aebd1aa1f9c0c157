"""Arms towards a target: how they are asked for, their strengths, and the proof that a loss has their target."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.lab.arms import KINDS, Arm, ArmKind, arm_of, candidates_of, default_arms, parse_arm
from sfumato.lab.arms.kind import Parameter
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.options import schema
from tests.lab.arms.conftest import LABELS


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
    assert (arm.gap(3), arm.floor(3)) == (math.inf, pytest.approx(math.log(2)))


@pytest.mark.parametrize(("spec", "over", "cut"), [("mixup:0.2", "mixup", False), ("cutmix:1", "cutmix", True)])
def test_cutmix_pastes_and_mixup_blends(spec, over, cut):
    arm = arm_of(spec, LABELS, 3)
    assert (arm.over, arm.loss().cut) == (over, cut)


@pytest.mark.parametrize(
    ("over", "classes", "words"),
    [
        ("others", 3, "ε = 0.1 over the other classes (label_smoothing=0.15 in PyTorch)"),
        ("others", 2, "ε = 0.1 over the other class (label_smoothing=0.2 in PyTorch)"),
        ("all", 3, "(label_smoothing=0.1 in PyTorch)"),
        ("all", 2, "(label_smoothing=0.1 in PyTorch)"),
    ],
)
def test_a_strength_is_told_with_the_classes_that_it_is_spread_over_where_these_are_not_all(over, classes, words):
    assert Arm("smoothed", 0.1, over).describe(classes) == words


def test_with_even_classes_the_prior_arm_is_torchs_smoothing():
    arm, even = arm_of("prior:0.1", np.arange(4), 4), Arm("all-0.1", 0.1, "all")
    z, y = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 4
    assert arm.loss()(z, y).item() == pytest.approx(even.loss()(z, y).item(), rel=1e-14)
    assert (arm.floor(4), arm.gap(4)) == pytest.approx((even.floor(4), even.gap(4)), rel=1e-12)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "other:0.1",
            '--arm "other:0.1" is not a target that compare knows. Did you mean "others"? Use one of: '
            + (", ".join(kind.example for kind in KINDS.values())),
        ),
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
def test_the_example_of_a_kind_is_an_arm_of_that_kind(kind, made):
    assert parse_arm(kind.example).kind is kind
    assert kind.name == kind.example.partition(":")[0]
    arm = made(kind.example)
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


def towards(*rows):
    """A loss whose target of each label is its row."""
    table = torch.tensor(rows, dtype=torch.float64)
    return lambda z, y: -(table[y] * z.log_softmax(1)).sum(1).mean()


def smoothed(eps, classes, off=0.0):
    """Targets that are smoothed over the others, with so much beside on every class."""
    return (1 - eps) * np.eye(classes) + eps / (classes - 1) * (1 - np.eye(classes)) + off


@pytest.mark.parametrize(
    ("off", "mass", "refused"),
    [
        *((0.5e-9, 0, False), (1.5e-9, 0, True), (-0.5e-9, 0, False), (-1.5e-9, 0, True)),
        *((0, 0.5e-9, False), (0, 1.5e-9, True)),  # no class is far off
    ],
)
def test_a_strength_and_the_mass_of_a_target_are_proved_to_9_digits(off, mass, refused):
    arm, loss = Arm("smoothed", 0.1, "others"), towards(*smoothed(0.1 + off, 10, off=mass / 10).tolist())
    if refused:
        with pytest.raises(ArmError, match="nothing of this comparison can be trusted"):
            arm.verify(loss, 10)
    else:
        assert arm.verify(loss, 10) == pytest.approx([0.9, 0.1 / 9], abs=1e-9)


def test_another_target_is_told_beside_the_one_that_was_meant_on_the_label_and_on_the_next_class():
    prior = arm_of("prior:0.1", np.repeat([0, 1, 2, 3], [4, 3, 2, 1]), 4)
    with pytest.raises(ArmError) as error:
        Arm("smoothed", 0.1, "others").verify(prior.loss(), 4)
    assert str(error.value) == (
        'arm "smoothed" (ε = 0.1 over others) should train towards 0.9 on the label and 0.0333333 on each other '
        "class, but its loss implies 0.94 and 0.03; nothing of this comparison can be trusted"
    )


@pytest.mark.parametrize("label", [0, 2])
def test_a_loss_that_is_wrong_for_the_first_or_for_the_last_class_is_refused(label):
    rows = smoothed(0.1, 3)
    rows[label] = smoothed(0.2, 3)[label]
    with pytest.raises(ArmError, match=r"implies 0\.8 and 0\.1;"):
        Arm("smoothed", 0.1, "others").verify(towards(*rows.tolist()), 3)


def test_what_is_told_of_a_target_has_12_digits_and_no_negative_0():
    eps = 0.12345678901234
    assert Arm("smoothed", eps, "others").verify(towards(*smoothed(eps, 2).tolist()), 2) == [
        0.876543210988,
        0.123456789012,
    ]
    rows = [[1.0, -1e-14, 0.0], [0.0, 1.0, 0.0], [-1e-14, 0.0, 1.0]]
    found = Arm("one-hot", 0.0, "others").verify(towards(*rows), 3)
    assert found == [1.0, 0.0]
    assert math.copysign(1, found[1]) == 1


@pytest.mark.parametrize("over", ["others", "all"])
def test_one_hot_comes_first_and_its_strength_is_0(over):
    assert default_arms(0.1, over) == (Arm("one-hot", 0.0, over), Arm("smoothed", 0.1, over))
    assert candidates_of([0.5, 0, 1, 0.05], over) == (
        Arm("one-hot", 0.0, over),
        Arm("smoothed-0.05", 0.05, over),
        Arm("smoothed-0.5", 0.5, over),
        Arm("smoothed-1", 1, over),
    )


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("onehot", Arm("one-hot", 0.0, "others")),
        ("others:0.1", Arm("others-0.1", 0.1, "others")),
        ("all:0.1", Arm("all-0.1", 0.1, "all")),
    ],
)
def test_an_arm_is_spread_over_what_its_kind_is_called(spec, made):
    assert arm_of(spec, np.arange(3), 3) == made


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_an_arm_proves_its_own_loss_and_refuses_another(over, classes):
    arm = Arm("smoothed", 0.1, over)
    assert arm.verify(arm.loss(), classes) == pytest.approx(
        [0.9, 0.1 / (classes - 1)] if over == "others" else [0.9 + 0.1 / classes, 0.1 / classes]
    )
    for wrong in (
        sf.CrossEntropyLoss(),  # the knob that does nothing
        sf.CrossEntropyLoss(label_smoothing=0.1, over="all" if over == "others" else "others"),
        torch.nn.CrossEntropyLoss(label_smoothing=0.0999),
        sf.CrossEntropyLoss(weight=torch.full((classes,), 2.0), label_smoothing=0.1, over=over, reduction="sum"),
    ):
        with pytest.raises(ArmError, match='arm "smoothed" .* should train towards .* but its loss implies'):
            arm.verify(wrong, classes)
