"""Arms towards a target: their strengths and names, and the proof that a loss has their target, to its last digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sfumato.lab.arms import Arm, arm_of, candidates_of, default_arms
from sfumato.lab.errors import ArmError


def towards(*rows):
    """A loss whose target of each label is its row."""
    table = torch.tensor(rows, dtype=torch.float64)
    return lambda z, y: -(table[y] * z.log_softmax(1)).sum(1).mean()


def smoothed(eps, classes, off=0.0):
    """Targets that are smoothed over the others, with so much beside on every class."""
    return (1 - eps) * np.eye(classes) + eps / (classes - 1) * (1 - np.eye(classes)) + off


@pytest.mark.parametrize(("off", "refused"), [(0.5e-9, False), (1.5e-9, True), (-0.5e-9, False), (-1.5e-9, True)])
def test_a_strength_is_proved_to_9_digits(off, refused):
    arm, loss = Arm("smoothed", 0.1, "others"), towards(*smoothed(0.1 + off, 4).tolist())
    if refused:
        with pytest.raises(ArmError, match="nothing of this comparison can be trusted"):
            arm.verify(loss, 4)
    else:
        assert arm.verify(loss, 4) == pytest.approx([0.9, 0.1 / 3], abs=1e-9)


@pytest.mark.parametrize(("mass", "refused"), [(0.5e-9, False), (1.5e-9, True)])
def test_the_mass_of_a_target_is_proved_too_where_no_class_is_far_off(mass, refused):
    arm, loss = Arm("smoothed", 0.1, "others"), towards(*smoothed(0.1, 10, off=mass / 10).tolist())
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
