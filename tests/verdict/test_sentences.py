"""The verdict's choice and its sentences, for whatever the evidence is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sfumato.evaluate import Margins, Temperature
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.lab.arms import Arm
from sfumato.verdict import analyse
from sfumato.verdict.arms import ComparedArm
from sfumato.verdict.decision import AIMS, STATES, Decision
from sfumato.verdict.sentences import notes, nothing_to_decide, verdict
from sfumato.verdict.settling import SeedCost, settle
from sfumato.verdict.wording import divisor, finding, temperature
from tests.snapshots import assert_snapshot
from tests.verdict.results import against, result


def judged(margins=None, base=None, *, elsewhere=False, aim=None, cost=None, **means):
    trained = [Arm("one-hot", 0.0, "others"), Arm("smoothed", 0.1, "others")]
    names = [ComparedArm("old"), ComparedArm("new")] if elsewhere else trained
    results = [result(names[0], **(base or {})), result(names[1], **means)]
    first = AIMS[aim] if aim else None
    found = analyse.differences(results, Margins.parse(margins), first=first)
    return verdict(results, found, first=first, cost=cost), {d["metric"]: d["finding"] for d in found}


SMALL = "accuracy=1,nll=5%,eaurc=0.01"
CASES: dict[str, tuple[dict, str, str]] = {
    "better": ({"nll_after_temperature": 0.25, "nll": 0.5, "signed_gap": -0.1, "temperature": 0.6, "margins": SMALL},
               "smooth", "equivalent, better, equivalent"),
    "better without a divisor": ({"accuracy": 0.92, "nll": 0.3, "margins": SMALL}, "smooth",
                                 "better, equivalent, equivalent"),
    "better, and perhaps worse": ({"accuracy": 0.92}, "undecided", "better, equivalent, inconclusive"),
    "better, with few mistakes": ({"accuracy": 0.95, "base": {"accuracy": 0.93}}, "smooth",
                                  "better, equivalent, not tested"),
    "worse": ({"eaurc": 0.008, "accuracy": 0.88}, "keep-one-hot", "worse, equivalent, worse"),
    "nothing found": ({}, "undecided", "equivalent, equivalent, inconclusive"),
    "nothing found, with a cost": ({"cost": SeedCost(90)}, "undecided", ""),
    "equivalent": ({"margins": SMALL}, "keep-one-hot", "equivalent, equivalent, equivalent"),
    "too small to matter": ({"margins": SMALL, "accuracy": 0.903}, "keep-one-hot",
                            "slightly better, equivalent, equivalent"),
    "better and worse": ({"accuracy": 0.92, "eaurc": 0.008}, "undecided", "better, equivalent, worse"),
    "better and worse, for accuracy": ({"accuracy": 0.92, "eaurc": 0.008, "aim": "accuracy"}, "smooth",
                                       "better, equivalent, worse"),
    "better and worse, for ranking": ({"accuracy": 0.92, "eaurc": 0.008, "aim": "ranking"}, "keep-one-hot",
                                      "better, equivalent, worse"),
    "better and worse, for probabilities": ({"accuracy": 0.92, "eaurc": 0.008, "aim": "probabilities"},
                                            "keep-one-hot", ""),
    "nothing found, for ranking": ({"aim": "ranking", "margins": "eaurc=0.0005"}, "undecided",
                                   "equivalent, equivalent, inconclusive"),
    "perhaps better": ({"accuracy": 0.9007, "margins": "accuracy=0.1,nll=5%,eaurc=0.01"}, "undecided",
                       "not worse, equivalent, equivalent"),
    "not tested, for ranking": ({"accuracy": 0.95, "base": {"accuracy": 0.93}, "aim": "ranking"}, "undecided", ""),
    "temperature without effect": ({"base": {"nll": 0.3, "nll_after_temperature": 0.3}, "margins": SMALL},
                                   "keep-one-hot", ""),
    "temperature that harms": ({"base": {"nll": 0.2, "nll_after_temperature": 0.3}, "margins": SMALL},
                               "keep-one-hot", ""),
    "over-confident": ({"base": {"signed_gap": 0.1}, "margins": SMALL}, "keep-one-hot", ""),
    "under-confident": ({"base": {"signed_gap": -0.1}, "margins": SMALL}, "keep-one-hot", ""),
    "over-confident against annotators": ({"base": {"signed_gap": 0.1, "agreement": 0.6}, "margins": SMALL},
                                          "keep-one-hot", ""),
    "models from elsewhere, better": ({"elsewhere": True, "accuracy": 0.95, "margins": SMALL}, "switch", ""),
    "models from elsewhere, both": ({"elsewhere": True, "accuracy": 0.91, "eaurc": 0.01}, "undecided", ""),
    "models from elsewhere, better, perhaps worse": ({"elsewhere": True, "accuracy": 0.91}, "undecided", ""),
    "models from elsewhere, worse": ({"elsewhere": True, "accuracy": 0.85}, "keep", ""),
    "models from elsewhere, equivalent": ({"elsewhere": True, "margins": SMALL}, "keep", ""),
    "models from elsewhere, nothing found": ({"elsewhere": True}, "undecided", ""),
}  # fmt: skip
"""The evidence, the state that follows, and the findings on accuracy, log loss and ranking, where they matter."""


@pytest.mark.parametrize("case", CASES)
def test_the_state_follows_from_the_findings(case):
    evidence, state, findings = CASES[case]
    said, found = judged(**evidence)
    assert said["state"] == state
    taken = {"smooth": "smoothed", "switch": "new", "keep-one-hot": "one-hot", "keep": "old"}
    assert said["choice"] == taken.get(state, "depends" if {"better", "worse"} <= set(found.values()) else "none")
    assert said["sentences"][0].startswith("Take the new models: " if state == "switch" else STATES[state])
    if findings:
        assert ", ".join(found[name] for name in HEADLINE) == findings


TABLE = {  # of accuracy, log loss and ranking; then what is chosen, with no aim and for accuracy
    ("better", "better", "better"): ("other", "other"),
    ("better", "equivalent", "not tested"): ("other", "other"),
    ("better", "slightly worse", "not worse"): ("other", "other"),
    ("better", "worse", "equivalent"): ("undecided", "other"),
    ("better", "inconclusive", "equivalent"): ("undecided", "other"),
    ("better", "not better", "equivalent"): ("undecided", "other"),
    ("slightly better", "equivalent", "slightly better"): ("base", "base"),
    ("slightly better", "better", "equivalent"): ("other", "base"),
    ("equivalent", "not better", "slightly worse"): ("base", "base"),
    ("equivalent", "worse", "inconclusive"): ("base", "base"),
    ("not worse", "equivalent", "equivalent"): ("undecided", "undecided"),
    ("inconclusive", "better", "better"): ("undecided", "undecided"),
    ("inconclusive", "inconclusive", "inconclusive"): ("undecided", "undecided"),
    ("worse", "worse", "worse"): ("base", "base"),
    ("not tested", "equivalent", "not tested"): ("base", "undecided"),
}


@pytest.mark.parametrize("findings", TABLE)
def test_every_state_by_the_findings_that_lead_to_it(findings):
    base, other = result(Arm("one-hot", 0.0, "others")), result(Arm("smoothed", 0.1, "others"))
    rows = {
        name: {"metric": name, "finding": each, "low": -0.01, "high": 0.01, "mean": 0.0, "margin": 0.005}
        for name, each in zip(HEADLINE, findings, strict=True)
    }
    found = [Decision(base, other, rows, paired=True, first=first) for first in (None, "accuracy")]
    assert tuple(each.verdict for each in found) == TABLE[findings]
    states = {"other": "smooth", "base": "keep-one-hot", "undecided": "undecided"}
    assert [each.state for each in found] == [states[each] for each in TABLE[findings]]
    elsewhere = Decision(result(ComparedArm("old")), result(ComparedArm("new")), rows, paired=True)
    assert elsewhere.state == {"other": "switch", "base": "keep"}.get(TABLE[findings][0], "undecided")


def test_the_sentences_of_each_case_are_those_of_the_snapshot():
    parts = ["\n".join([f"# {case}", *judged(**evidence)[0]["sentences"]]) for case, (evidence, *_) in CASES.items()]
    assert_snapshot("\n\n".join(parts), "verdict/sentences.txt")


def pair(**means):
    return [result(Arm("one-hot", 0.0, "others"), **means), result(Arm("smoothed", 0.1, "others"), **means)]


def always_right(results, missed=0):
    right = np.ones((5, 400))
    right[0, :missed] = 0
    for arm in results:
        arm.metrics["accuracy"] = analyse.Metric(right, right.mean(1, keepdims=True))
    return results


@pytest.mark.parametrize(
    ("baseline", "nothing"),
    [  # accuracy of the most frequent class and log loss of the class shares; the models have 0.9 and 0.3
        ((0.5, 0.7), False),
        ((0.95, 0.2), True),
        ((0.95, 0.7), False),
        ((0.5, 0.2), False),
    ],
)
def test_nothing_is_decided_where_no_arm_beats_the_class_shares_in_accuracy_or_log_loss(baseline, nothing):
    results = against(pair(), *baseline)
    said = verdict(results, analyse.differences(results))
    first = said["sentences"][0]
    assert (said["state"], said["choice"]) == ("undecided", "none")
    assert first.startswith("Undecided: neither model is reliably better than always answering") == nothing
    assert ("(95.0 % of the test rows; one-hot 90.0 % and smoothed 90.0 %)" in first) == nothing


def test_one_arm_above_the_largest_class_is_enough():
    results = [result(Arm("one-hot", 0.0, "others"), accuracy=0.5), result(Arm("smoothed", 0.1, "others"))]
    found = analyse.differences(results, Margins.parse(SMALL))
    assert verdict(against(results, 0.6, 0.0), found)["choice"] == "smoothed"


def test_no_arm_of_several_is_better_than_the_largest_class():
    first, _ = nothing_to_decide(against(several(), 0.95, 0.0))
    assert first.startswith("Undecided: no model is reliably better than always answering")
    assert "(95.0 % of the test rows; one-hot 90.0 %, all-0.1 90.0 % and all-0.2 90.0 %)" in first


@pytest.mark.parametrize(("missed", "choice"), [(0, "none"), (1, "smoothed")])
def test_there_is_nothing_to_decide_where_every_model_is_always_right(missed, choice):
    results = always_right(pair(), missed)
    results[1].metrics["nll_after_temperature"] = result(
        Arm("smoothed", 0.1, "others"), nll_after_temperature=0.2
    ).metrics["nll_after_temperature"]
    said = verdict(results, analyse.differences(results))
    assert said["choice"] == choice
    assert said["sentences"][0].startswith("Undecided: every model of both arms is right on all") == (not missed)


@pytest.mark.parametrize(
    ("base", "kept"),
    [
        (Arm("one-hot", 0.0, "others"), "one-hot labels, which are the simplest"),
        (Arm("all-0.1", 0.1, "all"), "all-0.1"),
        (ComparedArm("plain"), "the plain models"),
    ],
)
def test_what_is_kept_where_there_is_nothing_to_decide(base, kept):
    results = always_right([result(base), result(Arm("smoothed", 0.1, "others"))])
    _, then = nothing_to_decide(results)
    assert f"If there is nothing, keep {kept}; a harder test set" in then


@pytest.mark.parametrize(("majority", "start"), [(1.0, "neither model is reliably better"), (0.999, "every model of")])
def test_always_right_is_no_better_than_the_largest_class_where_there_is_no_other(majority, start):
    results = against(always_right(pair()), majority, 0.0)
    said = verdict(results, analyse.differences(results))
    assert said["choice"] == "none"
    assert said["sentences"][0].startswith(f"Undecided: {start}")


@pytest.mark.parametrize(("majority", "more", "less"), [
    (0.95, "train longer", "more test rows"),
    (0.8999, "use more test rows, for these are too few to tell, train longer", "one class"),
    (1.0, "All test rows are of one class: use test rows of every class.", "train longer"),
])  # fmt: skip
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_way_out_is_that_of_its_cause_and_names_options_of_arms_trained_here(majority, more, less, elsewhere):
    results = [result(ComparedArm("old")), result(ComparedArm("new"))] if elsewhere else pair()
    _, then = nothing_to_decide(against(results, majority, 0.0))
    assert more in then
    assert less not in then
    assert ("(--epochs, --learning-rate)" in then) == (not elsewhere and majority < 1)


def test_a_headline_finding_needs_its_adjusted_p_value():
    results = pair()
    rng = np.random.default_rng(1)
    for metric in HEADLINE:
        base = results[0].metrics[metric].values
        noise = rng.normal(size=base.shape) * 0.01

        def shifted(shift, base=base, noise=noise):
            values = base + noise - noise.mean() + shift
            return analyse.Metric(values, values.mean(1, keepdims=True))

        found = [
            s
            for s in np.linspace(0, 0.005, 501)
            if 0.02 < shifted(s).minus(results[0].metrics[metric]).estimate().p < 0.04
        ]
        results[1].metrics[metric] = shifted(found[0])  # alone it would be a finding; three times its p is none
    for row in analyse.differences(results):
        if row["metric"] in HEADLINE:
            alone = results[1].metrics[row["metric"]].minus(results[0].metrics[row["metric"]]).estimate()
            assert alone.p < 0.05 < row["p_adjusted"]
            assert row["finding"] in ("equivalent", "not better", "not worse", "inconclusive")
    said = verdict(results, analyse.differences(results, Margins.parse("accuracy=0,nll=0,eaurc=0")))["sentences"]
    assert sum(", but p = " in sentence and "after adjusting for all tests" in sentence for sentence in said) == 3


def several(**means):
    softened = (Arm("all-0.1", 0.1, "all"), Arm("all-0.2", 0.2, "all"))
    return [result(Arm("one-hot", 0.0, "others")), *(result(arm, **means.get(arm.name, {})) for arm in softened)]


BETTER, WORSE, MIXED = {"accuracy": 0.92}, {"accuracy": 0.85}, {"accuracy": 0.92, "eaurc": 0.016}
THREE = [  # two softened arms, the favourite of the validation rows, the choice, how the verdict starts and ends
    (BETTER, BETTER, "all-0.2", "all-0.2", "Smooth: use label smoothing (label_smoothing=0.2", [
        "Against one-hot: all-0.1 makes accuracy better.",
        "The choice between all-0.2 and all-0.1 was made on the validation rows, not by a test."]),
    (MIXED, BETTER, "all-0.1", "all-0.2", "Smooth: use label smoothing (label_smoothing=0.2", [
        "Against one-hot: all-0.1 makes accuracy better and the ranking of mistakes worse."]),
    (WORSE, {}, "all-0.1", "one-hot", "Keep one-hot: smoothing (label_smoothing=0.2", [
        "Against one-hot: all-0.1 makes accuracy worse."]),
    (WORSE, WORSE, "all-0.2", "one-hot", "Keep one-hot: smoothing (label_smoothing=0.2", [
        "Against one-hot: all-0.1 makes accuracy worse."]),
    ({}, {}, "all-0.1", "one-hot", "Keep one-hot: smoothing (label_smoothing=0.1", [
        "Against one-hot: all-0.2 makes no difference to rely on."]),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "favourite", "choice", "start", "end"), THREE)
def test_of_several_arms_the_best_by_the_findings_and_then_by_the_validation_rows_is_described(
    first, second, favourite, choice, start, end
):
    results = several(**{"all-0.1": first, "all-0.2": second})
    order = sorted(("all-0.1", "all-0.2"), key=lambda name: name != favourite)
    said = verdict(results, analyse.differences(results, Margins.parse(SMALL)), order=[*order, "one-hot"])
    assert said["choice"] == choice
    assert said["sentences"][0].startswith(start)
    assert said["sentences"][-len(end) :] == end
    assert ("was made on the validation rows" in " ".join(said["sentences"])) == (len(end) == 2)


@pytest.mark.parametrize(
    ("means", "choice", "told"),
    [
        (MIXED, "depends", {"one-hot", "smoothed"}),
        (BETTER, "smoothed", {"smoothed"}),
        ({"eaurc": 0.016}, "one-hot", {"one-hot"}),
    ],
)
def test_the_temperature_of_every_model_that_may_be_taken_is_described(means, choice, told):
    said, _ = judged(SMALL, nll=0.5, base={"nll": 0.5}, **means)
    assert said["choice"] == choice
    assert set(re.findall(r"dividing the (\S+) logits", " ".join(said["sentences"][1:]).lower())) == told


def test_an_interval_that_holds_0_needs_no_p_value():
    said, _ = judged()
    assert "but p = " not in " ".join(said["sentences"])


def test_areas_below_one_thousandth_keep_their_zero():
    said, _ = judged(base={"eaurc": 0.0002}, eaurc=0.0009 + 0.002)
    assert "Ranking of mistakes (E-AURC × 1000): worse (0.20 → 2.90;" in said["sentences"][1]


def test_what_is_equal_on_every_row_is_called_so():
    results = pair()
    results[1].metrics["accuracy"] = results[0].metrics["accuracy"]
    assert "Accuracy: equal on every test row." in verdict(results, analyse.differences(results))["sentences"]


def test_a_temperature_that_changes_nothing_is_not_described():
    results = pair()
    for each in results:
        each.metrics["nll"] = each.metrics["nll_after_temperature"]
    assert "ividing" not in " ".join(verdict(results, analyse.differences(results))["sentences"])


@pytest.mark.parametrize(("aim", "tests"), [(None, 3), ("ranking", 1)])
def test_what_would_settle_it_counts_every_headline_test(aim, tests):
    results = pair()
    for each in results:  # metrics that are not tested do not count
        each.metrics |= dict.fromkeys(("brier", "ece"), each.metrics["nll"])
    first = AIMS[aim] if aim else None
    margins = Margins.parse("eaurc=0.0005")
    found = analyse.differences(results, margins, first=first)
    said = verdict(results, found, first=first)["sentences"]
    decision = Decision.of(*results, found, paired=True, first=first)
    do, *sees = settle(decision, tests)
    assert do in said[1:3]
    assert set(sees) <= set(said)
    assert settle(decision, tests) != settle(decision, tests + 1)


def test_who_has_to_choose_now_hears_which_arm_risks_less():
    base, other = pair()
    rows = {
        "accuracy": {"finding": "inconclusive", "low": -0.012, "high": 0.002, "mean": -0.005, "margin": 0.005},
        "nll_after_temperature": {"finding": "equivalent", "low": -0.001, "high": 0.002, "mean": 0, "margin": 0.006},
        "eaurc": {"finding": "not tested", "low": -0.1, "high": 0.1, "mean": 0, "margin": 0.001},
    }
    decision = Decision(base, other, rows, paired=True)
    assert decision.risk(of_other=True) == (pytest.approx(2.4), "accuracy", 0.012)
    assert decision.risk(of_other=False) == (pytest.approx(0.4), "accuracy", 0.002)
    for_loss = Decision(base, other, rows, paired=True, first="nll_after_temperature")
    assert for_loss.risk(of_other=True) == (pytest.approx(1 / 3), "nll_after_temperature", 0.002)


@pytest.mark.parametrize("cross_fitted", [False, True])
@pytest.mark.parametrize(
    ("value", "others", "accuracy", "said"),
    [
        (100.0, True, 0.9, "on the {} rows of at least one model"),
        (100.0, False, 0.9, "on the {} rows of at least one model"),
        (0.001, False, 0.9, "on the {} rows of at least one model"),
        (100.0, False, 1.0, "on the {} rows of at least one model"),
        (0.001, False, 1.0, "where every row is right, a smaller one always fits better"),
    ],
)
def test_a_temperature_at_the_end_of_its_range_is_no_advice_and_names_its_rows(
    cross_fitted, value, others, accuracy, said
):
    found = result(ComparedArm("smoothed"), nll_after_temperature=0.1)
    found.temperatures = [Temperature(value, True), *[Temperature(2.0, others)] * 4]
    found.cross_fitted = cross_fitted
    found.metrics["accuracy"] = analyse.Metric(np.full((5, 400), accuracy), np.full((5, 1), accuracy))
    (told,) = temperature(found, advised=True)
    assert said.format("test" if cross_fitted else "validation") in told
    assert divisor(found) is None


@pytest.mark.parametrize(("distinct", "told"), [(49, 1), (50, 0)])
def test_few_test_rows_are_noted_below_fifty(distinct, told):
    assert len(notes(distinct, [])) == told


@pytest.mark.parametrize(("grouped", "rows"), [(False, "distinct test rows"), (True, "groups of test rows")])
def test_few_test_rows_are_told_as_what_counts_once(grouped, rows):
    assert notes(6, [], grouped=grouped)[0]["text"].startswith(f"There are only 6 {rows}: ")


@pytest.mark.parametrize("name", ["equivalent", "slightly better", "not worse"])
def test_no_margin_is_a_margin_of_zero(name):
    row = {"metric": "accuracy", "arm": "smoothed", "against": "one-hot", "mean": 0.0, "low": -0.01, "high": 0.01}
    both = [{**row, "finding": name, "p_adjusted": 1.0, "margin": margin} for margin in (None, 0.0)]
    said = [finding(*pair(), each) for each in both]
    assert said[0] == said[1]
    assert " 0 points" in said[0]
