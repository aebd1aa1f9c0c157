"""What would settle an undecided comparison: numbers of the power formula, in words.

Truth is the formula of docs/statistics.md with scipy's noncentral t, from the mean squares of the two-way table.
"""

import re

import numpy as np
import pytest
from scipy import optimize, stats

from sfumato import evaluate
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.verdict import analyse
from sfumato.verdict.decision import Decision
from sfumato.verdict.settling import SeedCost, settle
from tests.verdict.results import made_up


def decided(margin=0.0, base=None, **values):
    """The decision on one arm whose headline metrics differ from the first by these tables, all inconclusive."""
    arms = [analyse.ArmResult(made_up(name, eps)) for name, eps in (("one-hot", 0.0), ("smoothed", 0.1))]
    for metric in HEADLINE:
        for each, table in zip(arms, (np.zeros((5, 300)), values.get(metric, np.zeros((5, 300)))), strict=True):
            each.metrics[metric] = analyse.Metric(table, table.mean(1, keepdims=True))
    rows = {
        name: {"metric": name, "finding": "inconclusive" if name in values else "equivalent", "margin": margin}
        for name in HEADLINE
    }
    return Decision(*arms, rows, paired=True)


def noise(mean, sds=(0.0, 0.3, 1.0), seed=0):
    rng = np.random.default_rng(seed)
    parts = (rng.normal(size=shape) for shape in ((5, 1), (1, 300), (5, 300)))
    table = sum(sd * part for sd, part in zip(sds, parts, strict=True))
    return table - table.mean() + mean


def power(table, difference, seeds, tests):
    """Chance that the test at 0.05 / tests finds a difference with so many seeds and as many rows."""
    s, n = table.shape
    row, column = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    rest = np.sum((table - row - column + table.mean()) ** 2) / ((s - 1) * (n - 1))
    by_row = max(0.0, (s * np.var(column, ddof=1) - rest) / s)
    by_seed = max(0.0, (n * np.var(row, ddof=1) - rest) / n)
    terms = (by_seed / seeds + rest / (seeds * n), seeds - 1), (by_row / n, n - 1)
    variance = sum(term for term, _ in terms)
    critical = sum(term * stats.t.isf(0.025 / tests, df) for term, df in terms if term) / variance
    df = variance**2 / sum(term**2 / df for term, df in terms)
    ncp = difference / np.sqrt(variance)
    return stats.nct.sf(critical, df, ncp) + stats.nct.cdf(-critical, df, ncp)


def seeds_needed(table, tests):
    return next(s for s in range(2, 101) if power(table, abs(table.mean()), s, tests) >= 0.8)


def detected(table, seeds, tests):
    """The difference that is found four times in five."""
    return optimize.brentq(
        lambda difference: power(table, difference, seeds, tests) - 0.8, 0.01, 0.4
    )  # nct is NaN far out


def test_it_names_the_seeds_that_power_asks_for_and_the_metric_that_needs_fewest():
    accuracy, nll = noise(0.08), noise(0.1, seed=1)
    do, *_ = settle(decided(accuracy=accuracy, nll_after_temperature=nll), 3)
    needed = seeds_needed(nll, 3)
    assert 5 < needed < seeds_needed(accuracy, 3)
    assert do == (
        f"To decide, run about {needed} seeds (--resume RUN --seeds {needed}): they would settle log loss after "
        "temperature scaling, if the difference is as large as it looks (0.1)."
    )


@pytest.mark.parametrize(("seconds", "models", "told"), [
    (0.1, 2, "1 minute"), (90, 1, "2 minutes"), (60, 4, "5 minutes"), (60, 13, "10 minutes"),
    (600, 5, "50 minutes"), (600, 7, "1 hour"), (600, 200, "50 hours"),
])  # fmt: skip
def test_a_cost_is_a_round_number(seconds, models, told):
    assert SeedCost(seconds).of(models) == f", about {told} here"


def test_the_cost_is_that_of_the_seeds_to_come():
    do, *_ = settle(decided(nll_after_temperature=noise(0.1, seed=1)), 3, cost=SeedCost(90))
    needed = seeds_needed(noise(0.1, seed=1), 3)
    assert f"--seeds {needed}{SeedCost(90).of(needed - 5)})" in do


def test_it_names_the_difference_that_is_found_now_and_the_one_that_only_rows_can_settle():
    accuracy = noise(0.001, sds=(0.2, 1.0, 1.0))
    do, *sees = settle(decided(accuracy=accuracy), 3)
    numbers = [float(n) for n in re.findall(r"([\d.]+) points", " ".join(sees))]
    now, ever = detected(accuracy, 5, 3), detected(accuracy, 1e12, 3)
    assert numbers == [float(f"{100 * now:.2g}"), float(f"{100 * ever:.2g}")]
    assert (
        do == "Neither 100 seeds nor a realistic number of test rows would settle differences as small as these look."
    )
    assert sees[1].endswith(" points, more seeds will not help: that takes more test rows.")


@pytest.mark.parametrize("margin", [0.15, 0.2])
def test_a_difference_that_looks_small_is_settled_by_showing_that_it_lies_within_the_margin(margin):
    accuracy = noise(0.01)
    do, *_ = settle(decided(margin, accuracy=accuracy), 3)
    seeds = int(re.findall(r"about (\d+) seeds", do)[0])
    assert do.endswith(
        "they would show that accuracy is equivalent, if the difference is as small as it looks (1 point)."
    )
    # 10 % at most of the tests against the nearer margin fail, each at 5 % and one-sided
    assert power(accuracy, margin - 0.01, seeds, 0.5) >= 0.9
    assert seeds == 6 or power(accuracy, margin - 0.01, seeds - 1, 0.5) < 0.9


def test_rows_settle_what_seeds_cannot():
    accuracy = noise(0.03, sds=(0.0, 1.0, 0.2))
    do, *_ = settle(decided(accuracy=accuracy), 3, grouped=True)
    (rows,) = re.findall(r"use about ([\d,]+) groups of test rows", do)
    estimate = analyse.Metric(accuracy, accuracy.mean(1, keepdims=True)).estimate()
    needed = evaluate.rows_to_settle(estimate, level=1 - 0.05 / 3)
    assert needed <= int(rows.replace(",", "")) <= 1.1 * needed
    assert f"({needed / 300:.1f} times as many)" in do


def test_groups_of_rows_are_called_groups():
    accuracy = noise(0.001, sds=(0.2, 1.0, 1.0))
    do, *sees = settle(decided(accuracy=accuracy), 3, grouped=True)
    assert do.startswith("Neither 100 seeds nor a realistic number of groups of test rows would settle")
    assert sees[1].endswith(": that takes more groups of test rows.")


def test_where_rows_do_not_matter_it_does_not_ask_for_more_of_them():
    accuracy = noise(0.02)
    accuracy -= accuracy.mean(axis=0) - accuracy.mean()
    accuracy += noise(0.0, sds=(0.1, 0.0, 0.0), seed=2)
    do, sees = settle(decided(accuracy=accuracy), 3)
    assert "use" not in do
    assert "rows" not in sees


def test_a_variance_that_is_only_rounded_above_zero_asks_for_no_rows():
    rng = np.random.default_rng(142)
    accuracy = np.zeros((5, 300))
    for row in accuracy:
        row[rng.choice(300, rng.integers(0, 6), replace=False)] = rng.choice([-1, 1])
    estimate = analyse.Metric(accuracy, accuracy.mean(1, keepdims=True)).estimate()
    assert 0 < estimate.var_row < 1e-15
    _, sees = settle(decided(accuracy=accuracy), 3)
    assert sees == "The smallest difference in accuracy detectable with 80 % power is 1 point."


def test_where_nothing_varies_it_asks_for_rows_or_models():
    said = settle(decided(accuracy=np.zeros((5, 300))), 3)
    assert said == ["To decide, use more test rows, or train more models of each arm."]


@pytest.mark.parametrize("tests", [1, 3, 9])
def test_more_tests_need_more_seeds(tests):
    accuracy = noise(0.08)
    said = " ".join(settle(decided(accuracy=accuracy), tests))
    assert re.findall(r"about (\d+) seeds", said) == [str(max(6, seeds_needed(accuracy, tests)))]


def test_it_never_asks_for_as_many_seeds_as_there_were():
    said = settle(decided(accuracy=noise(2.0)), 1)
    assert seeds_needed(noise(2.0), 1) < 5
    assert said[0].startswith("To decide, run about 6 seeds (--resume RUN --seeds 6): they would settle accuracy")


@pytest.mark.parametrize(("wrong", "rows"), [(20, "about 450"), (7, "about 1,300"), (0, "more")])
def test_a_metric_that_was_not_tested_asks_for_rows_with_thirty_mistakes(wrong, rows):
    decision = decided(eaurc=noise(0.0))
    decision.rows["eaurc"]["finding"] = "not tested"
    right = np.ones((5, 300))
    right[:, :wrong] = 0
    for each in (decision.base, decision.other):
        each.metrics["accuracy"] = analyse.Metric(right, right.mean(1, keepdims=True))
    said = settle(Decision(decision.base, decision.other, decision.rows, paired=True, first="eaurc"), 3)
    assert said == [f"To decide, use {rows} test rows, on which the models make at least 30 mistakes."]
