"""The verdict's choice and its sentences, for whatever the evidence is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sfumato.evaluate import Margins, Temperature
from sfumato.lab.arms import Arm
from sfumato.verdict import analyse
from sfumato.verdict.arms import ComparedArm
from sfumato.verdict.more_seeds import settle
from sfumato.verdict.sentences import notes, nothing_to_decide, verdict
from sfumato.verdict.wording import small_or_open, temperature
from tests.snapshots import assert_snapshot
from tests.verdict.results import result


def judged(margins=None, base=None, *, elsewhere=False, **means):
    trained = [Arm("one-hot", 0.0, "others"), Arm("smoothed", 0.1, "others")]
    names = [ComparedArm("old"), ComparedArm("new")] if elsewhere else trained
    results = [result(names[0], **(base or {})), result(names[1], **means)]
    found = analyse.differences(results, Margins.parse(margins))
    return verdict(results, found), {d["metric"]: d["finding"] for d in found}


SMALL = "accuracy=1,nll=5%,eaurc=0.01"
CASES: dict[str, tuple[dict, str, str]] = {
    "better": ({"nll_after_temperature": 0.25, "nll": 0.5, "signed_gap": -0.1, "temperature": 0.6}, "smoothed",
               "the same, better, not settled"),
    "better without a divisor": ({"accuracy": 0.93, "nll": 0.3}, "smoothed", "better, the same, not settled"),
    "worse": ({"eaurc": 0.008, "accuracy": 0.88}, "one-hot", "worse, the same, worse"),
    "nothing found": ({}, "one-hot", "the same, the same, not settled"),
    "the same": ({"margins": SMALL}, "one-hot", "the same, the same, the same"),
    "too small to matter": ({"margins": SMALL, "accuracy": 0.903}, "one-hot", "better by little, the same, the same"),
    "better and worse": ({"accuracy": 0.93, "eaurc": 0.008}, "depends", "better, the same, worse"),
    "temperature without effect": ({"base": {"nll": 0.3, "nll_after_temperature": 0.3}}, "one-hot", ""),
    "temperature that harms": ({"base": {"nll": 0.2, "nll_after_temperature": 0.3}}, "one-hot", ""),
    "over-confident": ({"base": {"signed_gap": 0.1}}, "one-hot", ""),
    "under-confident": ({"base": {"signed_gap": -0.1}}, "one-hot", ""),
    "over-confident against annotators": ({"base": {"signed_gap": 0.1, "agreement": 0.6}}, "one-hot", ""),
    "under-confident against annotators": ({"base": {"signed_gap": -0.1, "agreement": 0.6}}, "one-hot", ""),
    "models from elsewhere, better": ({"elsewhere": True, "accuracy": 0.95}, "new", ""),
    "models from elsewhere, both": ({"elsewhere": True, "accuracy": 0.95, "eaurc": 0.01}, "depends", ""),
    "models from elsewhere, worse": ({"elsewhere": True, "accuracy": 0.85}, "old", ""),
}  # fmt: skip
"""The evidence, the choice that follows, and the findings on accuracy, log loss and ranking, where they matter."""


@pytest.mark.parametrize("case", CASES)
def test_the_choice_follows_from_the_findings(case):
    evidence, choice, findings = CASES[case]
    said, found = judged(**evidence)
    assert said["choice"] == choice
    if findings:
        assert ", ".join(found[name] for name in analyse.HEADLINE) == findings


def test_the_sentences_of_each_case_are_those_of_the_snapshot():
    parts = ["\n".join([f"# {case}", *judged(**evidence)[0]["sentences"]]) for case, (evidence, *_) in CASES.items()]
    assert_snapshot("\n\n".join(parts), "verdict/sentences.txt")


def test_there_is_no_verdict_where_no_arm_beats_the_largest_class():
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    assert verdict(results, analyse.differences(results), majority=0.5)["choice"] != "none"
    said = verdict(results, analyse.differences(results), majority=0.95)
    assert said["choice"] == "none"
    assert "95.0 % of the test rows; one-hot 90.0 % and smoothed 90.0 %" in said["sentences"][0]


@pytest.mark.parametrize(("missed", "choice"), [(0, "none"), (1, "smoothed")])
def test_there_is_nothing_to_decide_where_every_model_is_always_right(missed, choice):
    results = [
        result(Arm("one-hot", 0.0, "others")),
        result(Arm("smoothed", 0.1, "others"), nll_after_temperature=0.2),
    ]
    for arm in results:
        right = np.ones((5, 400))
        right[0, :missed] = 0
        arm.metrics["accuracy"] = analyse.Metric(right, right.mean(1))
    said = verdict(results, analyse.differences(results))
    assert said["choice"] == choice
    assert said["sentences"][0].startswith("There is nothing to decide: every model of both arms") == (not missed)


@pytest.mark.parametrize(
    ("base", "kept"),
    [
        (Arm("one-hot", 0.0, "others"), "one-hot labels, which are the simplest"),
        (Arm("all-0.1", 0.1, "all"), "all-0.1"),
        (ComparedArm("plain"), "the plain models"),
    ],
)
def test_what_is_kept_where_there_is_nothing_to_decide(base, kept):
    results = [result(base), result(Arm("smoothed", 0.1, "others"))]
    for arm in results:
        arm.metrics["accuracy"] = analyse.Metric(np.ones((5, 400)), np.ones(5))
    _, then = nothing_to_decide(results, 0.9)
    assert f"If nothing does, keep {kept}; a harder test set" in then


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
            assert row["finding"] in ("the same", "not settled")
    said = verdict(results, analyse.differences(results, Margins.parse("accuracy=0,nll=0,eaurc=0")))["sentences"]
    assert any(" points, but p = " in sentence and "after adjusting for all tests" in sentence for sentence in said)


def several(**means):
    softened = (Arm("all-0.1", 0.1, "all"), Arm("all-0.2", 0.2, "all"))
    return [result(Arm("one-hot", 0.0, "others")), *(result(arm, **means.get(arm.name, {})) for arm in softened)]


def test_of_several_better_arms_the_validation_rows_favourite_speaks_and_the_others_are_named():
    results = several(**{name: {"nll_after_temperature": 0.25} for name in ("all-0.1", "all-0.2")})
    found = analyse.differences(results)
    said = verdict(results, found, order=["all-0.2", "all-0.1", "one-hot"])
    assert said["choice"] == "all-0.2"
    assert said["sentences"][0].startswith("Smooth the labels with ε = 0.2 over all 10 classes")
    assert said["sentences"][-2:] == [
        "Against one-hot, all-0.1 makes log loss better.",
        "Between all-0.2 and all-0.1 the validation rows chose, not a test.",
    ]


@pytest.mark.parametrize(
    ("means", "choice", "told"),
    [
        ({"accuracy": 0.95, "eaurc": 0.01}, "depends", {"one-hot", "smoothed"}),
        ({"accuracy": 0.95}, "smoothed", {"smoothed"}),
        ({"eaurc": 0.01}, "one-hot", {"one-hot"}),
    ],
)
def test_the_confidence_of_every_model_that_may_be_taken_is_told(means, choice, told):
    said, _ = judged(nll=0.5, base={"nll": 0.5}, **means)
    assert said["choice"] == choice
    assert set(re.findall(r"logits of the (\S+) model", " ".join(said["sentences"][1:]))) == told


def test_between_arms_of_which_none_is_better_nothing_was_chosen():
    results = several(**{"all-0.1": {}, "all-0.2": {}})
    said = verdict(results, analyse.differences(results), order=["all-0.1", "all-0.2", "one-hot"])
    assert said["choice"] == "one-hot"
    assert "chose, not a test" not in " ".join(said["sentences"])


def test_an_arm_that_is_only_better_comes_before_one_that_is_better_and_worse():
    means = {"all-0.1": {"accuracy": 0.95, "eaurc": 0.01}, "all-0.2": {"accuracy": 0.93}}
    results = several(**means)
    said = verdict(results, analyse.differences(results), order=["all-0.1", "all-0.2", "one-hot"])
    assert said["choice"] == "all-0.2"
    assert said["sentences"][-1] == (
        "Against one-hot, all-0.1 makes accuracy better and ranking of mistakes (E-AURC × 1000) worse."
    )


def test_an_arm_without_a_difference_comes_before_one_that_is_worse():
    results = several(**{"all-0.1": {"accuracy": 0.85}})
    said = verdict(results, analyse.differences(results), order=["all-0.1", "all-0.2", "one-hot"])
    assert said["choice"] == "one-hot"
    assert said["sentences"][0].startswith("Keep one-hot labels: smoothing with ε = 0.2 over all 10 classes")
    assert said["sentences"][-1] == "Against one-hot, all-0.1 makes accuracy worse."


def test_of_arms_that_are_all_worse_no_test_is_missing():
    results = several(**{name: {"accuracy": 0.85} for name in ("all-0.1", "all-0.2")})
    said = verdict(results, analyse.differences(results), order=["all-0.2", "all-0.1", "one-hot"])
    assert said["choice"] == "one-hot"
    assert "the validation rows chose" not in " ".join(said["sentences"])


def test_an_interval_that_holds_0_needs_no_p_value():
    said, _ = judged()
    assert "but p = " not in " ".join(said["sentences"])


def test_areas_below_one_thousandth_keep_their_zero():
    said, _ = judged(base={"eaurc": 0.0002}, eaurc=0.0009 + 0.002)
    assert "E-AURC × 1000 0.20 → 2.90 (" in said["sentences"][1]


def test_what_is_the_same_on_every_row_is_said_to_be():
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    results[1].metrics["accuracy"] = results[0].metrics["accuracy"]
    said = verdict(results, analyse.differences(results))
    assert "The accuracy is the same on every test row." in said["sentences"]


@pytest.mark.parametrize(("majority", "start"), [(1.0, "No verdict: "), (0.999, "There is nothing to decide: ")])
def test_always_right_is_no_better_than_the_largest_class_where_there_is_no_other(majority, start):
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    for each in results:
        each.metrics["accuracy"] = analyse.Metric(np.ones((5, 400)), np.ones(5))
    said = verdict(results, analyse.differences(results), majority=majority)
    assert said["choice"] == "none"
    assert said["sentences"][0].startswith(start)


def test_no_arm_of_several_is_better_than_the_largest_class():
    results = several()
    said = verdict(results, analyse.differences(results), majority=0.95)
    assert said["sentences"][0].startswith("No verdict: no model is reliably better than always answering")
    assert "(95.0 % of the test rows; one-hot 90.0 %, all-0.1 90.0 % and all-0.2 90.0 %)" in said["sentences"][0]


def test_one_arm_above_the_largest_class_is_enough():
    results = [result(Arm("one-hot", 0.0, "others"), accuracy=0.5), result(Arm("smoothed", 0.1, "others"))]
    assert verdict(results, analyse.differences(results), majority=0.6)["choice"] == "smoothed"


def test_a_temperature_that_changes_nothing_is_not_recommended():
    results = [result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))]
    for each in results:
        each.metrics["nll"] = each.metrics["nll_after_temperature"]
    told = " ".join(verdict(results, analyse.differences(results))["sentences"])
    assert "Dividing the logits of the one-hot model by 1.50 takes its log loss from .300 to .300, which is no" in told
    assert "no difference to rely on (95 % interval of the difference .000 to .000)" in told


@pytest.mark.parametrize(("arms", "tests"), [(1, 3), (2, 6)])
def test_what_would_settle_it_counts_every_headline_test(arms, tests):
    results = several()[: arms + 1]
    for each in results:  # metrics that are not tested do not count
        each.metrics |= dict.fromkeys(("brier", "ece"), each.metrics["nll"])
    found = analyse.differences(results, Margins.parse("accuracy=0,nll=0,eaurc=0"))
    said = " ".join(verdict(results, found, order=["all-0.1", "all-0.2"])["sentences"])
    do, *sees = settle(results[0], results[1], tests)
    assert f". {do} Whether " in said
    assert " ".join(sees) in said
    assert settle(results[0], results[1], tests) != settle(results[0], results[1], tests + 1)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_options_are_named_where_the_arms_were_trained_here(elsewhere):
    arms = (
        [ComparedArm("old"), ComparedArm("new")] if elsewhere else [Arm("one-hot", 0.0, "others"), Arm("s", 0.1, "all")]
    )
    results = [result(arm, accuracy=0.5) for arm in arms]
    first, then = nothing_to_decide(results, 0.9)
    assert first.startswith("No verdict: neither model is reliably better")
    assert ("(--epochs, --learning-rate)" in then) != elsewhere


@pytest.mark.parametrize("cross_fitted", [False, True])
def test_a_temperature_at_the_end_of_its_range_names_the_rows_it_was_fitted_to(cross_fitted):
    found = result(Arm("one-hot", 0.0, "others"))
    found.temperatures, found.cross_fitted = [Temperature(100.0, True)] * 5, cross_fitted
    (said,) = temperature(found, advised=False)
    assert f"on the {'test' if cross_fitted else 'validation'} rows of at least one seed" in said


def test_a_model_that_is_always_right_has_no_best_temperature_and_is_not_called_useless():
    found = result(ComparedArm("smoothed"), accuracy=1.0)
    found.temperatures, found.cross_fitted = [Temperature(0.001, True)], True
    found.metrics["accuracy"] = analyse.Metric(np.ones((1, 400)), np.ones(1))
    said = " ".join(temperature(found, advised=True))
    assert "where every row is right, each smaller one fits better" in said
    assert "useful" not in said
    assert "As trained, that model is" in said


@pytest.mark.parametrize(("accuracy", "majority", "more", "less"), [
    (0.9, 0.95, "train longer", "more test rows"),
    (0.9, 0.8999, "use more test rows, for these are too few to tell, train longer", "one class"),
    (0.9, 1.0, "All test rows are of one class: use test rows of every class.", "train longer"),
])  # fmt: skip
def test_the_way_out_of_no_verdict_is_that_of_its_cause(accuracy, majority, more, less):
    results = [result(ComparedArm("old"), accuracy=accuracy), result(ComparedArm("new"), accuracy=accuracy)]
    _, then = nothing_to_decide(results, majority)
    assert more in then
    assert less not in then


@pytest.mark.parametrize(("distinct", "told"), [(49, 1), (50, 0)])
def test_few_test_rows_are_noted_below_fifty(distinct, told):
    assert len(notes(distinct, [])) == told


@pytest.mark.parametrize(("grouped", "rows"), [(False, "distinct test rows"), (True, "groups of test rows")])
def test_few_test_rows_are_told_as_what_counts_once(grouped, rows):
    assert notes(6, [], grouped=grouped)[0]["text"].startswith(f"There are only 6 {rows}: ")


@pytest.mark.parametrize("finding", ["the same", "better by little"])
def test_no_margin_is_a_margin_of_zero(finding):
    row = {"metric": "accuracy", "arm": "smoothed", "against": "one-hot", "mean": 0.0, "low": -0.01, "high": 0.01}
    said = [small_or_open({**row, "finding": finding, "margin": margin}, (0.0, 0.0)) for margin in (None, 0.0)]
    assert said[0] == said[1]
    assert re.search(r" 0(\.0)? points", said[0])
