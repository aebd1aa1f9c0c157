"""The parts for Trainer: a loss that shifts, divides and evaluates hard, scores that judge reads, and a schedule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers import Trainer
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput, TokenClassifierOutput

import sfumato as sf
from sfumato.adapters.hf import SaveScores, ScheduleSmoothing, compute_loss, fuse_head
from tests.adapters.hf.small import arguments, assert_equal, batch, data, llama, logged, torch_loss, weights


def logits_of(positions: tuple[int, ...], classes: int = 5, *, gradient: bool = True) -> torch.Tensor:
    made = torch.randn(*positions, classes, generator=torch.Generator().manual_seed(2))
    return made.requires_grad_(gradient)


@pytest.mark.parametrize("accumulate", [1, 2, 8])
def test_gradient_norms_do_not_hang_on_accumulation(unfused, tmp_path, accumulate):
    args = arguments(tmp_path, accumulate)
    trainer = Trainer(llama(), args, train_dataset=data(), compute_loss_func=compute_loss(0.1))
    trainer.train()
    assert logged(trainer, "grad_norm") == pytest.approx(logged(unfused, "grad_norm"), rel=1e-5)
    assert_equal(weights(trainer.model), weights(unfused.model))


def test_a_causal_output_is_shifted_and_another_is_not():
    logits, labels = logits_of((2, 4)), torch.tensor([[1, 2, 3, 4], [0, -100, 2, 1]])
    loss = compute_loss(0.1)
    assert loss(CausalLMOutput(logits=logits), labels).item() == pytest.approx(torch_loss(logits, labels).item())
    flat = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1).item()
    assert loss(TokenClassifierOutput(logits=logits), labels).item() == pytest.approx(flat)
    assert compute_loss(0.1, shift=False)({"logits": logits}, labels).item() == pytest.approx(flat)
    assert compute_loss(0.1, shift=True)((logits,), labels).item() == pytest.approx(torch_loss(logits, labels).item())


@pytest.mark.parametrize("over", ["all", "others"])
def test_rows_of_a_classifier_are_divided_by_what_trainer_counted(over):
    logits, labels = logits_of((6,)), torch.arange(6) % 5
    total = sf.cross_entropy(logits, labels, label_smoothing=0.2, over=over, reduction="sum").item()
    found = compute_loss(0.2, over)(SequenceClassifierOutput(logits=logits), labels, num_items_in_batch=torch.tensor(9))
    assert found.item() == pytest.approx(total / 9)


def test_label_156_of_uint8_counts():  # which is −100 there
    logits, labels = torch.linspace(-1, 1, 400).reshape(2, 200), torch.tensor([156, 3])
    found = compute_loss()(SequenceClassifierOutput(logits=logits), labels.to(torch.uint8))
    assert found.item() == pytest.approx(F.cross_entropy(logits, labels).item())


def test_probabilities_are_divided_by_rows_where_trainer_counts_entries():
    logits, labels = logits_of((6,)), logits_of((6,)).detach().softmax(-1)
    found = compute_loss(0.2)(SequenceClassifierOutput(logits=logits), labels, num_items_in_batch=torch.tensor(12 * 5))
    wanted = F.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum") / 12
    assert found.item() == pytest.approx(wanted.item())


def test_evaluation_by_compute_loss_is_hard(tmp_path):
    model, rows = llama(500), batch(6, vocabulary=500)
    args = arguments(tmp_path)
    told = Trainer(model, args, eval_dataset=data(6, vocabulary=500), compute_loss_func=compute_loss(0.1)).evaluate()
    logits = model(rows["input_ids"]).logits
    assert told["eval_loss"] == pytest.approx(torch_loss(logits, rows["labels"], eps=0.0).item(), rel=1e-6)


TWO, ONES = {"logits": logits_of((2,))}, torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        ({"logits": logits_of((2, 4))}, torch.zeros(2, 4).long(), r"these outputs are a dict with logits \(2, 4, 5\)"),
        (TWO, None, "compute_loss needs labels, and Trainer gave none"),
        ({"scores": logits_of((2,))}, ONES, "the model's outputs have no logits, only scores"),
        (TWO, torch.tensor([0, 1, 2]), r"labels must be .* or probabilities \(2, 5\), got torch.int64 \(3,\)"),
        ({"logits": logits_of((2, 2, 2))}, ONES, r"compute_loss takes logits \(N, K\) or \(B, T, K\), got"),
        ({"logits": logits_of((1,))}, torch.ones(1, 5), "labels must sum to 1, got 5 in row 0"),
    ],
)
def test_outputs_that_have_no_such_loss_are_refused(outputs, labels, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        compute_loss(0.1)(outputs, labels)


class Classifier(torch.nn.Module):
    """A linear model with transformers' way of giving outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 3)
        self.device = torch.device("cpu")

    def forward(self, x, labels=None):
        return SequenceClassifierOutput(logits=self.linear(x))


def points(rows: int, seed: int) -> list[dict[str, Any]]:
    x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))
    return [{"x": row, "labels": int(row[:3].argmax())} for row in x]


def test_judge_reads_the_scores_of_trained_models(tmp_path):
    for arm, eps in (("one-hot", 0.0), ("smoothed", 0.1)):
        for seed in (0, 1):
            save = SaveScores(tmp_path / "scores", arm=arm, seed=seed, test=points(90, 1), validation=points(60, 2))
            trainer = Trainer(
                Classifier(), arguments(tmp_path / "run", seed=seed, max_steps=12), train_dataset=points(64, seed),
                compute_loss_func=compute_loss(eps), callbacks=[save],
            )  # fmt: skip
            trainer.train()
            assert trainer.model.training
    found = sf.judge(tmp_path / "scores").to_dict()
    assert [(arm["name"], arm["seeds"]) for arm in found["arms"]] == [("one-hot", 2), ("smoothed", 2)]
    assert (found["data"]["test"], found["data"]["validation"]) == (90, 60)


def test_saved_scores_are_the_logits_of_the_trained_model(tmp_path):
    model, rows = Classifier(), points(30, 1)
    save = SaveScores(tmp_path / "scores", arm="a", test=rows)
    args = arguments(tmp_path / "run", seed=7)
    Trainer(model, args, train_dataset=rows, compute_loss_func=compute_loss(), callbacks=[save]).train()
    with np.load(tmp_path / "scores" / "a" / "7.npz") as file:
        logits = model.linear(torch.stack([row["x"] for row in rows])).detach().numpy()
        np.testing.assert_allclose(file["logits"], logits, atol=1e-6)  # the trainer's batches are others
        assert file["labels"].tolist() == [row["labels"] for row in rows]


@pytest.mark.parametrize("name", ["test", "validation"])
def test_a_data_set_without_rows_is_refused_before_training(tmp_path, name):
    with pytest.raises(ValueError, match=f"^{name} has no rows: SaveScores needs at least one$"):
        SaveScores(tmp_path, arm="a", **{"test": points(2, 0), name: []})


def test_scores_of_tokens_are_refused_with_the_way_out(tmp_path):
    save = SaveScores(tmp_path, arm="a", test=data(2, vocabulary=500))
    loader = SimpleNamespace(collate_fn=transformers.default_data_collator)
    state, args = SimpleNamespace(is_world_process_zero=True), SimpleNamespace(per_device_eval_batch_size=2, seed=0)
    with pytest.raises(ValueError, match=r"^SaveScores keeps logits \(N, K\) .* got \(2, 9, 500\)"):
        save.on_train_end(args, state, None, model=llama(500), train_dataloader=loader)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_not_the_first_saves_nothing(tmp_path):
    state, args = SimpleNamespace(is_world_process_zero=False), SimpleNamespace(per_device_eval_batch_size=2, seed=0)
    loader = SimpleNamespace(collate_fn=transformers.default_data_collator)
    save = SaveScores(tmp_path, arm="a", test=points(2, 4))
    save.on_train_end(args, state, None, model=Classifier(), train_dataloader=loader)
    assert list(tmp_path.iterdir()) == []


def falling(step: int, steps: int) -> float:
    return sf.schedules.linear(step, steps, 0.4, 0.0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_step_of_the_optimiser_has_its_strength(tmp_path, accumulate):
    loss, seen = compute_loss(0.1), []

    def watched(outputs, labels, num_items_in_batch=None):
        seen.append(loss.label_smoothing)
        return loss(outputs, labels, num_items_in_batch)

    args = arguments(tmp_path, accumulate)
    trainer = Trainer(
        llama(), args, train_dataset=data(), compute_loss_func=watched, callbacks=[ScheduleSmoothing(loss, falling)]
    )
    trainer.train()
    steps = trainer.state.max_steps
    assert steps > 1
    assert seen == [falling(step, steps) for step in range(steps) for _ in range(accumulate)]


def test_a_fused_head_has_the_strength_of_its_step(tmp_path):
    model, rows = llama(500), batch(8, vocabulary=500)
    fused = fuse_head(model, label_smoothing=0.1)
    scheduled = ScheduleSmoothing(fused, falling)
    args = arguments(tmp_path, learning_rate=0.0)
    trainer = Trainer(model, args, train_dataset=data(8, vocabulary=500), callbacks=[scheduled])
    trainer.train()
    logits = model(rows["input_ids"]).logits.detach()
    wanted = [torch_loss(logits, rows["labels"], eps=falling(step, 3)).item() for step in range(3)]
    assert logged(trainer, "loss") == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(ValueError, match=r"^label_smoothing must be in \[0, 1\], got 1\.5$"):
        fused.label_smoothing = 1.5


def test_a_strength_that_is_none_names_its_step(tmp_path):
    loss = compute_loss(0.1)
    scheduled = ScheduleSmoothing(loss, lambda step, steps: 1.5)
    trainer = Trainer(
        llama(), arguments(tmp_path, 1), train_dataset=data(), compute_loss_func=loss, callbacks=[scheduled]
    )
    with pytest.raises(ValueError, match=r"gives step 0 no strength: label_smoothing must be in \[0, 1\], got 1.5"):
        trainer.train()


def test_a_loss_without_a_strength_is_refused():
    with pytest.raises(TypeError, match="must have a label_smoothing to set, which MSELoss has not"):
        ScheduleSmoothing(torch.nn.MSELoss(), falling)
