"""What a comparison that found nothing says about more seeds: numbers of the power formula, in words."""

import re

import numpy as np
import pytest

from sfumato import evaluate
from sfumato.lab.arms import Arm
from sfumato.verdict import analyse
from sfumato.verdict.more_seeds import settle

LEVEL = 1 - 0.05 / 3


def arm(name, **values):
    result = analyse.ArmResult(Arm(name, 0.0 if name == "one-hot" else 0.1, "others"))
    for metric in analyse.HEADLINE:
        table = values.get(metric, np.zeros((5, 300)))
        result.metrics[metric] = analyse.Metric(table, table.mean(axis=1))
    return result


def noise(mean, sds=(0.0, 0.3, 1.0), seed=0):
    rng = np.random.default_rng(seed)
    parts = (rng.normal(size=shape) for shape in ((5, 1), (1, 300), (5, 300)))
    table = sum(sd * part for sd, part in zip(sds, parts, strict=True))
    return table - table.mean() + mean


def test_it_names_the_seeds_that_power_asks_for_and_the_metric_that_needs_fewest():
    accuracy, nll = noise(0.001), noise(0.1, seed=1)
    said = settle(arm("one-hot"), arm("smoothed", accuracy=accuracy, nll_after_temperature=nll), 3)
    estimate = evaluate.estimate_interval(nll)
    seeds = evaluate.seeds_to_settle(estimate, level=LEVEL)
    power = [evaluate.power(estimate, 0.1, seeds=s, level=LEVEL) for s in (seeds - 1, seeds)]
    assert power[0] < 0.8 <= power[1]
    assert (
        f"about {seeds} seeds would settle hard NLL after temperature if it differs by as much as it looks (0.1)"
        in said
    )


def test_it_names_the_difference_that_is_found_now_and_the_one_that_only_rows_can_settle():
    accuracy = noise(0.001, sds=(0.1, 1.0, 1.0))
    said = settle(arm("one-hot"), arm("smoothed", accuracy=accuracy), 3)
    numbers = [float(n) for n in re.findall(r"([\d.]+) points", said)]
    estimate = evaluate.estimate_interval(accuracy)
    now, ever = (evaluate.detectable_difference(estimate, seeds=s, level=LEVEL) for s in (5, np.inf))
    assert numbers == pytest.approx([100 * now, 100 * ever], rel=0.05)
    assert said.startswith("with 5 seeds and 300 distinct test rows a difference in accuracy of ")
    assert "and not even 100 seeds would settle differences as small as these look; one in accuracy below " in said
    assert said.endswith(" points no number of seeds can settle, only more rows")


def test_where_rows_do_not_matter_it_does_not_ask_for_more_of_them():
    accuracy = noise(0.02)
    accuracy -= accuracy.mean(axis=0) - accuracy.mean()
    accuracy += noise(0.0, sds=(0.1, 0.0, 0.0), seed=2)
    assert "rows" not in settle(arm("one-hot"), arm("smoothed", accuracy=accuracy), 3).removeprefix(
        "with 5 seeds and 300 distinct test rows"
    )


def test_it_says_nothing_where_nothing_varies():
    assert settle(arm("one-hot"), arm("smoothed"), 3) == ""


def test_more_tests_need_more_seeds():
    other = arm("smoothed", accuracy=noise(0.08))
    found = [int(re.findall(r"about (\d+) seeds", settle(arm("one-hot"), other, tests))[0]) for tests in (1, 3, 9)]
    assert found == sorted(set(found))
