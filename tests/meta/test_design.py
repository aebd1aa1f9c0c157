"""The names that docs/design.md binds the project to, held to the code in both directions."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import math
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cyclopts import App

import sfumato
import sfumato.adapters
from sfumato.cli import FAILURE, FINDING, INTERRUPTED, OK, USAGE, app, main
from sfumato.evaluate import METRICS, Evaluation
from tests.conftest import Ran, run_sfumato
from tests.design_page import TEXT, block_after, fields_unlike, section, signatures, usages

MODULES = ("theory", "reference", "conventions", "evaluate", "probe", "parallel", "penalty", "rows", "schedules")
ADAPTERS = ("boosting", "hf", "jax", "keras", "lightning", "sklearn", "timm")
SIGNATURES = signatures("Library") | signatures("Adapters")
for _name in ADAPTERS:  # before any test looks at what it leaves behind: frameworks set filters
    importlib.import_module(f"sfumato.adapters.{_name}")


def of_code(name: str) -> Any:
    """What a name of the page is in the code: ``sf.…``, a member of ``target``, or a name of an adapter."""
    if name.startswith("sfumato."):
        module, _, own = name.rpartition(".")
        return getattr(importlib.import_module(module), own)
    value: Any = sfumato.one_hot(torch.tensor([0, 1]), 3) if name.startswith("target") else sfumato
    for part in name.partition("[")[0].split(".")[1:]:
        value = getattr(value, part)
    return value


def exported(module: str) -> set[str]:
    """The public names of one of the package's modules, without what it imports for its own use."""
    adapter = module.startswith("adapters.")
    found = importlib.import_module(f"sfumato.{module}") if adapter else getattr(sfumato, module)
    package = hasattr(found, "__path__")
    return {
        f"{'sfumato' if adapter else 'sf'}.{module}.{name}"
        for name, value in vars(found).items()
        if not name.startswith("_") and not inspect.ismodule(value)
        if package or getattr(value, "__module__", None) == found.__name__
        if package or inspect.isfunction(value) or (adapter and inspect.isclass(value))
    }


def parameters(text: str) -> list[tuple[str, str, Any]]:
    """Name, kind and default of the parameters in ``(…)`` or ``(…) -> X``."""
    arguments = ast.parse(f"def f{text.partition(' -> ')[0]}: ...").body[0].args  # type: ignore[attr-defined]
    plain, empty = arguments.posonlyargs + arguments.args, inspect.Parameter.empty
    defaults = [empty] * (len(plain) - len(arguments.defaults)) + [value_of(each) for each in arguments.defaults]
    named = [empty if each is None else value_of(each) for each in arguments.kw_defaults]
    rest = [] if arguments.kwarg is None else [(arguments.kwarg.arg, "the rest", empty)]
    return [(each.arg, "plain", default) for each, default in zip(plain, defaults, strict=True)] + [
        *((each.arg, "by name", default) for each, default in zip(arguments.kwonlyargs, named, strict=True)),
        *rest,
    ]


def value_of(node: ast.expr) -> Any:
    """A default: a literal, or math.e."""
    return math.e if ast.unparse(node) == "math.e" else ast.literal_eval(node)


@pytest.mark.parametrize("name", [name for name, text in SIGNATURES.items() if text])
def test_a_signature_of_the_page_is_that_of_the_code(name: str):
    found = inspect.signature(of_code(name))
    of = inspect.Parameter
    kinds = {of.POSITIONAL_OR_KEYWORD: "plain", of.KEYWORD_ONLY: "by name", of.VAR_KEYWORD: "the rest"}
    own = [(p.name, kinds[p.kind], p.default) for p in found.parameters.values() if p.name not in ("self", "_cls")]
    assert parameters(SIGNATURES[name]) == own
    result, told = SIGNATURES[name].partition(" -> ")[2], found.return_annotation
    assert result in ("", str(getattr(told, "__name__", told)).rpartition("typing.")[2])


@pytest.mark.parametrize("name", [name for name, text in SIGNATURES.items() if not text])
def test_a_name_of_the_page_exists(name: str):
    assert of_code(name) is not None


def test_the_page_has_every_public_name():
    names = {f"sf.{name}" for name in dir(sfumato) if not name.startswith("_") and name not in MODULES}
    adapters = [f"adapters.{name}" for name in ADAPTERS]
    assert (names | set().union(*map(exported, [*MODULES, *adapters]))) - set(SIGNATURES) == set()


def test_every_adapter_is_looked_at():
    found = {each.name for each in pkgutil.iter_modules(sfumato.adapters.__path__)}
    assert {name for name in found if not name.startswith("_")} == set(ADAPTERS)


def test_the_commands_of_the_page_are_those_of_the_code():
    assert set(usages()) == set(app) - {"--help", "-h", "--version"}


@pytest.mark.parametrize("command", usages())
def test_the_options_of_a_command_are_those_of_the_page(command: str):
    options, arguments = usages()[command]
    found: App = app[command]
    own = {name for each in found.assemble_argument_collection() for name in each.names}
    own = {name for name in own if not name.startswith("--empty-") and name.lstrip("-").upper() not in arguments}
    assert own == options


def test_the_exit_codes_are_those_of_the_page():
    codes = {
        "ok": OK,
        "failure": FAILURE,
        "usage": USAGE,
        "a finding under `--strict`": FINDING,
        "interrupted": INTERRUPTED,
    }
    told = re.search(r"Exit codes: (.*?)\.", TEXT, flags=re.DOTALL)
    assert told is not None
    assert " ".join(told[1].split()) == ", ".join(f"{code} {words}" for words, code in codes.items())


def test_the_table_of_metrics_is_that_of_the_code():
    rows = re.findall(r"^\| (`.*?) \|", section("Evaluation"), flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(METRICS)


def test_every_number_of_an_evaluation_is_on_the_page():
    own = {name for name in Evaluation.__dataclass_fields__ if name not in METRICS}
    assert {name for name in own if f"`{name}`" not in section("Evaluation")} == set()


def test_the_folders_of_the_package_are_those_of_the_page():
    package = Path(sfumato.__file__).parent
    told = set(
        re.findall(r"^  (\w+)/", block_after("\n## Layout and layers\n").partition("\nkernel/")[0], re.MULTILINE)
    )
    assert told == {each.name for each in package.iterdir() if (each / "__init__.py").exists()}


def test_a_comparison_writes_the_fields_and_metrics_of_the_page(digits: Ran):
    assert fields_unlike("`compare --json` prints", digits.json()) == []
    told = TEXT.split("METRIC is one of", 1)[1].partition(".")[0]
    assert {name for arm in digits.json()["arms"] for name in arm["metrics"]} == set(re.findall(r"`(\w+)`", told))


def test_a_run_folder_holds_the_files_of_the_page(digits: Ran):
    folder = digits.folder / digits.json()["run"]
    told = re.findall(r"^(\S+?)/? ", block_after("**The run folder**"), flags=re.MULTILINE)
    assert {each.name for each in folder.iterdir()} == set(told)
    with np.load(folder / "logits" / "one-hot-seed0-test.npz") as file:
        arrays = re.search(r"npz: (.*?)$", block_after("**The run folder**"), flags=re.MULTILINE)
        assert arrays is not None
        assert set(file) == set(re.findall(r"index|logits|labels|group(?= )|features", arrays[1]))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("env.json", "`env.json` holds"),
        ("metrics.jsonl", "A line of `metrics.jsonl` holds"),
        ("examples.json", "`examples.json` holds"),
        ("encoding.json", "`encoding.json` holds"),
    ],
)
def test_a_file_of_a_run_has_the_fields_of_the_page(digits: Ran, file: str, words: str):
    text = (digits.folder / digits.json()["run"] / file).read_text(encoding="utf-8")
    objects = [json.loads(line) for line in text.splitlines()] if file.endswith("l") else [json.loads(text)]
    assert [line for each in objects for line in fields_unlike(words, each)] == []


def test_the_audit_of_a_run_has_the_fields_of_the_page(digits: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = digits.folder / digits.json()["run"]
    assert main(["audit", str(folder), "--out", str(tmp_path), "--json"]) == OK
    assert fields_unlike("`audit --json` prints", json.loads(capsys.readouterr().out)) == []


def test_a_dry_run_has_the_fields_of_the_page(tmp_path: Path):
    ran = run_sfumato("compare", "digits", "--model", "linear", "--dry-run", "--json", folder=tmp_path)
    assert fields_unlike("`compare --dry-run --json` prints", ran.json()) == []


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("`audit --json` prints", "audit one.npz --against two.npz --json"),
        ("`audit --json` prints", "audit smoothed.npz --rows train --json"),
        ("`judge --json` prints", "judge one-hot=one.npz smoothed=two.npz --json"),
        ("`probe --json` prints", "probe torch.nn:CrossEntropyLoss --json"),
        ("`explain --json` prints", "explain --json"),
        ("`explain --json` prints", "explain --in fairseq --to keras --json"),
        ("`explain --json` prints", "explain --in fairseq --json"),
        ("`doctor --json` prints", "doctor --json"),
    ],
)
def test_a_command_prints_the_fields_of_the_page(
    words: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # probe adds the folder that it runs in
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    for name in ("one", "two"):
        features = rng.normal(size=(300, 4))
        np.savez(f"{name}.npz", logits=rng.normal(size=(300, 3)), labels=labels, features=features)
    own = np.log(np.where(np.arange(3) == labels[:, None], 0.9, 0.05)) + rng.normal(size=(300, 3)) / 100
    np.savez("smoothed.npz", logits=own, labels=labels)
    assert main(command.split()) == OK
    assert fields_unlike(words, json.loads(capsys.readouterr().out)) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"gap": 1.0}, ".gap is there and not on the page"),
        ({"classes": None}, ""),
        ({"others": {"true": 1, "other": 0, "gap": None}}, ".others.floor is on the page and not there"),
        ({"others": 1.0}, ".others is a plain value, and the page has fields"),
        ({"eps": [0.1]}, ".eps is a list, and the page has none"),
        ({"eps": {"all": 0.1}}, ".eps has fields that the page does not name: ['all']"),
        (
            {"conversion": {"in": "torch", "to": {"keras": 0.1}, "scale": 1}},
            ".conversion.scale is there and not on the page",
        ),
    ],
)
def test_another_field_is_found(change: dict[str, Any], line: str):
    part = {"true": 0.9, "other": 0.1, "gap": 2.2, "floor": 0.3}
    value = {"schema": "sfumato.explain/1", "classes": 2, "eps": 0.1, "others": part, "all": part} | change
    assert fields_unlike("`explain --json` prints", value) == ([line] if line else [])
