"""Lightning's callbacks: what ``Watch`` measures after each epoch, and what ``SaveScores`` leaves for the verdict."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import sfumato as sf
from sfumato.adapters.lightning import SaveScores, Watch
from tests.adapters.common import CLASSES, assert_at_closed_form, assert_both_arms, digits, run_block

pl = pytest.importorskip("lightning")

TITLE = "Lightning"
# num_workers=0 is meant, and so is a Trainer without logger: Lightning warns of both.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have many workers|LeafSpec|`isinstance|have no `val_dataloader`)"
)
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
         "accelerator": "cpu", "log_every_n_steps": 1}  # fmt: skip


def loader(start: int, stop: int, size: int = 50) -> DataLoader:
    X, y = digits()
    return DataLoader(TensorDataset(torch.tensor(X[start:stop]), torch.tensor(y[start:stop])), batch_size=size)


class Module(pl.LightningModule):
    """A small network, smoothed in training; its validation step tells nothing."""

    def __init__(self, label_smoothing: float = 0.1, over: str = "all", lr: float = 0.01) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES))
        self.how, self.lr = {"label_smoothing": label_smoothing, "over": over}, lr

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, labels = batch
        return sf.cross_entropy(self(x), labels, **self.how)

    def validation_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.lr)


def fit(module: Any, *callbacks: Any, epochs: int = 1, **how: Any) -> Any:
    torch.manual_seed(0)
    trainer = pl.Trainer(max_epochs=epochs, callbacks=[*callbacks], **{**QUIET, **how})
    trainer.fit(module, loader(0, 400), loader(400, 600))
    return trainer


def test_what_is_logged_is_what_evaluate_says_of_the_validation_rows():
    torch.manual_seed(0)
    module, watch = Module(lr=0.0), Watch()
    trainer = fit(module, watch)
    X, y = digits()
    logits = module(torch.tensor(X[400:])).detach()
    told = sf.evaluate.evaluate(logits=logits, labels=y[400:])
    found = {name: trainer.callback_metrics[name].item() for name in ("hard_nll", "logit_gap", "temperature")}
    temperature = sf.evaluate.fit_temperature(small=True, logits=logits, labels=y[400:]).value
    gap = sf.evaluate.logit_gap(logits, y[400:]).mean()
    wanted = {"hard_nll": told.nll, "logit_gap": gap, "temperature": temperature}
    assert found == pytest.approx(wanted, rel=1e-6)
    assert watch.history == [{"epoch": 0, **{name: pytest.approx(value) for name, value in found.items()}}]


@pytest.mark.parametrize("over", ["all", "others"])
def test_training_reaches_the_closed_form(over):
    torch.manual_seed(0)
    module = Module(over=over)
    trainer = pl.Trainer(max_epochs=40, **QUIET, limit_val_batches=0)
    trainer.fit(module, loader(0, 400))
    X, y = digits()
    assert_at_closed_form(module(torch.tensor(X[:400])).detach(), y[:400], over)


def test_a_smoothed_model_is_watched_hard():
    watch, module = Watch(), Module(label_smoothing=0.3)
    fit(module, watch, epochs=3)
    X, y = digits()
    smoothed = sf.cross_entropy(module(torch.tensor(X[400:])), torch.tensor(y[400:]), label_smoothing=0.3).item()
    assert [each["epoch"] for each in watch.history] == [0, 1, 2]
    assert watch.history[-1]["hard_nll"] < smoothed
    assert watch.history[-1]["temperature"] < 1  # a smoothed model is under-confident


def test_the_logits_of_a_validation_step_are_taken():
    class Telling(Module):
        def validation_step(self, batch, batch_idx):
            return {"logits": 3 * self(batch[0]), "labels": batch[1]}

    bare, telling = Watch(), Watch()
    for watch, made in ((bare, Module), (telling, Telling)):
        torch.manual_seed(0)
        fit(made(), watch, epochs=3)
    assert telling.history[2]["logit_gap"] == pytest.approx(3 * bare.history[2]["logit_gap"], rel=1e-5)
    assert telling.history[2]["temperature"] == pytest.approx(3 * bare.history[2]["temperature"], rel=1e-5)


def test_rows_that_are_ignored_do_not_count():
    def scores(module: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = batch
        return module(x), torch.where(labels == 3, -100, labels)

    watch, module = Watch(scores), Module(lr=0.0)
    fit(module, watch)
    X, y = (part[400:] for part in digits())
    told = sf.evaluate.evaluate(logits=module(torch.tensor(X[y != 3])).detach(), labels=y[y != 3]).nll
    assert watch.history[0]["hard_nll"] == pytest.approx(told, rel=1e-6)


def test_label_156_of_uint8_counts():  # which is −100 there
    def moved(module: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = batch
        logits = torch.nn.functional.pad(module(x), (0, 190), value=-30.0)
        logits[:, [3, 156]] = logits[:, [156, 3]]
        return logits, torch.where(labels == 3, 156, labels).to(torch.uint8)

    plain, watch, module = Watch(), Watch(moved), Module(lr=0.0)
    fit(module, plain), fit(module, watch)
    assert watch.history[0]["hard_nll"] == pytest.approx(plain.history[0]["hard_nll"], rel=1e-6)


def test_a_checkpoint_goes_on_with_the_history(tmp_path):
    first, again = Watch(), Watch()
    trainer = fit(Module(), first, epochs=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    trainer = pl.Trainer(max_epochs=3, callbacks=[again], **QUIET)
    trainer.fit(Module(), loader(0, 400), loader(400, 600), ckpt_path=tmp_path / "two.ckpt")
    assert again.history[:2] == first.history
    assert [each["epoch"] for each in again.history] == [0, 1, 2]


TWO = """
import warnings
warnings.simplefilter("ignore")
import lightning as pl
import torch
from sfumato.adapters.lightning import Watch
from tests.adapters.test_lightning import Module, QUIET, loader

if __name__ == "__main__":
    torch.manual_seed(0)
    watch, module = Watch(), Module(lr=0.0)
    pl.Trainer(max_epochs=1, callbacks=[watch], devices=2, strategy="ddp", **QUIET).fit(
        module, loader(0, 400), loader(400, 600))
    if pl.pytorch.utilities.rank_zero_only.rank == 0:
        print("found", watch.history[0]["hard_nll"])
"""


@pytest.mark.nightly
def test_rows_of_two_processes_are_those_of_one(tmp_path):
    torch.manual_seed(0)
    watch = Watch()
    fit(Module(lr=0.0), watch)
    (tmp_path / "two.py").write_text(TWO, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "two.py")]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = re.search("found (.*)", ran.stdout)
    assert found is not None, ran.stdout
    assert float(found[1]) == pytest.approx(watch.history[0]["hard_nll"], rel=1e-6)


def test_a_batch_that_is_no_pair_is_refused_with_the_way_out():
    class Named(Module):
        def training_step(self, batch, batch_idx):
            return None

    rows = DataLoader([{"x": torch.zeros(64), "labels": 0}] * 4, batch_size=2)
    trainer = pl.Trainer(max_epochs=1, callbacks=[Watch()], **QUIET, num_sanity_val_steps=0)
    told = r"^a batch must be a pair \(x, labels\), got dict: return \{'logits': …, 'labels': …\} of validation_step"
    with pytest.raises(ValueError, match=told):
        trainer.validate(Named(), rows, verbose=False)


@pytest.mark.parametrize(
    ("seed", "rows", "message"),
    [
        (None, (400, 600), r"SaveScores needs seed=, or lightning.seed_everything\(…\) before training"),
        (0, (0, 0), "SaveScores was given a loader without batches"),
    ],
)
def test_scores_without_a_seed_or_rows_are_refused(seed, rows, message, tmp_path, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    test = loader(*rows) if rows[1] else []
    with pytest.raises(ValueError, match=f"^{message}$"):
        fit(Module(), SaveScores(tmp_path, arm="a", seed=seed, test=test))
    assert list(tmp_path.iterdir()) == []


def test_logits_that_do_not_have_one_row_per_label_are_refused():
    trainer = pl.Trainer(max_epochs=1, callbacks=[Watch(lambda module, batch: (batch[0], batch[1][:3]))], **QUIET)
    told = r"^logits must be \(3, 'K'\) for labels \(3,\) of classes, got \(50, 64\) and torch.int64$"
    with pytest.raises(ValueError, match=told):
        trainer.validate(Module(), loader(0, 50), verbose=False)


def test_saved_scores_are_the_logits_of_the_trained_model(tmp_path):
    module = Module()
    fit(module, SaveScores(tmp_path, arm="a", seed=7, test=loader(400, 600), validation=loader(300, 400)))
    X, y = digits()
    with np.load(tmp_path / "a" / "7.npz") as file:
        np.testing.assert_allclose(file["logits"], module(torch.tensor(X[400:])).detach(), atol=1e-5)
        np.testing.assert_allclose(file["val_logits"], module(torch.tensor(X[300:400])).detach(), atol=1e-5)
        assert (file["labels"] == y[400:]).all()


@pytest.mark.parametrize("rank", [0, 1])
def test_of_two_processes_the_first_alone_saves_all_rows(rank, tmp_path):
    trainer = SimpleNamespace(
        is_global_zero=rank == 0,
        global_rank=rank,
        world_size=2,
        strategy=SimpleNamespace(batch_to_device=lambda x, _: x),
    )
    save = SaveScores(tmp_path, arm="a", seed=7, test=loader(400, 600, 30), validation=loader(300, 400, 30))
    save.on_fit_end(trainer, Module())
    assert [each.name for each in tmp_path.glob("a/*")] == (["7.npz"] if rank == 0 else [])
    if rank == 0:
        with np.load(tmp_path / "a" / "7.npz") as file:
            assert (len(file["logits"]), len(file["labels"]), len(file["val_labels"])) == (200, 200, 100)


def test_a_loader_of_the_rows_of_one_rank_is_refused(tmp_path):
    rows = loader(0, 100).dataset
    parts = [DataLoader(rows, sampler=DistributedSampler(rows, count, 0, shuffle=False)) for count in (1, 2)]
    SaveScores(tmp_path, arm="a", seed=0, test=parts[0], validation=parts[0])
    for name, loaders in (("test", parts[::-1]), ("validation", parts)):
        with pytest.raises(ValueError, match=f"^the loader of {name} has a part of the rows on each rank"):
            SaveScores(tmp_path, arm="a", seed=0, test=loaders[0], validation=loaders[1])


def test_watch_measures_the_rows_of_all_ranks(monkeypatch):
    def gather(gathered: list[Any], kept: Any) -> None:
        other = [(-logits, labels) for logits, labels in kept]
        gathered[:] = [kept, other]

    alone, watch, module = Watch(), Watch(), Module(lr=0.0)
    fit(module, alone)
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    trainer, logged = SimpleNamespace(world_size=2, sanity_checking=False, current_epoch=0), []
    with torch.no_grad():
        for batch in loader(400, 600):
            watch.on_validation_batch_end(trainer, module, None, batch, 0)
    watch.on_validation_epoch_end(trainer, SimpleNamespace(log_dict=lambda *a, **how: logged.append(how)))
    X, y = (torch.tensor(part[400:]) for part in digits())
    both = torch.cat([module(X), -module(X)]).detach()
    wanted = torch.nn.functional.cross_entropy(both, torch.cat([y, y])).item()
    assert watch.history[0]["hard_nll"] == pytest.approx(wanted, rel=1e-5)
    assert wanted != pytest.approx(alone.history[0]["hard_nll"], rel=1e-3)
    assert logged == [{"sync_dist": True}]


def test_the_lines_for_training_smooth():
    torch.manual_seed(0)
    step = run_block(TITLE, 0, {})["training_step"]
    module, batch = Module(), next(iter(loader(0, 50)))
    wanted = torch.nn.functional.cross_entropy(module(batch[0]), batch[1], label_smoothing=0.1)
    torch.testing.assert_close(step(module, batch, 0), wanted)


def test_the_lines_for_watching_keep_the_model_of_the_least_log_loss(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def quiet(max_epochs: int, callbacks: list[Any]) -> Any:
        how = {**QUIET, "enable_checkpointing": True, "default_root_dir": tmp_path}
        return pl.Trainer(max_epochs=max_epochs, callbacks=callbacks, **how)

    names = {"Trainer": quiet, "ModelCheckpoint": pl.pytorch.callbacks.ModelCheckpoint, "module": Module(),
             "train": loader(0, 400), "validation": loader(400, 600)}  # fmt: skip
    made = run_block(TITLE, 1, names)
    best = min(each["hard_nll"] for each in made["watch"].history)
    assert made["keep"].best_model_score.item() == pytest.approx(best, rel=1e-6)


def test_the_lines_for_judge_save_both_arms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def quiet(max_epochs: int, callbacks: list[Any]) -> Any:
        return pl.Trainer(max_epochs=2, callbacks=callbacks, **QUIET, limit_val_batches=0)

    names = {"Trainer": quiet, "Module": Module, "train": loader(0, 300), "test": loader(400, 600),
             "validation": loader(300, 400)}  # fmt: skip
    run_block(TITLE, 2, names)
    assert_both_arms(tmp_path, 100)
