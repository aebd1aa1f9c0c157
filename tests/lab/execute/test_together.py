"""All runs as one batched program: the same training as run by run, but for the last digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sfumato.lab import compare as lab
from sfumato.lab.options import OptionError, Options
from sfumato.lab.train.loop import TrainingError

SHORT = {"seeds": 3, "epochs": 3}


def ran(folder: Path, name: str, **words) -> Path:
    lab.compare(Options(**{"data": "digits", **SHORT, **words, "out": str(folder / name)}))
    return folder / name


def epochs(run: Path) -> dict[tuple[str, int, int], dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    fields = [json.loads(line) for line in lines]
    return {(f.pop("arm"), f.pop("seed"), f.pop("epoch")): f for f in fields}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = (rng.normal(128, 30, size=(240, 12, 12, 3)) + 40 * y[:, None, None, None]).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "x.npz"
    np.savez(path, X=x, y=y, weight=rng.uniform(0.5, 2, size=240).astype(np.float32))
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        {"model": "mlp"},
        {"model": "linear", "weight_decay": 0.01, "arm": "onehot,prior:0.1,all:0.2"},
        {"model": "cnn", "data": "pictures", "batch_size": 40},
        {"model": "linear", "data": "pictures", "weight": "weight"},
        {"model": "linear", "ladder": "0,0.1,0.3"},
    ],
    ids=lambda words: "-".join(str(word) for word in words.values() if word != "pictures"),
)
def test_it_is_the_training_run_by_run_but_for_the_last_digits(tmp_path, pictures, words):
    if words.get("data"):
        words = {**words, "data": pictures}
    apart, together = (ran(tmp_path, str(both), together=both, **words) for both in (False, True))
    one, other = epochs(apart), epochs(together)
    assert one.keys() == other.keys()
    for key, fields in one.items():
        for name, value in fields.items():
            assert other[key][name] == pytest.approx(value, rel=2e-3, abs=2e-3), (key, name)
    paired = [json.loads((run / "summary.json").read_text(encoding="utf-8"))["paired"] for run in (apart, together)]
    assert paired[0] == paired[1]  # hashes of the same initial weights and the same batches
    names = sorted(path.name for path in (apart / "weights").iterdir())
    assert names == sorted(path.name for path in (together / "weights").iterdir())
    for name in names:
        a, b = (load_file(run / "weights" / name) for run in (apart, together))
        assert a.keys() == b.keys()
        for key, weight in a.items():
            # Adam takes a whole step in the direction of a gradient that is all rounding
            np.testing.assert_allclose(b[key], weight, atol=0.02, err_msg=f"{name} {key}")
            assert float(np.median(np.abs(b[key] - weight))) < 1e-3
    notes = json.loads((together / "env.json").read_text(encoding="utf-8"))["notes"]
    assert any("one batched program (--together)" in note for note in notes)
    assert "together = true" in (together / "config.toml").read_text(encoding="utf-8")


def test_it_is_the_same_to_the_bit_when_it_is_done_again(tmp_path):
    first, second = (ran(tmp_path, name, together=True, model="linear", workers=1) for name in "ab")
    for name in ("metrics.jsonl", "weights/smoothed-seed2.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_one_that_was_stopped_trains_all_its_runs_again_to_the_same_bits(tmp_path):
    whole = ran(tmp_path, "whole", together=True, model="linear", workers=1)

    def stop(folder: Path) -> None:
        raise KeyboardInterrupt

    options = Options("digits", **SHORT, model="linear", together=True, workers=1, out=str(tmp_path / "half"))
    with pytest.raises(lab.Stopped):
        lab.compare(options, watcher=lab.Watcher(lambda setup: None, lambda arm, seed, epoch: None, render=stop))
    next((tmp_path / "half.partial" / "weights").glob("smoothed-seed1*")).unlink()
    lab.resume(tmp_path / "half", workers=1)
    for name in ("metrics.jsonl", "weights/smoothed-seed1.safetensors"):
        assert (whole / name).read_bytes() == (tmp_path / "half" / name).read_bytes()


def test_a_loss_that_is_not_finite_names_the_run(tmp_path):
    with pytest.raises(TrainingError, match=r"the loss of (one-hot|smoothed)-seed\d is (nan|inf) in epoch"):
        ran(tmp_path, "run", together=True, model="mlp", learning_rate=1e30)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"early_stop": 2}, "--together and --early-stop cannot be had at once"),
        ({"accumulate": 2}, "--together and --accumulate"),
        ({"precision": "bf16"}, "--together and --precision bf16"),
        ({"on": "ray"}, "--together and --on"),
        ({"arm": "onehot,mixup:0.2"}, "--together cannot train mixup-0.2, which mixes rows within each run"),
    ],
)
def test_what_cannot_be_had_together_is_refused_before_anything_is_written(tmp_path, monkeypatch, words, message):
    monkeypatch.setattr("sfumato.lab.options.check_on", lambda on: None)  # it would load Ray
    with pytest.raises(OptionError, match=message):
        ran(tmp_path, "run", together=True, **words)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_stacked_is_refused_with_why(tmp_path):
    rows = "\n".join(f"{'good fine great' if i % 2 else 'bad poor awful'} {i},{i % 2}" for i in range(60))
    (tmp_path / "t.csv").write_text(f"text,label\n{rows}\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"--together cannot train mlp on .* as a stack \(.+\); leave --together out"):
        ran(tmp_path, "run", data=str(tmp_path / "t.csv"), text="text", together=True)
    assert not (tmp_path / "run.partial").exists()


def test_a_model_with_shared_weights_is_refused_before_it_has_trained(tmp_path, monkeypatch):
    body = (
        "import torch\n\n\ndef made(shape, classes):\n    first = torch.nn.Linear(64, 64)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), first, first, torch.nn.Linear(64, classes))\n"
    )
    (tmp_path / "shared_layers.py").write_text(body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(OptionError, match=r"--together cannot train shared_layers:made"):
        ran(tmp_path, "run", model="shared_layers:made", together=True)
    assert not (tmp_path / "run.partial").exists()


def test_what_it_costs_is_that_of_steps_of_all_runs():
    found = lab.dry_run(Options("digits", together=True, model="linear", **SHORT))
    assert (found.runs, found.workers, found.together) == (6, 1, True)
    assert "6, as one program" in found.told()
    assert "ms each, of all runs" in found.told()
    assert 0.5 < found.seconds / (found.steps * found.seconds_per_step) < 3
