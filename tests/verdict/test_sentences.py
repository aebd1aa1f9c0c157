"""The verdict's choice and its two sentences, for whatever the evidence is."""

from __future__ import annotations

import numpy as np

from sfumato.evaluate import Temperature
from sfumato.lab.arms import Arm
from sfumato.verdict import analyse
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
