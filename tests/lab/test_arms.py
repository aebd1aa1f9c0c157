"""Targets beyond one-hot and smoothed, and a comparison of several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from sfumato.lab.arms import Arm, arm_of, kind_and_strength
from sfumato.lab.errors import ArmError, OptionError
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
    assert Arm("smoothed", 0.1, over).told(classes).startswith(f"ε = 0.1 over {words} (label_smoothing=0.")


def test_with_even_classes_the_prior_arm_is_torchs_smoothing():
    arm, even = arm_of("prior:0.1", np.arange(4), 4), Arm("all-0.1", 0.1, "all")
    z, y = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 4
    assert arm.loss()(z, y).item() == pytest.approx(even.loss()(z, y).item(), rel=1e-14)
    assert (arm.floor(4), arm.gap(4)) == pytest.approx((even.floor(4), even.gap(4)), rel=1e-12)


@pytest.mark.parametrize("spec", ["", "smooth:0.1", "all", "all:", "all:nan", "all:0", "prior:1.01", "onehot:0.1"])
def test_an_arm_that_is_none_is_refused(spec):
    with pytest.raises(OptionError, match="^--arm "):
        kind_and_strength(spec)


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
