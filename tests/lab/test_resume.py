"""Going on with a comparison: what is kept, what is trained again, and what is printed of a whole run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from sfumato.io.atomic import read_sealed, write_sealed
from sfumato.lab import compare as lab
from sfumato.lab.compare import NULL_WATCHER
from sfumato.lab.data import prepare
from sfumato.lab.errors import OptionError
from sfumato.lab.execute import RunKey
from sfumato.lab.models import build
from sfumato.lab.options import Options
from sfumato.lab.resume import hashes_of_files, reopened
from sfumato.runs.folder import RunError
from sfumato.verdict.judge import judge
from tests.conftest import run_sfumato
from tests.lab.arms.conftest import table

SHORT = {"model": "linear", "seeds": 3, "epochs": 1, "workers": 1}


def bits(folder: Path) -> dict[str, bytes]:
    """Every file but those that hold a time."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "env.json" and "work" not in path.parts
    }


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file with its bytes and the time of its last change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("given", "told"), [({"workers": -3}, "workers"), ({"on": "the moon"}, "on"), ({"track": "by hand"}, "track")]
)
def test_an_option_that_cannot_be_used_is_refused_before_the_folder_is_looked_at(given, told, tmp_path):
    asked = {"workers": None, "on": None, "track": None} | given
    with pytest.raises(OptionError, match=told):
        reopened(tmp_path / "none", **asked)


def stop(folder: Path) -> None:
    raise KeyboardInterrupt


def test_a_finished_run_whose_files_were_swapped_is_trained_again_to_its_own_bits(tmp_path):
    with pytest.raises(lab.Stopped):
        lab.compare(Options("digits", **SHORT, out=str(tmp_path / "run")), watcher=replace(NULL_WATCHER, render=stop))
    partial = tmp_path / "run.partial"
    before = bits(partial)
    swapped = {f"weights/smoothed-seed{n}.safetensors" for n in (0, 1)}
    first, second = (partial / name for name in sorted(swapped))
    first.write_bytes(second.read_bytes())
    trained: set[RunKey] = set()
    lab.resume(tmp_path / "run", workers=1, watcher=replace(NULL_WATCHER, progress=lambda run, _: trained.add(run)))
    assert trained == {("smoothed", 0)}
    assert bits(tmp_path / "run") == before


@pytest.mark.slow
def test_of_a_whole_run_the_result_is_printed_again_and_nothing_is_touched(tmp_path):
    words = ("digits", "--model", "linear", "--folds", "1", "--seeds", "3", "--epochs", "1", "-q")
    ran = run_sfumato("compare", *words, "--out", "run", folder=tmp_path)
    assert ran.code == 0, ran.err
    files = contents(tmp_path)
    again = run_sfumato("compare", "--resume", "run", folder=tmp_path)
    assert (again.code, again.out, again.err) == (0, ran.out, "")
    stored = run_sfumato("compare", "--resume", "run.partial", "--json", folder=tmp_path)
    assert (stored.code, stored.err) == (0, "")
    assert stored.json() == json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert contents(tmp_path) == files


@pytest.mark.parametrize("ladder", [None, "0,0.05,0.1"])
def test_more_seeds_give_the_models_of_a_comparison_that_had_them_from_the_start(ladder, tmp_path):
    short = {"model": "linear", "epochs": 1, "workers": 1, "folds": 3, "ladder": ladder}
    run = tmp_path / "run"
    first = lab.compare(Options("digits", **short, out=str(run)))
    before, trained = contents(run), set[RunKey]()
    second = lab.look_again(
        run, 2, out=str(tmp_path / "two"), workers=1, on=None, track=None,
        watcher=replace(NULL_WATCHER, progress=lambda run, _: trained.add(run)),
    )  # fmt: skip
    assert {key.seed for key in trained} == {3, 4, 5}
    assert contents(run) == before
    whole = lab.compare(Options("digits", **short, seeds=2, out=str(tmp_path / "whole")))
    mine, theirs = bits(tmp_path / "two"), bits(tmp_path / "whole")
    same = [name for name in theirs if name.startswith(("logits", "weights", "metrics"))]
    assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}
    (look,) = second["looks"]
    errors = {d["metric"]: d["se"] for d in first["differences"] if d["p_adjusted"] is not None}
    assert look == {"models": 3, "state": first["verdict"]["state"], "standard_errors": {"smoothed": errors}}
    for one, other in zip(second["differences"], whole["differences"], strict=True):
        assert (one["mean"], one["low"], one["se"]) == (other["mean"], other["low"], other["se"])
        if one["p_adjusted"] is not None:
            assert one["p_adjusted"] == 1 or one["p_adjusted"] != other["p_adjusted"]  # it is not the first look
    judged = judge(tmp_path / "two").summary["differences"]
    assert [each["p_adjusted"] for each in judged] == [each["p_adjusted"] for each in second["differences"]]


def test_a_second_look_from_another_folder_keeps_notes_trains_lost_models_and_can_be_resumed(files, tmp_path):
    lab.compare(Options("digits", model="linear", epochs=1, workers=1, folds=3, noise="table.csv", out="run"))
    start = read_sealed(Path("run/work/whole.sealed"))
    write_sealed(Path("run/work/whole.sealed"), start | {"notes": [{"code": "time-budget", "text": "It was cut."}]})
    Path("run/weights/smoothed-seed1.safetensors").unlink()
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    trained, where = set[RunKey](), {"workers": 1, "on": None, "track": None}

    def stop_at_the_last(run: RunKey, epoch: dict) -> None:
        trained.add(run)
        if run == ("smoothed", 5):
            raise KeyboardInterrupt

    watcher = replace(NULL_WATCHER, progress=stop_at_the_last)
    with pytest.raises(lab.Stopped):
        lab.look_again(tmp_path / "run", 2, out="two", **where, watcher=watcher)
    assert trained == {("smoothed", 1), *((arm, seed) for arm in ("one-hot", "smoothed") for seed in (3, 4, 5))}
    (tmp_path / "third").mkdir()
    os.chdir(tmp_path / "third")
    summary = lab.resume(tmp_path / "elsewhere" / "two", **where)
    assert [look["models"] for look in summary["looks"]] == [3]
    env = json.loads((tmp_path / "elsewhere" / "two" / "env.json").read_text(encoding="utf-8"))
    assert [note["code"] for note in env["notes"]].count("time-budget") == 1
    assert env["data"]["noise"]["given"] == "table.csv"


def test_the_fifth_look_fewer_seeds_and_a_stopped_run_are_refused(tmp_path):
    run = tmp_path / "run"
    lab.compare(Options("digits", model="linear", epochs=1, workers=1, folds=3, out=str(run)))
    where = {"workers": None, "on": None, "track": None}
    with pytest.raises(OptionError, match=r"--seeds must be above 1, the seeds of .*run, to add some; got 1"):
        lab.look_again(run, 1, **where)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    look = {"models": 3, "state": "undecided", "standard_errors": {}}
    (run / "summary.json").write_text(json.dumps(summary | {"looks": [look] * 3}), encoding="utf-8")
    with pytest.raises(OptionError, match="run is complete: --out names the folder of a second look, which --seeds as"):
        lab.go_on(str(run), out="two", **where)
    os.rename(run, f"{run}.partial")
    os.rename(f"{run}.partial/work/whole.sealed", f"{run}.partial/work/start.sealed")
    for given, flag in (({"seeds": 2}, "--seeds"), ({"out": "two"}, "--out")):
        with pytest.raises(OptionError, match=f"was stopped: resume it first, and add seeds then; leave out {flag}"):
            lab.go_on(str(run), **given, **where)
    os.rename(f"{run}.partial/work/start.sealed", f"{run}.partial/work/whole.sealed")
    os.rename(f"{run}.partial", run)
    with pytest.raises(OptionError, match="run is look 4, the last that an error of 5 % allows"):
        lab.look_again(run, 2, **where)


def _moved_to_the_next(share: float) -> str:
    """A transition table of the digits in which this share of each class gets the label of the next."""
    rows = (1 - share) * np.eye(10) + share * np.roll(np.eye(10), 1, axis=1)
    return table([[f"{cell:g}" for cell in row] for row in rows], [str(digit) for digit in range(10)])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A function that writes each file that a run reads, as the run was begun with it or with something else."""
    monkeypatch.chdir(tmp_path)
    shares = {"table.csv": (0.3, 0.4), "counts.csv": (0.2, 0.1)}

    def write(name: str, *, changed: bool) -> None:
        if name in shares:
            (tmp_path / name).write_text(_moved_to_the_next(shares[name][changed]), encoding="utf-8")
        else:
            made = build("linear", prepare("digits").inputs, 10, seed=7 + changed)
            save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, tmp_path / name)

    for name in ("table.csv", "counts.csv", "w.safetensors"):
        write(name, changed=False)
    return write


def test_a_run_that_reads_files_goes_on_from_any_folder_to_the_same_bits_and_with_no_other_file(files, tmp_path):
    options = Options(
        "digits", **SHORT, noise="table.csv", arm="onehot,confusion:counts.csv", pretrained="w.safetensors"
    )
    lab.compare(replace(options, out=str(tmp_path / "whole")))

    def stop_at_seed_1(run: RunKey, epoch: dict) -> None:
        if run.seed == 1:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(lab.Stopped):
        lab.compare(replace(options, out=str(run)), watcher=replace(NULL_WATCHER, progress=stop_at_seed_1))
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")  # paths are as seen from where the run was begun
    for name, put_back in (
        ("table.csv", "its labels are no longer those that the finished runs saw; put the old table back"),
        ("counts.csv", "it is no longer the file that the finished runs read; put the old file back"),
        ("w.safetensors", "it is no longer the file that the finished runs read; put the old file back"),
    ):
        files(name, changed=True)
        with pytest.raises(RunError) as caught:
            lab.resume(run, workers=1)
        assert str(caught.value).endswith(
            f"{name} has changed since {run}.partial was begun: {put_back}, or start the run again"
        )
        files(name, changed=False)
    summary = lab.resume(run, workers=1)
    assert len(set(summary["paired"]["weights"])) == 1  # every seed started from the file
    whole, again = bits(tmp_path / "whole"), bits(run)
    same = [name for name in whole if name.startswith(("logits", "weights", "metrics"))]
    assert len(same) > 6
    assert {name: again[name] for name in same} == {name: whole[name] for name in same}
    for folder in ("whole", "run"):
        env = json.loads((tmp_path / folder / "env.json").read_text(encoding="utf-8"))
        assert env["data"]["noise"]["given"] == "table.csv"
        assert env["data"]["noise"]["transition"][3][4] == pytest.approx(0.3)


def test_two_files_of_one_name_have_each_their_hash(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text(folder)
    arms = f"ordinal:0.5:{tmp_path}/first/t.csv,confusion:{tmp_path}/second/t.csv"
    found = hashes_of_files(Options("digits", arm=arms))
    assert len(set(found.values())) == len(found) == 2
