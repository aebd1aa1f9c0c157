"""Differences between arms: which are tested, how their p-values are adjusted together, and what is then a finding."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from sfumato.verdict import analyse
from tests.verdict.results import MadeUpArm, result


def holm(p):
    """Holm 1979 by hand: the i-th smallest of m times m − i + 1, none below the one before it, none above 1."""
    adjusted, least = {}, 0.0
    for place, key in enumerate(sorted(p, key=p.get)):
        least = max(least, min(1.0, (len(p) - place) * p[key]))
        adjusted[key] = least
    return adjusted


def test_p_values_are_adjusted_over_all_arms_and_headline_metrics():
    base, *others = results = [
        result(MadeUpArm("one-hot", 0.0)),
        result(MadeUpArm("all-0.1", 0.1, "all"), accuracy=0.902, eaurc=0.005),
        result(MadeUpArm("all-0.2", 0.2, "all"), nll_after_temperature=0.299),
    ]
    alone = {
        (other.arm.name, name): other.metrics[name].minus(base.metrics[name]).estimate().p
        for other in others
        for name in analyse.HEADLINE
    }
    found = analyse.differences(results)
    adjusted = {(d["arm"], d["metric"]): d["p_adjusted"] for d in found if d["p_adjusted"] is not None}
    assert adjusted == pytest.approx(holm(alone), rel=1e-12)
    of_one_arm = {
        key: p for arm in others for key, p in holm({k: alone[k] for k in alone if k[0] == arm.arm.name}).items()
    }
    assert adjusted != pytest.approx(of_one_arm, rel=1e-2)  # or the test could not tell


def test_only_the_headline_metrics_are_tested():
    results = [result(MadeUpArm("one-hot", 0.0)), result(MadeUpArm("smoothed", 0.1), nll=0.9)]
    for row in analyse.differences(results):
        tested = row["metric"] in ("accuracy", "nll_after_temperature", "eaurc")
        assert (row["p_adjusted"] is not None, row["finding"] is not None) == (tested, tested)


@pytest.mark.parametrize(
    ("metric", "value", "finding"),
    [
        ("accuracy", 0.95, "better"),
        ("accuracy", 0.85, "worse"),
        ("nll_after_temperature", 0.2, "better"),
        ("eaurc", 0.05, "worse"),
        ("eaurc", 0.004, "no difference"),
    ],
)
def test_a_finding_says_which_way_is_better(metric, value, finding):
    results = [result(MadeUpArm("one-hot", 0.0)), result(MadeUpArm("smoothed", 0.1), **{metric: value})]
    assert {d["metric"]: d["finding"] for d in analyse.differences(results)}[metric] == finding


def test_copies_of_a_row_are_one_value_whose_spread_is_theirs_together():
    values, group = np.array([1.0, 3.0, 5.0, 7.0]), np.array([4, 9, 4, 4])
    found = analyse.by_group(values, group)
    assert found.mean() == pytest.approx(values.mean(), abs=1e-15)
    assert found.tolist() == pytest.approx([4 + 2 * (1 + 5 + 7 - 3 * 4) / 4, 4 + 2 * (3 - 4) / 4], abs=1e-12)


def test_a_verdict_needs_neither_torch_nor_the_lab():
    code = (
        "import sys, sfumato.verdict.sentences, sfumato.verdict.more_seeds\n"
        "print([name for name in sys.modules if name == 'torch' or name.startswith('sfumato.lab')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
