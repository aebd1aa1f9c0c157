"""Targets beyond one-hot and smoothed, and a verdict over several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from sfumato.lab.arms import Arm, PriorArm, arm_of, complaint
from sfumato.lab.errors import ArmError
from sfumato.verdict import analyse
from sfumato.verdict.sentences import verdict
from tests.conftest import run_sfumato
from tests.lab.test_lab import result

SHARES, LABELS = (0.5, 0.3, 0.2), np.repeat([0, 1, 2], [5, 3, 2])


def test_the_prior_arm_trains_towards_its_target_for_every_label():
    arm = arm_of("prior:0.1", LABELS, 3)
    assert arm == PriorArm("prior-0.1", 0.1, "prior", SHARES)
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


def test_with_even_classes_the_prior_arm_is_torchs_smoothing():
    arm, even = arm_of("prior:0.1", np.arange(4), 4), Arm("all-0.1", 0.1, "all")
    z, y = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 4
    assert arm.loss()(z, y).item() == pytest.approx(even.loss()(z, y).item(), rel=1e-14)
    assert (arm.floor(4), arm.gap(4)) == pytest.approx((even.floor(4), even.gap(4)), rel=1e-12)


@pytest.mark.parametrize("spec", ["", "smooth:0.1", "all", "all:", "all:nan", "all:0", "prior:1.01", "onehot:0.1"])
def test_an_arm_that_is_none_is_complained_of(spec):
    assert complaint(spec) is not None


def several(**means):
    names = {"all-0.1": 0.1, "all-0.2": 0.2}
    results = [result("one-hot", 0.0)]
    for name, eps in names.items():
        own = result(name, eps, **means.get(name, {}))
        own.arm = Arm(name, eps, "all")
        results.append(own)
    return results


def test_of_several_better_arms_the_validation_rows_favourite_speaks_and_the_others_are_named():
    results = several(**{name: {"nll_after_temperature": 0.25} for name in ("all-0.1", "all-0.2")})
    found = analyse.differences(results)
    said = verdict(results, found, 10, order=["all-0.2", "all-0.1", "one-hot"])
    assert said["choice"] == "all-0.2"
    assert said["sentences"][0].startswith("Smooth the labels, with ε = 0.2 over all 10 classes")
    assert "against one-hot, all-0.1 makes hard NLL after temperature better" in said["sentences"][1]
    assert "between all-0.2 and all-0.1 the validation rows chose, not a test" in said["sentences"][1]
    assert len(said["sentences"]) == 2


def test_an_arm_that_is_only_better_comes_before_one_that_is_better_and_worse():
    means = {"all-0.1": {"accuracy": 0.95, "eaurc": 0.01}, "all-0.2": {"accuracy": 0.93}}
    results = several(**means)
    said = verdict(results, analyse.differences(results), 10, order=["all-0.1", "all-0.2", "one-hot"])
    assert said["choice"] == "all-0.2"
    assert "all-0.1 makes accuracy better and E-AURC × 1000 worse" in said["sentences"][1]


def test_p_values_are_adjusted_over_all_arms_and_headline_metrics():
    results = several(**{"all-0.1": {"accuracy": 0.903}})
    found = [d for d in analyse.differences(results) if d["p_adjusted"] is not None]
    alone = analyse.differences(results[:2])
    p = {(d["arm"], d["metric"]): d["p_adjusted"] for d in found}
    assert len(p) == 6
    assert all(p[d["arm"], d["metric"]] >= d["p_adjusted"] for d in alone if d["p_adjusted"] is not None)


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
    assert sum(f"{name} makes" in said[1] for name in ("others-0.1", "all-0.1", "prior-0.1")) == 2
