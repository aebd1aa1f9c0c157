"""Each adapter with its own framework alone, and without it.

One process forks a child for each adapter, which can import no framework but the adapter's own and what that itself
needs. The children share what they may: those of torch fork from a process that has it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

FRAMEWORKS = ["accelerate", "jax", "keras", "lightgbm", "lightning", "optax", "peft", "sentence_transformers",
              "sklearn", "skorch", "tensorflow", "timm", "torchmetrics", "torchvision", "transformers", "trl",
              "xgboost"]  # fmt: skip
ALONE = {
    "sklearn": (["sklearn"], "SmoothedClassifier().fit([[0.0], [1.0]] * 9, [0, 1] * 9)"),
    "boosting": (["lightgbm"], "lightgbm(2, 0.1)([0, 1], [[0.0, 1.0], [0.0, 1.0]])"),
    "lightning": (["torch", "lightning", "torchmetrics"], "Watch()"),
    "jax": (["jax"], "cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 1]), label_smoothing=0.1)"),
    "keras": (["torch", "keras"], "CrossEntropy(0.1)(np.array([0]), np.zeros((1, 3)))"),
    "timm": (["torch", "timm", "torchvision"], "CrossEntropy(0.1)"),
    "hf": (["torch", "transformers"], "compute_loss(0.1)"),
}
"""For each adapter the frameworks that it may load, and a first use of it; torch is named where it may load that."""

FORKS = """
import importlib, importlib.metadata, json, os, sys, traceback
from importlib.machinery import PathFinder

finds, distribution = PathFinder.find_spec, importlib.metadata.distribution

def hide(names):
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in names else finds(name, path, target)

    def installed(name):  # some ask this, and then import without a doubt
        if name.replace("-", "_").lower() in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return distribution(name)

    PathFinder.find_spec, importlib.metadata.distribution = classmethod(find_spec), installed

frameworks, alone = json.loads(sys.argv[1])
os.environ["KERAS_BACKEND"] = "torch"
for name, (needed, use) in sorted(alone.items(), key=lambda each: "torch" in each[1][0]):
    if "torch" in needed:
        import torch
    child = os.fork()
    if child == 0:
        hide({*frameworks, "torch"} - {*needed})
        try:
            exec(use, vars(importlib.import_module(f"sfumato.adapters.{name}")))
        except BaseException:
            print(name, traceback.format_exc(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.nightly  # `make floor` installs each framework alone; this hides the others where all are
def test_each_adapter_works_where_no_other_framework_is_installed():
    here = {name: alone for name, alone in ALONE.items() if all(find_spec(each) for each in alone[0])}
    command = [sys.executable, "-c", FORKS, json.dumps([FRAMEWORKS, here])]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("adapter", "framework", "installed"),
    [
        ("sklearn", "sklearn", "scikit-learn"),
        ("lightning", "lightning", "lightning"),
        ("jax", "jax", "jax"),
        ("keras", "keras", "keras"),
        ("timm", "timm", "timm"),
        ("hf", "transformers", "transformers"),
    ],
)
def test_without_its_framework_the_import_says_what_to_type(monkeypatch, adapter, framework, installed):
    for name in [name for name in sys.modules if name.startswith(f"sfumato.adapters.{adapter}")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [framework, *(name for name in sys.modules if name.startswith(f"{framework}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    told = f"^sfumato.adapters.{adapter} needs {installed}; to install it, type: pip install {installed}$"
    with pytest.raises(ImportError, match=told):
        importlib.import_module(f"sfumato.adapters.{adapter}")


@pytest.mark.parametrize(
    ("adapter", "name"),
    [("keras", "CrossEntropy"), ("timm", "CrossEntropy"), ("hf", "compute_loss")],
)
def test_a_strength_and_a_convention_are_checked_before_training(adapter, name):
    pytest.importorskip({"hf": "transformers"}.get(adapter, adapter))
    make = getattr(importlib.import_module(f"sfumato.adapters.{adapter}"), name)
    for given, message in (((2.0, "all"), r"label_smoothing must be in \[0, 1\]"), ((0.1, "rest"), "over must be")):
        with pytest.raises(ValueError, match=f"^{message}"):
            make(*given)
