"""The verdict's choice and its two sentences, for whatever the evidence is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sfumato.evaluate import Temperature
from sfumato.lab.arms import Arm
from sfumato.verdict import analyse
from sfumato.verdict.more_seeds import settle
from sfumato.verdict.sentences import verdict
from tests.verdict.results import result


def judged(base=None, **means):
    results = [result(Arm("one-hot", 0.0, "others"), **(base or {})), result(Arm("smoothed", 0.1, "others"), **means)]
    found = analyse.differences(results)
    return verdict(results, found, 10), {d["metric"]: d["finding"] for d in found}


def test_verdict_smooth_where_something_is_better_and_nothing_worse():
    said, findings = judged(nll_after_temperature=0.25, nll=0.5, signed_gap=-0.1, temperature=0.6)
    assert findings["nll_after_temperature"] == "better"
    assert said["choice"] == "smoothed"
    assert said["sentences"][0].startswith(
        "Smooth the labels, with ε = 0.1 over the others (label_smoothing=0.1111 in torch): hard NLL after temperature "
        "falls from .300 to .250 (95 % interval of the difference −.05"
    )
    assert said["sentences"][1].startswith("Divide the smoothed logits by 0.60: hard NLL on test rows falls from .500")
    assert "under-confident (confidence − accuracy −.100)" in said["sentences"][1]
    assert said["sentences"][1].endswith("do not differ reliably.")


def test_verdict_keep_one_hot_where_something_is_worse_and_nothing_better():
    said, findings = judged(eaurc=0.008, accuracy=0.88)
    assert (findings["eaurc"], findings["accuracy"]) == ("worse", "worse")
    assert said["choice"] == "one-hot"
    assert "makes things worse, accuracy falls from 90.0 to 88.0 %" in said["sentences"][0]
    assert "E-AURC × 1000 rises from 4.00 to 8.00" in said["sentences"][0]


def test_verdict_no_difference_is_a_result():
    said, findings = judged()
    assert {findings[name] for name in analyse.HEADLINE} == {"no difference"}
    assert said["choice"] == "one-hot"
    assert "makes no difference you can rely on in accuracy (" in said["sentences"][0]
    assert len(said["sentences"]) == 2


def test_verdict_says_so_where_evidence_points_both_ways():
    said, _ = judged(accuracy=0.93, eaurc=0.008)
    assert said["choice"] == "depends"
    assert said["sentences"][0].startswith("It depends on what the model is for: ")
    assert "accuracy rises from 90.0 to 93.0 %" in said["sentences"][0]
    assert "but E-AURC × 1000 rises from 4.00 to 8.00" in said["sentences"][0]


def test_verdict_recommends_no_temperature_that_does_not_help():
    said, _ = judged(base={"nll": 0.3, "nll_after_temperature": 0.3})
    assert (
        "takes hard NLL on test rows from .300 to .300, no difference you can rely on (95 % interval"
        in (said["sentences"][1])
    )
    said, _ = judged(base={"nll": 0.2, "nll_after_temperature": 0.3})
    assert said["sentences"][1].startswith("Leave the one-hot logits as they are: dividing them by")
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    results[0].temperatures = [Temperature(1000.0, True)] * 5
    said = verdict(results, analyse.differences(results), 10)
    assert said["sentences"][1].startswith("No temperature makes the one-hot logits useful as probabilities")


def test_verdict_is_none_where_no_arm_beats_the_largest_class():
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    assert verdict(results, analyse.differences(results), 10, majority=0.5)["choice"] != "none"
    said = verdict(results, analyse.differences(results), 10, majority=0.95)
    assert said["choice"] == "none"
    assert "95.0 % of the test rows; one-hot 90.0 % and smoothed 90.0 %" in said["sentences"][0]


def test_a_headline_finding_needs_its_adjusted_p_value():
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    rng = np.random.default_rng(1)
    for metric in analyse.HEADLINE:
        base = results[0].metrics[metric].values
        noise = rng.normal(size=base.shape) * 0.01

        def shifted(shift, base=base, noise=noise):
            values = base + noise - noise.mean() + shift
            return analyse.Metric(values, values.mean(1))

        found = [
            s
            for s in np.linspace(0, 0.005, 501)
            if 0.02 < shifted(s).minus(results[0].metrics[metric]).estimate().p < 0.04
        ]
        results[1].metrics[metric] = shifted(found[0])  # alone it would be a finding; three times its p is none
    for row in analyse.differences(results):
        if row["metric"] in analyse.HEADLINE:
            alone = results[1].metrics[row["metric"]].minus(results[0].metrics[row["metric"]]).estimate()
            assert alone.p < 0.05 < row["p_adjusted"]
            assert row["finding"] == "no difference"
    said = verdict(results, analyse.differences(results), 10)["sentences"][0]
    assert "points, but p = " in said
    assert "after adjusting for all tests" in said


def several(**means):
    softened = (Arm("all-0.1", 0.1, "all"), Arm("all-0.2", 0.2, "all"))
    return [result(Arm("one-hot", 0.0, "others")), *(result(arm, **means.get(arm.name, {})) for arm in softened)]


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


def test_an_arm_without_a_difference_comes_before_one_that_is_worse():
    results = several(**{"all-0.1": {"accuracy": 0.85}})
    said = verdict(results, analyse.differences(results), 10, order=["all-0.1", "all-0.2", "one-hot"])
    assert said["choice"] == "one-hot"
    assert said["sentences"][0].startswith("Keep one-hot labels: smoothing with ε = 0.2 over all 10 classes")
    assert "makes no difference you can rely on in " in said["sentences"][0]
    assert "against one-hot, all-0.1 makes accuracy worse" in said["sentences"][1]
    assert "the validation rows chose" not in said["sentences"][1]


def test_of_arms_that_are_all_worse_no_test_is_missing():
    results = several(**{name: {"accuracy": 0.85} for name in ("all-0.1", "all-0.2")})
    said = verdict(results, analyse.differences(results), 10, order=["all-0.2", "all-0.1", "one-hot"])
    assert said["choice"] == "one-hot"
    assert "the validation rows chose" not in said["sentences"][1]


INTERVAL = r"95 % interval [−+]?[\d.]+ to [−+]?[\d.]+"


def test_what_does_not_differ_is_named_with_its_interval_alone():
    said, _ = judged(nll_after_temperature=0.25)
    rest = said["sentences"][1].split("; ")[-1]
    number = r"[−+]?[\d.]+"
    accuracy, ranking = rf"accuracy \({number} points, {INTERVAL} points\)", rf"E-AURC × 1000 \({number}, {INTERVAL}\)"
    assert re.fullmatch(rf"{accuracy} and {ranking} do not differ reliably\.", rest)


def test_a_single_metric_does_not_differ():
    said, _ = judged(nll_after_temperature=0.25, accuracy=0.95)
    assert re.search(rf"; E-AURC × 1000 \([−+]?[\d.]+, {INTERVAL}\) does not differ reliably\.$", said["sentences"][1])


def test_an_interval_that_holds_0_needs_no_p_value():
    said, findings = judged()
    assert {findings[name] for name in analyse.HEADLINE} == {"no difference"}
    assert "but p = " not in said["sentences"][0]


def test_areas_below_one_thousandth_keep_their_zero():
    said, _ = judged(base={"eaurc": 0.0002}, eaurc=0.0009 + 0.002)
    assert "E-AURC × 1000 rises from 0.20 to 2.90" in said["sentences"][0]


def test_what_is_the_same_on_every_row_is_said_to_be():
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    results[1].metrics["accuracy"] = results[0].metrics["accuracy"]
    said = verdict(results, analyse.differences(results), 10)
    assert "in accuracy (the same on every test row), hard NLL after temperature (" in said["sentences"][0]


@pytest.mark.parametrize(("majority", "none"), [(1.0, True), (0.999, False)])
def test_always_right_is_no_better_than_the_largest_class_where_there_is_no_other(majority, none):
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    for each in results:
        each.metrics["accuracy"] = analyse.Metric(np.ones((5, 400)), np.ones(5))
    said = verdict(results, analyse.differences(results), 10, majority=majority)
    assert (said["choice"] == "none") == none
    assert said["sentences"][0].startswith("No verdict: neither arm is reliably better than always answering") == none


def test_no_arm_of_several_is_better_than_the_largest_class():
    results = several()
    said = verdict(results, analyse.differences(results), 10, majority=0.95)
    assert said["sentences"][0].startswith("No verdict: no arm is reliably better than always answering")
    assert "(95.0 % of the test rows; one-hot 90.0 %, all-0.1 90.0 % and all-0.2 90.0 %)" in said["sentences"][0]


def test_one_arm_above_the_largest_class_is_enough():
    results = [result(Arm("one-hot", 0.0, "others"), accuracy=0.5), result(Arm("smoothed", 0.1, "others"))]
    assert verdict(results, analyse.differences(results), 10, majority=0.6)["choice"] == "smoothed"


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (0.1, "is over-confident (confidence − accuracy +.100)"),
        (-0.1, "is under-confident (confidence − accuracy −.100)"),
        (0.0, "is not reliably over- or under-confident (confidence − accuracy .000)"),
    ],
)
def test_how_sure_the_chosen_arm_is_without_a_temperature(gap, words):
    said, _ = judged(base={"signed_gap": gap})
    assert said["sentences"][1].partition(";")[0].endswith(f"without a temperature the one-hot model {words}")


def test_a_temperature_that_changes_nothing_is_not_recommended():
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    for each in results:
        each.metrics["nll"] = each.metrics["nll_after_temperature"]
    said = verdict(results, analyse.differences(results), 10)
    assert said["sentences"][1].startswith(
        "Dividing the one-hot logits by a temperature (1.50) takes hard NLL on test "
    )
    assert "no difference you can rely on (95 % interval of the difference .000 to .000)" in said["sentences"][1]


@pytest.mark.parametrize(("arms", "tests"), [(1, 3), (2, 6)])
def test_what_would_settle_it_counts_every_headline_test(arms, tests):
    results = several()[: arms + 1]
    for each in results:  # metrics that are not tested do not count
        each.metrics |= dict.fromkeys(("brier", "ece"), each.metrics["nll"])
    said = verdict(results, analyse.differences(results), 10, order=["all-0.1", "all-0.2"])
    assert settle(results[0], results[1], tests) in said["sentences"][1]
    assert settle(results[0], results[1], tests) != settle(results[0], results[1], tests + 1)
