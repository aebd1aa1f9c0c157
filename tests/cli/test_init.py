"""A file of options to edit, and a trial before the whole."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

from sfumato.cli.init import template
from sfumato.lab.options import Options, schema
from tests.conftest import run_sfumato


def test_every_option_is_there_with_what_it_does():
    assert set(schema()) == {field.name for field in fields(Options)}
    text = " ".join(line.removeprefix("# ") for line in template("digits", "my.toml").splitlines())
    for option in schema().values():
        assert option.words.endswith((".", "'."))
        assert option.words in text


def test_every_line_can_be_taken_as_it_stands():
    text = re.sub(r"^# (?=[a-z-]+ = )", "", template("digits", "my.toml"), flags=re.MULTILINE)
    values = tomllib.loads(text)
    kinds = get_type_hints(Options)
    assert {key.replace("-", "_") for key in values} == {field.name for field in fields(Options)}
    for key, value in values.items():
        kind = kinds[key.replace("-", "_")]
        fits = get_args(kind) or (kind,)
        assert value in fits or type(value) in fits or (type(value) is int and float in fits), key


def test_defaults_are_those_of_the_options():
    text = re.sub(r"^# (?=[a-z-]+ = )", "", template("digits", "my.toml"), flags=re.MULTILINE)
    values = {key.replace("-", "_"): value for key, value in tomllib.loads(text).items()}
    for field in fields(Options):
        if field.default is not None and field.name != "data":
            assert values[field.name] == field.default, field.name


@pytest.mark.slow
def test_the_file_is_written_once_and_compare_takes_it(tmp_path):
    ran = run_sfumato("init", "digits", folder=tmp_path)
    assert (ran.code, ran.out) == (0, "sfumato.toml written; edit it, then: sfumato compare -c sfumato.toml\n")
    again = run_sfumato("init", folder=tmp_path)
    assert (again.code, again.out) == (2, "")
    assert again.err.startswith("sfumato: sfumato.toml is there already")
    tried = run_sfumato("compare", "-c", "sfumato.toml", "--dry-run", "-q", folder=tmp_path)
    assert tried.code == 0, tried.err
    assert "arms     one-hot, smoothed" in tried.out


@pytest.mark.slow
def test_doctor_tries_both_arms_on_the_data_and_writes_nothing(tmp_path):
    ran = run_sfumato("doctor", "digits", "--model", "linear", "--json", folder=tmp_path)
    assert ran.code == 0, ran.err
    found = ran.json()["trial"]
    assert [arm["name"] for arm in found["arms"]] == ["one-hot", "smoothed"]
    assert all(arm["nll"][1] < arm["nll"][0] for arm in found["arms"])
    assert found["data"]["train"] == 1077
    assert found["whole"]["runs"] == 10
    text = run_sfumato("doctor", "digits", "--model", "linear", folder=tmp_path).out
    for words in (
        "data          digits: 64 features",
        "trial         one-hot: validation log loss (NLL)",
        "full run      10 runs",
    ):
        assert words in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor_says_of_bad_data_what_compare_says(tmp_path):
    one, other = (run_sfumato(command, "no.csv", folder=tmp_path) for command in ("doctor", "compare"))
    assert one.code == other.code == 2
    assert one.err == other.err
