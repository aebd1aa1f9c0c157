"""config.toml: what it says of a run, and what is read back."""

from __future__ import annotations

import pytest

from sfumato.lab.config_file import from_toml, to_toml, toml_value
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options


@pytest.mark.parametrize("values", [{"weight_decay": 0.05, "accumulate": 4, "precision": "bf16", "early_stop": 7}])
def test_a_run_that_goes_on_trains_as_it_was_asked_to(values):
    options = Options("digits", **values)
    assert from_toml(to_toml(options, {}, {})) == options


def test_where_a_run_went_and_who_watched_are_no_part_of_its_configuration():
    text = to_toml(Options("digits", out="runs/x", workers=2, on="ray", time_budget=1.0, track="wandb"), {}, {})
    assert not {"out", "workers", "on", "time-budget", "track"} & {line.split(" = ")[0] for line in text.splitlines()}


@pytest.mark.parametrize("text", ['a "b" \\c', "tab\tand\nline", "\x7f", "ä → 花", "\U000e0001"])
def test_every_text_is_read_back_as_it_was(text):
    assert from_toml(to_toml(Options("digits", label=text), {}, {})).label == text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('seeds = "five"', "\"seeds\" has the value 'five'"),
        ("eps = true", '"eps" has the value True'),
        ("sedes = 5", 'unknown key "sedes"'),
    ],
)
def test_a_value_of_another_kind_is_named(line, said):
    with pytest.raises(OptionError) as refused:
        from_toml(f'data = "digits"\n{line}\n')
    assert str(refused.value) == said


def test_what_was_found_stands_where_nothing_was_asked_for_and_nothing_else_changes():
    text = to_toml(Options("digits", epochs=7), {"epochs": "command line"}, {"epochs": 59, "batch_size": 64})
    lines = text.splitlines()
    assert [line for line in lines if line.startswith(("data", "epochs", "batch-size", "learning-rate", "label"))] == [
        'data = "digits"  # default',
        "epochs = 7  # command line",
        "batch-size = 64  # default, by the data",
        "learning-rate = 0.001  # default",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data = \n", "not TOML: Invalid value (at line 1, column 8)"),
        ("eps = 0.1\n", 'no key "data"'),
        ("", 'no key "data"'),
        ('data = "digits"\neps = 1.5\n', "--eps must be above 0 and at most 1, got 1.5"),
        ('data = ""\n', "compare needs DATA: digits"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_the_reason(text, said):
    with pytest.raises(OptionError) as refused:
        from_toml(text)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (5, "5"), (0.5, "0.5"), ("a\t", '"a\\U00000009"')]
)
def test_a_value_is_written_as_toml_has_it(value, text):
    assert toml_value(value) == text
