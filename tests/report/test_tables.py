import math

import pytest

from sfumato.report.arms import arm_title, places, torch_strength
from sfumato.report.tables import as_text, differences_table, four_columns, p_value


def estimate(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def arm(name, eps, closed, train, over="others", **metrics):
    return {
        "name": name,
        "eps": eps,
        "over": over,
        "closed_form_gap": closed,
        "train_gap": train,
        "metrics": {key: estimate(value) for key, value in metrics.items()},
    }


def summary(*more):
    return {
        "schema": "sfumato.compare/4",
        "run": "runs/digits",
        "data": {"name": "digits", "classes": 10, "train": 1077, "validation": 360, "test": 360},
        "paired": {"weights": ["a"], "batches": ["b"], "equal": True},
        "arms": [
            arm(
                "one-hot", 0.0, None, 15.25, accuracy=0.961, nll=0.172, nll_after_temperature=0.139, brier=0.0623,
                brier_after_temperature=0.0605, ece=0.021, ece_after_temperature=0.012, ece_noise_floor=0.009,
                signed_gap=0.019, signed_gap_after_temperature=-0.002, eaurc=0.0031, eaurc_after_temperature=0.003,
                temperature=1.62, logit_gap=11.7,
            ),
            arm(
                "smoothed", 0.1, math.log(81), 4.38, accuracy=0.967, nll=0.231, nll_after_temperature=0.128,
                brier=0.081, brier_after_temperature=0.0571, ece=0.118, ece_after_temperature=0.01,
                ece_noise_floor=0.02, signed_gap=-0.118, signed_gap_after_temperature=0.001, eaurc=0.0024,
                eaurc_after_temperature=0.0021, temperature=0.61, logit_gap=3.9,
            ),
            *more,
        ],
        "differences": [
            difference("accuracy", 0.006, -0.003, 0.015, 0.2, "equivalent"),
            difference("nll", 0.059, 0.05, 0.07, None, None),
            difference("nll_after_temperature", -0.011, -0.019, -0.004, 0.0004, "better"),
            difference("eaurc", 0.0007, 0.0001, 0.0013, 0.031, "worse"),
        ],
        "verdict": {"state": "smooth", "choice": "smoothed", "sentences": ["Smooth."]},
    }  # fmt: skip


def difference(metric, mean, low, high, p, finding):
    ends = {"mean": mean, "low": low, "high": high, "p_adjusted": p, "finding": finding}
    margin = {"accuracy": 0.005, "nll_after_temperature": 0.00278}.get(metric)
    margins = {} if metric == "eaurc" else {"margin": margin}
    return {"metric": metric, "arm": "smoothed", "against": "one-hot", **ends, **margins}


FOUR = """\
                              one-hot   one-hot, T=1.62   smoothed 0.1 (others)   smoothed, T=0.61
accuracy                       96.1 %            96.1 %                  96.7 %             96.7 %
log loss (NLL)                  0.172             0.139                   0.231              0.128
Brier score                     0.062             0.060                   0.081              0.057
calibration error (ECE)         0.021             0.012                   0.118              0.010
calibration error by chance     0.009                 –                   0.020                  –
confidence − accuracy          +0.019            −0.002                  −0.118             +0.001
ranking of mistakes              3.10              3.00                    2.40               2.10
  (E-AURC × 1000)
temperature                         –              1.62                       –               0.61
logit gap, test                 11.70                 –                    3.90                  –
logit gap, training             15.25                 –                    4.38                  –
closed form of the gap              ∞                 –                    4.39                  –
label_smoothing in torch            0                 –                  0.1111                  –"""

DIFFERENCES = """\
                                     difference     95 % interval  adjusted p     finding   margin
smoothed 0.1 (others) − one-hot
accuracy, points                           +0.6      −0.3 to +1.5       0.200  equivalent    ± 0.5
log loss after temperature (NLL)         −0.011  −0.019 to −0.004     < 0.001      better  ± 0.003
ranking of mistakes (E-AURC × 1000)       +0.70    +0.10 to +1.30       0.031       worse        –"""

NARROW = """\
                              difference       95 % interval
smoothed 0.1 (others) − one-hot
accuracy, points                    +0.6        −0.3 to +1.5
log loss after temperature        −0.011    −0.019 to −0.004
  (NLL)
ranking of mistakes                +0.70      +0.10 to +1.30
  (E-AURC × 1000)

                            adjusted p     finding   margin
smoothed 0.1 (others) − one-hot
accuracy, points                 0.200  equivalent    ± 0.5
log loss after temperature     < 0.001      better  ± 0.003
  (NLL)
ranking of mistakes              0.031       worse        –
  (E-AURC × 1000)"""


def test_four_columns_as_text_is_exact():
    assert as_text(four_columns(summary())) == FOUR


def test_differences_as_text_hold_only_the_headline_metrics():
    assert as_text(differences_table(summary())) == DIFFERENCES


def test_brackets_of_long_labels_go_into_a_line_of_their_own_where_a_terminal_is_narrow():
    assert as_text(differences_table(summary()), 60) == NARROW
    wide = as_text(four_columns(summary()), 160).splitlines()
    assert wide[7].startswith("ranking of mistakes (E-AURC × 1000)       3.10 ")
    assert len(wide) == len(four_columns(summary()).rows) + 1


def test_a_line_is_at_most_as_wide_as_asked_and_has_no_trailing_space():
    wide = summary(arm("smoothed-0.2", 0.2, 3.58, 3.5), arm("smoothed-0.4", 0.4, 2.6, 2.5))
    for width in (60, 80, 100):
        lines = as_text(four_columns(wide), width).splitlines()
        assert max(map(len, lines)) <= width
        assert all(line == line.rstrip() for line in lines)


def test_an_arm_and_its_temperature_stand_side_by_side_however_narrow_the_terminal_is():
    wide = summary(arm("smoothed-0.2", 0.2, 3.58, 3.5))
    heads = four_columns(wide).heads
    for width in range(50, 200, 3):
        blocks = as_text(four_columns(wide), width).split("\n\n")
        shown = [sum(head in block.splitlines()[0] for head in heads if ", T=" not in head) for block in blocks]
        scaled = [block.splitlines()[0].count(", T=") for block in blocks]
        assert sum(scaled) == len(heads) // 2
        for arms, with_temperature in zip(shown, scaled, strict=True):
            assert arms == with_temperature or arms + with_temperature == 1, width


def test_a_title_says_what_a_strength_is_spread_over_where_it_is_not_all_classes():
    heads = four_columns(summary(arm("smoothed-0.2", 0.2, 3.58, 3.5)))
    assert heads.heads[-2:] == ("smoothed-0.2 (others)", "smoothed-0.2 (others), T=–")
    assert arm_title(arm("smoothed", 0.1, 1, 1, over="all")) == "smoothed 0.1"
    assert arm_title(arm("prior", 0.1, 1, 1, over=None)) == "prior"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("one-hot smoothed", [0, 1]),
        ("smoothed one-hot", [1, 0]),
        ("one-hot focal smoothed mixup", [0, 2, 1, 3]),
        ("all-0.1 others-0.1", [1, 2]),
        ("focal smoothed", [2, 1]),
        ("baseline? mixup? smoothed?", [0, 2, 1]),  # models that were trained elsewhere
    ],
)
def test_slate_is_one_hot_and_ochre_is_smoothed_whatever_the_order_of_the_arms(names, expected):
    described, strengths = {"focal", "mixup"}, {"one-hot": 0.0}
    arms = [
        {"name": name.rstrip("?"), "eps": None if "?" in name else strengths.get(name, 0.1)}
        | ({"description": {}} if name in described else {})
        for name in names.split()
    ]
    assert places(arms) == expected


def test_intervals_stand_in_the_cells():
    cells = {row.label: row.cells for row in four_columns(summary()).rows}
    assert cells["accuracy"][0].interval == "95.1 to 97.1 %"
    assert cells["confidence − accuracy"][0].interval == "+0.009 to +0.029"
    assert cells["calibration error by chance"][1].interval == ""
    assert cells["log loss (NLL)"][2].value == 0.231


def test_a_metric_that_a_run_lacks_is_a_dash():
    cells = {row.label: row.cells for row in four_columns(summary(arm("odd", 0.2, 3.58, None))).rows}
    assert {cell.text for label, row in cells.items() if label[:5] not in ("close", "label") for cell in row[4:]} == {
        "–"
    }


def test_a_p_value_is_never_zero():
    assert [p_value(p) for p in (0.0002, 0.031, 1.0, None)] == ["< 0.001", "0.031", "1", "–"]


def test_strength_for_torch_is_converted_or_none():
    assert torch_strength(arm("s", 0.1, 1, 1), 10) == pytest.approx(0.1 * 10 / 9, rel=1e-15)
    assert torch_strength(arm("s", 0.1, 1, 1, over="all"), 10) == 0.1
    assert torch_strength(arm("s", 0.85, 1, 1), 10) == pytest.approx(0.85 * 10 / 9, rel=1e-15)
    assert torch_strength(arm("s", 0.95, 1, 1), 10) is None
    assert torch_strength(arm("one-hot", 0.0, None, 1), 10) == 0


@pytest.mark.parametrize(
    ("raw", "scaled", "texts"),
    [(0.00994, 0.0031, ["9.94", "3.10"]), (0.0104, 0.0031, ["10.4", "3.1"]), (0.0031, 0.012, ["3.1", "12.0"])],
)
def test_a_ranking_has_two_digits_until_one_of_the_arms_reaches_10_thousandths(raw, scaled, texts):
    told = summary()
    for each in told["arms"]:
        each["metrics"] |= {"eaurc": estimate(raw), "eaurc_after_temperature": estimate(scaled)}
    (row,) = [row for row in four_columns(told).rows if row.label.startswith("ranking")]
    assert [cell.text for cell in row.cells] == texts * len(told["arms"])
