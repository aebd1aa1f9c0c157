"""What a strength means, alone and in another framework, as numbers and as text, against the formulas written out."""

from __future__ import annotations

import json
import math
import re

import pytest

from sfumato import conventions, theory
from sfumato.conventions import FORMULAS, SPREADS
from sfumato.explain.text import (
    as_dict,
    as_text,
    conversion_dict,
    conversion_text,
    conversions_dict,
    conversions_text,
)
from tests.conftest import run_sfumato


def table(classes, eps):
    """The rows of the table, by label: over the others, over all."""
    rows = (re.split(r"  +", line) for line in as_text(classes, eps).splitlines())
    return {row[0]: row[1:] for row in rows if len(row) == 3}


def time_to(gap, k):
    """Steps of gradient flow to a gap, one-hot."""
    return (math.exp(gap) - 1 + (k - 1) * gap) / k


@pytest.mark.parametrize(("k", "eps"), [(10, 0.1), (2, 0.3), (1000, 0.05)])
def test_both_conventions_as_numbers(k, eps):
    told = as_dict(k, eps)
    others, every = told["others"], told["all"]
    assert (others["true"], others["other"]) == pytest.approx((1 - eps, eps / (k - 1)), rel=1e-12)
    assert (every["true"], every["other"]) == pytest.approx((1 - eps + eps / k, eps / k), rel=1e-12)
    assert others["gap"] == pytest.approx(math.log((k - 1) * (1 - eps) / eps), rel=1e-12)
    assert every["gap"] == pytest.approx(math.log(1 + k * (1 - eps) / eps), rel=1e-12)
    for part in (others, every):
        entropy = -part["true"] * math.log(part["true"]) - (k - 1) * part["other"] * math.log(part["other"])
        assert part["floor"] == pytest.approx(entropy, rel=1e-12)


def test_the_table_has_the_pair_the_gap_and_the_floor():
    rows = table(4, 0.2)
    assert rows["q of the label"] == ["1 − ε = 0.8", "1 − ε + ε/K = 0.85"]
    assert rows["q of each other class"] == ["ε/(K−1) = 0.0666667", "ε/K = 0.05"]
    gaps = [f"{math.log(3 * 0.8 / 0.2):.6f}", f"{math.log(1 + 4 * 0.8 / 0.2):.6f}"]
    assert [cell.rpartition(" = ")[2] for cell in rows["gap at the optimum, nats"]] == gaps
    assert rows["target also said as"] == ["ε = 0.266667 over all", "ε = 0.15 over the others"]
    assert rows["used by"] == ["fairseq, Tensor2Tensor, T5X, Megatron-Core", "torch, timm, Keras, optax"]


def test_a_gap_below_0_has_a_minus_sign():
    assert table(10, 0.95)["gap at the optimum, nats"][0].endswith(f" = −{-math.log(9 * 0.05 / 0.95):.6f}")


@pytest.mark.parametrize(
    ("eps", "gaps", "steps"),
    [
        (0.0, ["∞", "∞"], ["never: there is no optimum"] * 2),
        (1.0, ["−∞", "0.000000"], ["never: there is no optimum", "0.0"]),
        (0.99999999995, [..., "0.000000"], [..., ("23.0", "46.1")]),  # K·log(10), and twice that
        (0.9, ["0.000000", f"{math.log(1 + 1 / 0.9):.6f}"], ["0.0", ...]),  # over the others as even as the uniform
    ],
)
def test_the_ends_of_the_range(eps, gaps, steps):
    rows = table(10, eps)
    found = [cell.rpartition(" = ")[2] for cell in rows["gap at the optimum, nats"]]
    assert all(wanted in (..., cell) for cell, wanted in zip(found, gaps, strict=True))
    for row, share in enumerate(("90", "99")):
        found = rows[f"steps to {share} % of that gap"]
        wanted = [each[row] if isinstance(each, tuple) else each for each in steps]
        assert all(want in (..., cell) for cell, want in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("k", "eps", "same", "in_torch"),
    [
        (10, 0.1, ["ε = 0.111111 over all", "ε = 0.09 over the others"], "0.111111"),
        (10, 0.9, ["ε = 1 over all", "ε = 0.81 over the others"], "1"),
        (10, 0.95, ["none over all", "ε = 0.855 over the others"], "(no value up to 1)"),
    ],
)
def test_the_same_target_in_the_other_convention_where_there_is_one(k, eps, same, in_torch):
    assert table(k, eps)["target also said as"] == same
    assert f"In torch: label_smoothing={in_torch} for {eps:g} over the others." in as_text(k, eps)


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_how_long_one_hot_takes(k):
    told = ", ".join(f"{gap} nats after {time_to(gap, k):,.1f} steps" for gap in (6, 8, 10))
    assert f"its gap reaches {told}." in as_text(k, 0.1)


def test_millions_of_steps_are_written_with_a_power_of_ten():
    steps = [table(2, eps)["steps to 99 % of that gap"][0] for eps in (1e-4, 1e-9)]
    assert re.fullmatch(r"[\d,]+\.\d", steps[0])
    assert re.fullmatch(r"\d\.\d\de\+\d\d", steps[1])


@pytest.mark.parametrize(("k", "eps"), [(10, 0.1), (7, 0.3), (10, 0.95)])
def test_after_so_many_steps_the_gap_is_that_share_of_the_closed_form(k, eps):
    rows = table(k, eps)
    for share in (0.9, 0.99):
        steps = [float(cell) for cell in rows[f"steps to {100 * share:g} % of that gap"]]
        for over, count in zip(("others", "all"), steps, strict=True):
            gap = theory.optimal_gap(eps, k, over=over)
            reached = [theory.gap_after_time(count + late, k, eps=eps, over=over) / gap for late in (-0.06, 0.06)]
            assert reached[0] < share < reached[1]


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_is_shown_the_same_words_within_its_width(width):
    narrow, wide = (as_text(10, 0.1, columns) for columns in (width, 200))
    assert max(map(len, wide.splitlines())) > width >= max(map(len, narrow.splitlines()))
    assert set(narrow.split()) == set(wide.split())


def test_in_a_narrow_terminal_the_columns_stand_below_each_other_and_lines_go_on_under_their_words():
    lines = as_text(10, 0.1, width=50).splitlines()
    at = lines.index("used by                    fairseq, Tensor2Tensor,")
    assert lines[at + 1] == 27 * " " + "T5X, Megatron-Core"
    assert [line.strip() for line in lines if line.strip().startswith("over ")] == ["over the others", "over all"]
    assert max(map(len, lines)) <= 50


@pytest.mark.parametrize("eps", [0.99999999995, 0.1234567, 1e-300, 0.25, 1.0])
def test_a_strength_is_told_as_it_was_typed(eps):
    head, *_, last = as_text(10, eps).splitlines()
    assert float(head.removeprefix("K = 10 classes, strength ε = ")) == eps
    assert float(last.partition(" for ")[2].removesuffix(" over the others.")) == eps
    assert float(conversion_text(10, eps, "fairseq", "t5x").split()[0]) == eps


ENTROPY = -0.9 * math.log(0.9) - 0.1 * math.log(0.1 / 9)  # of the target 0.1 over the others, at K = 10


def said(frm, to, eps=0.1, classes=10):
    """The lines by the word before them; the last of several."""
    lines = [line.partition("  ") for line in conversion_text(classes, eps, frm, to).splitlines()[2:]]
    return {first: rest.strip() for first, _, rest in lines}


@pytest.mark.parametrize(
    ("frm", "to", "line"),
    [
        ("fairseq", "keras", "a row's loss is the same number in both"),
        ("fairseq.logged", "fairseq", "a row's loss in fairseq is 0.693147 × that in fairseq's log"),
        ("t5x", "fairseq", f"a row's loss in fairseq is that in T5X + {ENTROPY:.6g}"),
        ("fairseq", "t5x", f"a row's loss in T5X is that in fairseq − {ENTROPY:.6g}"),
        ("coincheung", "espnet", "a row's loss in ESPnet is 1.0101 × that in CoinCheung pytorch-loss − 0.504384"),
    ],
)  # fmt: skip
def test_how_the_losses_are_related(frm, to, line):
    assert said(frm, to)["loss"] == line


@pytest.mark.parametrize(
    ("frm", "to", "line"),
    [
        ("fairseq", "keras", 'label_smoothing=0.1, over="others"'),
        ("torch", "keras", 'label_smoothing=0.1, over="all"'),
        ("classy", "torch", 'label_smoothing=0.0909091, over="all"'),
        ("coincheung", "espnet", 'label_smoothing=0.10101, over="all", times 0.99'),
        ("onmt2", "joeynmt", 'sf.smooth(labels, 10, 0.1, over="others", support=every class but padding)'),
        ("keras.bin", "smp.bce", "none: K sigmoids, and sfumato's loss is of one softmax"),
    ],
)
def test_the_same_target_in_sfumato(frm, to, line):
    assert said(frm, to)["in sfumato"] == line


def test_a_deficit_beyond_what_all_can_say_is_said_over_the_others():
    # (1−ε)/(1−ε/K) = 1/109 of the mass on the label at ε = 0.999, less than 1/K: none over all
    line = said("coincheung", "espnet", eps=0.999)["in sfumato"]
    mass = 1 - 0.999 / 10
    assert line == f'label_smoothing={0.0999 * 9 / mass:.6g}, over="others", times {mass:.6g}'


def test_the_pairs_stand_beside_their_formulas():
    lines = conversion_text(10, 0.1, "fairseq", "keras").splitlines()
    assert lines[0] == "0.1 in fairseq is 0.111111 in Keras, at K = 10 classes"
    assert lines[2] == "fairseq     1 − ε = 0.9 on the label, ε/(K−1) = 0.0111111 on each other class"
    assert lines[3] == "Keras       1 − ε + ε/K = 0.9 on the label, ε/K = 0.0111111 on each other class"
    assert {line[:12].strip() for line in lines[2:]} == {"fairseq", "Keras", "loss", "in sfumato", "mind"}


def test_what_is_wrong_with_either_framework_is_said():
    minds = [line for line in conversion_text(10, 0.1, "classy", "torch").splitlines() if line.startswith("mind")]
    assert [line.split("mind")[1].strip() for line in minds] == [
        f"ClassyVision: {FORMULAS['classy'].defect}", f"torch: {FORMULAS['torch.index'].defect}",
    ]  # fmt: skip
    assert "mind" not in conversion_text(10, 0.1, "fairseq", "t5x")


def test_the_object_for_json_has_strength_target_and_relation():
    told = conversion_dict(10, 0.1, "fairseq.logged", "torch")
    assert (told["classes"], told["eps"]) == (10, 0.1)
    found = told["conversion"]
    assert (found["in"], found["to"]) == ("fairseq.logged", "torch.index")
    assert found["eps"] == pytest.approx(1 / 9, rel=1e-12)
    assert found["target"] == pytest.approx([0.9, 0.1 / 9], rel=1e-12)
    assert found["loss"] == {"scale": pytest.approx(math.log(2), rel=1e-12), "offset": 0.0}


def test_every_framework_stands_once_under_its_strength():
    lines = conversions_text(10, 0.1, "fairseq").splitlines()
    assert lines[0] == "0.1 in fairseq, at K = 10 classes, is the same target as"
    rows, strength = {}, ""
    for line in lines[2:-2]:
        assert len(line) <= 100
        strength = line[2:14].strip() or strength
        rows.setdefault(strength, []).extend(name.strip() for name in line[14:].split(",") if name.strip())
    names = [name for row in rows.values() for name in row]
    assert sorted(names) == sorted(set(FORMULAS) - {"fairseq"})
    assert list(rows) == ["0.1", "0.10989", "0.111111", "0.125", "cannot be"]
    assert rows["0.10989"] == ["coincheung"]
    assert rows["0.125"] == ["mm.classy", "classy"]
    assert "onmt2" in rows["cannot be"]
    told = conversions_dict(10, 0.1, "fairseq")["conversion"]
    assert told["in"] == "fairseq"
    assert sorted(name for name, eps in told["to"].items() if eps is None) == sorted(rows["cannot be"])
    assert told["to"]["classy"] == pytest.approx(0.125, rel=1e-12)


def test_two_classes_without_smoothing_cannot_be_said_where_one_of_them_is_padding():
    told = conversions_dict(2, 0.0, "fairseq")["conversion"]["to"]
    needs_three = {key for key, formula in FORMULAS.items() if formula.convention is SPREADS["nopad"]}
    assert {key for key in needs_three if told[key] is not None} == set()
    assert (told["torch.index"], told["classy"]) == (0, 0)


@pytest.mark.parametrize("told", [conversion_text, conversions_text])
def test_a_conversion_has_the_same_words_within_a_narrow_width(told):
    frameworks = ("fairseq", "keras")[: 2 if told is conversion_text else 1]
    narrow, wide = (told(10, 0.1, *frameworks, width=columns) for columns in (60, 200))
    assert max(map(len, wide.splitlines())) > 60 >= max(map(len, narrow.splitlines()))
    assert narrow.split() == wide.split()


def test_the_json_has_the_conversion_beside_the_closed_forms(tmp_path):
    ran = run_sfumato("explain", "--in", "coincheung", "--to", "espnet", "--json", folder=tmp_path)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert list(told) == ["schema", "classes", "eps", "others", "all", "conversion"]
    c = conventions.convert(0.1, 10, frm="coincheung", to="espnet")
    assert told["conversion"] == {
        "in": "coincheung",
        "to": "espnet",
        "eps": c.to_eps,
        "target": list(conventions.others.target(c.to_eps, 10)),
        "loss": {"scale": c.scale, "offset": c.offset},
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--in", "fairsek", "--to", "keras"), 'no framework "fairsek" is known. Did you mean "fairseq"?'),
        (("--in", "fairseq", "--to", "kerras"), 'no framework "kerras" is known. Did you mean "keras.'),
        (("--to", "keras"), "--to keras needs --in: which framework is ε = 0.1 in?"),
        (("--in", "onmt", "--to", "torch"), "OpenNMT-py 2 cannot be converted to torch: one leaves the padding class"),
        (("--in", "fairseq", "--to", "torch", "--eps", "0.95"), "ε = 0.95 in fairseq cannot be torch's: at K = 10"),
        (("--in", "mbls"), "Margin-based label smoothing cannot be converted"),
        (("--in", "fairseq", "--eps", "2"), "--eps must be in [0, 1], got 2"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_usage_error(words, message, tmp_path):
    ran = run_sfumato("explain", *words, folder=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("sfumato: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err
