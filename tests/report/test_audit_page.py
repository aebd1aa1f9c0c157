"""The letter and the page of an audit, from numbers written by hand: what is said, signed, and drawn where."""

from __future__ import annotations

import copy
import json
import math
import re

import numpy as np
import pytest

from sfumato.report.audit_page import (
    LOOK_FIRST,
    _gaps,
    _reliability,
    _risk_coverage,
    as_letter,
    differences_table,
    numbers_table,
    render_audit,
    seeds_table,
    state_of,
)
from tests.report.run_folders import text_of
from tests.snapshots import assert_snapshot

TOLD = {
    "schema": "sfumato.audit/1",
    "rows": 15,
    "classes": 10,
    "metrics": {
        "accuracy": {"value": 0.6, "low": 0.5, "high": 0.7},
        "nll": {"value": 1.25, "low": 1.0, "high": 1.5},
        "nll_after_temperature": {"value": 0.75, "low": 0.5, "high": 1.0},
        "signed_gap": {"value": 0.11, "low": 0.08, "high": 0.14},
        "signed_gap_after_temperature": {"value": -0.01, "low": -0.04, "high": 0.02},
        "aurc": {"value": 0.15, "low": 0.1, "high": 0.2},
        "logit_gap": {"value": 3.0, "low": 2.5, "high": 3.5},
        "nc1": {"value": 0.25, "low": None, "high": None},
    },
    "inferred_smoothing": {"eps_all": 0.1, "eps_others": 0.09, "low": 0.08, "high": 0.12, "explanations": []},
    "smoothing_evidence": {"answer": "strength", "reason": "The logits vary little.", "eps_of_gap": 0.1},
    "summary": ["The model is surer than it should be.", "Divide its logits by 2.", "Below stand 2 findings."],
    "findings": [
        {"code": "over-confident", "text": "It is right less often than it says.", "advice": "Divide the logits by 2."},
        {"code": "ties", "text": "Rows are tied.", "advice": "Save them in float32."},
    ],
    "notes": [{"code": "copies", "text": "Two rows are equal."}],
}


def bins(low_bin, top_bin):
    return [None] * 3 + [low_bin] + [None] * 10 + [top_bin]


FIGURES = {
    "reliability": {
        "confidence": bins(0.22, 0.95), "accuracy": bins(0.3, 0.9), "low": bins(0.1, 0.85), "high": bins(0.5, 0.95),
        "count": [0] * 3 + [5] + [0] * 10 + [10],
    },
    "reliability_after": {
        "confidence": bins(None, 0.92), "accuracy": bins(None, 0.91), "low": bins(None, 0.8), "high": bins(None, 0.95),
        "count": [0] * 14 + [15],
    },
    "risk": {"coverage": [0.25, 0.5, 0.75, 1.0], "risk": [0.0, 0.0, 0.2, 0.4]},
    "gap": {"edges": [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0], "count": [1, 4, 2, 2, 1]},
}  # fmt: skip


def told(**changes):
    return copy.deepcopy(TOLD) | changes


def test_long_findings_are_wrapped_under_their_own_words():
    long = [{"code": "long", "text": "word " * 30, "advice": "deed " * 30}]
    lines = as_letter(told(findings=long), ["15 rows."], width=60).splitlines()
    says = [line for line in lines if "word" in line]
    does = [line for line in lines if "deed" in line]
    assert {line[:8] for line in says[1:]} == {"   word "}
    assert {line[:10] for line in does[1:]} == {"     deed "}
    assert max(map(len, says + does)) <= 60


def test_a_number_stays_with_its_unit_at_the_end_of_a_line_and_the_spaces_are_plain():
    says = [{"code": "long", "text": "word " * 9 + "9.9 % and T = 2", "advice": "Act."}]
    text = as_letter(told(findings=says), ["15 rows."], width=52)  # the 9.9 would fit on the first line, the % not
    assert "   9.9 % and T = 2" in text.splitlines()
    assert "\N{NO-BREAK SPACE}" not in text


def test_options_and_quotes_stand_in_the_letter_as_they_are_typed():
    asked = 'It\'s "a" & <b>; give --rows train.'
    assert asked in as_letter(told(notes=[{"code": "asked", "text": asked}]), [])


def test_a_long_name_is_not_broken():
    path = "/".join(["folder"] * 12)
    assert path in as_letter(told(), [f"{path} has 15 rows."], width=40)


def test_numbers_stand_with_their_intervals_and_a_dash_where_a_temperature_changes_nothing():
    table = numbers_table(told())
    assert table.heads == ("as it is", "95 % interval", "with T", "95 % interval")
    rows = {row.label: [cell.text for cell in row.cells] for row in table.rows}
    assert rows["accuracy"] == ["60.0 %", "50.0 to 70.0 %", "–", ""]
    assert rows["log loss (NLL), nats"] == ["1.250", "1.000 to 1.500", "0.750", "0.500 to 1.000"]
    assert rows["spread within the classes (NC1)"] == ["0.250", "", "–", ""]
    assert table.rows[0].cells[0].value == 0.6


def test_without_a_temperature_there_are_two_columns():
    metrics = {name: entry for name, entry in TOLD["metrics"].items() if "after" not in name}
    table = numbers_table(told(metrics=metrics))
    assert table.heads == ("as it is", "95 % interval")
    assert {len(row.cells) for row in table.rows} == {2}


def test_a_metric_known_only_with_a_temperature_has_its_row():
    metrics = {"nll_after_temperature": TOLD["metrics"]["nll_after_temperature"]}
    (row,) = numbers_table(told(metrics=metrics)).rows
    assert [cell.text for cell in row.cells] == ["–", "", "0.750", "0.500 to 1.000"]


def test_differences_have_signs_and_those_of_shares_are_points():
    differences = {
        "accuracy": {"value": -0.031, "low": -0.06, "high": 0.004},
        "nll": {"value": 0.125, "low": 0.0, "high": 0.25},
        "nll_after_temperature": {"value": -0.125, "low": -0.25, "high": 0.0},
        "signed_gap": {"value": 0.02, "low": -0.01, "high": 0.05},
        "nc1": {"value": None, "low": None, "high": None},
    }
    table = differences_table(told(differences=differences))
    rows = {row.label: [cell.text for cell in row.cells[:2]] for row in table.rows}
    assert rows["accuracy, points"] == ["−3.1", "−6.0 to +0.4"]
    assert rows["log loss (NLL), nats"] == ["+0.125", "0.000 to +0.250"]
    assert rows["log loss (NLL), nats with T"] == ["−0.125", "−0.250 to 0.000"]
    assert rows["confidence − accuracy"] == ["+0.020", "−0.010 to +0.050"]
    assert rows["spread within the classes (NC1)"] == ["–", ""]
    assert "this − other" in as_letter(told(differences=differences), [])
    assert "this − other" not in as_letter(told(), [])


def test_the_figures_have_the_columns_of_the_audit():
    curves = _reliability(FIGURES, soft=False).numbers["curves"]
    assert [(curve.title, curve.scaled) for curve in curves] == [("this model", False), ("this model", True)]
    assert curves[0].rows.tolist() == FIGURES["reliability"]["count"]
    for name in ("confidence", "accuracy", "low", "high"):
        np.testing.assert_array_equal(getattr(curves[0], name), np.array(FIGURES["reliability"][name], float))
    without = {name: data for name, data in FIGURES.items() if name != "reliability_after"}
    assert len(_reliability(without, soft=False).numbers["curves"]) == 1
    risk = _risk_coverage(FIGURES, soft=False).numbers
    assert [risk["curves"][0].coverage.tolist(), risk["curves"][0].risk.tolist()] == [*FIGURES["risk"].values()]
    coverage, best = risk["best"]  # the 60 % that are right come first
    assert (best[59], best[79], best[-1]) == pytest.approx((0.0, 0.2 / 0.8, 0.4))
    assert coverage.tolist() == [i / 100 for i in range(1, 101)]


def test_the_closed_form_of_the_inferred_strength_is_drawn_into_the_gaps():
    numbers = _gaps(FIGURES["gap"], told()).numbers
    assert numbers["edges"].tolist() == FIGURES["gap"]["edges"]
    assert (numbers["shares"][0] * 10).tolist() == FIGURES["gap"]["count"]
    assert numbers["closed_form"] == [pytest.approx(math.log(1 + 10 * 0.9 / 0.1))]
    assert numbers["means"] == [3.0]
    assert _gaps(FIGURES["gap"], told(inferred_smoothing=None)).numbers["closed_form"] == [math.inf]


ARMS = [
    {
        "name": name,
        "seeds": [0, 1],
        "metrics": {
            "accuracy": {"mean": 0.5, "sd": sd, "values": [0.45, 0.55]},
            "nll_after_temperature": {"mean": 1.25, "sd": sd, "values": [1.0, 1.5]},
            "macro_f1": {"mean": 0.5, "sd": sd, "values": [0.5, 0.5]},
        },
        "findings": findings,
        "smoothing_answers": {"no sign": 1, "cannot tell": 1},
    }
    for name, sd, findings in (("one-hot", 0.0625, {"confidence": 2}), ("smoothed", None, {}))
]


def test_over_seeds_each_arm_has_its_mean_and_its_deviation():
    table = seeds_table(told(arms=ARMS))
    assert table.heads == ("one-hot", "±", "smoothed", "±")
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["50.0 %", "6.2", "50.0 %", ""],
        ["1.250", "0.062", "1.250", ""],
    ]


@pytest.mark.parametrize(
    ("codes", "high", "accuracy", "state"),
    [
        ((), 0.14, 0.6, "well-calibrated"),
        ((), 0.21, 0.6, "look-first"),  # too few rows to show a difference
        ((), 0.14, 1.0, "look-first"),  # no row is wrong
        (("over-confident", "ties"), 0.21, 0.6, "over-confident"),
        (("under-confident", "smoothed"), 0.14, 0.6, "under-confident"),
        (("smoothed",), 0.14, 0.6, "well-calibrated"),
        *(((code,), 0.14, 0.6, "look-first") for code in sorted(LOOK_FIRST)),
        (("over-confident", "infinite-loss"), 0.14, 0.6, "look-first"),
        (("over-confident", "poor-ranking"), 0.14, 0.6, "over-confident"),
    ],
)
def test_the_state_follows_from_the_findings_and_from_what_the_rows_could_show(codes, high, accuracy, state):
    metrics = {"accuracy": {"value": accuracy}, "signed_gap": {"value": 0.09, "low": 0.04, "high": high}}
    assert state_of(told(findings=[{"code": code} for code in codes], metrics=metrics)) == state


@pytest.mark.parametrize("divides", [True, False])
def test_code_is_shown_where_the_audit_says_to_divide_and_no_finding_is_said_twice(tmp_path, divides):
    metrics = TOLD["metrics"] | {"temperature": {"value": 1.5, "low": 1.2, "high": 1.8}}
    summary = ["The model is surer than it should be.", f"Divide its logits by {'1.50' if divides else '1.4'}."]
    audit = told(metrics=metrics, summary=summary)
    page = render_audit(audit, FIGURES, [], tmp_path / "audit.html").read_text("utf-8").partition("<script")[0]
    assert ("(logits / 1.50).softmax" in page) == divides
    assert '<p class="chip over-confident">Over-confident</p>' in page
    assert "It is right less often than it says." not in page
    assert "Rows are tied." in page


def test_a_page_without_gaps_has_three_figures_and_the_same_object_as_the_json(tmp_path):
    hostile = told(notes=[{"code": "hostile", "text": "</script><b>"}])
    path = render_audit(hostile, FIGURES | {"gap": None}, ["15 rows."], tmp_path / "new" / "audit.html")
    page = path.read_text("utf-8")
    assert page.count("<svg") == 3
    assert (
        json.loads(re.search(r'<script type="application/json" id="audit">(.*?)</script>', page, re.DOTALL)[1])
        == hostile
    )
    assert "<b>" not in page


def test_a_difference_has_its_finding_beside_it_where_it_has_one():
    ends = {"value": 0.031, "low": 0.01, "high": 0.05}
    differences = {
        "accuracy": {**ends, "finding": "slightly better", "margin": 0.05},
        "nll": {**ends, "finding": None},
    }
    table = differences_table(told(differences=differences))
    assert table.heads[-1] == "finding"
    assert [row.cells[-1].text for row in table.rows] == ["slightly better", "–"]


AGREEMENT = {"agreement": {"value": 0.6, "low": 0.5, "high": 0.7}}
VARIANTS = {
    "plain": {},
    "nothing": {"findings": [], "notes": [], "smoothing_evidence": {"answer": "no sign"}},
    "soft": {"metrics": TOLD["metrics"] | AGREEMENT, "smoothing_evidence": {
        "answer": "cannot tell", "reason": "So it is.", "eps_of_gap": None}},
    "more": {"arms": ARMS, "differences": {"accuracy": {"value": -0.031, "low": -0.06, "high": 0.004}},
        "smoothing_evidence": {"answer": "cannot tell", "reason": "So it is.", "eps_of_gap": 0.21}},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_the_words_of_the_letter_and_of_the_page(tmp_path, name):
    audit = told(**VARIANTS[name])
    page = render_audit(audit, FIGURES, ["15 rows."], tmp_path / "audit.html").read_text("utf-8")
    text = as_letter(audit, ["15 rows."])
    assert "\n\n\n" not in text
    assert_snapshot(
        "\n".join(line.rstrip() for line in [*text.splitlines(), "", "=" * 5, "", text_of(page)]),
        f"pages/audit-{name}.txt",
    )
