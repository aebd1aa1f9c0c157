"""Curves in trackers: real ones, each read back with its own reader."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfumato.lab import compare as lab
from sfumato.lab.errors import OptionError, TrackingError
from sfumato.lab.execute import RunKey
from sfumato.lab.options import Options
from sfumato.lab.trackers import Tracker
from sfumato.messages import texts
from tests.conftest import run_sfumato

WORDS = (
    "compare",
    "digits",
    "--model",
    "linear",
    "--folds",
    "1",
    "--seeds",
    "3",
    "--epochs",
    "2",
    "--out",
    "run",
    "-q",
)
SHORT = {"model": "linear", "seeds": 3, "epochs": 2, "workers": 1, "track": "tensorboard"}
RUNS = {(arm, seed) for arm in ("one-hot", "smoothed") for seed in range(3)}


def epochs(folder: Path) -> dict[tuple[str, int], dict[str, list[float]]]:
    """What metrics.jsonl says: for each run, the values of each metric, epoch by epoch."""
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for line in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        run = found.setdefault((fields.pop("arm"), fields.pop("seed")), {})
        for name, value in fields.items():
            run.setdefault(name, []).append(value)
    for run in found.values():
        assert run.pop("epoch") == [1, 2]
    return found


def notes(folder: Path) -> str:
    return " ".join(texts(json.loads((folder / "run" / "env.json").read_text(encoding="utf-8"))["notes"]))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The folder of a run that nobody watched."""
    folder = tmp_path_factory.mktemp("plain")
    assert run_sfumato(*WORDS, folder=folder).code == 0
    return folder


READ_TRACKIO = """
import json
from trackio.sqlite_storage import SQLiteStorage as S
runs = {run: [S.get_run_config("sfumato", run), S.get_logs("sfumato", run)] for run in S.get_runs("sfumato")}
print(json.dumps(runs))
"""


def from_tensorboard(folder: Path) -> dict[str, dict[str, list[float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stored = {}
    for path in (folder / "run" / "tensorboard").iterdir():
        events = EventAccumulator(str(path)).Reload()
        scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
        assert all([each.step for each in values] == [1, 2] for values in scalars.values())
        stored[f"run-{path.name}"] = {name: [each.value for each in values] for name, values in scalars.items()}
    return stored


def from_trackio(folder: Path) -> dict[str, dict[str, list[float]]]:
    stored = json.loads(subprocess.check_output([sys.executable, "-c", READ_TRACKIO], text=True).splitlines()[-1])
    config, _ = stored["run-smoothed-seed1"]
    assert [config[name] for name in ("arm", "seed", "_Group", "eps")] == ["smoothed", 1, "run", 0.1]
    return {run: _columns(logs) for run, (_, logs) in stored.items()}


def from_wandb(folder: Path) -> dict[str, dict[str, list[float]]]:
    from wandb.proto.wandb_internal_pb2 import Record

    stored: dict[str, list[dict[str, float]]] = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb")):
        name = ""
        for data in records(path.read_bytes()):
            record = Record.FromString(data)
            if record.HasField("run"):
                name = record.run.display_name
                assert record.run.run_group == "run"
            if record.HasField("history"):
                items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                stored.setdefault(name, []).append(items)
    return {name: _columns(logs) for name, logs in stored.items()}


def _columns(logs: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [entry[name] for entry in logs] for name in logs[0]}


def records(file: bytes) -> Iterator[bytes]:
    """Those of a .wandb file: LevelDB's log, in blocks of 32 KB, after a header of 7 bytes."""
    at, whole = 7, b""
    while at + 7 <= len(file):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = struct.unpack_from("<HB", file, at + 4)
        whole += file[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "stored", "note"),
    [
        ("tensorboard", from_tensorboard, "tensorboard --logdir"),
        ("trackio", from_trackio, 'project "sfumato", group "run"'),
        ("wandb", from_wandb, 'project "sfumato", group "run"'),
    ],
)
def test_a_tracker_has_every_epoch_of_every_run_and_the_result_is_that_without_it(
    tool, stored, note, plain, tmp_path, monkeypatch
):
    # No tool leaves anything outside the folder, or asks the net for anything.
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": tmp_path, "TRACKIO_DIR": tmp_path / "trackio"}.items():
        monkeypatch.setenv(name, str(value))
    ran = run_sfumato(*WORDS, "--track", tool, "--json", folder=tmp_path)
    assert ran.code == 0, ran.err
    json.loads(ran.out)  # nothing else on stdout
    curves = stored(tmp_path)
    assert set(curves) == {f"run-{arm}-seed{seed}" for arm, seed in RUNS}
    for (arm, seed), metrics in epochs(tmp_path).items():
        for name, values in metrics.items():
            assert curves[f"run-{arm}-seed{seed}"][name] == pytest.approx(values, rel=1e-6)  # some keep float32
    assert note in notes(tmp_path)
    for name in ("config.toml", "metrics.jsonl", "summary.json"):
        assert (tmp_path / "run" / name).read_bytes() == (plain / "run" / name).read_bytes(), name


class Failing:
    """A tracker's run that takes one epoch."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.finished = False

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self.steps:
            raise ConnectionError("the line is cut.\nand more")
        self.steps.append(step)

    def finish(self) -> None:
        self.finished = True


def test_a_tracker_that_fails_on_the_way_costs_no_run(tmp_path, monkeypatch):
    made: list[Failing] = []

    def opened(self: Tracker, name: str, config: dict[str, object]) -> Failing:
        made.append(Failing())
        return made[-1]

    monkeypatch.setattr(Tracker, "_tensorboard", opened)
    options = Options("digits", **SHORT, out=str(tmp_path / "run"))
    summary = lab.compare(options)
    assert summary["verdict"]["sentences"]
    assert "tensorboard only until it failed (the line is cut)" in notes(tmp_path)
    assert all(run.finished for run in made)
    assert any(run.steps == [1] for run in made)


def test_a_tracker_that_does_not_answer_is_known_before_anything_trains(tmp_path, monkeypatch):
    def refused(self: Tracker, name: str, config: dict[str, object]) -> Failing:
        raise ConnectionError("no such host")

    monkeypatch.setattr(Tracker, "_tensorboard", refused)
    trained: list[str] = []
    watcher = lab.Watcher(lambda setup: None, lambda run, epoch: trained.append(run.arm))
    options = Options("digits", **SHORT, out=str(tmp_path / "run"))
    with pytest.raises(TrackingError, match=r"^--track tensorboard: no such host; `sfumato compare --resume .*run`"):
        lab.compare(options, watcher=watcher)
    assert not trained
    lab.resume(tmp_path / "run")  # and goes on without it
    assert (tmp_path / "run" / "summary.json").is_file()


def test_a_run_that_went_on_has_one_set_of_events_a_run(tmp_path):
    tracker = Tracker("tensorboard", "run", tmp_path, {"epochs": 2}, {"smoothed": {"eps": 0.1}})
    for _ in range(2):
        with tracker:
            tracker.epoch(RunKey("smoothed", 0), {"epoch": 1, "train_loss": 0.5})
    assert len(list((tmp_path / "tensorboard" / "smoothed-seed0").iterdir())) == 1


@pytest.mark.parametrize("tool", ["trackio", "wandb", "tensorboard"])
def test_where_there_is_no_tracker_the_way_to_it_is_named(monkeypatch, tool):
    monkeypatch.setitem(sys.modules, tool, None)
    with pytest.raises(OptionError, match=f"pip install {tool}"):
        Options("digits", track=tool).check()


@pytest.mark.slow
def test_wandb_without_an_account_is_refused_and_never_asks(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ran = run_sfumato(*WORDS, "--track", "wandb", folder=tmp_path)
    assert ran.code == 2
    assert "WANDB_MODE=offline" in ran.err
    assert not list(tmp_path.glob("run*"))
