"""timm: one criterion in place of three of its own, in its task and beside its Mixup."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import sfumato as sf
from sfumato.adapters.timm import CrossEntropy
from tests.adapters.common import CLASSES, assert_at_closed_form, digits, run_block

losses = pytest.importorskip("timm.loss")
timm_data = pytest.importorskip("timm.data")
tasks = pytest.importorskip("timm.task")

TITLE = "timm"


def batch(rows: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 3 * torch.randn(rows, CLASSES, generator=torch.Generator().manual_seed(0))
    return logits.requires_grad_(), torch.arange(rows) % CLASSES


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, logits: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)), rtol=1e-5, atol=1e-6)


def mixed(eps: float, labels: torch.Tensor) -> torch.Tensor:
    return timm_data.mixup.mixup_target(labels, CLASSES, lam=0.3, smoothing=eps)


@pytest.mark.parametrize(
    ("eps", "theirs"),
    [(0.0, torch.nn.CrossEntropyLoss()), (0.1, losses.LabelSmoothingCrossEntropy(0.1))],
    ids=["CrossEntropyLoss", "LabelSmoothingCrossEntropy"],
)
def test_labels_have_the_numbers_of_timm(eps, theirs):
    logits, labels = batch()
    assert_same(CrossEntropy(eps)(logits, labels), theirs(logits, labels), logits)


def test_soft_targets_have_the_numbers_of_timm_and_are_not_smoothed_again():
    logits, labels = batch()
    targets = mixed(0.1, labels)
    assert_same(CrossEntropy(0.1)(logits, targets), losses.SoftTargetCrossEntropy()(logits, targets), logits)


def test_over_the_others_is_the_other_convention():
    logits, labels = batch()
    wanted = F.cross_entropy(logits, labels, label_smoothing=0.1 * CLASSES / (CLASSES - 1))
    torch.testing.assert_close(CrossEntropy(0.1, over="others")(logits, labels), wanted)


@pytest.mark.parametrize("over", ["all", "others"])
def test_its_mixup_smooths_by_the_same_target(over):
    np.random.seed(0)
    logits, labels = batch()
    criterion = CrossEntropy(0.1, over=over)
    mixup = criterion.mixup(CLASSES, mixup_alpha=0.5, prob=0.0)  # never mixes, so that its targets are the labels'
    _, targets = mixup(torch.zeros(12, 3, 4, 4), labels)
    torch.testing.assert_close(criterion(logits, targets), criterion(logits, labels))


def test_soft_targets_that_nobody_smoothed_are_refused_with_the_way_out():
    logits, labels = batch()
    told = "^these soft targets are not smoothed, and label_smoothing=0.1 smooths labels only: give Mixup its"
    with pytest.raises(ValueError, match=told):
        CrossEntropy(0.1)(logits, mixed(0.0, labels))


def test_soft_targets_that_do_not_sum_to_one_are_refused():
    logits, labels = batch()
    with pytest.raises(ValueError, match="^target must sum to 1, got 2 in row 0$"):
        CrossEntropy()(logits, 2 * mixed(0.0, labels))


@pytest.mark.parametrize("shape", [(6,), (6, 9)])
def test_floating_targets_of_another_shape_are_refused(shape):
    told = r"^soft targets must be shaped as the logits, \(6, 10\), got .*; labels must be torch\.int64 and \(6,\)$"
    with pytest.raises(ValueError, match=told):
        CrossEntropy(0.1)(torch.zeros(6, 10), torch.ones(shape))


def test_the_loss_of_evaluation_is_hard():
    logits, labels = batch()
    task = tasks.ClassificationTask(torch.nn.Identity(), criterion=CrossEntropy(0.1), verbose=False)
    torch.testing.assert_close(task.eval()(logits, labels)["loss"], F.cross_entropy(logits, labels))
    torch.testing.assert_close(
        task.train()(logits, labels)["loss"], F.cross_entropy(logits, labels, label_smoothing=0.1)
    )


@pytest.mark.parametrize("over", ["all", "others"])
def test_a_task_trains_to_the_closed_form(over):
    X, y = (torch.tensor(part) for part in digits())
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES))
    task = tasks.ClassificationTask(net, criterion=CrossEntropy(0.1, over=over), verbose=False)
    optimiser = torch.optim.Adam(task.parameters(), 0.01)
    for _ in range(250):
        optimiser.zero_grad()
        task(X, y)["loss"].backward()
        optimiser.step()
    assert_at_closed_form(net(X).detach(), y, over)


def names(**more: Any) -> dict[str, Any]:
    def quiet(model: Any, criterion: Any) -> Any:
        return tasks.ClassificationTask(model, criterion=criterion, verbose=False)

    return {"ClassificationTask": quiet, "model": torch.nn.Identity(), "K": CLASSES, **more}


def test_the_lines_for_a_task_smooth():
    logits, labels = batch()
    task = run_block(TITLE, 0, names())["task"]
    torch.testing.assert_close(task(logits, labels)["loss"], F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_the_lines_for_the_training_script_smooth_labels_and_mixed_images():
    np.random.seed(0)
    logits, labels = batch()
    made = run_block(TITLE, 1, names(images=torch.zeros(12, 3, 4, 4), labels=labels, logits=logits))
    assert made["mixup_fn"].label_smoothing == pytest.approx(1 / 9)
    wanted = sf.cross_entropy(logits, made["targets"])
    torch.testing.assert_close(made["loss"], wanted)
