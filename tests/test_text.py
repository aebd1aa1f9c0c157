"""Numbers in the sentences of an audit, at the places where their form changes."""

import math

import pytest

from sfumato.text import (
    between,
    decimal,
    did_you_mean,
    duration,
    factor,
    joined,
    listing,
    nearest,
    number,
    one_line,
    percent,
    plural,
    share,
    short,
    temperature,
    typed_line,
    wrapped,
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"), (0.5, "0.500"), (0.01, "0.010"), (0.009, "0.0090"), (0.00996, "0.0100"), (1.0, "1.000"),
        (9.9994, "9.999"), (10.0, "10.00"), (12.345, "12.35"), (-0.079, "−0.079"), (-0.00004, "0.0000"),
        (9_999_999.0, "9999999.00"), (1e7, "1e+07"), (-8.3086838e28, "−8.31e+28"),
        (math.nan, "not known"), (math.inf, "∞"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_a_decimal(value, text):
    assert decimal(value) == text


def test_a_sign_is_written_where_it_is_asked_for():
    assert [decimal(value, sign=True) for value in (0.1, -0.1, 0.0)] == ["+0.100", "−0.100", "0.000"]
    assert between(-0.02, 0.3, sign=True) == "−0.020 to +0.300"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.5, "50.0 %"), (0.01, "1.0 %"), (0.0099, "0.99 %"), (0.9901, "99.01 %")],
)
def test_a_share_has_more_digits_near_its_ends(value, text):
    assert share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00123, "0.00123"),
        (0.1, "0.100"),
        (0.5814, "0.581"),
        (1.0, "1.00"),
        (99.0, "99.00"),
        (100.0, "100"),
        (1e3, "1000"),
        (2.5e30, "2.5e+30"),
    ],
)
def test_a_factor(value, text):
    assert factor(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (1000.0, "1000.00"), (0.545, "0.55"), (0.1, "0.10"), (0.001, "0.001")],
)
def test_a_temperature_is_never_told_as_0(value, text):
    assert temperature(value) == text


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (plural(1, "row"), "1 row"), (plural(10_000, "row"), "10,000 rows"), (plural(0, "class"), "0 classes"),
        (plural(2, "entry", "entries"), "2 entries"), (nearest("lable", ["Label", "petal"]), "Label"),
        (did_you_mean("lable", ["label", "petal"]), ' Did you mean "label"?'), (did_you_mean("x", ["label"]), ""),
        (short("abcdefgh", 6), "abc..."), (short("chrysanthemum", 8, end="…"), "chrysan…"),
        (listing(["a", "b", "c"], 2), "a, b and 1 more"), (joined(["a"]), "a"), (joined(["a", "b", "c"]), "a, b and c"),
        (joined(["a", "b"], "or"), "a or b"), (one_line(ValueError("no\nsuch thing")), "ValueError: no such thing"),
        (one_line(KeyError()), "KeyError"), (duration(4), "4 s"), (duration(250), "4 min"), (duration(9000), "2.5 h"),
        (wrapped("Keep one-hot labels: smoothing makes no difference.", 40, rest="  "),
         "Keep one-hot labels: smoothing makes no\n  difference."),
        (number(0.1724), "0.172"), (number(-0.118), "−0.118"), (number(1.31), "1.310"), (number(-0.0001), "0.000"),
        (number(math.inf), "∞"), (number(math.nan), "–"), (number(None), "–"), (number(0.019, sign=True), "+0.019"),
        (number(-0.002, sign=True), "−0.002"), (number(0.0, sign=True), "0.000"),
        (number(0.6, 1, sign=True), "+0.6"), (percent(0.9612), "96.1 %"), (percent(None), "–"),
    ],
)  # fmt: skip
def test_words_and_numbers(made, text):
    assert made == text


def test_a_command_to_type_is_quoted_as_the_system_reads_it(monkeypatch):
    words = ("sfumato", "compare", "--resume", r"runs\my flowers")
    assert typed_line(*words) == r"sfumato compare --resume 'runs\my flowers'"
    monkeypatch.setattr("os.name", "nt")
    line = typed_line(*words)
    monkeypatch.undo()
    assert line == r'sfumato compare --resume "runs\my flowers"'
