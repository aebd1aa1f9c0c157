"""Augmentation: pixels against a loop by hand, the same draws in all arms, and the same bits however it is trained."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.lab.data.table import Inputs
from sfumato.lab.prepared import prepared
from sfumato.lab.train.augment import Augmentation, by_torch, by_torchvision
from sfumato.messages import texts

QUICK = {"seeds": 3, "epochs": 2, "workers": 1, "quiet": True}


def pictures(dtype, shape=(6, 3, 8, 10)):
    rng = np.random.default_rng(0)
    made = rng.integers(1, 255, shape) if dtype == torch.uint8 else rng.normal(size=shape)
    return torch.tensor(made, dtype=dtype)


def by_hand(x, flips, shifts, padding):
    """One pixel at a time: the crop of a picture in a frame of zeros, then its mirror image."""
    made = torch.zeros_like(x)
    height, width = x.shape[-2:]
    for n in range(len(x)):
        for i in range(height):
            for j in range(width):
                y = i + int(shifts[n, 0]) - padding
                across = j + int(shifts[n, 1]) - padding
                if 0 <= y < height and 0 <= across < width:
                    made[n, ..., i, width - 1 - j if flips[n] else j] = x[n, ..., y, across]
    return made


@pytest.mark.parametrize("shape", [(6, 3, 8, 10), (6, 8, 10)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("made", [by_torch, by_torchvision])
def test_pixels_are_those_of_a_loop_by_hand(made, dtype, shape):
    if made is by_torchvision:
        pytest.importorskip("torchvision")
    rng = np.random.default_rng(1)
    x, flips, shifts = (
        pictures(dtype, shape),
        torch.tensor(rng.random(6) < 0.5),
        torch.tensor(rng.integers(0, 5, (6, 2))),
    )
    assert torch.equal(made(x, flips, shifts, 2), by_hand(x, flips, shifts, 2))


FORMS = {
    "bytes": (Inputs("image", (8, 10, 3), 240), lambda x: x.permute(0, 2, 3, 1)),
    "channels first": (Inputs.dense(240, (3, 8, 10)), lambda x: x.flatten(1)),
    "channels last": (Inputs.dense(240, (8, 10, 3)), lambda x: x.permute(0, 2, 3, 1).flatten(1)),
    "grey": (Inputs.dense(80, (8, 10)), lambda x: x[:, 0].flatten(1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_is_changed_alike(form):
    inputs, rows_of = FORMS[form]
    x, rows = pictures(torch.uint8), torch.tensor([3, 0, 5])
    augment = Augmentation(("flip", "crop"), inputs, 6, seed=1)
    augment.begin(2)
    flips, shifts = (torch.from_numpy(each[rows.numpy()]) for each in (augment._flips, augment._shifts))
    assert torch.equal(augment(rows_of(x[rows]), rows), rows_of(by_hand(x[rows], flips, shifts, 1)))


def test_the_draws_of_a_row_depend_on_seed_and_epoch_and_not_on_the_batch():
    inputs, x = Inputs.dense(240, (3, 8, 10)), pictures(torch.float32).flatten(1)
    one, other = (Augmentation(("flip", "crop"), inputs, 6, seed=1) for _ in range(2))
    assert one.begin(1) != one.begin(2)
    assert one.begin(2) == other.begin(2) != Augmentation(("flip", "crop"), inputs, 6, seed=2).begin(2)
    whole = one(x, torch.arange(6))
    parts = [other(x[rows], rows) for rows in (torch.tensor([4, 1]), torch.tensor([0, 2, 3, 5]))]
    assert torch.equal(whole[[4, 1, 0, 2, 3, 5]], torch.cat(parts))


@pytest.mark.parametrize(("kind", "flipped", "shifted"), [("flip", True, False), ("crop", False, True)])
def test_each_kind_does_its_own_and_no_other(kind, flipped, shifted):
    augment = Augmentation((kind,), Inputs("image", (16, 16, 1), 256), 4000, seed=0)
    augment.begin(1)
    assert abs(augment._flips.mean() - 0.5 * flipped) < 0.03
    assert np.unique(augment._shifts).tolist() == ([0, 1, 2, 3, 4] if shifted else [2])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on pictures of bytes, with mixup as its third arm."""
    folder = tmp_path_factory.mktemp("augmented")
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    np.savez(
        folder / "data.npz",
        X=rng.integers(0, 200, (90, 16, 16), np.uint8) + (20 * y).astype(np.uint8)[:, None, None],
        y=y,
    )
    options = {"augment": ["flip", "crop"], "arm": ["onehot", "others:0.1", "mixup:0.2"], **QUICK}
    return sf.compare(folder / "data.npz", out=folder / "run", **options)


@pytest.mark.slow
def test_the_run_records_the_augmentation_and_its_page_tells_it(run):
    assert 'augment = "flip,crop"  # Python' in (run.folder / "config.toml").read_text()
    assert json.loads((run.folder / "env.json").read_text())["training"]["augment"] == ["flip", "crop"]
    assert (
        "<dt>Augmentation</dt><dd>training images flipped left to right every other time and shifted by up to an "
        "eighth of the shorter side and padded with zeros; the same draws in every arm</dd>"
    ) in run.page()
    assert not any("no crops, flips" in note for note in texts(run.notes))


@pytest.mark.slow
def test_the_draws_are_in_the_hash_that_all_arms_share(run):
    plain = sf.compare(run.folder.parent / "data.npz", out=run.folder.parent / "plain", **QUICK)
    assert run.summary["paired"]["equal"]
    assert run.summary["paired"]["batches"] != plain.summary["paired"]["batches"]
    assert any("no crops, flips" in note for note in texts(plain.notes))


@pytest.mark.slow
def test_without_torchvision_the_weights_have_the_same_bits(run, monkeypatch):
    from sfumato.lab.train import augment

    monkeypatch.setattr(augment, "find_spec", lambda name: None)
    assert first_weights(run.folder, monkeypatch) == (run.folder / "weights" / "one-hot-seed0.safetensors").read_bytes()


def first_weights(folder, monkeypatch):
    """The weights of the first arm and seed of a run, trained again in this process."""
    from safetensors.torch import save

    from sfumato.lab.choose_model import one_thread
    from sfumato.lab.execute.training_run import TrainingRun
    from sfumato.lab.options import from_toml

    monkeypatch.chdir(folder.parent)
    ready = prepared(from_toml((folder / "config.toml").read_text()))
    with one_thread():
        made = TrainingRun(ready.tasks(folder)[0], ready.rows(*ready.parts)(0))
        made.train(None)
    return save({name: tensor.contiguous() for name, tensor in made.model.state_dict().items()})
