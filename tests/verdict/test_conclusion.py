"""What is warned of where a verdict may be less than it seems."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.verdict import analyse
from sfumato.verdict.conclusion import warnings_of
from tests.verdict.results import against, made_up, result

NAMES = ("no", "yes")


def arms(accuracy=0.9):
    made = [result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1))]
    if accuracy == 1:
        for arm in made:
            arm.metrics["accuracy"] = analyse.Metric(np.ones((5, 400)), np.ones((5, 1)))
    return made


def test_even_classes_and_models_that_err_are_no_warning():
    assert warnings_of(arms(), np.repeat([0, 1], [200, 200]), NAMES) == []


@pytest.mark.parametrize(("small", "warned"), [(101, False), (100, True), (40, True)])
def test_classes_are_uneven_from_three_times_the_rows(small, warned):
    found = warnings_of(arms(), np.repeat([0, 1], [300, small]), NAMES)
    assert [each["code"] for each in found] == ["imbalance"] * warned
    if small == 100:
        assert '75.0 % of the test rows are "no" and 25.0 % are "yes"' in found[0]["text"]


@pytest.mark.parametrize(("classes", "rows", "common", "warned"), [
    (2000, 3000, 1, False),  # three rows of one class and none of another are chance
    (3, 2, 1, False),
    (2000, 3000, 50, True),
    (3, 20, 100, True),
])  # fmt: skip
def test_classes_of_which_chance_alone_makes_some_rare_are_not_called_uneven(classes, rows, common, warned):
    frequency = np.array([common, *[1] * (classes - 1)])
    labels = np.random.default_rng(0).choice(classes, rows, p=frequency / frequency.sum())
    counts = np.bincount(labels, minlength=classes)
    assert counts.max() >= 3 * counts.min()
    found = warnings_of(arms(), labels, [str(k) for k in range(classes)])
    assert ("imbalance" in [each["code"] for each in found]) == warned


def test_that_there_is_nothing_to_decide_is_the_first_warning():
    found = warnings_of(arms(accuracy=1), np.repeat([0, 1], [300, 50]), NAMES)
    assert [each["code"] for each in found] == ["nothing-to-decide", "imbalance"]
    assert "every model of both arms is right on all 400 test rows" in found[0]["text"]


@pytest.mark.parametrize(("nll", "nothing"), [(0.3, True), (0.1, False)])
def test_the_shares_of_the_classes_are_what_a_model_has_to_beat(nll, nothing):
    made = [result(made_up(name, eps), nll_after_temperature=nll) for name, eps in (("one-hot", 0), ("smoothed", 0.1))]
    found = warnings_of(against(made, 0.95, 0.199), np.repeat([0, 1], [380, 20]), NAMES)
    assert [each["code"] for each in found] == ["nothing-to-decide"] * nothing + ["imbalance"]
    if nothing:
        assert "always answering the most frequent class (95.0 % of the test rows" in found[0]["text"]


@pytest.mark.parametrize("gain", [0.01, -0.01])
def test_a_model_is_compared_with_the_class_shares_row_by_row(gain):
    rare = np.where(np.random.default_rng(1).random(400) < 0.05, 3.0, 0.05)  # what both pay for each row
    made = against(arms(), 0.95, 0.2)
    for each in made:
        each.shares = analyse.Metric(np.tile(rare, (5, 1)), np.full((5, 1), rare.mean()))
        nll = each.shares.values - gain + np.random.default_rng(2).normal(size=(5, 400)) * 0.01
        each.metrics["nll_after_temperature"] = analyse.Metric(nll, nll.mean(axis=1, keepdims=True))
        assert each.metrics["nll_after_temperature"].estimate().high > rare.mean()
    codes = [each["code"] for each in warnings_of(made, np.repeat([0, 1], [200, 200]), NAMES)]
    assert codes == ["nothing-to-decide"] * (gain < 0)
