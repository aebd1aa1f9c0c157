"""Files of a run that hold another kind of thing than they should are refused, with the place."""

import json

import pytest

from sfumato.runs.schema import EpochLine, ShapeError, Summary, check, parse


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "f should be an object, not []"),
        ({"arms": {}}, "f 'arms' should be a list, not {}"),
        ({"arms": [{"eps": "x"}]}, "f 'arms'[0] 'eps' should be a number or null, not 'x'"),
        ({"arms": [{"train_gap": "x"}]}, "f 'arms'[0] 'train_gap' should be a number or null, not 'x'"),
        ({"arms": [{"metrics": {"nll": {"mean": 1.0, "low": None}}}]}, "f 'arms'[0] 'metrics' 'nll' lacks 'high'"),
        ({"data": {"classes": 2.5}}, "f 'data' 'classes' should be a whole number, not 2.5"),
        ({"data": {"classes": True}}, "f 'data' 'classes' should be a whole number, not True"),
        ({"data": {"classes": 2**63}}, "f 'data' 'classes' should be a whole number, not 9223372036854775808"),
        ({"data": {"name": "\ud800"}}, "f 'data' 'name' should be text, not '\\ud800'"),
        ({"verdict": {"sentences": [None]}}, "f 'verdict' 'sentences'[0] should be text, not None"),
        ({"paired": {"equal": 1}}, "f 'paired' 'equal' should be true or false, not 1"),
        ({"differences": [{"low": 10**400}]}, "f 'differences'[0] 'low' should be a number, not 1000000000"),
        ({"differences": [{"low": float("nan")}]}, "f 'differences'[0] 'low' should be a number, not nan"),
        ({"data": {"classes": "\ud800"}}, "f 'data' 'classes' should be a whole number, not '\\ud800'"),
        ({"arms": [{"\ud800": 1}]}, "f 'arms'[0] has a key that is no text: '\\ud800'"),
        ({"verdict": {}, "schema": ""}, "f 'verdict' lacks 'state', 'choice', 'sentences'"),
        ({}, "f lacks 'schema', 'run', 'data', 'paired', 'arms', 'differences', 'verdict'"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_place(value, message):
    with pytest.raises(ShapeError) as caught:
        check(value, Summary, "f")
    assert str(caught.value).startswith(message)


def test_keys_that_are_not_named_are_passed_over_and_kept():
    line = {"arm": "one-hot", "seed": 0, "epoch": 1, "train_loss": 0.5, "train_gap": None, "more": object()}
    assert check(line, EpochLine, "f") is line
    with pytest.raises(ShapeError, match="f 'train_loss' should be a number or null, not 'low'"):
        check({**line, "train_loss": "low"}, EpochLine, "f")


def test_a_whole_pair_of_surrogates_is_a_character():
    assert parse(r'["\ud83d\ude00"]') == ["\U0001f600"]


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{", r'["\ud800"]', r'{"\uDC00": 1}', "[" * 100_000, "9" * 5000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match="."):
        parse(text)


def test_json_is_parsed_as_it_is():
    value = {"a": [1, 2.5, None, True, "ü"]}
    assert parse(json.dumps(value)) == value
