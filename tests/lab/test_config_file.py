"""config.toml: what it says of a run, and what is read back."""

from __future__ import annotations

import pytest

from sfumato.lab.config_file import from_toml, to_toml
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options


@pytest.mark.parametrize("values", [{"weight_decay": 0.05, "accumulate": 4, "precision": "bf16", "early_stop": 7}])
def test_a_run_that_goes_on_trains_as_it_was_asked_to(values):
    options = Options("digits", **values)
    assert from_toml(to_toml(options, {}, {})) == options


def test_where_a_run_went_and_who_watched_are_no_part_of_its_configuration():
    text = to_toml(Options("digits", out="runs/x", workers=2, on="ray", time_budget=1.0, track="wandb"), {}, {})
    assert not {"out", "workers", "on", "time-budget", "track"} & {line.split(" = ")[0] for line in text.splitlines()}


def test_a_configuration_of_an_earlier_version_that_asks_for_nothing_removed_is_read():
    assert from_toml('data = "digits"\ntogether = false  # default\n') == Options("digits")
    with pytest.raises(OptionError, match="^--together was removed, because "):
        from_toml('data = "digits"\ntogether = true  # command line\n')


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
