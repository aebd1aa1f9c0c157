"""Margins as people write them, and the six words."""

import pytest

from sfumato.evaluate import Margins
from sfumato.evaluate.statistics.margins import word_for


@pytest.mark.parametrize(
    ("text", "accuracy", "nll", "eaurc"),
    [
        ("", 0.005, 0.006, 0.001),
        ("accuracy=1", 0.01, 0.006, 0.001),
        (" nll = 0.01 , eaurc=10 % ", 0.005, 0.01, 0.002),
        ("eaurc=0.0003,nll=0%", 0.005, 0.0, 0.0003),
    ],
)
def test_a_margin_is_a_number_or_a_part_of_the_bases(text, accuracy, nll, eaurc):
    found = Margins.parse(text)
    asked = {"accuracy": accuracy, "nll_after_temperature": nll, "eaurc": eaurc}
    assert {name: found.of(name, nll=0.3, aurc=0.02) for name in asked} == pytest.approx(asked, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nll", 'a margin is a name and a number, such as nll=2%, got "nll"'),
        ("nl=2%", '"nl" has no margin: accuracy, nll and eaurc have one. Did you mean "nll"?'),
        ("nll=2%,nll=3%", "the margin of nll is given twice"),
        ("nll=-1", 'the margin of nll must be a number of at least 0, got "-1"'),
        ("nll=nan", 'the margin of nll must be a number of at least 0, got "nan"'),
        ("eaurc=inf%", 'the margin of eaurc must be a number of at least 0, got "inf%"'),
        ("accuracy=1%", 'the margin of accuracy is in points and has no % (accuracy=0.5), got "1%"'),
    ],
)
def test_what_is_no_margin_is_named(text, said):
    with pytest.raises(ValueError, match="margin") as caught:
        Margins.parse(text)
    assert str(caught.value) == said


def test_only_headline_metrics_have_a_margin():
    with pytest.raises(KeyError, match="ece has no margin"):
        Margins().of("ece", nll=0.3, aurc=0.02)


@pytest.mark.parametrize(
    ("inner", "reliable", "better", "word"),
    [
        ((0.1, 0.3), True, "higher", "better by little"),
        ((0.1, 0.3), True, "lower", "worse by little"),
        ((0.1, 0.6), True, "higher", "better"),
        ((0.1, 0.6), True, "lower", "worse"),
        ((-0.1, 0.5), False, "higher", "the same"),
        ((-0.1, 0.6), False, "higher", "not settled"),
        ((-0.6, 0.9), False, "higher", "not settled"),
        ((-0.6, 0.4), False, "lower", "not settled"),
    ],
)
def test_the_word_follows_from_the_test_and_the_90_percent_interval(inner, reliable, better, word):
    assert word_for(sum(inner) / 2, inner, 0.5, reliable=reliable, better=better) == word


def test_where_nothing_varies_and_nothing_differs_it_is_the_same_at_any_margin():
    assert word_for(0.0, (0.0, 0.0), 0.0, reliable=False, better="higher") == "the same"
