"""benchmarks/claims*.py: its loop is that of `compare`, its noise what it says, its penalty has its fixed point."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfumato.lab.execute.training_run import trained_model


@pytest.fixture
def rows(load):
    """The mixture with a budget of two epochs, as the claims see it."""
    when, data = load("when"), load("claims_data")
    x, y = data.Mixture.make().draw(600, seed=1)
    ready = when.prepared_for(
        SimpleNamespace(features=x, labels=[f"{k:02d}" for k in y]), ("onehot", "all:0.1"), **data.DESIGN
    )
    ready = replace(ready, plan=replace(ready.plan, epochs=2))
    parts = {name: ready.data.part(name) for name in ("train", "validation", "test")}
    return data.Rows(ready, **{k: (torch.from_numpy(p.features), torch.from_numpy(p.labels)) for k, p in parts.items()})


def test_the_loop_of_the_claims_trains_the_models_of_compare(load, rows, tmp_path):
    when, data, own = load("when"), load("claims_data"), load("claims_own_training")
    tasks = when.train(rows.ready, tmp_path, np.inf)
    x = rows.test[0]
    for arm, eps in zip(rows.ready.arms, (0.0, 0.1), strict=True):
        theirs = trained_model(next(task for task in tasks if task.arm == arm and task.seed == 1))
        mine = data.fit(rows, own.smoothed(eps), seed=1)
        torch.testing.assert_close(data.logits_of(mine, x), data.logits_of(theirs, x), rtol=1e-4, atol=1e-5)


def test_the_mixture_can_be_told_apart_as_well_as_its_docstring_says(load):
    mixture = load("claims_data").Mixture.make()
    x, y = mixture.draw(20_000, seed=5)
    nearest = ((x[:, None] - mixture.means) ** 2).sum(2).argmin(1)
    assert (nearest == y).mean() == pytest.approx(0.85, abs=0.01)


def test_noise_moves_a_share_of_the_labels_to_every_other_class_alike(load):
    y = torch.arange(30_000) % 3
    moved = load("claims_data").with_noise(y, 0.4, 3, seed=0)
    assert float((moved != y).double().mean()) == pytest.approx(0.4, abs=0.01)
    steps = (moved - y)[moved != y] % 3
    assert float((steps == 1).double().mean()) == pytest.approx(0.5, abs=0.02)


def test_the_fixed_point_of_the_confidence_penalty_is_where_its_gradient_is_0(load):
    own = load("claims_own_training")
    gap = own._fixed_point(0.5, 10)
    logits = torch.zeros(1, 10, dtype=torch.float64)
    logits[0, 0] = gap
    logits.requires_grad_()
    logs = logits.log_softmax(1)
    (-logs[0, 0] + 0.5 * (logs.exp() * logs).sum()).backward()
    assert float(logits.grad.abs().max()) < 1e-10


def test_the_online_table_holds_distributions_of_right_predictions(load, rows, monkeypatch):
    own = load("claims_own_training")
    tables = []
    fit = own.fit

    def watched(rows, loss, seed, *, after_epoch):
        def keep(epoch):
            after_epoch(epoch)
            cells = dict(zip(after_epoch.__code__.co_freevars, after_epoch.__closure__, strict=True))
            tables.append(cells["table"].cell_contents.clone())

        return fit(rows, loss, seed, after_epoch=keep)

    monkeypatch.setattr(own, "fit", watched)
    own._fit_online(rows, seed=0)
    assert len(tables) == 2
    for table in tables:
        torch.testing.assert_close(table.sum(1), torch.ones(20))
    assert not torch.equal(*tables)
