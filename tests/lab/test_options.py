"""The options: their schema, what is refused, and config.toml, which stores and reads them."""

from __future__ import annotations

import math
import sys

import pytest

from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options, from_toml, schema, to_toml, toml_value
from sfumato.runs.folder import PARTIAL


@pytest.mark.parametrize("option", schema().values(), ids=lambda option: option.name)
def test_a_default_is_in_range(option):
    option.check(option.default)


def refusal(**values):
    """What is said of options for digits; nothing where they are taken."""
    try:
        Options(**{"data": "digits", **values}).check()
    except OptionError as error:
        return str(error)
    return ""


def test_what_is_not_asked_for_has_the_default_of_the_docs_or_none():
    given = {name: value for name, value in vars(Options("digits")).items() if value is not None}
    assert given == {
        "data": "digits", "eps": 0.1, "over": "all", "margin": "accuracy=0.5,nll=2%,eaurc=5%",
        "device": "cpu", "learning_rate": 0.001, "weight_decay": 0.0, "accumulate": 1, "precision": "float32",
        "weights": "best", "drop_unlabelled": False,
    }  # fmt: skip


def test_arms_alone_are_given_more_than_once_and_where_a_run_went_is_not_stored():
    options = schema().values()
    assert [each.name for each in options if each.repeated] == ["arm"]
    assert [each.name for each in options if not each.stored] == ["workers", "on", "time_budget", "track", "out"]


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("image_size", (8, 512), (7, 513)),
        ("eps", (math.ulp(0), 1.0), (0.0, math.nextafter(1, 2), -0.1)),
        ("seeds", (1, 1000), (0, 1001)),
        ("epochs", (1, 10**6), (0, 10**6 + 1)),
        ("batch_size", (1, 2**31), (0, 2**31 + 1)),
        ("accumulate", (1, 2**30), (0, 2**30 + 1)),
        ("early_stop", (1, 10**6), (0, 10**6 + 1)),
        ("workers", (1, 1024), (0, 1025)),
        ("learning_rate", (math.ulp(0), 1e300), (0.0, math.inf, -1.0)),
        ("weight_decay", (0.0, 1000.0), (-math.ulp(0), math.inf)),
        ("time_budget", (math.ulp(0), 1e300), (0.0, math.inf)),
    ],
)
def test_a_range_has_the_ends_that_are_said(name, taken, refused):
    assert [value for value in taken if refusal(**{name: value})] == []
    assert [value for value in refused if not refusal(**{name: value}).startswith(f"--{name.replace('_', '-')} ")] == []


def test_a_step_may_take_a_weight_to_0_and_not_beyond():
    assert refusal(learning_rate=0.5, weight_decay=2.0) == ""
    assert refusal(learning_rate=0.5, weight_decay=2.01) == (
        "--weight-decay 2.01 at --learning-rate 0.5 would turn the sign of every weight at each step; use at most 2"
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"eps": math.nan}, "--eps must be above 0 and at most 1, got nan"),
        ({"seeds": 1001}, "--seeds must be at most 1,000, got 1,001"),
        ({"seeds": 10**15 - 1}, "--seeds must be at most 1,000, got 999,999,999,999,999"),
        ({"seeds": 10**15}, "--seeds must be at most 1,000, got a number of more than 15 digits"),
        ({"seeds": -(10**5000)}, "--seeds must be at least 1, got a number of more than 15 digits"),
        ({"folds": 2}, "--folds must be 1, or from 3 to 20, got 2"),
        ({"over": "some"}, '--over must be "others" or "all", got "some"'),
        ({"image_size": 7}, "--image-size must be from 8 to 512 pixels, got 7"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"learning_rate": math.inf}, "--learning-rate must be a finite number above 0, got inf"),
        ({"time_budget": 0.0}, "--time-budget must be a number of minutes above 0, got 0"),
        ({"data": ""}, "compare needs DATA: digits, a .csv"),
        ({"weight_decay": -0.1}, "--weight-decay must be a finite number, at least 0, got -0.1; 0 leaves it out"),
        ({"weight_decay": 30.0, "learning_rate": 0.1},
         "--weight-decay 30 at --learning-rate 0.1 would turn the sign of every weight at each step; use at most 10"),
        ({"precision": "fp16"}, '--precision must be "float32" or "bf16", got "fp16"'),
        ({"ladder": "0,0.1,0.x"}, "--ladder takes numbers with commas between"),
        ({"ladder": "0.1,0.10000001,0.3"}, "--ladder has two strengths that would both be called 0.1, got "),
        ({"ladder": "0.1,0.2", "arm": "onehot,all:0.1"}, "--ladder and --arm cannot be had together"),
        ({"arm": "onehot,all"}, "--arm all needs a strength: all:0.1"),
        ({"arm": "onehot,all:0.1,all:0.10"}, "--arm names the same target twice"),
        ({"track": "tensorbord"}, '--track takes trackio, wandb or tensorboard, got "tensorbord"; did you mean "'),
        ({"ladder": "0,1"}, '--ladder needs at least two strengths above 0, got "0,1"; for one use --eps'),
        ({"ladder": "0.5,0.5"}, '--ladder needs at least two strengths above 0, got "0.5,0.5"; for one use --eps'),
        ({"ladder": "0.5,1.01"}, "--ladder takes strengths from 0 to 1, got 1.01"),
        ({"ladder": "0.5,-0.01,0.1"}, "--ladder takes strengths from 0 to 1, got -0.01"),
        ({"ladder": ""}, '--ladder takes numbers with commas between, such as 0,0.05,0.1; got ""'),
        ({"ladder": "0.5,1"}, ""),
        ({"ladder": "0, 0.5, 1"}, ""),
        ({"arm": "onehot"}, '--arm must be given at least twice, got only "onehot"'),
        ({"arm": "all:0.1,all:0.1"}, "--arm names the same target twice: all:0.1, all:0.1"),
        ({"arm": "onehot, all:0.1"}, ""),
        ({"arm": "others:0.1,others:0.1000001"},
         "--arm has two targets that would both be called others-0.1: leave one out"),
        ({"arm": "hierarchy:a/t.json:5,hierarchy:b/t.json:5"},
         "--arm has two targets that would both be called hierarchy-t-5: rename one of their files"),
        ({"augment": "crop"}, ""),
        ({"augment": "crop, flip"}, ""),
        ({"augment": "flip,turn"}, '--augment takes flip and crop, with a comma between; got "turn"'),
        ({"augment": ""}, '--augment takes flip and crop, with a comma between; got ""'),
        ({"augment": "flip,flip"}, '--augment names one of them twice: "flip,flip"'),
        ({"on": "slurm"}, '--on takes ray, got "slurm"; without it, processes on this machine do the work'),
        ({"margin": "accuracy=0.5"}, ""),
        ({"margin": "speed=1"}, "--margin: "),
        ({"model": "mpl"}, 'no model "mpl". Did you mean "mlp"?'),
    ],
)  # fmt: skip
def test_words_are_taken_or_refused_with_the_way_out(values, said):
    found = refusal(**values)
    assert found == "" if not said else found.startswith(said)


@pytest.mark.parametrize("out", ["", ".", "..", "runs/..", f"mine{PARTIAL}"])
def test_a_run_folder_has_a_name_of_its_own(out):
    assert refusal(out=out) == f'--out must name a folder, and not end in {PARTIAL}, got "{out}"'


def test_a_run_folder_is_new(tmp_path):
    assert refusal(out=str(tmp_path / "mine")) == ""
    assert refusal(out=str(tmp_path)).startswith(str(tmp_path))


def test_ray_that_is_not_installed_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # an import of it fails
    assert refusal(on="ray") == "--on ray needs Ray, which is not installed: pip install 'sfumato[ray]'"
    monkeypatch.setitem(sys.modules, "ray", sys)
    assert refusal(on="ray") == ""


def test_augmentations_are_told_in_one_order():
    assert Options("digits", augment="crop, flip").augmentations() == ("flip", "crop")
    assert Options("digits", augment="crop").augmentations() == ("crop",)
    assert Options("digits").augmentations() == ()


@pytest.mark.parametrize(
    ("model", "folder"), [("hf:my/bert", "my/bert"), ("hf:C:\\bert", "C:\\bert"), ("timm:vit", None), (None, None)]
)
def test_texts_are_split_by_the_tokenizer_of_a_model_of_transformers_alone(model, folder):
    assert Options("t.csv", model=model).roles().tokenizer == folder


def test_each_role_of_a_column_comes_from_the_option_of_its_name():
    named = {"label": "a", "text": "b", "split": "c", "weight": "d", "group": "e"}
    roles = Options(
        "t.csv", **named, image_size=32, label_probs="f, g", drop="h", keep="i*,j", drop_unlabelled=True
    ).roles()
    assert {name: getattr(roles, name) for name in named} == named
    assert roles.drop_unlabelled
    assert (roles.image_size, roles.label_probs, roles.drop, roles.keep) == (32, ("f", "g"), ("h",), ("i*", "j"))


def test_options_stand_under_the_heading_of_the_first_before_them():
    groups = {name: option.group for name, option in schema().items()}
    assert {name: groups[name] for name in ("data", "noise", "eps", "margin", "model", "early_stop")} == {
        "data": "Data", "noise": "Data", "eps": "Targets", "margin": "Targets", "model": "Training",
        "early_stop": "Training",
    }  # fmt: skip
    assert [name for name, group in groups.items() if group == "Where it runs"] == ["workers", "on", "time_budget"]
    assert [name for name, group in groups.items() if group == "Output"] == ["track", "out"]


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
