"""The closed forms as numbers and as a table, against the formulas written out."""

from __future__ import annotations

import math
import re

import pytest

from sfumato import theory
from sfumato.explain.text import as_dict, as_text, conversion_text


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


def test_the_two_columns_stand_under_their_heads():
    lines = as_text(10, 0.1).splitlines()
    head = lines[2]
    first, second = head.index("over the others"), head.index("over all")
    for line in lines[2:11]:
        assert line[first - 2 : first] == line[second - 2 : second] == "  "
        assert " " not in (line[first], line[second])
        assert line == line.rstrip()


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


@pytest.mark.parametrize("wide", [True, False])
def test_columns_stand_side_by_side_as_long_as_they_fit(wide):
    least = max(map(len, as_text(10, 0.1, width=200).splitlines()))
    fits = as_text(10, 0.1, width=least if wide else least - 1) == as_text(10, 0.1, width=200)
    assert fits == wide


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
