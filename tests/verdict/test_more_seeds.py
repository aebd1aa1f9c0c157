"""What a comparison that found nothing says about more seeds: numbers of the power formula, in words.

Truth is the formula of docs/statistics.md with scipy's noncentral t, from the mean squares of the two-way table.
"""

import re

import numpy as np
import pytest
from scipy import optimize, stats

from sfumato.verdict import analyse
from sfumato.verdict.more_seeds import settle
from tests.verdict.results import made_up


def arm(name, **values):
    result = analyse.ArmResult(made_up(name, 0.0 if name == "one-hot" else 0.1))
    for metric in analyse.HEADLINE:
        table = values.get(metric, np.zeros((5, 300)))
        result.metrics[metric] = analyse.Metric(table, table.mean(axis=1))
    return result


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
    of_seeds, of_rows = by_seed / seeds + rest / (seeds * n), by_row / n
    variance = of_seeds + of_rows
    df = variance / (of_seeds / (seeds - 1) + of_rows / (n - 1))
    critical, ncp = stats.t.isf(0.025 / tests, df), difference / np.sqrt(variance)
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
    said = " ".join(settle(arm("one-hot"), arm("smoothed", accuracy=accuracy, nll_after_temperature=nll), 3))
    needed = seeds_needed(nll, 3)
    assert 5 < needed < seeds_needed(accuracy, 3)
    assert said.startswith(
        f"To settle whether it helps, run about {needed} seeds (--seeds): they would settle the log loss, if it "
        "differs by as much as it looks (0.1). "
    )


def test_it_names_the_difference_that_is_found_now_and_the_one_that_only_rows_can_settle():
    accuracy = noise(0.001, sds=(0.2, 1.0, 1.0))
    do, *sees = settle(arm("one-hot"), arm("smoothed", accuracy=accuracy), 3)
    said = " ".join(sees)
    numbers = [float(n) for n in re.findall(r"([\d.]+) points", said)]
    now, ever = detected(accuracy, 5, 3), detected(accuracy, 1e12, 3)
    assert numbers == [float(f"{100 * now:.2g}"), float(f"{100 * ever:.2g}")]
    assert said.startswith("With 5 seeds and 300 distinct test rows, a difference in the accuracy of ")
    assert do == (
        "To settle whether it helps, use more test rows: with these 300, not even 100 seeds would settle differences "
        "as small as these look."
    )
    assert said.endswith(" points cannot be seen however many seeds are run: that takes more test rows.")


def test_groups_of_rows_are_called_groups():
    accuracy = noise(0.001, sds=(0.2, 1.0, 1.0))
    do, *sees = settle(arm("one-hot"), arm("smoothed", accuracy=accuracy), 3, grouped=True)
    assert do.startswith("To settle whether it helps, use more groups of test rows: with these 300, not even 100 seeds")
    assert sees[0].startswith("With 5 seeds and 300 groups of test rows, a difference in the accuracy of ")
    assert sees[1].endswith(": that takes more groups of test rows.")


def test_where_rows_do_not_matter_it_does_not_ask_for_more_of_them():
    accuracy = noise(0.02)
    accuracy -= accuracy.mean(axis=0) - accuracy.mean()
    accuracy += noise(0.0, sds=(0.1, 0.0, 0.0), seed=2)
    do, sees = settle(arm("one-hot"), arm("smoothed", accuracy=accuracy), 3)
    assert sees.startswith("With 5 seeds and 300 distinct test rows, ")
    assert "rows" not in do


def test_a_variance_that_is_only_rounded_above_zero_asks_for_no_rows():
    rng = np.random.default_rng(142)
    accuracy = np.zeros((5, 300))
    for row in accuracy:
        row[rng.choice(300, rng.integers(0, 6), replace=False)] = rng.choice([-1, 1])
    estimate = analyse.Metric(accuracy, accuracy.mean(axis=1)).estimate()
    assert 0 < estimate.var_row < 1e-15
    _, sees = settle(arm("one-hot"), arm("smoothed", accuracy=accuracy), 3)
    assert sees == (
        "With 5 seeds and 300 distinct test rows, a difference in the accuracy of 1 point would be found four times in "
        "five."
    )


def test_it_says_nothing_where_nothing_varies():
    assert settle(arm("one-hot"), arm("smoothed"), 3) == []


@pytest.mark.parametrize("tests", [1, 3, 9])
def test_more_tests_need_more_seeds(tests):
    accuracy = noise(0.08)
    said = " ".join(settle(arm("one-hot"), arm("smoothed", accuracy=accuracy), tests))
    assert re.findall(r"about (\d+) seeds", said) == [str(max(6, seeds_needed(accuracy, tests)))]


def test_it_never_asks_for_as_many_seeds_as_there_were():
    said = settle(arm("one-hot"), arm("smoothed", accuracy=noise(2.0)), 1)
    assert seeds_needed(noise(2.0), 1) < 5
    assert said[0].startswith("To settle whether it helps, run about 6 seeds (--seeds): they would settle the accuracy")
