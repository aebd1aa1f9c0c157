"""The early stop: which epoch is kept, and when training ends."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from sfumato.lab.compare import compare
from sfumato.lab.execute.training_run import run
from sfumato.lab.models import build, weights_hash
from sfumato.lab.options import Options
from sfumato.lab.train import Plan
from sfumato.lab.train.loop import BestEpoch, nll_after_temperature, train
from sfumato.report.compare_page import render
from tests.lab.train.test_loop import SMOOTHED, toy


@pytest.mark.parametrize(
    ("patience", "nlls", "kept", "seen"),
    [
        (1, [3.0, 2.0, 2.5, 1.0], 2, 3),
        (2, [3.0, 2.0, 2.5, 1.0], 4, 4),
        (2, [1.0, 1.0, 1.0, 0.5], 1, 3),  # of equal epochs the first is the best
        (3, [np.inf, np.inf, np.inf, np.inf], 1, 4),
        (9, [3.0, 2.0, 1.0], 3, 3),
    ],
)
def test_the_best_epoch_is_kept_and_patience_counts_from_it(patience, nlls, kept, seen):
    model = torch.nn.Linear(1, 1)
    best = BestEpoch(model, patience)
    for epoch, nll in enumerate(nlls, 1):
        torch.nn.init.constant_(model.weight, epoch)
        if best.enough(epoch, nll):
            break
    best.restore()
    assert (best.epoch, epoch, model.weight.item()) == (kept, seen, kept)


def test_the_log_loss_after_temperature_is_that_of_soft_labels_where_there_are_any():
    rng = np.random.default_rng(0)
    z, q = rng.normal(size=(50, 4)), rng.dirichlet(np.ones(4), 50)
    best = minimize_scalar(lambda t: -(q * log_softmax(z / np.exp(t), axis=1)).sum() / 50, bounds=(-3, 3)).fun
    found = nll_after_temperature(torch.tensor(z), torch.zeros(50, dtype=torch.int64), torch.tensor(q))
    assert found == pytest.approx(best, rel=1e-6)
    hot = np.eye(4)[y := rng.integers(0, 4, 50)]
    assert nll_after_temperature(torch.tensor(z), torch.tensor(y), torch.tensor(hot)) == pytest.approx(
        nll_after_temperature(torch.tensor(z), torch.tensor(y)), rel=1e-12
    )


def test_curves_and_early_stop_are_against_the_soft_labels_of_the_validation_rows():
    rows, (x, y) = toy(), toy(60, seed=1)
    q = 0.6 * torch.eye(3)[y.roll(1)] + 0.3 * torch.eye(3)[y] + 0.1 / 3
    model, seen = build("mlp", 6, 3, seed=5), []

    def check(epoch):
        log_p = model(x).detach().log_softmax(1)
        assert epoch.validation_nll == pytest.approx(-(q * log_p).sum(1).mean().item(), rel=1e-5)
        assert epoch.validation_accuracy == pytest.approx((log_p.argmax(1) == y.roll(1)).float().mean().item())
        assert epoch.validation_nll_after_temperature == pytest.approx(nll_after_temperature(model(x).detach(), y, q))
        seen.append(epoch.validation_nll_after_temperature)

    kept = train(
        model, SMOOTHED.loss(), rows, (x, y), Plan(30, 10, 3e-2, early_stop=3), seed=5, floor=0.0, on_epoch=check,
        validation_soft=q,
    )  # fmt: skip
    assert kept.kept_epoch == 1 + int(np.argmin(seen))


@pytest.mark.slow
def test_an_early_stop_keeps_the_weights_that_the_full_training_has_at_the_best_epoch():
    loss, plan = SMOOTHED.loss(), Plan(60, 10, 3e-2)
    rows, validation = toy(), toy(60, seed=1)
    model, weights, nlls = build("mlp", 6, 3, seed=5), [], []

    def note(epoch):
        weights.append(weights_hash(model))
        logits = model(validation[0]).detach().double()
        grid = torch.linspace(-5, 3, 8001).exp().double()[:, None, None]
        scores = (logits / grid).log_softmax(2)[:, torch.arange(60), validation[1]]
        nlls.append(-scores.mean(1).max().item())
        assert "validation_nll_after_temperature" not in epoch.to_dict()

    full = train(model, loss, rows, validation, plan, seed=5, floor=0.0, on_epoch=note)
    assert full.kept_epoch == 60

    stopped, epochs = build("mlp", 6, 3, seed=5), []
    early = train(stopped, loss, rows, validation, replace(plan, early_stop=4), seed=5, floor=0.0,
                  on_epoch=epochs.append)  # fmt: skip
    assert [e.validation_nll_after_temperature for e in epochs] == pytest.approx(nlls[: len(epochs)], abs=1e-6)
    assert early.kept_epoch == 1 + int(np.argmin(nlls[: len(epochs)]))
    assert len(epochs) == early.kept_epoch + 4 < 60
    assert weights_hash(stopped) == weights[early.kept_epoch - 1]
    assert early.batches == full.batches[: len(epochs)]


def test_logits_that_are_not_finite_are_no_better_epoch():
    assert nll_after_temperature(torch.tensor([[0.0, torch.nan]]), torch.tensor([0])) == np.inf


def in_this_process(tasks, rows, *, workers, progress):
    return [run(task, rows(task.fold), lambda epoch: None) for task in tasks]


@pytest.mark.slow
def test_arms_that_stopped_at_different_epochs_are_paired_on_the_batches_that_both_saw(tmp_path, monkeypatch):
    records = []

    def keep(*args, **kwargs):
        records.extend(in_this_process(*args, **kwargs))
        return records

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", keep)
    options = Options(
        "digits", folds=1, seeds=3, epochs=40, learning_rate=0.03, model="linear", early_stop=1, out="run"
    )
    paired = compare(options)["paired"]
    lengths = {r["seed"]: [len(s["batches"]) for s in records if s["seed"] == r["seed"]] for r in records}
    assert any(len(set(each)) > 1 for each in lengths.values())
    for seed, each in lengths.items():
        both = {r["batches"][min(each) - 1] for r in records if r["seed"] == seed}
        assert both == {paired["batches"][seed]}
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    kept = {name: [r["kept_epoch"] for r in records if r["arm"] == name] for name in ("one-hot", "smoothed")}
    assert env["training"]["kept_epochs"] == kept
    assert [note for note in env["notes"] if note["code"] == "early-stop"]
    assert render(tmp_path / "run").is_file()
