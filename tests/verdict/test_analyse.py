"""Differences between arms: which are tested, how their p-values are adjusted together, and what is then a finding."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from sfumato import evaluate
from sfumato.evaluate import Margins
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.evaluate.metrics.temperature import HIGHEST, LOWEST
from sfumato.verdict import analyse
from sfumato.verdict.wording import finding as sentence
from tests.verdict.results import made_up, result


def holm(p):
    """Holm 1979 by hand: the i-th smallest of m times m − i + 1, none below the one before it, none above 1."""
    adjusted, least = {}, 0.0
    for place, key in enumerate(sorted(p, key=p.get)):
        least = max(least, min(1.0, (len(p) - place) * p[key]))
        adjusted[key] = least
    return adjusted


def test_p_values_are_adjusted_over_all_arms_and_headline_metrics():
    base, *others = results = [
        result(made_up("one-hot", 0.0)),
        result(made_up("all-0.1", 0.1, "all"), accuracy=0.902, eaurc=0.005),
        result(made_up("all-0.2", 0.2, "all"), nll_after_temperature=0.299),
    ]
    alone = {
        (other.arm.name, name): other.metrics[name].minus(base.metrics[name]).estimate().p
        for other in others
        for name in HEADLINE
    }
    found = analyse.differences(results)
    adjusted = {(d["arm"], d["metric"]): d["p_adjusted"] for d in found if d["p_adjusted"] is not None}
    assert adjusted == pytest.approx(holm(alone), rel=1e-12)
    of_one_arm = {
        key: p for arm in others for key, p in holm({k: alone[k] for k in alone if k[0] == arm.arm.name}).items()
    }
    assert adjusted != pytest.approx(of_one_arm, rel=1e-2)  # or the test could not tell


def test_only_the_headline_metrics_are_tested():
    results = [result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1), nll=0.9)]
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
        ("eaurc", 0.004, "inconclusive"),
        ("accuracy", 0.9, "equivalent"),
        ("accuracy", 0.903, "slightly better"),
        ("nll_after_temperature", 0.303, "slightly worse"),
    ],
)
def test_a_finding_says_which_way_is_better_and_whether_it_matters(metric, value, finding):
    results = [result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1), **{metric: value})]
    assert {d["metric"]: d["finding"] for d in analyse.differences(results)}[metric] == finding


def test_margins_are_parts_of_the_first_arms_numbers_or_what_is_asked_for():
    results = [result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1), accuracy=0.903)]
    found = {d["metric"]: d["margin"] for d in analyse.differences(results)}
    assert found.pop("accuracy") == pytest.approx(0.005, rel=1e-12)
    assert found.pop("nll_after_temperature") == pytest.approx(0.02 * 0.3, rel=1e-12)
    assert found.pop("eaurc") == pytest.approx(0.05 * 0.01, rel=1e-12)
    assert set(found.values()) == {None}
    asked = analyse.differences(results, Margins.parse("accuracy=0.1"))
    assert {d["metric"]: (d["margin"], d["finding"]) for d in asked}["accuracy"] == (0.001, "better")


def test_what_is_equal_on_every_row_is_equivalent_however_little_is_known_of_the_margin():
    base, other = result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1))
    values = 0.01 + np.random.default_rng(1).normal(size=(5, 400))  # of which a margin is a part, and it may be 0
    base.aurc, other.metrics["eaurc"] = analyse.Metric(values, values.mean(1, keepdims=True)), base.metrics["eaurc"]
    found = {row["metric"]: row for row in analyse.differences([base, other])}["eaurc"]
    assert (found["low"], found["high"], found["finding"]) == (0, 0, "equivalent")


@pytest.mark.parametrize(("metric", "of"), [("nll_after_temperature", "nll_after_temperature"), ("eaurc", "aurc")])
def test_a_margin_that_is_a_part_of_the_base_counts_the_base_as_random(metric, of):
    rng = np.random.default_rng(1)
    base, other = result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1))
    noise = rng.normal(size=(5, 400))
    values = 0.3 + 0.2 * (noise - noise.mean())
    if of == "aurc":
        base.aurc = analyse.Metric(values, values.mean(1, keepdims=True))
    else:
        base.metrics[of] = analyse.Metric(values, values.mean(1, keepdims=True))
    other.metrics[metric] = analyse.Metric(base.metrics[metric].values + 0.05, base.metrics[metric].by_model + 0.05)
    # d is 0.05 without spread, and r·b is 0.3·r with r times the spread of b
    estimate = analyse.Metric(values, values.mean(1, keepdims=True)).estimate()
    half = stats.t.ppf(0.95, estimate.df) * estimate.se
    for z, word in ((0.9, "worse"), (1.1, "slightly worse")):
        part = 0.05 / (0.3 - z * half)
        found = analyse.differences([base, other], Margins(nll=f"{100 * part}%", eaurc=f"{100 * part}%"))
        assert {d["metric"]: d["finding"] for d in found}[metric] == word


@pytest.mark.parametrize(("shift", "wider", "narrower"), [(0.0, "equivalent", "inconclusive"),
                                                          (0.0002, "equivalent", "not worse"),
                                                          (-0.0002, "equivalent", "not better")])  # fmt: skip
def test_two_one_sided_t_tests_decide_between_equivalent_and_less(shift, wider, narrower):
    base, other = result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1), accuracy=0.9 + shift)
    estimate = other.metrics["accuracy"].minus(base.metrics["accuracy"]).estimate()
    q = sum(term * stats.t.ppf(0.95, df) for term, df in estimate.terms) / sum(term for term, _ in estimate.terms)
    end = abs(shift) + q * estimate.se
    for margin, finding in ((1.01 * end, wider), (0.99 * end, narrower)):
        found = analyse.differences([base, other], Margins.parse(f"accuracy={100 * margin}"))
        assert {d["metric"]: d["finding"] for d in found}["accuracy"] == finding


def test_a_margin_of_the_accuracy_may_be_per_cent_of_the_mistakes():
    results = [result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1), accuracy=0.903)]
    found = {d["metric"]: d for d in analyse.differences(results, Margins.parse("accuracy=10%"))}["accuracy"]
    assert found["margin"] == pytest.approx(0.1 * 0.1)
    assert found["finding"] == "slightly better"
    assert results[0].mistakes == pytest.approx(40)


def test_a_ranking_of_fewer_than_thirty_mistakes_is_shown_and_not_tested():
    results = [result(made_up(name, eps), accuracy=0.93, eaurc=e) for name, eps, e in
               (("one-hot", 0.0, 0.004), ("smoothed", 0.1, 0.009))]  # fmt: skip
    found = {d["metric"]: d for d in analyse.differences(results)}
    assert (found["eaurc"]["finding"], found["eaurc"]["p_adjusted"]) == ("not tested", None)
    assert found["eaurc"]["low"] > 0
    # two tests are adjusted, not three
    alone = results[1].metrics["nll_after_temperature"].minus(results[0].metrics["nll_after_temperature"]).estimate().p
    assert found["nll_after_temperature"]["p_adjusted"] <= 2 * alone * (1 + 1e-12)
    more = [result(made_up(each.arm.name, 0.1), accuracy=0.92, eaurc=0.009) for each in results]
    assert all(d["finding"] != "not tested" for d in analyse.differences(more))


def test_the_metric_that_matters_most_is_tested_before_the_others():
    base, other = results = [result(made_up("one-hot", 0.0)), result(made_up("smoothed", 0.1), accuracy=0.904)]
    p = {name: other.metrics[name].minus(base.metrics[name]).estimate().p for name in HEADLINE}
    for first in HEADLINE:
        found = {d["metric"]: d["p_adjusted"] for d in analyse.differences(results, first=first)}
        rest = holm({name: p[name] for name in HEADLINE if name != first})
        assert found[first] == pytest.approx(p[first], rel=1e-12)
        for name, adjusted in rest.items():
            assert found[name] == pytest.approx(max(p[first], adjusted), rel=1e-12)


def test_two_arms_share_the_tests_of_the_metric_that_matters_most():
    results = [
        result(made_up("one-hot", 0.0)),
        result(made_up("all-0.1", 0.1, "all"), accuracy=0.902),
        result(made_up("all-0.2", 0.2, "all"), accuracy=0.9025),
    ]
    alone = {o.arm.name: o.metrics["accuracy"].minus(results[0].metrics["accuracy"]).estimate().p for o in results[1:]}
    found = analyse.differences(results, first="accuracy")
    told = {d["arm"]: d["p_adjusted"] for d in found if d["metric"] == "accuracy"}
    assert told == pytest.approx(holm(alone), rel=1e-12)
    assert min(d["p_adjusted"] for d in found if d["metric"] == "eaurc") >= min(told.values())


def test_a_verdict_needs_neither_torch_nor_the_lab():
    code = (
        "import sys, sfumato.verdict.sentences, sfumato.verdict.settling\n"
        "print([name for name in sys.modules if name == 'torch' or name.startswith('sfumato.lab')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_balanced_accuracy_is_the_mean_recall_and_its_interval_counts_small_classes(tmp_path):
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [300, 60, 20])
    folder = tmp_path / "logits"
    folder.mkdir()
    for seed in range(3):
        for part in ("validation", "test"):
            logits = rng.normal(size=(380, 3)) + 1.5 * np.eye(3)[labels]
            np.savez(folder / f"one-hot-seed{seed}-{part}.npz", logits=logits, labels=labels, group=np.arange(380))
    found = analyse.analyse_arm(tmp_path, made_up("one-hot", 0.0), range(3))
    for seed, value in enumerate(found.metrics["balanced_accuracy"].by_model[:, 0]):
        logits = np.load(folder / f"one-hot-seed{seed}-test.npz")["logits"]
        assert value == pytest.approx(balanced_accuracy_score(labels, logits.argmax(axis=1)), abs=1e-12)
        # the variance of a mean of proportions, from each class's own
        p = [float((logits[labels == k].argmax(axis=1) == k).mean()) for k in range(3)]
        variance = sum(q * (1 - q) / n for q, n in zip(p, (300, 60, 20), strict=True)) / 9
        parts = found.metrics["balanced_accuracy"].values[seed]
        assert parts.mean() == pytest.approx(value, abs=1e-12)
        assert parts.var() / 380 == pytest.approx(variance, rel=1e-9)


def save(folder, arm, seeds, rows=(40, 30), copies=False):
    """Logits of an arm as a run saves them; the true class is ahead by a little."""
    (folder / "logits").mkdir(exist_ok=True)
    saved = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed + 7)
        for part, n in zip(("validation", "test"), rows, strict=True):
            labels = np.random.default_rng(n).integers(0, 3, n)
            logits = (rng.normal(size=(n, 3)) + 1.2 * np.eye(3)[labels]).astype(np.float32)
            group = np.arange(n) // 2 if copies else np.arange(n)
            np.savez(folder / "logits" / f"{arm}-seed{seed}-{part}.npz", logits=logits, labels=labels, group=group)
            saved[seed, part] = logits.astype(np.float64), labels
    return saved


def test_an_arm_is_measured_on_test_rows_with_the_temperatures_of_validation_rows(tmp_path):
    saved = save(tmp_path, "one-hot", 2)
    found = analyse.analyse_arm(tmp_path, made_up("one-hot", 0.0), (0, 1))
    for seed in (0, 1):
        z, y = saved[seed, "test"]
        validation, labels = saved[seed, "validation"]
        t = evaluate.fit_temperature(small=True, logits=validation, labels=labels).value
        assert found.temperatures[seed].value == pytest.approx(t, rel=1e-9)
        assert found.metrics["temperature"].by_model[seed, 0] == pytest.approx(t, rel=1e-9)
        rows = np.arange(len(y))
        for suffix, logits in (("", z), ("_after_temperature", z / t)):
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            nll = -np.log(p[rows, y])
            np.testing.assert_allclose(found.metrics[f"nll{suffix}"].values[seed], nll, rtol=1e-6)
            assert found.metrics[f"nll{suffix}"].by_model[seed, 0] == pytest.approx(nll.mean(), rel=1e-6)
            brier = ((p - np.eye(3)[y]) ** 2).sum(axis=1)
            np.testing.assert_allclose(found.metrics[f"brier{suffix}"].values[seed], brier, rtol=1e-6)
            sure, right = p.max(axis=1), p.argmax(axis=1) == y
            np.testing.assert_allclose(found.metrics[f"signed_gap{suffix}"].values[seed], sure - right, atol=1e-6)
            known = evaluate.ece(sure, right)
            assert found.metrics[f"ece{suffix}"].by_model[seed, 0] == pytest.approx(known, rel=1e-6)
            assert found.metrics[f"ece{suffix}"].values[seed].mean() == pytest.approx(known, abs=0.02)
            known = RankedGroups(np.log(sure), right).eaurc()
            assert found.metrics[f"eaurc{suffix}"].by_model[seed, 0] == pytest.approx(known, rel=1e-6)
        assert found.metrics["accuracy"].values[seed].tolist() == (z.argmax(axis=1) == y).tolist()
        others = (z.sum(axis=1) - z[rows, y]) / 2
        np.testing.assert_allclose(found.metrics["logit_gap"].values[seed], z[rows, y] - others, rtol=1e-6)
    floors = []
    for seed in (0, 1):
        p = np.exp(saved[seed, "test"][0])
        floors.append(evaluate.noise_floor((p / p.sum(axis=1, keepdims=True)).max(axis=1)))
    means = [np.mean([getattr(floor, end) for floor in floors]) for end in ("mean", "low", "high")]
    assert found.noise_floor == pytest.approx(means, rel=1e-4)
    assert analyse.summarise(found)["ece_noise_floor"] == {
        end: pytest.approx(mean, rel=1e-4) for end, mean in zip(("mean", "low", "high"), means, strict=True)
    }


def test_copies_of_rows_are_counted_once_in_every_metric(tmp_path):
    save(tmp_path, "one-hot", 2, copies=True)
    found = analyse.analyse_arm(tmp_path, made_up("one-hot", 0.0), (0, 1))
    assert {metric.values.shape for name, metric in found.metrics.items() if name != "temperature"} == {(2, 15)}
    assert found.metrics["temperature"].values.shape == (2, 20)


def metric(values, by_model):
    return analyse.Metric(np.array(values, dtype=float), np.array(by_model, dtype=float)[:, None])


def test_intervals_end_where_a_metric_does():
    found = analyse.ArmResult(made_up("one-hot", 0.0))
    found.metrics = {
        "accuracy": metric([[1, 1, 1, 0.7], [1, 1, 0.9, 0.8]], [0.925, 0.925]),
        "nll": metric([[0.0, 0.0, 0.0, 0.3], [0.0, 0.0, 0.1, 0.2]], [0.075, 0.075]),
        "eaurc": metric([[0.0, 0.0, 0.0, 0.3], [0.0, 0.0, 0.1, 0.2]], [0.075, 0.075]),
        "signed_gap": metric([[0.0, 0.0, 0.0, 0.3], [0.0, 0.0, 0.1, 0.2]], [0.075, 0.075]),
    }
    told = analyse.summarise(found)
    plain = evaluate.estimate_interval(found.metrics["nll"].values, estimate=0.075)
    assert plain.low < 0
    assert told["nll"] == {"mean": 0.075, "low": 0.0, "high": pytest.approx(plain.high)}
    assert told["eaurc"]["low"] == 0.0
    assert told["signed_gap"] == {"mean": 0.075, "low": pytest.approx(plain.low), "high": pytest.approx(plain.high)}
    assert told["accuracy"]["high"] == 1.0
    assert told["accuracy"]["low"] == pytest.approx(1 - plain.high)


def test_the_interval_of_a_temperature_is_a_factor_both_ways():
    found = analyse.ArmResult(made_up("one-hot", 0.0))
    found.metrics = {"temperature": metric([[1.5, 2.5, 2.0, 2.2], [1.4, 2.4, 2.1, 2.1]], [2.05, 2.0])}
    values, own = found.metrics["temperature"].values, np.array([[2.05], [2.0]])
    log = evaluate.estimate_interval(np.log(own) + values / own - 1, estimate=float(np.log(own).mean()))
    factor = np.exp(log.high - log.mean)
    told = analyse.summarise(found)["temperature"]
    assert told == pytest.approx({"mean": 2.025, "low": 2.025 / factor, "high": 2.025 * factor}, rel=1e-12)


@pytest.mark.parametrize("value", [LOWEST, 1.0, HIGHEST])
def test_a_temperature_of_which_nothing_is_known_has_the_whole_range(value):
    found = analyse.ArmResult(made_up("one-hot", 0.0))
    found.metrics = {"temperature": metric(value * np.array([[-900.0, 902.0], [1902.0, -1900.0]]), [value, value])}
    told = analyse.summarise(found)["temperature"]
    assert (told["low"], told["high"]) == (LOWEST, HIGHEST)


@pytest.mark.parametrize(("low", "high", "finding"), [(0.03, 0.049, "better"), (0.051, 0.09, "not worse")])
def test_a_finding_has_an_adjusted_p_value_below_one_in_twenty(low, high, finding):
    base, other = (result(made_up(name, eps)) for name, eps in (("one-hot", 0.0), ("smoothed", 0.1)))
    noise = np.random.default_rng(3).normal(size=(5, 400)) * 0.01
    other.metrics = dict(base.metrics)  # equal in all but one, which is tested thrice as hard
    for shift in np.linspace(0, 0.005, 501):
        values = base.metrics["nll_after_temperature"].values + noise - noise.mean() - shift
        other.metrics["nll_after_temperature"] = analyse.Metric(values, values.mean(1, keepdims=True))
        (row,) = [
            d for d in analyse.differences([base, other], Margins(nll="0")) if d["metric"] == "nll_after_temperature"
        ]
        if low < row["p_adjusted"] < high:
            break
    assert low < row["p_adjusted"] < high
    assert row["finding"] == finding


def test_the_logarithm_of_a_metric_is_that_of_its_mean_with_deviations_by_the_delta_method():
    found = analyse.Metric(np.array([[1.0, 3.0]]), np.array([[2.0]])).log()
    np.testing.assert_allclose(found.values, np.log(2.0) + np.array([[-0.5, 0.5]]), rtol=1e-15)
    np.testing.assert_allclose(found.by_model, [[np.log(2.0)]], rtol=1e-15)


def test_soft_labels_are_read_with_their_modes_and_rows_without_groups_are_groups_of_one(tmp_path):
    (tmp_path / "logits").mkdir()
    soft = np.array([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]])
    for part, more in (("test", {"label_probs": soft, "group": [7, 7]}), ("validation", {"labels": [2, 0]})):
        np.savez(tmp_path / "logits" / f"one-hot-seed3-{part}.npz", logits=np.eye(3)[:2], **more)
    test, validation = (analyse.load_part(tmp_path, "one-hot", 3, part) for part in ("test", "validation"))
    assert test.soft is not None
    assert (test.soft.name, len(test.soft)) == ("label_probs", 2)
    assert (test.labels.tolist(), test.group.tolist()) == ([1, 0], [7, 7])
    assert (validation.soft, validation.labels.tolist(), validation.group.tolist()) == (None, [2, 0], [0, 1])


@pytest.mark.parametrize(("rows", "finding"), [(2, "not worse"), (6, "not worse"), (7, "better")])
def test_rows_that_all_differ_alike_prove_no_more_than_as_many_signs(rows, finding):
    """Of two tests, as so few rows are not tested for ranking, the smallest p-value is doubled: 2/2^6 is 0.031."""
    base, other = (result(made_up(name, eps)) for name, eps in (("one-hot", 0.0), ("smoothed", 0.1)))
    for arm, right in ((base, 0.0), (other, 1.0)):
        for name in HEADLINE:
            arm.metrics[name] = analyse.Metric(np.full((1, rows), 0.5), np.full((1, 1), 0.5))
        arm.metrics["accuracy"] = analyse.Metric(np.full((1, rows), right), np.full((1, 1), right))
        arm.metrics = {name: arm.metrics[name] for name in HEADLINE}
        arm.aurc = analyse.Metric(np.full((1, rows), 0.5), np.full((1, 1), 0.5))
    (accuracy,) = [row for row in analyse.differences([base, other]) if row["metric"] == "accuracy"]
    assert accuracy["p_adjusted"] == pytest.approx(min(2 * 0.5 ** (rows - 1), 1))
    assert accuracy["finding"] == finding
    said = sentence(base, other, accuracy)
    assert said == f"Accuracy: {finding} (+100.0; too few rows for an interval)."
