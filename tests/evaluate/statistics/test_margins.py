"""Margins as people write them, and the findings that follow from tests against them."""

import pytest

from sfumato.evaluate import Margins
from sfumato.evaluate.statistics.margins import finding_of


@pytest.mark.parametrize(
    ("text", "accuracy", "nll", "eaurc"),
    [
        ("", 0.005, 0.006, 0.001),
        ("accuracy=1", 0.01, 0.006, 0.001),
        (" nll = 0.01 , eaurc=10 % ", 0.005, 0.01, 0.002),
        ("eaurc=0.0003,nll=0%", 0.005, 0.0, 0.0003),
        ("accuracy=10%", 0.01, 0.006, 0.001),
    ],
)
def test_a_margin_is_a_number_or_a_part_of_the_bases(text, accuracy, nll, eaurc):
    found = Margins.parse(text)
    asked = {"accuracy": accuracy, "nll_after_temperature": nll, "eaurc": eaurc}
    bases = {"accuracy": 0.1, "nll_after_temperature": 0.3, "eaurc": 0.02}
    for name, margin in asked.items():
        number, part = found.of(name)
        assert number + part * bases[name] == pytest.approx(margin, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nll", 'a margin is a name and a number, such as nll=2%, got "nll"'),
        ("nl=2%", '"nl" has no margin: accuracy, nll and eaurc have one. Did you mean "nll"?'),
        ("nll=2%,nll=3%", "the margin of nll is given twice"),
        ("nll=-1", 'the margin of nll must be a number of at least 0, got "-1"'),
        ("nll=nan", 'the margin of nll must be a number of at least 0, got "nan"'),
        ("eaurc=inf%", 'the margin of eaurc must be a number of at least 0, got "inf%"'),
        ("accuracy=1 point", 'the margin of accuracy must be a number of at least 0, got "1point"'),
    ],
)
def test_what_is_no_margin_is_named(text, said):
    with pytest.raises(ValueError, match="margin") as caught:
        Margins.parse(text)
    assert str(caught.value) == said


def test_only_headline_metrics_have_a_margin():
    with pytest.raises(KeyError, match="ece has no margin"):
        Margins().of("ece")


@pytest.mark.parametrize(
    ("difference", "below", "above", "reliable", "finding"),
    [
        (0.2, True, True, True, "slightly better"),
        (-0.2, True, True, True, "slightly worse"),
        (0.2, False, True, True, "better"),
        (0.2, False, False, True, "better"),
        (-0.2, True, False, True, "worse"),
        (-0.2, False, False, True, "worse"),
        (0.2, True, True, False, "equivalent"),
        (0.2, False, True, False, "not worse"),
        (-0.2, True, False, False, "not better"),
        (0.2, False, False, False, "inconclusive"),
    ],
)
def test_the_finding_follows_from_three_tests(difference, below, above, reliable, finding):
    tests = {"below_margin": below, "above_margin": above, "reliable": reliable}
    assert finding_of(difference, **tests, better="higher") == finding
    mirrored = {"below_margin": above, "above_margin": below, "reliable": reliable}
    assert finding_of(-difference, **mirrored, better="lower") == finding
