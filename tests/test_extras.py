"""What works without the packages of the extra ``lab``, and what is said where they are missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sfumato.extras import LAB

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

CORE = """
import contextlib, io, json, sys
from importlib.machinery import PathFinder

hidden = sys.argv[1].split(",")
finds = PathFinder.find_spec

def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else finds(name, path, target)

PathFinder.find_spec = classmethod(find_spec)
from sfumato.cli import main

def ran(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return [code, err.getvalue()]

def refusal(call):
    try:
        call()
    except ImportError as error:
        return str(error)

import torch
import sfumato as sf

told = {" ".join(words): ran(*words) for words in json.loads(sys.argv[2])}
logits, labels = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).requires_grad_(), torch.arange(20) % 3
sf.cross_entropy(logits, labels, label_smoothing=0.1, over="others").backward()
sf.loss_parts(logits, sf.smooth(labels, 3, 0.1, over="all"))
sf.evaluate.evaluate(logits=logits.detach().numpy(), labels=labels.numpy())
estimate = sf.evaluate.Estimate(0.1, 0.0, 0.2, 0.05, 9.0, 0.05, 0.01, 0.01, 0.01, 5, 100)
print(json.dumps({
    "told": told,
    "estimate_interval": refusal(lambda: sf.evaluate.estimate_interval([[0.0, 1.0], [1.0, 3.0]])),
    "power": refusal(lambda: sf.evaluate.power(estimate, 0.1)),
    "loaded": [name for name in hidden if name in sys.modules],
}))
"""

SERVED = ["explain", "explain --in fairseq --to keras", "explain --page page.html", "probe torch.nn:CrossEntropyLoss",
          "doctor", "compare --help", "--version"]  # fmt: skip
REFUSED = {"compare digits": "compare", "audit scores.npz": "audit", "report run": "report", "init": "init",
           "doctor digits": "doctor with DATA"}  # fmt: skip
MISTAKEN = {
    "explain --eps 3": "sfumato: --eps must be in [0, 1], got 3\n",
    "probe torch.nn": 'sfumato: "torch.nn" is not MODULE:CALLABLE, as in torch.nn:CrossEntropyLoss or '
    "my_losses.py:smoothed\n",
}
TO_TYPE = "; to install what is missing, type: pip install 'sfumato[lab]'"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What commands and the loss do in a process that cannot import a package of the extra ``lab``."""
    words = json.dumps([command.split() for command in [*SERVED, *REFUSED, *MISTAKEN]])
    folder = tmp_path_factory.mktemp("core")
    done = subprocess.run(
        [sys.executable, "-c", CORE, ",".join(LAB), words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [each.name for each in folder.iterdir()] == ["page.html"]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_without_the_lab_its_commands_and_functions_name_what_to_type_and_all_others_work(core: dict):
    listed = "matplotlib, Pillow, msgspec, pyarrow, safetensors, scipy and scikit-learn"
    assert core["told"] == {
        **{command: [0, ""] for command in SERVED},
        **{command: [2, f"sfumato: {called} needs {listed}{TO_TYPE}\n"] for command, called in REFUSED.items()},
        **{command: [2, message] for command, message in MISTAKEN.items()},
    }
    for function, called in (("estimate_interval", "an interval"), ("power", "power")):
        assert core[function] == f"{called} needs scipy{TO_TYPE}"
    assert core["loaded"] == []


def test_another_missing_module_is_not_taken_for_the_lab():
    from sfumato.extras import lab_imports

    with pytest.raises(ModuleNotFoundError, match="^No module named 'sfumato_has_none'$"), lab_imports("power"):
        import sfumato_has_none  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from numpy import no_such_name", "cannot import name 'no_such_name' from 'numpy'"),
        ("import numpy.no_such_module", "No module named 'numpy.no_such_module'"),
    ],
)
def test_a_framework_of_another_version_is_told_with_what_it_lacks(line: str, found: str):
    from sfumato.extras import MissingExtraError, framework_imports

    told = "^this test does not find all that it needs in the numpy that is installed [(]" + re.escape(found)
    with pytest.raises(MissingExtraError, match=told) as caught, framework_imports("this test", "numpy"):
        exec(line)
    assert str(caught.value).endswith("; for the newest, type: pip install -U numpy")


def test_the_extra_installs_what_the_message_names():
    assert {name_of(line) for line in PROJECT["optional-dependencies"]["lab"]} == {canonical(n) for n in LAB.values()}


def test_the_core_is_small():
    torch, numpy = closure(["torch"]), closure(["numpy"])
    core = closure(PROJECT["dependencies"])
    beside = core - torch - numpy
    assert len(core) + 1 <= 40  # one more is sfumato itself
    assert sum(map(size, beside)) + size_of_package() <= 60e6  # without its kernel, of 1 MB
    assert not beside & {canonical(name) for name in LAB.values()}


def closure(lines: list[str]) -> set[str]:
    """Names of all distributions that requirements bring, as they are installed here, extras left out."""
    seen: set[str] = set()
    waiting = list(lines)
    while waiting:
        wanted = Requirement(waiting.pop())
        name = canonical(wanted.name)
        if name in seen or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        waiting += distribution(name).requires or []
    return seen


def canonical(name: str) -> str:
    """The one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(line: str) -> str:
    """The distribution that a requirement names."""
    return canonical(Requirement(line).name)


def size(name: str) -> int:
    """Bytes of the files that a distribution installed."""
    return sum(
        path.stat().st_size for file in distribution(name).files or [] if (path := Path(file.locate())).is_file()
    )


def size_of_package() -> int:
    """Bytes of sfumato's own files, compiled ones included."""
    return sum(path.stat().st_size for path in (ROOT / "sfumato").rglob("*") if path.is_file())
