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

WORDS = ("compare", "digits", "--model", "linear", "--seeds", "3", "--epochs", "2", "--out", "run", "-q")
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


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """No tool leaves anything outside the folder, or asks the net for anything."""
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": tmp_path, "TRACKIO_DIR": tmp_path / "trackio"}.items():
        monkeypatch.setenv(name, str(value))


def tracked(tool: str, folder: Path) -> None:
    ran = run_sfumato(*WORDS, "--track", tool, "--json", folder=folder)
    assert ran.code == 0, ran.err
    json.loads(ran.out)  # nothing else on stdout


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    tracked("tensorboard", folder)
    return folder


@pytest.mark.slow
def test_tensorboard_has_every_epoch_of_every_run(watched):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = epochs(watched)
    folders = {path.name: path for path in (watched / "run" / "tensorboard").iterdir()}
    assert set(folders) == {f"{arm}-seed{seed}" for arm, seed in RUNS}
    for (arm, seed), metrics in wanted.items():
        events = EventAccumulator(str(folders[f"{arm}-seed{seed}"])).Reload()
        assert set(events.Tags()["scalars"]) == set(metrics)
        for name, values in metrics.items():
            assert [each.step for each in events.Scalars(name)] == [1, 2]
            assert [each.value for each in events.Scalars(name)] == pytest.approx(values, rel=1e-6)  # float32 there
    assert "tensorboard --logdir" in notes(watched)


READ = """
import json
from trackio.sqlite_storage import SQLiteStorage as S
runs = {run: [S.get_run_config("sfumato", run), S.get_logs("sfumato", run)] for run in S.get_runs("sfumato")}
print(json.dumps(runs))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("tools")
def test_trackio_has_every_epoch_of_every_run(tmp_path):
    tracked("trackio", tmp_path)
    stored = json.loads(subprocess.check_output([sys.executable, "-c", READ], text=True).splitlines()[-1])
    assert set(stored) == {f"run-{arm}-seed{seed}" for arm, seed in RUNS}
    for (arm, seed), metrics in epochs(tmp_path).items():
        config, logs = stored[f"run-{arm}-seed{seed}"]
        assert (config["arm"], config["seed"], config["_Group"]) == (arm, seed, "run")
        assert config["eps"] == (0.1 if arm == "smoothed" else 0)
        for name, values in metrics.items():
            assert [entry[name] for entry in logs] == values
    assert 'project "sfumato", group "run"' in notes(tmp_path)


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
@pytest.mark.usefixtures("tools")
def test_wandb_has_every_epoch_of_every_run(tmp_path):
    tracked("wandb", tmp_path)
    from wandb.proto.wandb_internal_pb2 import Record

    stored: dict[str, list[dict[str, float]]] = {}
    for path in sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb")):
        name = ""
        for data in records(path.read_bytes()):
            record = Record.FromString(data)
            if record.HasField("run"):
                name = record.run.display_name
                assert record.run.run_group == "run"
            if record.HasField("history"):
                items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                stored.setdefault(name, []).append(items)
    assert set(stored) == {f"run-{arm}-seed{seed}" for arm, seed in RUNS}
    for (arm, seed), metrics in epochs(tmp_path).items():
        for name, values in metrics.items():
            assert [entry[name] for entry in stored[f"run-{arm}-seed{seed}"]] == values


@pytest.mark.slow
def test_the_result_does_not_know_who_watched(tmp_path, watched):
    ran = run_sfumato(*WORDS, folder=tmp_path)
    assert ran.code == 0, ran.err
    for name in ("config.toml", "metrics.jsonl", "summary.json"):
        assert (tmp_path / "run" / name).read_bytes() == (watched / "run" / name).read_bytes(), name


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
    options = Options("digits", model="linear", seeds=3, epochs=2, track="tensorboard", out=str(tmp_path / "run"))
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
    options = Options("digits", model="linear", seeds=3, epochs=2, track="tensorboard", out=str(tmp_path / "run"))
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


def test_a_tracker_that_is_none_is_refused_with_a_guess():
    with pytest.raises(OptionError, match='got "tensorbord"; did you mean "tensorboard"'):
        Options("digits", track="tensorbord").check()


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
