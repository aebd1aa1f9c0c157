"""The schema of the options, and options that were removed."""

from __future__ import annotations

import math

import pytest

from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options, schema
from tests.conftest import run_sfumato


@pytest.mark.parametrize("option", schema().values(), ids=lambda option: option.name)
def test_a_default_is_in_range(option):
    option.check(option.default)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eps": float("nan")}, "--eps must be above 0 and at most 1, got nan"),
        ({"seeds": 1001}, "--seeds must be at most 1,000, got 1,001"),
        ({"seeds": -(10**5000)}, "--seeds must be at least 3, got a number of more than 15 digits: fewer cannot tell"),
        ({"over": "some"}, '--over must be "others" or "all", got "some"'),
        ({"image_size": 7}, "--image-size must be from 8 to 512 pixels, got 7"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"learning_rate": float("inf")}, "--learning-rate must be a finite number above 0, got inf"),
        ({"time_budget": -1.0}, "--time-budget must be a number of minutes above 0, got -1"),
        ({"data": ""}, "compare needs DATA: digits, a .csv"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(values, message):
    with pytest.raises(OptionError) as caught:
        Options(**{"data": "digits", **values}).check()
    assert str(caught.value).startswith(message)


SAID = "--together was removed, because processes train what people compare faster; leave it out"


@pytest.mark.slow
def test_together_is_said_to_be_removed_wherever_it_is_asked_for(tmp_path):
    (tmp_path / "c.toml").write_text('data = "digits"\ntogether = true\n')
    for words, env, said in (
        (("digits", "--together"), {}, SAID),
        (("-c", "c.toml"), {}, f"c.toml: {SAID}"),
        (("digits",), {"SFUMATO_TOGETHER": "1"}, f"SFUMATO_TOGETHER is set, but {SAID}; unset the variable"),
    ):
        ran = run_sfumato("compare", *words, "--dry-run", folder=tmp_path, env=env)
        assert (ran.code, ran.out, ran.err) == (2, "", f"sfumato: {said}\n")


@pytest.mark.slow
def test_a_file_of_an_earlier_version_that_did_not_ask_for_together_is_taken(tmp_path):
    (tmp_path / "c.toml").write_text('data = "digits"\nmodel = "linear"\ntogether = false\n')
    ran = run_sfumato("compare", "-c", "c.toml", "--dry-run", "-q", folder=tmp_path, env={"SFUMATO_TOGETHER": "false"})
    assert ran.code == 0, ran.err
    assert "650 parameters" in ran.out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_decay": -0.1}, "--weight-decay must be a finite number, at least 0, got -0.1; 0 leaves it out"),
        (
            {"weight_decay": math.inf},
            "--weight-decay must be a finite number, at least 0, got inf; 0 leaves it out",
        ),
        (
            {"weight_decay": 30.0, "learning_rate": 0.1},
            "--weight-decay 30 at --learning-rate 0.1 would turn the sign of every weight at each step; use at most 10",
        ),
        ({"accumulate": 0}, "--accumulate must be at least 1, got 0"),
        ({"early_stop": 0}, "--early-stop must be at least 1, got 0"),
        ({"precision": "fp16"}, '--precision must be "float32" or "bf16", got "fp16"'),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_a_value_that_cannot_be_trained_with_is_refused_with_the_way_out(values, message):
    with pytest.raises(OptionError) as caught:
        Options("digits", **values).check()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("seeds", 1000),
        ("epochs", 10**6),
        ("batch_size", 2**31),
        ("accumulate", 2**30),
        ("early_stop", 10**6),
        ("workers", 1024),
    ],
)
def test_a_number_may_be_as_large_as_is_said(name, most):
    Options("digits", **{name: most}).check()
    with pytest.raises(OptionError, match=f"must be at most {most:,}, got {most + 1:,}"):
        Options("digits", **{name: most + 1}).check()
