"""Going on with a comparison: what is kept, what is trained again, and what is printed of a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from sfumato.lab import compare as lab
from sfumato.lab.compare import NULL_WATCHER
from sfumato.lab.data import prepare
from sfumato.lab.errors import OptionError
from sfumato.lab.execute import RunKey
from sfumato.lab.models import build
from sfumato.lab.options import Options
from sfumato.lab.resume import hashes_of_files, reopened
from sfumato.runs.folder import RunError
from tests.conftest import run_sfumato

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
    ("given", "told"),
    [({"workers": -3}, "workers"), ({"on": "the moon"}, "on"), ({"track": "by hand"}, "track")],
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
    trained: set[tuple[str, int]] = set()
    lab.resume(
        tmp_path / "run",
        workers=1,
        watcher=replace(NULL_WATCHER, progress=lambda run, _: trained.add(run)),
    )
    assert trained == {("smoothed", 0)}
    assert bits(tmp_path / "run") == before


@pytest.mark.slow
def test_of_a_whole_run_the_result_is_printed_again_and_nothing_is_touched(tmp_path):
    words = ("digits", "--model", "linear", "--seeds", "3", "--epochs", "1", "-q")
    ran = run_sfumato("compare", *words, "--out", "run", folder=tmp_path)
    assert ran.code == 0, ran.err
    files = contents(tmp_path)
    again = run_sfumato("compare", "--resume", "run", folder=tmp_path)
    assert (again.code, again.out, again.err) == (0, ran.out, "")
    stored = run_sfumato("compare", "--resume", "run.partial", "--json", folder=tmp_path)
    assert (stored.code, stored.err) == (0, "")
    assert stored.json() == json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert files == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()
    }


def _moved_to_the_next(share: float) -> str:
    """A transition table of the digits in which this share of each class gets the label of the next."""
    lines = [",".join(["", *map(str, range(10))])]
    for k in range(10):
        cells = {k: 1 - share, (k + 1) % 10: share}
        lines.append(",".join([str(k), *(f"{cells.get(j, 0):g}" for j in range(10))]))
    return "\n".join(lines)


def test_tables_of_noise_and_confusions_are_gone_on_with_to_the_same_bits_and_others_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "table.csv"
    table.write_text(_moved_to_the_next(0.3), encoding="utf-8")
    counts = tmp_path / "counts.csv"
    counts.write_text(_moved_to_the_next(0.2), encoding="utf-8")
    noisy = Options("digits", **SHORT, noise="table.csv", arm="onehot,confusion:counts.csv")
    lab.compare(replace(noisy, out=str(tmp_path / "whole")))
    with pytest.raises(lab.Stopped):
        lab.compare(replace(noisy, out=str(tmp_path / "run")), watcher=replace(NULL_WATCHER, progress=_stop_at_seed_1))
    table.write_text(_moved_to_the_next(0.4), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the path of the table is as seen from where the run was begun
    with pytest.raises(RunError, match="table.csv has changed since .* put the old table back"):
        lab.resume(tmp_path / "run", workers=1)
    table.write_text(_moved_to_the_next(0.3), encoding="utf-8")
    counts.write_text(_moved_to_the_next(0.1), encoding="utf-8")
    with pytest.raises(RunError, match="counts.csv has changed since .* put the old file back"):
        lab.resume(tmp_path / "run", workers=1)
    counts.write_text(_moved_to_the_next(0.2), encoding="utf-8")
    lab.resume(tmp_path / "run", workers=1)
    whole, again = bits(tmp_path / "whole"), bits(tmp_path / "run")
    same = [name for name in whole if name.startswith(("logits", "weights", "metrics"))]
    assert len(same) > 6
    assert {name: again[name] for name in same} == {name: whole[name] for name in same}
    for folder in ("whole", "run"):
        env = json.loads((tmp_path / folder / "env.json").read_text(encoding="utf-8"))
        assert env["data"]["noise"]["given"] == "table.csv"
        assert env["data"]["noise"]["transition"][3][4] == pytest.approx(0.3)


@pytest.fixture
def stopped_with_weights(tmp_path, monkeypatch):
    """A comparison that starts from w.safetensors, stopped in its second seed."""
    monkeypatch.chdir(tmp_path)
    _write_weights(tmp_path / "w.safetensors", seed=7)
    with pytest.raises(lab.Stopped):
        lab.compare(
            Options("digits", **SHORT, pretrained="w.safetensors", out=str(tmp_path / "run")),
            watcher=replace(NULL_WATCHER, progress=_stop_at_seed_1),
        )
    return tmp_path / "run"


def _write_weights(path: Path, *, seed: int) -> None:
    made = build("linear", prepare("digits").inputs, 10, seed=seed)
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, path)


def test_weights_to_start_from_that_have_changed_are_refused(stopped_with_weights, tmp_path):
    _write_weights(tmp_path / "w.safetensors", seed=8)
    with pytest.raises(RunError) as caught:
        lab.resume(stopped_with_weights, workers=1)
    assert str(caught.value) == (
        f"w.safetensors has changed since {stopped_with_weights}.partial was begun: it is no longer the file that the "
        "finished runs read; put the old file back, or start the run again"
    )


def test_weights_to_start_from_are_found_from_any_folder(stopped_with_weights, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    summary = lab.resume(stopped_with_weights, workers=1)
    assert len(set(summary["paired"]["weights"])) == 1  # every seed started from the file


def _stop_at_seed_1(run: RunKey, epoch: dict) -> None:
    if run.seed == 1:
        raise KeyboardInterrupt


def test_two_files_of_one_name_have_each_their_hash(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text(folder)
    arms = f"ordinal:0.5:{tmp_path}/first/t.csv,confusion:{tmp_path}/second/t.csv"
    found = hashes_of_files(Options("digits", arm=arms))
    assert len(set(found.values())) == len(found) == 2
