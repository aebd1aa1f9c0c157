"""Numbers in the sentences of an audit, at the places where their form changes."""

import math

import pytest

from sfumato.text import between, decimal, factor, plural, share, temperature, typed_line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, ".000"), (0.5, ".500"), (0.01, ".010"), (0.009, ".0090"), (0.00996, ".0100"), (1.0, "1.000"),
        (9.9994, "9.999"), (10.0, "10.00"), (12.345, "12.35"), (-0.079, "−.079"), (-0.00004, ".0000"),
        (9_999_999.0, "9999999.00"), (1e7, "1e+07"), (-8.3086838e28, "−8.31e+28"),
        (math.nan, "not known"), (math.inf, "∞"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_a_decimal(value, text):
    assert decimal(value) == text


def test_a_sign_is_written_where_it_is_asked_for():
    assert [decimal(value, sign=True) for value in (0.1, -0.1, 0.0)] == ["+.100", "−.100", ".000"]
    assert between(-0.02, 0.3, sign=True) == "−.020 to +.300"


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


def test_a_count_of_things():
    assert [plural(n, "row") for n in (0, 1, 10_000)] == ["0 rows", "1 row", "10,000 rows"]
    assert plural(2, "class", "classes") == "2 classes"


def test_a_command_to_type_is_quoted_as_the_system_reads_it(monkeypatch):
    words = ("sfumato", "compare", "--resume", r"runs\my flowers")
    assert typed_line(*words) == r"sfumato compare --resume 'runs\my flowers'"
    monkeypatch.setattr("os.name", "nt")
    line = typed_line(*words)
    monkeypatch.undo()
    assert line == r'sfumato compare --resume "runs\my flowers"'
