"""A fused head in real runs of Trainer and of TRL's SFTTrainer, against runs on all logits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from transformers import Trainer

from sfumato.adapters.hf import fuse_head
from tests.adapters.hf.small import arguments, assert_equal, batch, data, llama, logged, sft, torch_loss, weights


@pytest.mark.parametrize("accumulate", [1, 4])
def test_trainer_ends_in_the_weights_of_the_loss_of_all_logits(unfused, tmp_path, accumulate):
    model = llama()
    fuse_head(model, label_smoothing=0.1)
    trainer = Trainer(model, arguments(tmp_path, accumulate), train_dataset=data())
    trainer.train()
    assert_equal(weights(model), weights(unfused.model))
    assert logged(trainer, "loss") == pytest.approx(logged(unfused, "loss"), rel=1e-5)
    assert logged(trainer, "grad_norm") == pytest.approx(logged(unfused, "grad_norm"), rel=1e-5)


def test_evaluation_of_trainer_is_hard_and_training_goes_on_smoothed(tmp_path):
    model, rows = llama(), batch(6)
    fuse_head(model, label_smoothing=0.1)
    told = Trainer(model, arguments(tmp_path), eval_dataset=data(6)).evaluate()["eval_loss"]
    logits = model.eval()(rows["input_ids"]).logits
    assert told == pytest.approx(torch_loss(logits, rows["labels"], eps=0.0).item(), rel=1e-6)
    loss = model.train()(**rows).loss.item()
    assert loss == pytest.approx(torch_loss(logits, rows["labels"]).item(), rel=1e-6)


def test_predict_has_logits_where_that_is_asked_for(tmp_path):
    model, rows = llama(500), data(4, vocabulary=500)
    plain = Trainer(copy.deepcopy(model), arguments(tmp_path)).predict(rows)
    fuse_head(model, label_smoothing=0.1, evaluation_logits=True)
    found = Trainer(model, arguments(tmp_path)).predict(rows)
    assert (found.predictions == plain.predictions).all()
    assert found.metrics["test_loss"] == pytest.approx(plain.metrics["test_loss"], rel=1e-6)


@pytest.fixture(scope="module")
def sft_unfused(tmp_path_factory) -> Any:
    """TRL's own run, in which smoothing needs all logits of a second pass."""
    trainer = sft(tmp_path_factory.mktemp("sft"), llama(), 1, label_smoothing_factor=0.1)
    trainer.train()
    return trainer


@pytest.mark.parametrize(("when", "accumulate"), [("after", 1), ("after", 4), ("before", 1)])
def test_sft_ends_in_the_weights_of_its_own_smoothing_and_makes_no_second_pass(sft_unfused, tmp_path, when, accumulate):
    model, passes = llama(), list[int]()
    if when == "before":
        fuse_head(model, label_smoothing=0.1)
    trainer = sft(tmp_path, model, accumulate)
    if when == "after":
        fuse_head(trainer.model, label_smoothing=0.1)
    model.model.register_forward_hook(lambda *_: passes.append(1))
    trainer.train()
    assert len(passes) == 3 * accumulate
    assert_equal(weights(model), weights(sft_unfused.model))
    for name in ("loss", "grad_norm"):
        assert logged(trainer, name) == pytest.approx(logged(sft_unfused, name), rel=1e-5)
    if accumulate == 1:  # else a mean of means in both
        for name in ("entropy", "mean_token_accuracy", "num_tokens"):
            assert logged(trainer, name) == pytest.approx(logged(sft_unfused, name), rel=1e-5)


def test_evaluation_of_sft_is_hard(tmp_path):
    model = llama()
    trainer = sft(tmp_path, model, 1)
    hard = trainer.evaluate()
    fuse_head(trainer.model, label_smoothing=0.1)
    told = trainer.evaluate()
    for name in ("eval_loss", "eval_entropy", "eval_mean_token_accuracy"):
        assert told[name] == pytest.approx(hard[name], rel=1e-6)


# Where SFTTrainer wraps the model in PEFT, both orders lead to the model inside.
@pytest.mark.parametrize("when", ["before", "after"])
def test_sft_of_an_adapter_ends_in_the_weights_of_its_own_smoothing(tmp_path, when):
    peft = pytest.importorskip("peft")
    lora = {"peft_config": peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2)}
    own = sft(tmp_path, llama(), label_smoothing_factor=0.1, **lora)
    own.train()
    model = llama()
    if when == "before":
        fuse_head(model, label_smoothing=0.1)
    trainer = sft(tmp_path, model, **lora)
    if when == "after":
        fuse_head(trainer.model, label_smoothing=0.1)
    trainer.train()
    trained, wanted = ({n: w for n, w in weights(each.model).items() if "lora" in n} for each in (trainer, own))
    assert len(trained) == 4
    assert_equal(trained, wanted, 1e-5)
    assert logged(trainer, "loss") == pytest.approx(logged(own, "loss"), rel=1e-6)
