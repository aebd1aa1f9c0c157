"""Modules by the paths that they had: each import still works, says where the module is, and hides nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato._moved import MOVED

PACKAGE = Path(__file__).parents[1] / "sfumato"


@pytest.fixture(autouse=True)
def forget_old_paths():
    """A module that was imported by its old path stays so; the next test imports it anew."""
    yield
    for old in MOVED:
        sys.modules.pop(f"sfumato.{old}", None)
        parent, _, name = f"sfumato.{old}".rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(name, None)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_warns_and_gives_the_public_names_of_the_new_one(old: str):
    if old.startswith("report.plots."):
        with pytest.warns(DeprecationWarning, match="sfumato.report.plots has moved"):
            importlib.import_module("sfumato.report.plots")
    with pytest.warns(DeprecationWarning, match="has moved to") as warned:
        found = importlib.import_module(f"sfumato.{old}")
    assert [str(w.message) for w in warned] == [f"sfumato.{old} has moved to sfumato.{MOVED[old]}"]
    assert [w.filename for w in warned] == [importlib.__file__]
    new = importlib.import_module(f"sfumato.{MOVED[old]}")
    public = [name for name in vars(new) if not name.startswith("_")]
    assert public
    assert all(getattr(found, name) is getattr(new, name) for name in public)
    assert new.__spec__.name == new.__name__ == f"sfumato.{MOVED[old]}"


def test_a_statement_is_named_by_the_warning():
    with pytest.warns(DeprecationWarning, match="has moved to") as warned:
        from sfumato.evaluate.calibration import ece
    assert [w.filename for w in warned] == [__file__]
    assert ece is importlib.import_module("sfumato.evaluate").ece


@pytest.mark.parametrize("path", [*MOVED, *MOVED.values()])
def test_the_table_has_paths_that_are_gone_on_the_left_and_paths_that_exist_on_the_right(path: str):
    place = PACKAGE / path.replace(".", "/")
    exists = place.is_dir() or place.with_suffix(".py").is_file()
    assert exists == (path not in MOVED)


@pytest.mark.parametrize(
    "name",
    [
        *("Epoch", "Plan", "Trained", "TrainingError", "default_plan", "hard_scores", "mean_gap", "optimiser_of"),
        *("parts_of", "train", "no_such_name"),
    ],
)
def test_the_loop_is_reached_through_its_folder(name: str):
    homes = [importlib.import_module(f"sfumato.lab.{home}") for home in ("train.loop", "train.plan", "errors")]
    there = next((getattr(home, name) for home in homes if hasattr(home, name)), None)
    assert getattr(importlib.import_module("sfumato.lab.train"), name, None) is there


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'sfumato.evaluate.nowhere'$"):
        importlib.import_module("sfumato.evaluate.nowhere")


def test_the_table_is_not_read_before_an_import_fails():
    code = "import sys, sfumato.theory\nassert 'sfumato._moved' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
